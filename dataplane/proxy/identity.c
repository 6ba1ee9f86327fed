// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a backend is told of the client before all else, where the pool or the client's rule says
// so: a PROXY header, the first octets on the leg, before any TLS (X1, X4; XCLIENT is said later,
// leg_xclient.c). It is written when the leg has connected, so it leaves with the last segment of
// the handshake. A leg belongs to one session from its header to its end, and no other ever speaks
// on it (Z4). Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <inttypes.h>
#include <stdio.h>

#include "dataplane/smtp/haproxy.h"

uint16_t identity_flags(enum blob_client_address way)
{
	return way == BLOB_CLIENT_PROXY_V1   ? SESSION_LEG_F_PROXY_V1
	       : way == BLOB_CLIENT_PROXY_V2 ? SESSION_LEG_F_PROXY_V2
	       : way == BLOB_CLIENT_XCLIENT  ? SESSION_LEG_F_XCLIENT
					     : 0;
}

enum blob_client_address identity_way(
	const struct session *s,
	const struct blob_policy *policy,
	const struct blob_pool *pool
)
{
	enum blob_client_address way = (enum blob_client_address)pool->client_address;

	if (policy != NULL && policy->client_address != 0)
		way = (enum blob_client_address)(policy->client_address - 1);
	// no command of ours may stand in a dialogue that is passed through; check refuses it
	return way == BLOB_CLIENT_XCLIENT && is_passthrough(s) ? BLOB_CLIENT_SNAT : way;
}

bool identity_waits(const struct relay *r, const struct session *s)
{
	const struct blob_policy *policy = session_policy(r, s);
	const struct blob_service *service = service_at(r, s->service_slot);
	const struct blob_pool *pool;

	if (policy == NULL || service == NULL)
		return false;
	pool = blob_at(r->blob, &r->blob->pools, service->pool, sizeof(*pool));
	if (identity_way(s, policy, pool) == BLOB_CLIENT_PROXY_V2)
		return true;
	if (pool->backup == 0)
		return false;
	pool = blob_at(r->blob, &r->blob->pools, pool->backup - 1U, sizeof(*pool));
	return identity_way(s, policy, pool) == BLOB_CLIENT_PROXY_V2;
}

// Of the client's TLS, where its handshake is over.
static void tls_facts(const struct relay *r, const struct session *s, struct haproxy_facts *f)
{
	const struct wire_tls *t = &r->wire_tls[s->client_tls];

	if (s->client_tls == 0 || t->phase != WIRE_OPEN)
		return;
	f->tls = true;
	f->certificate = t->facts.certificate;
	f->resumed = t->facts.resumed;
	f->verified = t->facts.verified;
	f->authority = name_get(r, t->facts.name);
	f->version = t->st.version == TLS_V13 ? "TLSv1.3" : "TLSv1.2";
	f->cipher = tls_suite_name(t->facts.suite);
}

static uint32_t client_header(struct relay *r, const struct session *s)
{
	char id[HAPROXY_ID_MAX];
	struct haproxy_facts f = {.authority = "", .unique_id = id, .version = "", .cipher = ""};
	struct session_client who;

	session_client_get(r, s, &who);
	f.client = who.remote;
	f.local = who.local;
	if ((s->leg_flags & SESSION_LEG_F_PROXY_V1) != 0) {
		stat_inc(r->env, STAT_IDENTITY_PROXY_V1);
		return haproxy_write_v1(&f, r->out);
	}
	snprintf(id, sizeof(id), "%" PRIu64, s->id);
	tls_facts(r, s, &f);
	stat_inc(r->env, STAT_IDENTITY_PROXY_V2);
	return haproxy_write_v2(&f, (uint8_t *)r->out);
}

// X2: never version 1's UNKNOWN, which some servers refuse.
static uint32_t probe_header(struct relay *r, const struct session *s)
{
	struct haproxy_facts f = {.authority = "", .unique_id = "", .version = "", .cipher = ""};
	struct tcp_info info;

	stat_inc(r->env, STAT_IDENTITY_PROXY_LOCAL);
	if ((s->leg_flags & SESSION_LEG_F_PROXY_V2) != 0)
		return haproxy_write_local((uint8_t *)r->out);
	tcp_info_get(r->tcp, s->leg, &info);
	f.client = info.local;
	f.local = info.remote;
	return haproxy_write_v1(&f, r->out);
}

bool identity_send(struct relay *r, struct session *s)
{
	bool probe = s->state == RELAY_S_PROBE;
	uint32_t n = probe ? probe_header(r, s) : client_header(r, s);

	if (tcp_tx_write(r->tcp, s->leg, r->out, n)) {
		s->leg_flags |= probe ? 0 : SESSION_LEG_F_NAMED;
		dialogue_note(r, s, "a PROXY header to the backend", n);
		return true;
	}
	stat_inc(r->env, STAT_IDENTITY_NO_BUFFER);
	if (probe) {
		probe_end(r, s, CTL_PROBE_NO_RESOURCE);
		return false;
	}
	leg_drop(r, s);
	session_close(r, s, SMTP_OWN_NO_LEG);
	return false;
}
