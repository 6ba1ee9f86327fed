// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TLS with a client, from its ClientHello to its first record: a context is taken late, when the
// whole ClientHello has come (S4), public-key work is waited for with others', and when it is over
// only keys remain. A handshake that fails or takes too long ends the connection: never does it go
// on in plain text (S11). Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <string.h>

#define HELLO_MS 10000U // S4: to the whole ClientHello,
#define SHAKE_MS 30000U // to the end
#define STEPS_MAX 64    // a call
#define FLUSHES_MAX 8   // a turn

struct tls_creds *policy_creds(const struct relay *r, const struct blob_policy *policy)
{
	uint32_t n = policy->tls_server;

	if (r->config.tls == NULL || r->tls == NULL || n == 0 || n > r->tls->server_count)
		return NULL;
	return r->tls->server[n - 1];
}

struct tls_creds *session_creds(const struct relay *r, const struct session *s)
{
	const struct blob_policy *policy = session_policy(r, s);

	return policy != NULL ? policy_creds(r, policy) : NULL;
}

static struct wire_tls *client_tls(const struct relay *r, const struct session *s)
{
	return &r->wire_tls[s->client_tls];
}

static uint32_t limit_ms(const struct wire_tls *t)
{
	return t->since_ms + (t->phase == WIRE_HELLO ? HELLO_MS : SHAKE_MS);
}

uint32_t shake_timer_ms(const struct relay *r, const struct session *s, uint32_t at)
{
	const struct wire_tls *t = client_tls(r, s);

	return t->phase != WIRE_OPEN && (int32_t)(limit_ms(t) - at) < 0 ? limit_ms(t) : at;
}

bool shake_is_late(const struct relay *r, const struct session *s)
{
	const struct wire_tls *t = client_tls(r, s);

	return t->phase != WIRE_OPEN && (int32_t)(env_now_ms(r->env) - limit_ms(t)) >= 0;
}

void shake_fail(struct relay *r, struct session *s, enum stat_id why)
{
	stat_inc(r->env, why);
	dialogue_note(r, s, "the TLS handshake failed", 0);
	client_hang_up(r, s);
	client_gone(r, s);
}

void shake_begin(struct relay *r, struct session *s)
{
	// S5: what was said before is forgotten
	ehlo_forget(r, s);
	s->flags &= ~(uint32_t)(SESSION_F_MAIL | SESSION_F_WAIT | SESSION_F_AUTHED |
				SESSION_F_CHUNKS_LOST | SESSION_F_GREETED);
	if ((s->flags & SESSION_F_OFFERED) != 0)
		s->flags |= SESSION_F_UNSAID;
	s->caps = 0;
	s->state = RELAY_S_TLS;
	s->own_after = 0;
	s->client_tls = wire_tls_get(r, session_index(r, s));
	if (s->client_tls == 0)
		return;
	shake_counted(r, s);
	wire_room_set(r, s->client);
}

static bool wants_leg(const struct session *s)
{
	return s->leg_state == LEG_S_NONE &&
	       (s->flags & (SESSION_F_LEG_WAIT | SESSION_F_VERDICT)) == 0 && s->own_after == 0;
}

// Both ends have the keys.
static void shake_over(struct relay *r, struct session *s)
{
	struct wire_tls *t = client_tls(r, s);
	uint64_t id = s->id;

	stat_inc(r->env, t->st.version == TLS_V13 ? STAT_TLS_SERVER_13 : STAT_TLS_SERVER_12);
	dialogue_note(r, s, t->st.version == TLS_V13 ? "TLS 1.3" : "TLS 1.2", 0);
	wire_open(r, s->client_tls);

	s->state = RELAY_S_COMMAND;
	session_touch(r, s);
	if (s->own_after != 0) { // what could not be said before
		session_close(r, s, (enum smtp_own)s->own_after);
		return;
	}
	if ((s->flags & SESSION_F_OFFERED) == 0)
		session_say(r, s, SMTP_OWN_BANNER);
	client_fill(r, s); // records may have come with the client's last flight
	if (s->id == id && s->client.v != 0 && wants_leg(s))
		leg_open(r, s); // it is to be told of this handshake
}

enum stat_id shake_failure(const struct wire_tls *t)
{
	static const enum stat_id stats[] = {
		[TLS_FAIL_NONE] = STAT_TLS_FAIL_INTERNAL,
		[TLS_FAIL_NO_CONTEXT] = STAT_TLS_FAIL_INTERNAL,
		[TLS_FAIL_PROTOCOL] = STAT_TLS_FAIL_PROTOCOL,
		[TLS_FAIL_ALERT] = STAT_TLS_FAIL_ALERT,
		[TLS_FAIL_VERIFY] = STAT_TLS_FAIL_VERIFY,
		[TLS_FAIL_INTERNAL] = STAT_TLS_FAIL_INTERNAL,
		[TLS_FAIL_VERIFY_TIME] = STAT_TLS_FAIL_VERIFY,
		[TLS_FAIL_VERIFY_NAME] = STAT_TLS_FAIL_VERIFY,
		[TLS_FAIL_VERIFY_PIN] = STAT_TLS_FAIL_VERIFY,
	};

	return stats[t->failure];
}

// Bytes of ours; without them the peer cannot go on.
static void flight_send(
	struct relay *r,
	struct wire_tls *t,
	struct tcp_conn_id conn,
	const struct tls_step *step
)
{
	if (step->out_len == 0 || tcp_tx_write(r->tcp, conn, step->out, step->out_len))
		return;
	stat_inc(r->env, STAT_TLS_NO_BUFFER);
	t->broken = true;
}

// True: there may be more to do.
static bool shake_act(struct relay *r, struct session *s, enum tls_result result)
{
	switch (result) {
	case TLS_OK:
		shake_over(r, s);
		return true;
	case TLS_WANT_IN:
		return true;
	case TLS_WAIT:
		return false;
	default:
		shake_fail(r, s, shake_failure(client_tls(r, s)));
		return false;
	}
}

// What came, in one piece.
static uint32_t input_gather(struct relay *r, struct tcp_conn_id conn)
{
	const uint8_t *p;
	uint32_t n = 0, len;

	while (n < RELAY_HELLO && tcp_rx_peek(r->tcp, conn, n, &p, &len)) {
		len = len < RELAY_HELLO - n ? len : RELAY_HELLO - n;
		memcpy(r->hello + n, p, len);
		n += len;
	}
	return n;
}

// Under pressure a client that has gone silent in the middle of its handshake loses its context.
static bool context_have(struct relay *r, const struct session *s, struct tls_creds *creds)
{
	const char *service = service_at(r, s->service_slot)->name; // the credentials are its
	uint32_t stalled;

	if (wire_context_take(r, s->client_tls, creds, service))
		return true;
	stalled = wire_stalled(r, creds);
	if (stalled == 0)
		return false;
	shake_fail(r, session_of(r, r->wire_tls[stalled].owner), STAT_TLS_FAIL_STALLED);
	return wire_context_take(r, s->client_tls, creds, service);
}

// Takes a context when the ClientHello is whole. False: not yet, or never.
static bool context_take(struct relay *r, struct session *s)
{
	static const uint8_t unexpected[] = {
		TLS_T_ALERT, 3, 1, 0, 2, 2, TLS_ALERT_UNEXPECTED_MESSAGE
	};
	uint32_t n = input_gather(r, s->client);
	enum tls_result result = n > 0 ? tls_hello_check(r->hello, n) : TLS_WANT_IN;
	struct tls_creds *creds;

	if (result == TLS_FATAL || (result == TLS_WANT_IN && n == RELAY_HELLO)) {
		tcp_tx_write(r->tcp, s->client, unexpected, sizeof(unexpected));
		shake_fail(r, s, STAT_TLS_FAIL_PROTOCOL);
		return false;
	}
	if (result == TLS_WANT_IN) {
		if ((s->flags & SESSION_F_CLIENT_FIN) != 0)
			shake_fail(r, s, STAT_TLS_FAIL_GONE);
		return false;
	}
	creds = session_creds(r, s);
	if (creds == NULL) { // the configuration has changed meanwhile
		shake_fail(r, s, STAT_TLS_FAIL_INTERNAL);
		return false;
	}
	if (!context_have(r, s, creds)) {
		stat_inc(r->env, STAT_TLS_NO_CONTEXT);
		s->flags |= SESSION_F_RETRY; // the next turn, or the limit
		return false;
	}
	if (wants_leg(s) && !identity_waits(r, s))
		leg_open(r, s); // implicit TLS: connects while the handshake goes on
	return true;
}

// Sessions resumed, tickets given and refused.
static void tickets_count(struct relay *r, const struct wire_tls *t, const struct tls_info *info)
{
	static const enum stat_id refused[] = {
		[TLS_TICKET_UNKNOWN_KEY] = STAT_TLS_TICKET_UNKNOWN,
		[TLS_TICKET_EXPIRED] = STAT_TLS_TICKET_EXPIRED,
		[TLS_TICKET_BOUND] = STAT_TLS_TICKET_BOUND,
		[TLS_TICKET_MALFORMED] = STAT_TLS_TICKET_MALFORMED,
	};

	if ((t->owner & TCP_USER_LEG) != 0)
		return;
	stat_add(r->env, STAT_TLS_TICKETS, info->tickets);
	if (info->ticket >= TLS_TICKET_UNKNOWN_KEY)
		stat_inc(r->env, refused[info->ticket]);
	if (!info->resumed)
		return;
	stat_inc(r->env, info->version == TLS_V13 ? STAT_TLS_RESUMED_13 : STAT_TLS_RESUMED_12);
	dialogue_note(r, session_of(r, t->owner), "a session resumed by its ticket", 0);
}

enum tls_result shake_input(struct relay *r, uint32_t index, struct tcp_conn_id conn)
{
	struct wire_tls *t = &r->wire_tls[index];
	struct tls_step step = {.in = r->hello, .in_len = input_gather(r, conn)};
	struct tls_info info;
	enum tls_result result = tls_hs_step(t->hs, &step, &t->st, &info);

	tcp_rx_drop(r->tcp, conn, step.taken);
	if (result == TLS_WAIT) {
		t->phase = WIRE_WAIT;
		r->tls_waiting++;
		stat_inc(r->env, STAT_TLS_WAITED);
		return TLS_WAIT;
	}
	t->failure = (uint8_t)step.failure;
	if (result == TLS_OK)
		tickets_count(r, t, &info);
	flight_send(r, t, conn, &step);
	return t->broken ? TLS_FATAL : result;
}

static bool input_step(struct relay *r, struct session *s)
{
	if (tcp_rx_bytes(r->tcp, s->client) > 0)
		return shake_act(r, s, shake_input(r, s->client_tls, s->client));
	if ((s->flags & SESSION_F_CLIENT_FIN) != 0)
		shake_fail(r, s, STAT_TLS_FAIL_GONE);
	return false;
}

bool shake_step(struct relay *r, struct session *s)
{
	if ((s->flags & (SESSION_F_RETRY | SESSION_F_TLS_WAIT)) != 0)
		return (s->flags & SESSION_F_TLS_WAIT) != 0 && input_over(r, s);
	if (s->client_tls == 0) { // implicit TLS
		if (shake_hold(r, s) != HOLD_NONE)
			return false;
		shake_begin(r, s);
	}
	if (client_tls(r, s)->phase == WIRE_HELLO && !context_take(r, s))
		return false;
	for (unsigned i = 0; i < STEPS_MAX; i++)
		if (client_tls(r, s)->phase != WIRE_SHAKE || !input_step(r, s) ||
		    s->state != RELAY_S_TLS)
			break;
	return s->id != 0 && s->state == RELAY_S_COMMAND;
}

void shake_finished(void *relay, struct tls_hs *hs)
{
	struct relay *r = relay;
	uint32_t index = tls_hs_user(hs);
	struct wire_tls *t = &r->wire_tls[index];
	struct session *s = session_of(r, t->owner & ~TCP_USER_LEG);
	struct tls_step step;
	struct tls_info info;

	t->result = (uint8_t)tls_hs_result(hs, &step, &t->st, &info);
	t->failure = (uint8_t)step.failure;
	if (t->result == TLS_OK)
		tickets_count(r, t, &info);
	flight_send(r, t, (t->owner & TCP_USER_LEG) != 0 ? s->leg : s->client, &step);
	if (t->broken)
		t->result = TLS_FATAL;
	r->tls_waiting--;
	t->phase = WIRE_READY;
	r->tls_ready[r->tls_ready_count++] = index;
}

static void ready_take(struct relay *r, uint32_t index)
{
	struct wire_tls *t = &r->wire_tls[index];
	struct session *s = session_of(r, t->owner & ~TCP_USER_LEG);
	uint64_t id = s->id;

	if (t->phase == WIRE_DEAD) {
		idpool_put(&r->wire_ids, index);
		return;
	}
	t->phase = WIRE_SHAKE;
	if ((t->owner & TCP_USER_LEG) != 0)
		leg_tls_ready(r, s);
	else
		shake_act(r, s, (enum tls_result)t->result);
	if (s->id == id)
		session_run(r, s);
}

unsigned relay_tls_run(struct relay *r)
{
	unsigned work = 0;

	if (r->config.tls == NULL)
		return 0;
	tls_engine_turn(r->config.tls);
	for (unsigned i = 0; i < FLUSHES_MAX; i++) {
		if (r->tls_waiting > 0 || tls_engine_busy(r->config.tls))
			tls_engine_flush(r->config.tls);
		if (r->tls_ready_count == 0)
			break;
		while (r->tls_ready_count > 0) {
			ready_take(r, r->tls_ready[--r->tls_ready_count]);
			work++;
		}
	}
	return work;
}

void client_fill(struct relay *r, struct session *s)
{
	enum wire_result result;

	if (client_tls(r, s)->phase != WIRE_OPEN)
		return;
	result = wire_fill(r, wire_client(s));
	if (result == WIRE_BROKEN) {
		client_release(r, s);
		client_gone(r, s);
		return;
	}
	if (result == WIRE_MORE) {
		s->flags |= SESSION_F_RETRY;
		return;
	}
	if ((s->flags & SESSION_F_CLIENT_FIN) != 0 && !wire_fin(r, wire_client(s)))
		stat_inc(r->env, STAT_TLS_TRUNCATED);
	if (result == WIRE_ENDED)
		s->flags |= SESSION_F_CLIENT_FIN;
}
