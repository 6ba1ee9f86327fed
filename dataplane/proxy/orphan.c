// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A client that has gone: inside a body its leg is reset (C16); otherwise the leg is kept until
// what it owes has been read, then left with QUIT, so that no backend ever sees us leave under a
// tarpit (Z5). Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

void client_forget(struct relay *r, struct session *s)
{
	client_leave(r, s);
	s->client.v = 0;
	wire_tls_put(r, &s->client_tls);
}

void client_hang_up(struct relay *r, struct session *s)
{
	struct tcp_conn_id client = s->client;

	wire_end(r, wire_client(s));
	s->client.v = 0;
	wire_tls_put(r, &s->client_tls);
	if (client.v != 0)
		tcp_release(r->tcp, client, true);
}

void client_release(struct relay *r, struct session *s)
{
	client_leave(r, s);
	client_hang_up(r, s);
}

// Of the client's sessions it still is one, until its leg has left (clients.c): who comes and
// vanishes in a loop is bounded by sessions_per_client as who stays.
void client_gone(struct relay *r, struct session *s)
{
	s->client.v = 0;
	wire_tls_put(r, &s->client_tls);
	if ((s->flags & (SESSION_F_SAID_QUIT | SESSION_F_CLOSING)) == 0)
		stat_inc(r->env, STAT_SESSION_CLIENT_GONE);
	if (leg_in_body(s))
		stat_inc(r->env, STAT_SESSION_CLIENT_GONE_IN_BODY);
	if (awaits_body_reply(s))
		stat_inc(r->env, STAT_SESSION_CLIENT_GONE_AT_EOD);
	scan_client_gone(r, s);
	leg_leave(r, s);
	if (s->leg.v == 0)
		session_free(r, s);
}

void orphan_count(struct relay *r, struct session *s)
{
	stat_inc(r->env, STAT_LEG_ORPHANS);
	s->flags |= SESSION_F_ORPHAN;
	session_backend(r, s)->orphans++;
}

bool may_abandon(const struct relay *r, uint32_t slot)
{
	const struct blob_backend *b = backend_at(r, slot);
	uint32_t share;

	if (b == NULL || b->max_connections == 0)
		return true;
	share = b->max_connections / 4;
	share = share / r->env->count + (r->env->id < share % r->env->count);
	return r->config.shm.backends[slot].orphans < share;
}

static struct session *leg_detach(struct relay *r, struct session *s)
{
	uint32_t idx = may_abandon(r, s->backend_slot) ? idpool_get(&r->ids) : 0;
	struct session *o = session_of(r, idx);

	if (idx == 0) {
		stat_inc(r->env, STAT_LEG_ORPHAN_LIMIT);
		return NULL;
	}
	*o = (struct session){
		.id = session_id_new(r),
		.state = RELAY_S_GONE,
		.flags = SESSION_F_LEG_ONLY | (s->flags & SESSION_F_LEG_FIN),
		.leg = s->leg,
		.leg_tls = s->leg_tls,
		.leg_state = s->leg_state,
		.leg_flags = s->leg_flags,
		.leg_since_ms = env_now_ms(r->env),
		.leg_since_us = s->leg_since_us,
		.service_slot = s->service_slot,
		.backend_slot = s->backend_slot,
		.started_ms = env_now_ms(r->env),
		.touched_ms = env_now_ms(r->env),
	};
	tcp_peer_set(r->tcp, s->client, (struct tcp_conn_id){0});
	tcp_user_set(r->tcp, o->leg, idx | TCP_USER_LEG);
	orphan_count(r, o);
	session_timer(r, o);
	wire_tls_owner(r, o->leg_tls, idx | TCP_USER_LEG);
	s->leg.v = 0;
	s->leg_tls = 0;
	s->leg_state = LEG_S_NONE;
	s->pending_count = 0;
	s->reply_bytes = 0;
	s->flags &= ~(uint32_t)(SESSION_F_LEG_FIN | SESSION_F_WAIT);
	return o;
}

bool leg_abandon(struct relay *r, struct session *s)
{
	return leg_detach(r, s) != NULL;
}

void leg_part(struct relay *r, struct session *s)
{
	struct session *o = leg_detach(r, s);

	if (o == NULL) {
		leg_release(r, s);
		return;
	}
	leg_leave(r, o);
	if (o->leg.v == 0)
		session_free(r, o);
}
