// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Bodies: moved between the legs in the buffers they came in, watched for their end and for bare
// line ends (G1-G4, P7-P9), or swallowed to their true end when they may not go on (C16). Worker
// thread.

#include "dataplane/proxy/relay_inner_types.h"

void body_lost(struct relay *r, struct session *s, enum smtp_own own, unsigned owed)
{
	bool data = s->state == RELAY_S_DATA;

	s->own_after = (uint8_t)own;
	s->state = data ? RELAY_S_SWALLOW_DATA : RELAY_S_SWALLOW_BDAT;
	if (data)
		return; // nothing else was pending
	if ((s->flags & SESSION_F_BDAT_LAST) == 0)
		s->flags |= SESSION_F_CHUNKS_LOST;
	if (owed == 0)
		s->own_after = SMTP_OWN_COUNT; // answered before its last octet came: no more
	else
		pending_own(r, s, own, owed - 1); // this chunk's own reply comes at its end
}

// The body may not go on: the backend's connection is reset so that it stores nothing, the client
// is answered at its end.
void body_refuse(struct relay *r, struct session *s, enum smtp_own own)
{
	unsigned owed = s->pending_count;

	leg_drop(r, s);
	body_lost(r, s, own, owed);
}

static void body_over(struct relay *r, struct session *s)
{
	dialogue_note(
		r, s, s->state == RELAY_S_BDAT ? "a chunk of the body" : "the body", s->body_bytes
	);
	if (s->state == RELAY_S_DATA || (s->flags & SESSION_F_BDAT_LAST) != 0)
		s->flags &= ~(uint32_t)SESSION_F_CHUNKS; // it is whole
	s->state = RELAY_S_COMMAND;
	s->flags |= SESSION_F_WAIT;
	s->leg_since_ms = env_now_ms(r->env); // the backend's turn begins now
	tcp_rx_window_set(r->tcp, s->client, session_window(s));
}

static void swallow_over(struct relay *r, struct session *s)
{
	dialogue_note(r, s, "a body that was discarded", 0);
	s->state = offers_tls_only(s) ? RELAY_S_OFFER : RELAY_S_COMMAND;
	s->flags &= ~(uint32_t)SESSION_F_MAIL;
	tcp_rx_window_set(r->tcp, s->client, session_window(s));
	if (s->own_after != SMTP_OWN_COUNT)
		session_say_in_turn(r, s, (enum smtp_own)s->own_after);
}

// Moves n bytes on, of which so many octets are of the message (P9, RFC 1870 3). False: a limit was
// reached and the body is refused; what could not be moved is dropped.
static bool body_move(struct relay *r, struct session *s, uint32_t n, uint32_t octets)
{
	uint32_t moved;

	if (s->max_message_bytes != 0 && (uint64_t)s->body_bytes + octets > s->max_message_bytes) {
		body_refuse(r, s, SMTP_OWN_SIZE);
		wire_rx_drop(r, wire_client(s), n);
		return false;
	}
	s->body_bytes += octets;
	moved = wire_tx_move(r, wire_leg(s), wire_client(s), n);
	stat_add(r->env, STAT_SESSION_BYTES, moved);
	session_backend(r, s)->bytes += moved;
	if (moved == n)
		return true;
	body_refuse(r, s, SMTP_OWN_BODY_LOST); // out of queue entries
	wire_rx_drop(r, wire_client(s), n - moved);
	return false;
}

// A CR or LF alone, as the policy says. The byte is the first one held.
static void body_bare(struct relay *r, struct session *s)
{
	bool dot = s->dot == SMTP_DOT_DOT;

	switch (s->bare_lf) {
	case BLOB_BARE_LF_PASS:
		s->dot = SMTP_DOT_TEXT;
		body_move(r, s, 1, 1);
		break;
	case BLOB_BARE_LF_RESTUFF:
		wire_rx_drop(r, wire_client(s), 1);
		s->dot = SMTP_DOT_BROKEN;
		s->body_bytes += dot ? 3 : 2;
		if (!wire_tx_write(r, wire_leg(s), dot ? ".\r\n" : "\r\n", dot ? 3 : 2))
			body_refuse(r, s, SMTP_OWN_BODY_LOST);
		break;
	default:
		wire_rx_drop(r, wire_client(s), 1);
		s->dot = SMTP_DOT_TEXT;
		body_refuse(r, s, SMTP_OWN_BARE_IN_BODY);
		break;
	}
}

// One scan of what lies at the front; a CR at the end of a buffer is looked at together with the
// first byte of the next.
static bool front_scan(
	struct relay *r,
	struct session *s,
	enum smtp_dot_event *ret_event,
	uint32_t *ret_n,
	uint32_t *ret_stuffed
)
{
	const uint8_t *p, *next;
	uint32_t len, next_len;
	uint8_t pair[2];

	if (!wire_rx_peek(r, wire_client(s), 0, &p, &len))
		return false;
	*ret_event = smtp_dot_scan(&s->dot, p, len, ret_n, ret_stuffed);
	if (*ret_event != SMTP_DOT_MORE || *ret_n > 0)
		return true;
	if (!wire_rx_peek(r, wire_client(s), 1, &next, &next_len))
		return false; // only a CR so far
	pair[0] = p[0];
	pair[1] = next[0];
	*ret_event = smtp_dot_scan(&s->dot, pair, 2, ret_n, ret_stuffed);
	return true;
}

static bool data_step(struct relay *r, struct session *s)
{
	enum smtp_dot_event event;
	uint32_t n, stuffed;

	if (!front_scan(r, s, &event, &n, &stuffed))
		return false;
	if (n > 0 && !body_move(r, s, n, n - stuffed)) {
		if (event == SMTP_DOT_END && s->state == RELAY_S_SWALLOW_DATA)
			swallow_over(r, s);
		return true;
	}
	switch (event) {
	case SMTP_DOT_END:
		body_over(r, s);
		pending_push(r, s, SMTP_V_BODY);
		break;
	case SMTP_DOT_BARE:
		body_bare(r, s);
		break;
	case SMTP_DOT_STUFF:
		if (!wire_tx_write(r, wire_leg(s), ".", 1))
			body_refuse(r, s, SMTP_OWN_BODY_LOST);
		break;
	default:
		break;
	}
	return true;
}

static bool bdat_step(struct relay *r, struct session *s)
{
	uint32_t have = wire_rx_bytes(r, wire_client(s));
	uint32_t n = have < s->swallow_left ? have : (uint32_t)s->swallow_left;

	if (n > 0) {
		s->swallow_left -= n;
		if (!body_move(r, s, n, n))
			return true;
	}
	if (s->swallow_left > 0)
		return false;
	body_over(r, s);
	if ((s->flags & SESSION_F_BDAT_LAST) == 0)
		s->flags &= ~(uint32_t)SESSION_F_WAIT; // further chunks may be pipelined
	if (s->pending_count > 0) // the reply's time counts from the last octet
		s->pending_us[(s->pending_head + s->pending_count - 1) % SESSION_PENDING_MAX] =
			relay_now_us(r);
	return true;
}

static bool client_left(struct relay *r, struct session *s)
{
	if ((s->flags & SESSION_F_CLIENT_FIN) == 0 || s->client.v == 0)
		return false;
	client_hang_up(r, s);
	client_gone(r, s); // the body can never be complete
	return true;
}

bool body_step(struct relay *r, struct session *s)
{
	bool more = s->state == RELAY_S_DATA ? data_step(r, s) : bdat_step(r, s);

	if (!more && client_left(r, s))
		return false;
	return more;
}

bool swallow_step(struct relay *r, struct session *s)
{
	enum smtp_dot_event event;
	uint32_t n, have, stuffed;

	if (s->state == RELAY_S_SWALLOW_BDAT) {
		have = wire_rx_bytes(r, wire_client(s));
		n = have < s->swallow_left ? have : (uint32_t)s->swallow_left;
		s->swallow_left -= n;
		wire_rx_drop(r, wire_client(s), n);
		if (s->swallow_left == 0) {
			swallow_over(r, s);
			return true;
		}
	} else if (front_scan(r, s, &event, &n, &stuffed)) {
		wire_rx_drop(r, wire_client(s), n + (event == SMTP_DOT_BARE ? 1 : 0));
		if (event == SMTP_DOT_BARE)
			s->dot = SMTP_DOT_TEXT;
		if (event == SMTP_DOT_END)
			swallow_over(r, s);
		return true;
	}
	client_left(r, s);
	return false;
}
