// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a connection sends: new data within the windows, FIN, pure ACKs, retransmissions, window
// probes. Runs once a turn for each dirty PCB, so ACK, data and FIN ride together. No Nagle: SMTP
// is request and reply. Worker thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

// End of what may be on the wire: data, and the FIN behind it.
static uint32_t send_end(const struct tcp_pcb *p)
{
	return pcb_data_end(p) + ((p->flags & TCP_F_FIN_QUEUED) != 0 ? 1 : 0);
}

// Bookkeeping of something sent at snd_nxt.
static void sent(struct tcp_stack *s, struct tcp_pcb *p, uint32_t n)
{
	bool again = seq_diff(p->snd_nxt, p->snd_max) < 0;

	if ((p->flags & TCP_F_PERSIST) != 0) { // the window is open again
		tcp_rtx_stop(s, p);
		p->backoff = p->dupacks = 0;
	}
	if (again) {
		stat_inc(s->env, STAT_TCP_RETRANSMITS);
		tcp_trace(s, p, TCP_TRACE_RETRANSMIT);
	}
	if (!again && (p->flags & TCP_F_RTT) == 0 &&
	    ((p->flags & TCP_F_TS) == 0 || p->state <= TCP_S_SYN_RCVD)) {
		p->flags |= TCP_F_RTT;
		p->rtt_seq = p->snd_nxt;
		p->rtt_at_ms = env_now_ms(s->env);
	}
	p->snd_nxt += n;
	if (seq_diff(p->snd_nxt, p->snd_max) > 0)
		p->snd_max = p->snd_nxt;
	if (p->loss != 0)
		loss_of(s, p)->prr_out += n;
	if ((p->flags & TCP_F_RTX) == 0)
		tcp_rtx_arm(s, p);
}

// Octets that both windows take beyond those in flight.
static uint32_t window_left(const struct tcp_stack *s, const struct tcp_pcb *p, uint32_t flight)
{
	uint32_t window = p->cwnd;

	if (p->loss != 0) { // what has arrived or is lost does not fill the path
		const struct tcp_loss *l = loss_of(s, p);

		window += l->sacked + l->lost;
	}
	if (window > p->snd_wnd)
		window = p->snd_wnd;
	return window > flight ? window - flight : 0;
}

// One segment of new (or, after a time-out, old) data at snd_nxt. False: nothing more may go now.
static inline __attribute__((always_inline)) bool send_next(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t flight = p->snd_nxt - p->snd_una;
	uint32_t data_end = pcb_data_end(p);
	uint32_t unsent = seq_diff(data_end, p->snd_nxt) > 0 ? data_end - p->snd_nxt : 0;
	struct tcp_out out = {.seq = p->snd_nxt, .flags = RTE_TCP_ACK_FLAG, .next = true};
	uint32_t may = window_left(s, p, flight);
	bool fin;

	out.len = tcp_segment_limit(s, p);
	if (out.len > unsent)
		out.len = (uint16_t)unsent;
	if (out.len > may) {
		if (flight > 0 || may == 0)
			return false; // silly window: wait for an ACK (RFC 9293 3.8.6.2.1)
		out.len = (uint16_t)may;
	}
	fin = (p->flags & TCP_F_FIN_QUEUED) != 0 && out.len == unsent &&
	      seq_diff(p->snd_nxt, data_end) <= 0;
	if (out.len == 0 && !fin)
		return false;
	if (fin)
		out.flags |= RTE_TCP_FIN_FLAG;
	if (out.len == unsent)
		out.flags |= RTE_TCP_PSH_FLAG;
	out.mark = mark_now(s) | (p->snd_nxt != p->snd_max ? TCP_SL_AGAIN : 0);
	if (!tcp_segment_send(s, p, &out))
		return false;
	if (fin)
		p->flags |= TCP_F_FIN_SENT;
	sent(s, p, out.len + (fin ? 1U : 0U));
	return true;
}

bool tcp_send_beyond(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t cwnd = p->cwnd;
	bool sent;

	p->cwnd = p->snd_nxt - p->snd_una + p->mss;
	sent = send_next(s, p);
	p->cwnd = cwnd;
	return sent;
}

// Nothing was sent for longer than a time-out: what the window was tried for may be true no more
// (RFC 5681 4.1). The threshold remembers most of it (RFC 7661 4.4.3).
static void idle_restart(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t most = p->cwnd / 4 * 3;

	if ((p->flags & TCP_F_RTX) != 0 || p->tx_bytes == 0 ||
	    env_now_ms(s->env) - p->rtx_at_ms <= p->rto_ms)
		return;
	stat_inc(s->env, STAT_TCP_IDLE_RESTARTS);
	if (p->ssthresh < most)
		p->ssthresh = most;
	p->cwnd = (uint32_t)p->mss * TCP_INITIAL_WINDOW;
	if (p->loss != 0)
		loss_give(s, p); // what it knows of the path is old
}

static void send_syn(struct tcp_stack *s, struct tcp_pcb *p)
{
	struct tcp_out out = {.seq = p->snd_una, .flags = RTE_TCP_SYN_FLAG};

	if (p->state == TCP_S_SYN_RCVD)
		out.flags |= RTE_TCP_ACK_FLAG;
	p->snd_nxt = p->snd_una;
	if (tcp_segment_send(s, p, &out))
		sent(s, p, 1);
	else
		tcp_rtx_arm(s, p);
}

void tcp_output(struct tcp_stack *s, struct tcp_pcb *p)
{
	bool first = (p->flags & TCP_F_RTX) == 0;
	unsigned burst = 0;

	if (p->state <= TCP_S_SYN_RCVD) {
		if (p->snd_nxt == p->snd_una || (p->flags & TCP_F_ACK_NOW) != 0)
			send_syn(s, p);
		tcp_timer_update(s, p);
		return;
	}
	if (p->snd_nxt == p->snd_una && p->cwnd > (uint32_t)p->mss * TCP_INITIAL_WINDOW)
		idle_restart(s, p);
	if (p->loss != 0)
		tcp_recover_output(s, p);
	while (burst < 1024 && seq_diff(send_end(p), p->snd_nxt) > 0 && send_next(s, p))
		burst++;
	if (first && burst > 1)
		tcp_rtx_arm(s, p); // more is in flight than the first one knew
	if ((p->flags & TCP_F_ACK_NOW) != 0) {
		const struct tcp_out ack = {.seq = pcb_ack_seq(p), .flags = RTE_TCP_ACK_FLAG};

		tcp_segment_send(s, p, &ack);
	}
	// Something to send, nothing in flight: the window is shut, or a buffer was missing. Either
	// way a timer must follow.
	if (p->snd_nxt == p->snd_una && send_end(p) != p->snd_una && (p->flags & TCP_F_RTX) == 0) {
		p->flags |= TCP_F_PERSIST;
		p->dupacks = 0;
		tcp_rtx_arm(s, p);
	}
	tcp_timer_update(s, p);
}

void tcp_retransmit_first(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t left = pcb_data_end(p) - p->snd_una;
	uint32_t once =
		p->snd_max - p->snd_una; // never more than was sent: the window may end there
	struct tcp_out out = {.seq = p->snd_una, .flags = RTE_TCP_ACK_FLAG | RTE_TCP_PSH_FLAG};

	out.len = tcp_segment_limit(s, p);
	if (out.len > left)
		out.len = (uint16_t)left;
	if (out.len > once)
		out.len = (uint16_t)once;
	if (out.len == left && (p->flags & TCP_F_FIN_SENT) != 0)
		out.flags |= RTE_TCP_FIN_FLAG;
	p->flags &= (uint16_t)~TCP_F_RTT; // Karn
	stat_inc(s->env, STAT_TCP_RETRANSMITS);
	tcp_trace(s, p, TCP_TRACE_RETRANSMIT);
	tcp_segment_send(s, p, &out);
}

void tcp_probe_send(struct tcp_stack *s, struct tcp_pcb *p)
{
	struct tcp_out out = {.seq = p->snd_una, .flags = RTE_TCP_ACK_FLAG};

	stat_inc(s->env, STAT_TCP_PERSIST);
	if (p->tx_bytes > 0)
		out.len = 1;
	else
		out.seq--; // only a FIN waits: an old byte asks for an ACK as well
	if (tcp_segment_send(s, p, &out) && out.len == 1 &&
	    seq_diff(p->snd_una + 1, p->snd_max) > 0)
		p->snd_max = p->snd_una + 1;
}
