// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Passthrough: bytes both ways, unread; FIN is handed on behind the bytes before it, a reset as a
// reset, or behind bytes as FIN: a reset would overtake them. Worker thread.

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

bool splice_last_ones(struct relay *r, struct session *s)
{
	if (tcp_rx_bytes(r->tcp, s->leg) == 0)
		return true;
	tcp_tx_move(r->tcp, s->client, s->leg, tcp_rx_bytes(r->tcp, s->leg));
	leg_forget(r, s);
	client_release(r, s);
	session_free(r, s);
	return false;
}

bool splice_step(struct relay *r, struct session *s)
{
	bool more;

	if ((s->flags & SESSION_F_LEG_WAIT) != 0)
		return false;
	if (s->leg.v == 0) { // the backend's connection ended
		struct tcp_conn_id client = s->client;

		client_forget(r, s);
		if (client.v != 0)
			tcp_abort(r->tcp, client);
		session_free(r, s);
		return false;
	}
	if (s->leg_state == LEG_S_CONNECTING)
		return false;
	if (s->leg_state == LEG_S_BANNER) {
		session_backend(r, s)->connecting--;
		session_backend(r, s)->sessions++;
		lb_report_success(r->lb, s->backend_slot);
		s->leg_state = LEG_S_READY;
		leg_judged(r, s);
		s->leg_flags |= SESSION_LEG_F_FRUIT; // what comes is not read
		tcp_rx_window_set(r->tcp, s->client, SESSION_WINDOW_BODY);
		tcp_rx_window_set(r->tcp, s->leg, SESSION_WINDOW_BODY);
	}
	more = half(r, s->client, s->leg, (s->flags & SESSION_F_CLIENT_FIN) != 0);
	more = half(r, s->leg, s->client, (s->flags & SESSION_F_LEG_FIN) != 0) || more;
	session_touch(r, s);
	if ((s->flags & SESSION_F_CLIENT_FIN) != 0 && (s->flags & SESSION_F_LEG_FIN) != 0 &&
	    tcp_rx_bytes(r->tcp, s->client) == 0 && tcp_rx_bytes(r->tcp, s->leg) == 0) {
		client_release(r, s);
		leg_release(r, s);
		session_free(r, s);
		return false;
	}
	return more;
}
