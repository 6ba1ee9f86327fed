// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The queue between waiting fibers and the engine. A full batch runs at once, the rest at the end
// of the turn. Worker thread.

#include "tls/pk_hooks.h"

#include <string.h>

#define RSA_A_TURN 1                 // batches, of half a millisecond each
#define READY_MAX (FIBER_COUNT * 64) // fibers woken by one flush: each may wait several times

bool pk_queue_init(struct pk_queue *q, enum pk_engine_id first)
{
	static const struct pk_engine *const engines[] = {&pk_engine_mbx, &pk_engine_libcrypto};

	memset(q, 0, sizeof(*q));
	q->rsa_left = UINT32_MAX; // until turns are counted
	for (unsigned i = first; i < sizeof(engines) / sizeof(engines[0]); i++) {
		if (!engines[i]->usable())
			continue;
		if (pk_engine_passes(engines[i])) {
			q->engine = engines[i];
			break;
		}
		q->degraded = true;
	}
	return fibers_init(&q->fibers);
}

void pk_queue_release(struct pk_queue *q)
{
	fibers_release(&q->fibers);
	explicit_bzero(q->pool, sizeof(q->pool));
}

// crypto_mb 1.0.14 computes X25519 wrongly for u near 2^255 (among them p - 1, of low order, which
// it then does not refuse): such keys are not of honest peers and go to the other engine.
static bool is_edge(enum pk_kind kind, const struct pk_op *op)
{
	if (kind != PK_X25519 || (op->in[31] & 0x7f) != 0x7f)
		return false;
	for (unsigned i = 4; i < 31; i++)
		if (op->in[i] != 0xff)
			return false;
	return true;
}

static void batch_run(struct pk_queue *q, enum pk_kind kind, struct pk_op *ops[], unsigned n)
{
	const struct pk_engine *engine = q->engine;

	q->counts.ops[kind] += n;
	q->counts.batches[kind]++;
	q->counts.fill[n]++;
	for (unsigned i = 0; i < n; i++)
		ops[i]->failed = false;
	if (n < engine->worth[kind])
		engine = &pk_engine_libcrypto;
	engine->run(kind, ops, n);
	if (engine == &pk_engine_libcrypto)
		return;
	for (unsigned i = 0; i < n; i++) { // a refusal may be the engine's own (digest 0)
		if (ops[i]->failed) {
			q->counts.retried++;
			ops[i]->failed = false;
			pk_engine_libcrypto.run(kind, &ops[i], 1);
		}
	}
}

static void wake(struct pk_queue *q, struct fiber *fiber)
{
	fiber->next = NULL;
	if (q->ready_tail != NULL)
		q->ready_tail->next = fiber;
	else
		q->ready = fiber;
	q->ready_tail = fiber;
}

static void rsa_alone(void *op)
{
	struct pk_op *one = op;

	pk_engine_libcrypto.run(PK_RSA2048, &one, 1);
}

// True: a helper has it, and its fiber waits for it.
static bool rsa_away(struct pk_queue *q, struct pk_op *op)
{
	op->job = (struct away_job){rsa_alone, op, op->fiber};
	op->failed = false;
	if (q->away == NULL || !away_put(q->away, &op->job))
		return false;
	q->away_count++;
	q->counts.away++;
	return true;
}

static void drain(struct pk_queue *q, enum pk_kind kind)
{
	struct pk_op *ops[PK_LANES];
	unsigned n = q->count[kind], kept = 0;

	memcpy(ops, q->waiting[kind], sizeof(ops));
	q->count[kind] = 0;
	if (kind == PK_RSA2048 && n < q->engine->worth[kind]) { // too few for a batch
		for (unsigned i = 0; i < n; i++)
			if (!rsa_away(q, ops[i]))
				ops[kept++] = ops[i];
		n = kept;
		q->counts.inlined += n;
	}
	if (n == 0)
		return;
	if (kind == PK_RSA2048 && q->rsa_left > 0)
		q->rsa_left--;
	batch_run(q, kind, ops, n);
	for (unsigned i = 0; i < n; i++)
		wake(q, ops[i]->fiber);
}

bool pk_submit(struct pk_queue *q, enum pk_kind kind, struct pk_op *op)
{
	if (is_edge(kind, op)) {
		op->failed = false;
		pk_engine_libcrypto.run(kind, &op, 1);
		return !op->failed;
	}
	if (q->fibers.current == NULL) {
		batch_run(q, kind, &op, 1);
		return !op->failed;
	}
	op->fiber = q->fibers.current;
	if (kind == PK_RSA2048 &&
	    (q->engine == &pk_engine_libcrypto || q->count[kind] == PK_LANES) && rsa_away(q, op)) {
		fiber_wait(&q->fibers);
		return !op->failed;
	}
	q->waiting[kind][q->count[kind]++] = op;
	fiber_wait(&q->fibers);
	return !op->failed;
}

void pk_away(struct pk_queue *q, void (*run)(void *arg), void *arg)
{
	struct away_job job = {run, arg, q->fibers.current};
	struct tls_engine *was = tls_current;

	if (job.fiber != NULL && q->away != NULL && away_put(q->away, &job)) {
		q->away_count++;
		q->counts.away++;
		fiber_wait(&q->fibers);
		return;
	}
	q->counts.inlined++;
	tls_current = NULL;
	run(arg);
	tls_current = was;
}

static void jobs_take(struct pk_queue *q)
{
	struct away_job *job;

	while (q->away_count > 0 && (job = away_get(q->away)) != NULL) {
		q->away_count--;
		wake(q, job->fiber);
	}
}

void pk_turn(struct pk_queue *q)
{
	q->rsa_left = RSA_A_TURN;
	jobs_take(q);
}

struct p384 {
	struct pk_eph *key;
	bool good;
};

static void p384_make(void *arg)
{
	struct p384 *p = arg;

	p->good = pk_p384_key(p->key);
}

bool pk_eph_take(struct pk_queue *q, enum pk_group group, struct pk_eph *ret)
{
	struct p384 p384 = {ret, false};
	struct pk_eph *e;

	if (q->engine == NULL)
		return false;
	if (group == PK_GROUP_P384) {
		pk_away(q, p384_make, &p384);
		return p384.good;
	}
	if (q->pool_count[group] == 0) {
		if (!q->engine->keys(group, q->pool[group]))
			return false;
		q->pool_count[group] = PK_LANES;
	}
	e = &q->pool[group][--q->pool_count[group]];
	*ret = *e;
	explicit_bzero(e, sizeof(*e));
	return true;
}

bool pk_waits(const struct pk_queue *q)
{
	for (unsigned k = 0; k < PK_KINDS; k++)
		if (q->count[k] > 0)
			return true;
	return false;
}

// In this turn; without a helper there is no other way for a full one.
static bool rsa_may(const struct pk_queue *q)
{
	return q->rsa_left > 0 || (q->away == NULL && q->count[PK_RSA2048] == PK_LANES);
}

// The kind with a full batch, else with the most waiting (flush), else PK_KINDS.
static enum pk_kind kind_next(const struct pk_queue *q, bool flush)
{
	enum pk_kind best = PK_KINDS;

	for (unsigned k = 0; k < PK_KINDS; k++)
		if (q->count[k] > 0 && (k != PK_RSA2048 || rsa_may(q)) &&
		    (best == PK_KINDS || q->count[k] > q->count[best]))
			best = (enum pk_kind)k;
	if (best != PK_KINDS && !flush && q->count[best] < PK_LANES)
		best = PK_KINDS;
	return best;
}

static void run(struct pk_queue *q, bool flush)
{
	for (unsigned i = 0; i < READY_MAX; i++) {
		struct fiber *fiber = q->ready;
		// woken fibers first: they may fill a batch
		enum pk_kind kind = kind_next(q, flush && fiber == NULL);

		if (kind != PK_KINDS) {
			drain(q, kind);
		} else if (fiber != NULL) {
			q->ready = fiber->next;
			if (q->ready == NULL)
				q->ready_tail = NULL;
			fiber_resume(&q->fibers, fiber);
			if (fiber->done && q->done != NULL)
				q->done(fiber->arg);
		} else {
			return;
		}
	}
}

void pk_flush(struct pk_queue *q)
{
	run(q, true);
}

void pk_run_full(struct pk_queue *q)
{
	run(q, false);
}
