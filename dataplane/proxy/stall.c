// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A tarpit of ours: hostile clients wait here, with no leg before they are greeted, so that no
// backend need do it (Z9). Who comes from a listed network waits for its banner and its refusals;
// who has had many errors, for every reply. Never an authenticated session, nor the good reply to
// a body, which would be sent twice if its client did not wait (RFC 1047). The session stands still
// meanwhile: nothing of it is read on either side. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

// In session.errors, which holds six bits: counts stay below.
#define ERRORS_EXEMPT 62
#define ERRORS_LISTED 63
static_assert(BLOB_MAX_TARPIT_ERRORS < ERRORS_EXEMPT, "told apart");

static void stall_begin(struct relay *r, struct session *s, const struct blob_service *service)
{
	s->leg_since_us = relay_now_us(r);
	s->flags |= SESSION_F_STALLED;
	wheel_arm(&r->wheel, session_index(r, s), env_now_ms(r->env) + service->tarpit_delay_ms);
}

bool stall_admit(
	struct relay *r,
	struct session *s,
	const struct blob_service *service,
	const struct ip_addr *client
)
{
	uint32_t first = service->rules + service->rule_count + service->header_rules;

	s->errors = ERRORS_EXEMPT;
	if (service->tarpit_delay_ms == 0 ||
	    rule_for(r, first + service->tarpit_rules, service->tarpit_spared, client) != NULL)
		return false;
	s->errors = 0;
	if (rule_for(r, first, service->tarpit_rules, client) == NULL)
		return false;
	s->errors = ERRORS_LISTED;
	s->flags |= SESSION_F_HOSTILE;
	stat_inc(r->env, STAT_SESSION_TARPIT_SESSIONS);
	stall_begin(r, s, service);
	return true;
}

void stall_error(struct relay *r, struct session *s)
{
	const struct blob_service *service;

	if (s->errors >= ERRORS_EXEMPT || s->client.v == 0 || (s->flags & SESSION_F_AUTHED) != 0)
		return;
	service = service_at(r, s->service_slot);
	if (service == NULL || service->tarpit_errors == 0)
		return;
	s->errors += s->errors < BLOB_MAX_TARPIT_ERRORS;
	if (s->errors < service->tarpit_errors || (s->flags & SESSION_F_HOSTILE) != 0)
		return;
	s->flags |= SESSION_F_HOSTILE;
	stat_inc(r->env, STAT_SESSION_TARPIT_SESSIONS);
}

void stall_score(struct relay *r, struct session *s, enum smtp_verb verb, unsigned code)
{
	if (code / 100 == 5)
		stall_error(r, s);
	if (verb != SMTP_V_BODY || code / 100 != 2 || s->errors >= ERRORS_EXEMPT)
		return;
	s->errors = 0;
	s->flags &= ~(uint32_t)SESSION_F_HOSTILE;
}

// Does the reply that comes next, of this first digit, have to wait?
static bool must_wait(const struct session *s, char digit)
{
	unsigned verb = s->pending_verb[s->pending_head];

	if ((s->flags & (SESSION_F_STALL_OVER | SESSION_F_AUTHED | SESSION_F_CLOSING)) != 0 ||
	    s->client.v == 0)
		return false;
	if (digit >= '4')
		return true;
	return s->errors != ERRORS_LISTED && verb != SMTP_V_BODY && verb != SMTP_V_QUIT;
}

static bool reply_begin(struct relay *r, struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);

	if (service == NULL || service->tarpit_delay_ms == 0)
		return false;
	stat_inc(r->env, STAT_SESSION_TARPIT_REPLIES);
	stall_begin(r, s, service);
	return true;
}

bool stall_own(struct relay *r, struct session *s)
{
	if ((s->flags & SESSION_F_HOSTILE) == 0 ||
	    (s->state != RELAY_S_COMMAND && s->state != RELAY_S_OFFER) || !must_wait(s, '5'))
		return false;
	return (s->flags & SESSION_F_STALLED) != 0 || reply_begin(r, s);
}

// A chunk's or a command's reply inside a body goes on at once: a body that stood still could be
// cut by either side's patience.
bool stall_reply(struct relay *r, struct session *s)
{
	const uint8_t *p;
	uint32_t len;

	if ((s->flags & SESSION_F_HOSTILE) == 0 || s->state != RELAY_S_COMMAND ||
	    s->leg_state != LEG_S_READY || s->pending_count == 0 || s->reply_bytes > 0 ||
	    !wire_rx_peek(r, wire_leg(s), 0, &p, &len))
		return false;
	return must_wait(s, (char)p[0]) && reply_begin(r, s);
}

// The time of ours is none of the backend's: commands count as said, and turns as begun, later.
static void stamps_shift(struct session *s, uint32_t us)
{
	for (unsigned i = 0; i < s->pending_count; i++)
		s->pending_us[(s->pending_head + i) % SESSION_PENDING_MAX] += us;
	s->leg_since_ms += us / 1000;
}

void stall_fire(struct relay *r, struct session *s)
{
	uint32_t us = relay_now_us(r) - s->leg_since_us;
	uint64_t id = s->id;

	s->flags &= ~(uint32_t)SESSION_F_STALLED;
	stat_add(r->env, STAT_SESSION_TARPIT_NS, us * 1000ULL);
	session_touch(r, s);
	if (s->pending_count > 0) {
		s->flags |= SESSION_F_STALL_OVER;
		stamps_shift(s, us);
	} else {
		session_welcome(r, s);
	}
	if (s->id == id)
		session_run(r, s);
}

bool stall_is_left(const struct session *s)
{
	return s->pending_count == 0 && (s->flags & SESSION_F_CLIENT_FIN) != 0;
}

void stall_leave(struct relay *r, struct session *s)
{
	if ((s->flags & SESSION_F_STALLED) == 0)
		return;
	stat_inc(r->env, STAT_SESSION_TARPIT_LEFT);
	s->flags &= ~(uint32_t)(SESSION_F_STALLED | SESSION_F_HOSTILE);
	if (s->leg.v != 0)
		s->flags |= SESSION_F_RETRY; // the reply that waited is read: nothing else would
}

void stall_give_up(struct relay *r, struct session *s)
{
	if ((s->flags & SESSION_F_STALLED) == 0)
		return;
	s->flags &= ~(uint32_t)(SESSION_F_STALLED | SESSION_F_HOSTILE);
	pending_flush_own(r, s);
}
