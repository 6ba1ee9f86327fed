// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Replies of ours, in their turn among those of the backend, and the list of what awaits one.
// Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

bool session_say(struct relay *r, struct session *s, enum smtp_own own)
{
	bool enhanced = (s->flags & SESSION_F_GREETED) != 0 || s->state == RELAY_S_OFFER;
	uint32_t len = smtp_own_format(own, r->blob->hostname, enhanced, r->out, 400);

	if (s->client.v != 0 && !wire_tx_write(r, wire_client(s), r->out, len)) {
		stat_inc(r->env, STAT_SESSION_NO_BUFFER);
		return false;
	}
	stat_inc(r->env, smtp_own_stat(own));
	if (s->client.v != 0)
		dialogue(r, s, CAPTURE_OWN_TO_CLIENT, r->out, len);
	return true;
}

bool pending_push(struct relay *r, struct session *s, unsigned verb)
{
	unsigned i = (s->pending_head + s->pending_count) % SESSION_PENDING_MAX;

	BUG_ON_HOT(s->pending_count == SESSION_PENDING_MAX);
	if (s->pending_count == 0)
		s->leg_since_ms = env_now_ms(r->env);
	s->pending_verb[i] = (uint8_t)verb;
	s->pending_us[i] = relay_now_us(r);
	s->pending_count++;
	return true;
}

void pending_pop(struct session *s)
{
	unsigned next = (s->pending_head + 1U) % SESSION_PENDING_MAX;

	s->flags &= ~(uint32_t)SESSION_F_STALL_OVER;
	if (s->pending_count > 1 && s->pending_verb[next] == SMTP_V_AGAIN) {
		if (--s->pending_us[next] > 0)
			return;
		s->pending_verb[next] = s->pending_verb[s->pending_head];
		s->pending_us[next] = s->pending_us[s->pending_head];
	}
	s->pending_head = (uint8_t)next;
	s->pending_count--;
}

bool pending_flush_own(struct relay *r, struct session *s)
{
	while (s->pending_count > 0 && s->pending_verb[s->pending_head] >= SMTP_V_COUNT) {
		enum smtp_own own =
			(enum smtp_own)(s->pending_verb[s->pending_head] - SMTP_V_COUNT);

		if (stall_own(r, s))
			return false;
		if (!session_say(r, s, own)) { // never left out: the next would be taken for it
			s->flags |= SESSION_F_RETRY;
			return false;
		}
		pending_pop(s);
	}
	return true;
}

void session_say_in_turn(struct relay *r, struct session *s, enum smtp_own own)
{
	pending_push(r, s, SMTP_V_COUNT + (unsigned)own);
	pending_flush_own(r, s);
}

void pending_own(struct relay *r, struct session *s, enum smtp_own own, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint8_t *verb = &s->pending_verb[(s->pending_head + i) % SESSION_PENDING_MAX];
		bool chunk = *verb == SMTP_V_BDAT || *verb == SMTP_V_BODY;

		if (*verb < SMTP_V_COUNT)
			*verb = (uint8_t)(SMTP_V_COUNT + (chunk ? own : SMTP_OWN_BODY_LOST));
	}
	s->pending_count = (uint8_t)count;
	pending_flush_own(r, s);
}

void session_close(struct relay *r, struct session *s, enum smtp_own own)
{
	if (s->state == RELAY_S_TLS && s->client.v != 0) {
		s->own_after = (uint8_t)own; // nothing can be said in the middle of a handshake
		session_timer(r, s);
		return;
	}
	if (s->client.v != 0) {
		session_say(r, s, own);
		client_release(r, s);
	}
	s->flags |= SESSION_F_CLOSING;
	leg_leave(r, s);
	if (s->leg.v == 0)
		session_free(r, s);
}
