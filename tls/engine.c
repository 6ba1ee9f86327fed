// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// AEADs of libipsec-mb by its direct interface, one a worker. Key schedules are expanded on each
// use: about 100 ns, against 2.5 KiB a session for keeping them. Worker thread.

#include "tls/engine.h"
#include "tls/long_hooks.h"
#include "tls/pk_hooks.h"

#include <intel-ipsec-mb.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STEPS_BATCHED 16 // of handshakes a turn: at 30 us, with a batching engine,
#define STEPS_ALONE 6    // and at 100 us
#define EPH_MAX 4096     // handshakes between their key share and the secret

struct tls_engine {
	IMB_MGR *mgr;
	enum tls_aead aead; // of the operation under way
	const uint8_t *key;
	struct gcm_context_data gcm;
	struct chacha20_poly1305_context_data chacha;
	struct gcm_key_data gcm_key __attribute__((aligned(64)));
	struct pk_queue queue;
	struct idpool ephs;
	uint32_t eph_ids[EPH_MAX + 1];
	struct pk_eph eph[EPH_MAX + 1];
	uint64_t hooked[HOOK_COUNT];
	struct hash_scratch scratch;
	void (*finished)(void *up, struct tls_hs *hs);
	void *up;
	struct ticket_keys tickets;
	int64_t (*now_ms)(void); // NULL: the system's
	uint32_t steps_left;     // of handshakes in this turn
	struct tls_hs *put_off, *put_off_tail;
	uint8_t flight[FIBER_COUNT][TLS_FLIGHT_MAX];
};

// The next engine until a handshake with ourselves is good; the last is mbedTLS alone.
static void engine_try(struct tls_engine *e)
{
	struct pk_queue *q = &e->queue;

	while (!tls_selftest(e) && q->engine != NULL) {
		q->engine = q->engine == &pk_engine_mbx ? &pk_engine_libcrypto : NULL;
		q->degraded = true;
		memset(e->hooked, 0, sizeof(e->hooked));
	}
	memset(e->hooked, 0, sizeof(e->hooked)); // from here on of others' handshakes
	memset(&q->counts, 0, sizeof(q->counts));
}

struct tls_engine *tls_engine_new(enum pk_engine_id first)
{
	bool hooks;
	size_t size = (sizeof(struct tls_engine) + 63) / 64 * 64;
	struct tls_engine *e = aligned_alloc(64, size);

	if (e == NULL)
		return NULL;
	memset(e, 0, size);
	e->mgr = alloc_mb_mgr(0);
	if (e->mgr == NULL) {
		free(e);
		errno = ENOMEM;
		return NULL;
	}
	init_mb_mgr_auto(e->mgr, NULL);
	idpool_init(&e->ephs, e->eph_ids, EPH_MAX + 1);
	e->steps_left = UINT32_MAX; // until turns are counted
	hooks = pk_hooks_init() && hash_hooks_init() && long_hooks_init() && sign_hooks_init();
	if (!hooks)
		first = PK_ENGINE_BUILTIN;
	// psa_crypto_init is for TLS 1.3; once a process, the rest are no-ops
	if (psa_crypto_init() != PSA_SUCCESS || !pk_queue_init(&e->queue, first)) {
		tls_engine_free(e);
		errno = ENOMEM;
		return NULL;
	}
	e->queue.degraded = e->queue.degraded || !hooks;
	engine_try(e);
	return e;
}

bool tls_engine_degraded(const struct tls_engine *e)
{
	return e->queue.degraded;
}

void tls_engine_free(struct tls_engine *e)
{
	if (e == NULL)
		return;
	pk_queue_release(&e->queue);
	free_mb_mgr(e->mgr);
	explicit_bzero(e, sizeof(*e));
	free(e);
}

const char *tls_engine_name(const struct tls_engine *e)
{
	return e->queue.engine != NULL ? e->queue.engine->name : "builtin";
}

void tls_engine_finished_set(
	struct tls_engine *e,
	void (*finished)(void *up, struct tls_hs *hs),
	void *up
)
{
	e->finished = finished;
	e->up = up;
}

void tls_engine_finish(struct tls_engine *e, struct tls_hs *hs)
{
	if (e->finished != NULL)
		e->finished(e->up, hs);
}

void tls_engine_tickets_set(struct tls_engine *e, const struct ticket_keys *keys)
{
	e->tickets = *keys;
}

const struct ticket_keys *tls_engine_tickets(const struct tls_engine *e)
{
	return &e->tickets;
}

void tls_engine_clock_set(struct tls_engine *e, int64_t (*now_ms)(void))
{
	e->now_ms = now_ms;
}

int64_t tls_engine_now_ms(const struct tls_engine *e)
{
	struct timespec t;

	if (e->now_ms != NULL)
		return e->now_ms();
	clock_gettime(CLOCK_REALTIME, &t); // no system call
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void tls_engine_flush(struct tls_engine *e)
{
	tls_current = e;
	pk_flush(&e->queue);
	tls_current = NULL;
}

void tls_engine_helpers_set(struct tls_engine *e, struct tls_helpers *helpers, unsigned index)
{
	e->queue.away = tls_helpers_away(helpers, index);
}

// May this one go on now? Those put off before it go first.
bool tls_engine_admits(struct tls_engine *e, const struct tls_hs *hs)
{
	if (e->steps_left == 0 || (e->put_off != NULL && !hs->due))
		return false;
	if (e->queue.fibers.spare == NULL)
		pk_flush(&e->queue); // those that wait for a batch only
	if (e->queue.fibers.spare == NULL)
		return false;
	e->steps_left--;
	return true;
}

void tls_engine_put_off(struct tls_engine *e, struct tls_hs *hs)
{
	e->queue.counts.put_off++;
	hs->next = NULL;
	if (e->put_off != NULL)
		e->put_off_tail->next = hs;
	else
		e->put_off = hs;
	e->put_off_tail = hs;
}

static unsigned spare_count(const struct fibers *f)
{
	unsigned n = 0;

	for (const struct fiber *x = f->spare; x != NULL && n < FIBER_COUNT; x = x->next)
		n++;
	return n;
}

void tls_engine_turn(struct tls_engine *e)
{
	unsigned n = spare_count(&e->queue.fibers);

	e->steps_left = e->queue.engine == &pk_engine_mbx ? STEPS_BATCHED : STEPS_ALONE;
	pk_turn(&e->queue);
	if (n > e->steps_left)
		n = e->steps_left;
	for (; n > 0 && e->put_off != NULL; n--) {
		struct tls_hs *hs = e->put_off;

		e->put_off = hs->next;
		hs->next = NULL;
		tls_hs_due(hs);
	}
}

bool tls_engine_busy(const struct tls_engine *e)
{
	return e->put_off != NULL || e->queue.away_count > 0 || e->queue.ready != NULL ||
	       pk_waits(&e->queue);
}

void tls_engine_drain(struct tls_engine *e)
{
	while (tls_engine_busy(e)) {
		tls_engine_turn(e);
		tls_engine_flush(e);
		usleep(100);
	}
}

size_t tls_engine_stack_used(const struct tls_engine *e)
{
	return fibers_high_water(&e->queue.fibers);
}

static_assert(TLS_BATCH_MAX == PK_LANES, "a batch is as wide as the engine");

void tls_engine_counts_get(const struct tls_engine *e, struct tls_engine_counts *ret)
{
	const struct pk_counts *c = &e->queue.counts;

	memcpy(ret->batches, c->fill, sizeof(ret->batches));
	ret->retried = c->retried;
	ret->away = c->away;
	ret->inlined = c->inlined;
	ret->put_off = c->put_off;
}

struct pk_queue *tls_engine_queue(struct tls_engine *e)
{
	return &e->queue;
}

uint64_t *tls_engine_hooked(struct tls_engine *e)
{
	return e->hooked;
}

struct hash_scratch *tls_engine_scratch(struct tls_engine *e)
{
	return &e->scratch;
}

uint32_t tls_engine_eph_new(struct tls_engine *e)
{
	return idpool_get(&e->ephs);
}

struct pk_eph *tls_engine_eph(struct tls_engine *e, uint32_t index)
{
	return index > 0 && index <= EPH_MAX ? &e->eph[index] : NULL;
}

void tls_engine_eph_free(struct tls_engine *e, uint32_t index)
{
	explicit_bzero(&e->eph[index], sizeof(e->eph[index]));
	idpool_put(&e->ephs, index);
}

uint8_t *tls_engine_flight(struct tls_engine *e, const struct fiber *fiber)
{
	return e->flight[fiber != NULL ? fiber - e->queue.fibers.slot : 0];
}

void aead_begin(struct tls_engine *e, const struct aead_op *op)
{
	e->aead = op->aead;
	e->key = op->key;
	switch (op->aead) {
	case TLS_AES_128_GCM:
		IMB_AES128_GCM_PRE(e->mgr, op->key, &e->gcm_key);
		IMB_AES128_GCM_INIT(e->mgr, &e->gcm_key, &e->gcm, op->nonce, op->aad, op->aad_len);
		break;
	case TLS_AES_256_GCM:
		IMB_AES256_GCM_PRE(e->mgr, op->key, &e->gcm_key);
		IMB_AES256_GCM_INIT(e->mgr, &e->gcm_key, &e->gcm, op->nonce, op->aad, op->aad_len);
		break;
	default:
		IMB_CHACHA20_POLY1305_INIT(
			e->mgr, op->key, &e->chacha, op->nonce, op->aad, op->aad_len
		);
		break;
	}
}

void aead_seal(struct tls_engine *e, uint8_t *dst, const uint8_t *src, uint32_t len)
{
	if (len == 0)
		return;
	switch (e->aead) {
	case TLS_AES_128_GCM:
		IMB_AES128_GCM_ENC_UPDATE(e->mgr, &e->gcm_key, &e->gcm, dst, src, len);
		break;
	case TLS_AES_256_GCM:
		IMB_AES256_GCM_ENC_UPDATE(e->mgr, &e->gcm_key, &e->gcm, dst, src, len);
		break;
	default:
		IMB_CHACHA20_POLY1305_ENC_UPDATE(e->mgr, e->key, &e->chacha, dst, src, len);
		break;
	}
}

void aead_open(struct tls_engine *e, uint8_t *dst, const uint8_t *src, uint32_t len)
{
	if (len == 0)
		return;
	switch (e->aead) {
	case TLS_AES_128_GCM:
		IMB_AES128_GCM_DEC_UPDATE(e->mgr, &e->gcm_key, &e->gcm, dst, src, len);
		break;
	case TLS_AES_256_GCM:
		IMB_AES256_GCM_DEC_UPDATE(e->mgr, &e->gcm_key, &e->gcm, dst, src, len);
		break;
	default:
		IMB_CHACHA20_POLY1305_DEC_UPDATE(e->mgr, e->key, &e->chacha, dst, src, len);
		break;
	}
}

void aead_end(struct tls_engine *e, uint8_t tag[AEAD_TAG], bool open)
{
	switch (e->aead) {
	case TLS_AES_128_GCM:
		if (open)
			IMB_AES128_GCM_DEC_FINALIZE(e->mgr, &e->gcm_key, &e->gcm, tag, AEAD_TAG);
		else
			IMB_AES128_GCM_ENC_FINALIZE(e->mgr, &e->gcm_key, &e->gcm, tag, AEAD_TAG);
		break;
	case TLS_AES_256_GCM:
		if (open)
			IMB_AES256_GCM_DEC_FINALIZE(e->mgr, &e->gcm_key, &e->gcm, tag, AEAD_TAG);
		else
			IMB_AES256_GCM_ENC_FINALIZE(e->mgr, &e->gcm_key, &e->gcm, tag, AEAD_TAG);
		break;
	default:
		if (open)
			IMB_CHACHA20_POLY1305_DEC_FINALIZE(e->mgr, &e->chacha, tag, AEAD_TAG);
		else
			IMB_CHACHA20_POLY1305_ENC_FINALIZE(e->mgr, &e->chacha, tag, AEAD_TAG);
		break;
	}
}

bool bytes_equal(const uint8_t *a, const uint8_t *b, uint32_t len)
{
	uint8_t diff = 0;

	for (uint32_t i = 0; i < len; i++)
		diff |= a[i] ^ b[i];
	return diff == 0;
}
