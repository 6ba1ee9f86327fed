// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TLS with a backend, as the pool says: from the start, or by STARTTLS after an EHLO of our own
// name, which a client's handshake hides. What the backend said before TLS is forgotten, and the
// EHLO it answers in TLS is the client's. A backend that has no TLS, refuses it, fails in it, or
// puts anything behind its reply to STARTTLS (S9) is left for the next one. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define STEPS_MAX 64      // a call
#define CONTEXT_MS 10000U // for a context to become free

uint16_t probe_tls_flags(const struct blob_pool *pool)
{
	return pool->tls_mode == BLOB_LEG_IMPLICIT   ? SESSION_LEG_F_IMPLICIT
	       : pool->tls_mode == BLOB_LEG_STARTTLS ? SESSION_LEG_F_STARTTLS
						     : 0;
}

uint16_t leg_tls_flags(const struct session *s, const struct blob_pool *pool)
{
	return is_passthrough(s) ? 0 : probe_tls_flags(pool); // passthrough: the client's own TLS
}

// Of the configuration as it stands now; NULL: none.
static struct tls_creds *leg_creds(const struct relay *r, const struct session *s)
{
	const struct blob_backend *b = backend_at(r, s->backend_slot);
	const struct blob_pool *pool;

	if (b == NULL || r->tls == NULL || r->config.tls == NULL)
		return NULL;
	pool = blob_at(r->blob, &r->blob->pools, b->pool, sizeof(*pool));
	if (pool->tls_client == 0 || pool->tls_client > r->tls->client_count)
		return NULL;
	return r->tls->client[pool->tls_client - 1];
}

// The leg is given up for another one; a probe tells.
static void leg_tls_fail(struct relay *r, struct session *s, enum stat_id why)
{
	stat_inc(r->env, why);
	dialogue_note(r, s, "no TLS with the backend", 0);
	if (s->state == RELAY_S_PROBE) {
		probe_tls_fail(r, s);
		return;
	}
	leg_signal(r, s, SHM_SIGNAL_MALFORMED, NULL, 0);
	leg_failed(r, s, true);
}

// Ours is the fault, not the backend's.
static void leg_tls_refuse(struct relay *r, struct session *s)
{
	stat_inc(r->env, STAT_TLS_NO_ROOM);
	if (s->state == RELAY_S_PROBE) {
		probe_end(r, s, CTL_PROBE_NO_RESOURCE);
		return;
	}
	leg_drop(r, s);
	session_close(r, s, SMTP_OWN_NO_LEG);
}

bool leg_tls_begin(struct relay *r, struct session *s)
{
	uint64_t id = s->id;

	s->leg_tls = wire_tls_get(r, session_index(r, s) | TCP_USER_LEG);
	if (s->leg_tls == 0) {
		leg_tls_refuse(r, s);
		return s->id == id && s->leg.v != 0;
	}
	s->leg_state = LEG_S_TLS;
	s->leg_since_ms = env_now_ms(r->env);
	if (s->state == RELAY_S_PROBE)
		probe_tls_begun(r, s);
	wire_room_set(r, s->leg);
	return true;
}

bool leg_starttls_begin(struct relay *r, struct session *s)
{
	char line[300];
	int n = snprintf(line, sizeof(line), "EHLO %s\r\n", r->blob->hostname);
	uint64_t id = s->id;

	if (!wire_tx_write(r, wire_leg(s), line, (uint32_t)n)) {
		leg_tls_refuse(r, s);
		return s->id == id && s->leg.v != 0;
	}
	stat_inc(r->env, STAT_LEG_STARTTLS_EHLO);
	dialogue(r, s, CAPTURE_OWN_TO_BACKEND, line, (uint32_t)n);
	s->leg_state = LEG_S_TLS_EHLO;
	s->leg_since_ms = env_now_ms(r->env);
	return true;
}

// S9: nothing may have come behind a reply before it is answered, and it is never looked at.
static bool is_injected(struct relay *r, struct session *s)
{
	if (wire_rx_bytes(r, wire_leg(s)) == 0)
		return false;
	alarm_tell(r, s, CTL_ALARM_INJECTION, "", 0);
	leg_tls_fail(r, s, STAT_LEG_INJECTION);
	return true;
}

static bool starttls_ask(struct relay *r, struct session *s)
{
	if (is_injected(r, s))
		return false;
	if (!wire_tx_write(r, wire_leg(s), "STARTTLS\r\n", 10)) {
		leg_tls_refuse(r, s);
		return false;
	}
	dialogue(r, s, CAPTURE_OWN_TO_BACKEND, "STARTTLS\r\n", 10);
	s->leg_state = LEG_S_TLS_ASKED;
	s->leg_since_ms = env_now_ms(r->env);
	return true;
}

// A reply before TLS is complete. False: nothing more can be read now.
static bool reply_over(struct relay *r, struct session *s, unsigned code)
{
	if (s->state == RELAY_S_GONE) { // the client did not wait: QUIT, but where TLS is to follow
		s->leg_state =
			s->leg_state == LEG_S_TLS_ASKED && code == 220 ? LEG_S_TLS : LEG_S_READY;
		leg_leave(r, s);
		if (s->leg.v == 0)
			session_free(r, s);
		return false;
	}
	if (s->leg_state == LEG_S_TLS_EHLO && code == 250 &&
	    (s->leg_flags & SESSION_LEG_F_OFFERED) != 0)
		return starttls_ask(r, s);
	if (s->leg_state == LEG_S_TLS_EHLO || code != 220) {
		leg_release(r, s);
		leg_tls_fail(r, s, STAT_LEG_NO_STARTTLS);
		return false;
	}
	return !is_injected(r, s) && leg_tls_begin(r, s);
}

void leg_offer_note(struct session *s, const char *line, uint32_t len)
{
	if (len >= 14 && strncasecmp(line + 4, "STARTTLS", 8) == 0 &&
	    (line[12] == '\r' || line[12] == ' '))
		s->leg_flags |= SESSION_LEG_F_OFFERED;
}

bool leg_tls_reply(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	unsigned code,
	bool more
)
{
	if (s->leg_state == LEG_S_TLS_EHLO)
		leg_offer_note(s, line, len);
	reply_line_take(r, s, line, len);
	s->reply_bytes = more ? s->reply_bytes + len : 0;
	s->reply_code = (uint16_t)code;
	return more || reply_over(r, s, code);
}

// Takes a context; the name is the backend's. False: none is free, or none are loaded.
static bool context_take(struct relay *r, struct session *s)
{
	const struct blob_backend *b = backend_at(r, s->backend_slot);
	struct tls_creds *creds = leg_creds(r, s);

	if (creds == NULL || b == NULL) { // the configuration has changed meanwhile
		leg_tls_refuse(r, s);
		return false;
	}
	if (wire_context_take(r, s->leg_tls, creds, b->name))
		return true;
	stat_inc(r->env, STAT_TLS_NO_CONTEXT);
	if (env_now_ms(r->env) - r->wire_tls[s->leg_tls].since_ms >= CONTEXT_MS)
		leg_tls_refuse(r, s);
	else
		s->flags |= SESSION_F_RETRY;
	return false;
}

// Both ends have the keys.
static bool leg_tls_over(struct relay *r, struct session *s)
{
	struct wire_tls *t = &r->wire_tls[s->leg_tls];
	uint64_t id = s->id;

	stat_inc(r->env, t->st.version == TLS_V13 ? STAT_TLS_CLIENT_13 : STAT_TLS_CLIENT_12);
	dialogue_note(r, s, t->st.version == TLS_V13 ? "TLS 1.3 to it" : "TLS 1.2 to it", 0);
	wire_open(r, s->leg_tls);
	s->leg_since_ms = env_now_ms(r->env);
	if (s->state == RELAY_S_PROBE && !probe_tls_over(r, s))
		return false;
	if (s->state == RELAY_S_PROBE || (s->leg_flags & SESSION_LEG_F_IMPLICIT) != 0)
		s->leg_state = LEG_S_BANNER;
	else if (!leg_greeted(r, s))
		return false;
	if (s->leg_tls != 0)
		leg_fill(r, s); // what came with its last flight
	return s->id == id;
}

// True: there may be more to do.
static bool leg_tls_act(struct relay *r, struct session *s, enum tls_result result)
{
	switch (result) {
	case TLS_OK:
		return leg_tls_over(r, s);
	case TLS_WANT_IN:
		return true;
	case TLS_WAIT:
		return false;
	default:
		leg_tls_fail(r, s, shake_failure(&r->wire_tls[s->leg_tls]));
		return false;
	}
}

bool leg_tls_step(struct relay *r, struct session *s)
{
	uint64_t id = s->id;
	struct wire_tls *t = &r->wire_tls[s->leg_tls];
	bool first;

	if (t->phase == WIRE_HELLO && !context_take(r, s))
		return false;
	first = t->phase == WIRE_SHAKE && !tls_hs_begun(t->hs); // nothing is to come before it
	for (unsigned i = 0; i < STEPS_MAX; i++) {
		if (r->wire_tls[s->leg_tls].phase != WIRE_SHAKE ||
		    (tcp_rx_bytes(r->tcp, s->leg) == 0 && !first))
			return false;
		first = false;
		if (!leg_tls_act(r, s, shake_input(r, s->leg_tls, s->leg)) || s->id != id)
			return false;
		if (s->leg_state != LEG_S_TLS)
			return true;
	}
	return false;
}

void leg_tls_ready(struct relay *r, struct session *s)
{
	leg_tls_act(r, s, (enum tls_result)r->wire_tls[s->leg_tls].result);
}

// Its records cannot be read any more: as if it had sent a RST.
static void leg_broken(struct relay *r, struct session *s)
{
	struct tcp_conn_id leg = s->leg;

	if (s->state == RELAY_S_PROBE) {
		probe_end(r, s, CTL_PROBE_CLOSED);
		return;
	}
	if (!reply_read_rest(r, s))
		return;
	leg_close_judge(r, s, TCP_CLOSE_RESET);
	tcp_abort(r->tcp, leg);
	leg_lost(r, s);
}

void leg_fill(struct relay *r, struct session *s)
{
	enum wire_result result;

	if (r->wire_tls[s->leg_tls].phase != WIRE_OPEN)
		return;
	result = wire_fill(r, wire_leg(s));
	if (result == WIRE_BROKEN) {
		leg_broken(r, s);
		return;
	}
	if (result == WIRE_MORE) {
		s->flags |= SESSION_F_RETRY;
		return;
	}
	if ((s->flags & SESSION_F_LEG_FIN) != 0 && !wire_fin(r, wire_leg(s)))
		stat_inc(r->env, STAT_TLS_TRUNCATED);
	if (result == WIRE_ENDED)
		s->flags |= SESSION_F_LEG_FIN;
}
