// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Handshakes of clients and backends alike: their contexts in the order they were taken, so that
// the oldest of a silent client is found at once, and what is counted when they end. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#define STALLED_MS 2000U // longer than handshakes take over bad links
#define LOOKS_MAX 64

bool wire_context_take(struct relay *r, uint32_t index, struct tls_creds *creds, const char *name)
{
	struct wire_shake *all = r->wire_shake, *x = &all[index];
	struct wire_tls *t = &r->wire_tls[index];

	t->hs = tls_hs_new(creds, name);
	if (t->hs == NULL)
		return false;
	tls_hs_user_set(t->hs, index);
	t->phase = WIRE_SHAKE;
	x->prev = all[0].prev;
	x->next = 0;
	all[x->prev].next = index;
	all[0].prev = index;
	stat_set(r->env, STAT_TLS_CONTEXTS, ++r->contexts);
	return true;
}

static void context_put(struct relay *r, uint32_t index)
{
	struct wire_shake *all = r->wire_shake, *x = &all[index];

	if (r->wire_tls[index].hs == NULL)
		return;
	tls_hs_free(r->wire_tls[index].hs);
	r->wire_tls[index].hs = NULL;
	all[x->prev].next = x->next;
	all[x->next].prev = x->prev;
	stat_set(r->env, STAT_TLS_CONTEXTS, --r->contexts);
}

uint32_t wire_stalled(const struct relay *r, const struct tls_creds *creds)
{
	uint32_t index = r->wire_shake[0].next;

	for (unsigned i = 0; i < LOOKS_MAX && index != 0; i++, index = r->wire_shake[index].next) {
		const struct wire_tls *t = &r->wire_tls[index];

		if (tls_hs_creds(t->hs) == creds && t->phase == WIRE_SHAKE &&
		    (t->owner & TCP_USER_LEG) == 0)
			return env_now_ms(r->env) - t->since_ms >= STALLED_MS ? index : 0;
	}
	return 0;
}

// What the engine has counted so far.
static void counts_tell(struct relay *r)
{
	struct tls_engine_counts c;

	tls_engine_counts_get(r->config.tls, &c);
	static_assert(STAT_TLS_BATCHES_8 - STAT_TLS_BATCHES_1 == TLS_BATCH_MAX - 1, "a row each");
	for (unsigned i = 1; i <= TLS_BATCH_MAX; i++)
		stat_set(r->env, (enum stat_id)(STAT_TLS_BATCHES_1 + i - 1), c.batches[i]);
	stat_set(r->env, STAT_TLS_RETRIED, c.retried);
	stat_set(r->env, STAT_TLS_AWAY, c.away);
	stat_set(r->env, STAT_TLS_INLINED, c.inlined);
	stat_set(r->env, STAT_TLS_PUT_OFF, c.put_off);
}

void wire_shake_end(struct relay *r, uint32_t index)
{
	context_put(r, index);
	shake_leave(r, &r->wire_shake[index].entry);
	stat_set(r->env, STAT_TLS_HANDSHAKES_NOW, --r->shakes);
	counts_tell(r);
}

// Of clients' handshakes.
static void server_count(struct relay *r, const struct tls_info *info, enum tls_aead aead)
{
	static const enum stat_id suites[] = {
		[TLS_AES_128_GCM] = STAT_TLS_SERVER_AES_128,
		[TLS_AES_256_GCM] = STAT_TLS_SERVER_AES_256,
		[TLS_CHACHA20_POLY1305] = STAT_TLS_SERVER_CHACHA20,
	};
	static const enum stat_id groups[] = {
		[TLS_GROUP_OTHER] = STAT_TLS_SERVER_GROUP_OTHER,
		[TLS_GROUP_X25519] = STAT_TLS_SERVER_X25519,
		[TLS_GROUP_P256] = STAT_TLS_SERVER_P256,
		[TLS_GROUP_P384] = STAT_TLS_SERVER_P384,
	};

	stat_inc(r->env, suites[aead]);
	stat_inc(r->env, groups[info->group]);
	stat_inc(
		r->env,
		info->sni[0] == '\0' ? STAT_TLS_SNI_NONE
		: info->known        ? STAT_TLS_SNI_KNOWN
				     : STAT_TLS_SNI_UNKNOWN
	);
}

void wire_open(struct relay *r, uint32_t index)
{
	struct wire_tls *t = &r->wire_tls[index];
	const struct tls_info *info = tls_hs_info(t->hs);

	t->facts = (struct wire_facts){
		.suite = info->suite,
		.group = info->group & 0xf,
		.known = info->known,
		.certificate = info->certificate,
		.verified = info->verified,
		.resumed = info->resumed,
		.name = name_hold(r, info->sni),
	};
	if ((t->owner & TCP_USER_LEG) == 0)
		server_count(r, info, (enum tls_aead)t->st.aead);
	wire_shake_end(r, index);
	t->phase = WIRE_OPEN;
}
