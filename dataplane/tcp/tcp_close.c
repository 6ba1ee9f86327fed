// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// How a connection ends from our side: half-close, letting go, abort. Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

void tcp_shutdown(struct tcp_stack *s, struct tcp_conn_id conn)
{
	struct tcp_pcb *p = pcb_of(s, conn.v);

	if (p->state == TCP_S_CLOSED || (p->flags & TCP_F_FIN_QUEUED) != 0)
		return;
	if (p->state == TCP_S_ESTABLISHED)
		pcb_state_set(s, p, TCP_S_FIN_WAIT_1);
	else if (p->state == TCP_S_CLOSE_WAIT)
		pcb_state_set(s, p, TCP_S_LAST_ACK);
	else if (p->state > TCP_S_SYN_RCVD)
		return; // closed this way already
	p->flags |= TCP_F_FIN_QUEUED;
	pcb_dirty(s, p);
}

// The application is gone: nothing is delivered any more.
static void orphan(struct tcp_stack *s, struct tcp_pcb *p)
{
	p->flags |= TCP_F_ORPHAN;
	p->events &= TCP_EV_QUEUED | TCP_EV_FREE;
	if (p->peer != 0)
		pcb_of(s, p->peer)->peer = 0;
	p->peer = 0;
}

static void rx_discard(struct tcp_stack *s, struct tcp_pcb *p)
{
	while (p->rx_head != 0) {
		uint32_t next = s->slice[p->rx_head].next;

		slice_free(s, p->rx_head);
		p->rx_head = next;
	}
	p->rx_tail = 0;
	p->rx_bytes = 0;
}

void tcp_release(struct tcp_stack *s, struct tcp_conn_id conn, bool drain)
{
	struct tcp_pcb *p = pcb_of(s, conn.v);
	bool unread = p->rx_bytes > 0;

	if (p->state == TCP_S_CLOSED || p->state == TCP_S_SYN_SENT || (unread && !drain)) {
		tcp_abort(s, conn);
		return;
	}
	tcp_shutdown(s, conn);
	orphan(s, p);
	if (drain)
		p->flags |= TCP_F_DRAIN;
	rx_discard(s, p);
	if (p->state == TCP_S_FIN_WAIT_2)
		tcp_state_timer(s, p, TCP_FIN_WAIT_2_MS);
}

void tcp_reset_send(struct tcp_stack *s, struct tcp_pcb *p)
{
	const struct tcp_out rst = {
		.seq = pcb_ack_seq(p), .flags = RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG
	};

	if (p->state == TCP_S_CLOSED || p->state == TCP_S_SYN_SENT)
		return;
	stat_inc(s->env, STAT_TCP_RESETS_OUT);
	tcp_segment_send(s, p, &rst);
}

void tcp_abort(struct tcp_stack *s, struct tcp_conn_id conn)
{
	struct tcp_pcb *p = pcb_of(s, conn.v);

	orphan(s, p);
	tcp_reset_send(s, p);
	pcb_kill(s, p, TCP_CLOSE_RESET);
}

void tcp_reset_all(struct tcp_stack *s)
{
	for (uint32_t i = 1; i <= s->config.max_conns; i++)
		tcp_reset_send(s, pcb_of(s, i));
}
