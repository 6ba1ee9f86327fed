// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Passthrough: octets both ways as they come. While the dialogue is read (scan_*.c) a piece is
// looked at and then goes on whole, whatever was found in it; afterwards, in somebody's TLS, FIN is
// handed on behind the octets before it, a reset as a reset, or behind octets as FIN: it would
// overtake them. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

static bool half(struct relay *r, struct tcp_conn_id from, struct tcp_conn_id to, bool fin)
{
	uint32_t n = tcp_rx_bytes(r->tcp, from);
	uint32_t moved = n > 0 ? tcp_tx_move(r->tcp, to, from, n) : 0;

	if (fin && moved == n)
		tcp_shutdown(r->tcp, to);
	return moved > 0;
}

// By a reset on both sides: a line of ours would stand in the middle of somebody's TLS.
void splice_cut(struct relay *r, struct session *s)
{
	struct tcp_conn_id client = s->client;

	stat_inc(r->env, STAT_SESSION_PASSTHROUGH_IDLE);
	leg_drop(r, s);
	client_forget(r, s);
	if (client.v != 0)
		tcp_abort(r->tcp, client);
	session_free(r, s);
}

// The backend's connection ended.
static void leg_ended(struct relay *r, struct session *s)
{
	struct tcp_conn_id client = s->client;

	client_forget(r, s);
	if (client.v != 0)
		tcp_abort(r->tcp, client);
	session_free(r, s);
}

// What was looked at goes on. False: some of it waits for room.
static bool ahead_move(
	struct relay *r,
	struct session *s,
	struct tcp_conn_id to,
	struct tcp_conn_id from,
	uint16_t *ahead
)
{
	if (*ahead == 0)
		return true;
	s->flags |= SESSION_F_PASSED;
	*ahead = (uint16_t)(*ahead - tcp_tx_move(r->tcp, to, from, *ahead));
	if (*ahead > 0 && tcp_tx_bytes(r->tcp, to) == 0)
		s->flags |= SESSION_F_RETRY; // nothing under way will tell of room
	return *ahead == 0;
}

static void replies_pass(struct relay *r, struct session *s)
{
	const uint8_t *p;
	uint32_t len, n;

	while (is_read(s) && ahead_move(r, s, s->client, s->leg, &s->scan.reply_ahead) &&
	       tcp_rx_peek(r->tcp, s->leg, 0, &p, &len)) {
		n = scan_replies(r, s, p, len);
		if (is_read(s))
			s->scan.reply_ahead = (uint16_t)n;
	}
}

bool splice_last_ones(struct relay *r, struct session *s)
{
	struct tcp_conn_id leg = s->leg;
	uint64_t id = s->id;

	if (tcp_rx_bytes(r->tcp, leg) == 0 ||
	    (s->leg_state == LEG_S_BANNER && (s->flags & SESSION_F_PASSED) == 0))
		return true; // a greeting that is held back is not the client's
	if (s->leg_state == LEG_S_READY)
		replies_pass(r, s);
	if (s->id != id || s->leg.v != leg.v)
		return false;
	tcp_tx_move(r->tcp, s->client, leg, tcp_rx_bytes(r->tcp, leg));
	leg_close_judge(r, s, TCP_CLOSE_RESET);
	leg_eod_judge(r, s);
	leg_forget(r, s);
	client_release(r, s);
	session_free(r, s);
	return false;
}

static void commands_pass(struct relay *r, struct session *s)
{
	const uint8_t *p;
	uint32_t len, n;

	while (is_read(s) && ahead_move(r, s, s->leg, s->client, &s->scan.command_ahead) &&
	       tcp_rx_peek(r->tcp, s->client, 0, &p, &len)) {
		if (r->draining && scan_is_between_mails(r, s)) {
			session_close(r, s, SMTP_OWN_DRAIN);
			return;
		}
		n = scan_commands(r, s, p, len);
		if (is_read(s))
			s->scan.command_ahead = (uint16_t)n;
	}
}

// A connection ended in order, and all it had said has gone on. True: it is read no more.
static bool ends_read(struct relay *r, struct session *s)
{
	if ((s->flags & SESSION_F_LEG_FIN) != 0 && s->scan.reply_ahead == 0 &&
	    tcp_rx_bytes(r->tcp, s->leg) == 0 && !scan_leg_fin(r, s))
		return false;
	if (is_read(s) && (s->flags & SESSION_F_CLIENT_FIN) != 0 && s->scan.command_ahead == 0 &&
	    tcp_rx_bytes(r->tcp, s->client) == 0 && !scan_client_fin(r, s))
		return false;
	return !is_read(s);
}

static bool raw_step(struct relay *r, struct session *s)
{
	bool more = half(r, s->client, s->leg, (s->flags & SESSION_F_CLIENT_FIN) != 0);

	more = half(r, s->leg, s->client, (s->flags & SESSION_F_LEG_FIN) != 0) || more;
	if ((s->flags & SESSION_F_CLIENT_FIN) != 0 && (s->flags & SESSION_F_LEG_FIN) != 0 &&
	    tcp_rx_bytes(r->tcp, s->client) == 0 && tcp_rx_bytes(r->tcp, s->leg) == 0) {
		client_release(r, s);
		leg_release(r, s);
		session_free(r, s);
		return false;
	}
	return more;
}

bool splice_step(struct relay *r, struct session *s)
{
	bool refused = (s->leg_flags & SESSION_LEG_F_REFUSES) != 0;
	uint64_t id = s->id;

	if ((s->flags & SESSION_F_LEG_WAIT) != 0)
		return false;
	if (s->leg.v == 0) {
		leg_ended(r, s);
		return false;
	}
	if (s->leg_state == LEG_S_CONNECTING)
		return false;
	if (!scan_greeting(r, s))
		return !refused && (s->leg_flags & SESSION_LEG_F_REFUSES) != 0; // reply.c takes it
	if (s->leg_state == LEG_S_BANNER) {
		tcp_rx_window_set(r->tcp, s->client, SESSION_WINDOW_BODY);
		tcp_rx_window_set(r->tcp, s->leg, SESSION_WINDOW_BODY);
	}
	replies_pass(r, s); // first: what the client says now may depend on them
	commands_pass(r, s);
	if (s->id != id || !is_passthrough(s))
		return false;
	return is_read(s) ? ends_read(r, s) : raw_step(r, s);
}
