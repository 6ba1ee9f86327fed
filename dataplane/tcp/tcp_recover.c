// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Recovery with a scoreboard: when it begins and ends, how much may be sent meanwhile (PRR, RFC
// 6937), and what: lost octets first, in order, however often they are lost again. A time-out takes
// all that is in flight for lost. Where the scoreboard cannot go on it is forgotten, and the stack
// goes back to the first octet not acknowledged. Worker thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

#define BURST_MAX 1024 // segments a turn

void tcp_undo_keep(struct tcp_stack *s, const struct tcp_pcb *p, struct tcp_loss *l)
{
	l->flags |= TCP_LOSS_UNDO;
	l->undo_ts = env_now_ms(s->env) + p->ts_offset;
	l->undo_cwnd = p->cwnd;
	l->undo_ssthresh = p->ssthresh;
}

// Nothing was lost, only late: the windows are as before, and what waits to be sent again need not
// (RFC 4015). RACK judges anew.
static void undo(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_loss *l)
{
	stat_inc(s->env, STAT_TCP_UNDONE);
	for (uint32_t idx = p->tx_head; l->lost > 0 && idx != 0; idx = s->slice[idx].next) {
		if ((s->slice[idx].mark & TCP_SL_LOST) == 0)
			continue;
		s->slice[idx].mark &= ~TCP_SL_LOST;
		l->lost -= s->slice[idx].len;
	}
	if ((p->flags & TCP_F_RECOVERY) != 0)
		l->flags |= TCP_LOSS_REORDERED;
	p->flags &= (uint16_t)~TCP_F_RECOVERY;
	p->recover = p->snd_una;
	if (p->cwnd < l->undo_cwnd)
		p->cwnd = l->undo_cwnd;
	p->ssthresh = l->undo_ssthresh;
}

static void recovery_enter(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_loss *l)
{
	uint32_t flight = p->snd_nxt - p->snd_una;

	stat_inc(s->env, STAT_TCP_SACK_RECOVERIES);
	tcp_undo_keep(s, p, l);
	p->flags |= TCP_F_RECOVERY;
	p->recover = p->snd_max;
	tcp_cubic_loss(p, l, flight);
	l->flags &= (uint8_t)~(TCP_LOSS_TLP | TCP_LOSS_TLP_AGAIN);
	l->prr_delivered = l->prr_out = 0;
	l->recover_fs = flight;
}

// Octets that may be sent for this ACK. progress: it acknowledges more, and nothing is lost anew.
static uint32_t
prr_count(const struct tcp_pcb *p, const struct tcp_loss *l, uint32_t delivered, bool progress)
{
	uint32_t pipe = loss_pipe(p, l);
	uint32_t ahead = l->prr_delivered > l->prr_out ? l->prr_delivered - l->prr_out : 0;
	uint32_t count;

	if (pipe > p->ssthresh) { // proportional rate reduction
		uint64_t due = ((uint64_t)l->prr_delivered * p->ssthresh + l->recover_fs - 1) /
			       l->recover_fs;

		count = due > l->prr_out ? (uint32_t)due - l->prr_out : 0;
	} else { // slow start as far as the threshold, if there is progress
		count = ahead > delivered ? ahead : delivered;
		if (progress)
			count += p->mss;
		if (count > p->ssthresh - pipe)
			count = p->ssthresh - pipe;
	}
	// the first retransmission goes at once, and something is always on its way
	if ((l->prr_out == 0 || pipe == 0) && count < p->mss)
		count = p->mss;
	return count;
}

static void reo_timer(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_loss *l, uint32_t wait_ms)
{
	if (wait_ms > 0) {
		l->flags |= TCP_LOSS_REO_TIMER;
		p->flags |= TCP_F_RTX;
		p->rtx_at_ms = env_now_ms(s->env) + wait_ms;
		tcp_timer_update(s, p);
	} else if ((l->flags & TCP_LOSS_REO_TIMER) != 0) {
		l->flags &= (uint8_t)~TCP_LOSS_REO_TIMER;
		tcp_rtx_arm(s, p);
	}
}

void tcp_recover_run(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_news *news)
{
	struct tcp_loss *l = loss_of(s, p);
	uint32_t before = l->lost, wait;

	if (news->early)
		undo(s, p, l);
	if ((p->flags & TCP_F_RECOVERY) != 0 && seq_diff(p->snd_una, p->recover) >= 0) {
		p->flags &= (uint16_t)~TCP_F_RECOVERY;
		p->cwnd = p->ssthresh;
		tcp_rack_recovered(l);
	}
	if (tcp_tail_ack(p, l, news)) {
		stat_inc(s->env, STAT_TCP_TAIL_MENDED);
		tcp_cubic_loss(p, l, p->cwnd);
		if (p->cwnd > p->ssthresh)
			p->cwnd = p->ssthresh;
	}
	if (p->snd_una == p->snd_max) {
		l->flags &= (uint8_t)~TCP_LOSS_REO_TIMER; // no timer runs
		if (s->losses.used > s->losses.count / 2)
			loss_give(s, p);
		return;
	}
	wait = tcp_rack_detect(s, p, l);
	if ((p->flags & TCP_F_RECOVERY) == 0 && l->lost > 0 &&
	    seq_diff(p->snd_una, p->recover) >= 0)
		recovery_enter(s, p, l);
	if ((p->flags & TCP_F_RECOVERY) != 0) {
		l->prr_delivered += news->delivered;
		p->cwnd = loss_pipe(p, l) +
			  prr_count(p, l, news->delivered, news->acked > 0 && l->lost <= before);
	}
	reo_timer(s, p, l, wait);
	pcb_dirty(s, p);
}

void tcp_reo_fire(struct tcp_stack *s, struct tcp_pcb *p)
{
	const struct tcp_news none = {0};

	loss_of(s, p)->flags &= (uint8_t)~TCP_LOSS_REO_TIMER;
	tcp_rtx_arm(s, p);
	tcp_recover_run(s, p, &none);
}

bool tcp_recover_timeout(struct tcp_stack *s, struct tcp_pcb *p)
{
	struct tcp_loss *l = NULL;

	if (p->state > TCP_S_SYN_RCVD && p->tx_bytes > 0 && p->snd_wnd > 0)
		l = loss_take(s, p);
	if (l != NULL && (s->slice[p->tx_head].mark & TCP_SL_SACKED) != 0) {
		stat_inc(s->env, STAT_TCP_RENEGED); // it was there, and is there no more
		l = NULL;
	}
	for (uint32_t idx = p->tx_head; l != NULL && idx != 0; idx = s->slice[idx].next) {
		if (seq_diff(s->slice[idx].seq, p->snd_nxt) >= 0)
			break;
		if ((s->slice[idx].mark & (TCP_SL_SACKED | TCP_SL_LOST)) == 0 &&
		    !slice_lost(s, p, l, idx))
			l = NULL;
	}
	if (l == NULL)
		loss_forget(s, p);
	else
		l->flags &= (uint8_t)~(TCP_LOSS_TLP | TCP_LOSS_TLP_AGAIN);
	return l != NULL;
}

// The first lost slice; there is one.
static uint32_t lost_first(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	uint32_t idx = p->tx_head;

	while ((s->slice[idx].mark & TCP_SL_LOST) == 0)
		idx = s->slice[idx].next;
	return idx;
}

// Lost octets from slice idx on that make a segment, cut so that they are whole slices. 0: no queue
// entry to cut one.
static uint16_t lost_gather(struct tcp_stack *s, struct tcp_pcb *p, uint32_t idx)
{
	uint16_t limit = tcp_segment_limit(s, p), len = 0;

	for (; idx != 0 && len < limit && (s->slice[idx].mark & TCP_SL_LOST) != 0;
	     idx = s->slice[idx].next) {
		uint16_t left = (uint16_t)(limit - len);

		if (s->slice[idx].len > left && tx_split(s, p, idx, s->slice[idx].seq + left) == 0)
			break;
		len = (uint16_t)(len + s->slice[idx].len);
	}
	return len;
}

static void again_mark(struct tcp_stack *s, struct tcp_loss *l, uint32_t idx, uint32_t len)
{
	l->lost -= len;
	l->prr_out += len;
	for (; len > 0; idx = s->slice[idx].next) {
		s->slice[idx].mark = mark_now(s) | TCP_SL_AGAIN;
		len -= s->slice[idx].len;
	}
}

// Sends lost octets once more. False: nothing more may go now.
static bool lost_send(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_loss *l)
{
	uint32_t idx = lost_first(s, p), end;
	struct tcp_out out = {.seq = s->slice[idx].seq, .flags = RTE_TCP_ACK_FLAG};

	out.len = lost_gather(s, p, idx);
	if (out.len == 0) {
		loss_forget(s, p);
		p->snd_nxt = p->snd_una;
		return false;
	}
	end = out.seq + out.len;
	if (out.seq != p->snd_una && end - p->snd_una > p->snd_wnd)
		return false; // the window has shrunk
	if (end == pcb_data_end(p)) {
		out.flags |= RTE_TCP_PSH_FLAG;
		if ((p->flags & TCP_F_FIN_SENT) != 0)
			out.flags |= RTE_TCP_FIN_FLAG;
	}
	if (!tcp_segment_send(s, p, &out))
		return false;
	again_mark(s, l, idx, out.len);
	p->flags &= (uint16_t)~TCP_F_RTT; // Karn
	stat_inc(s->env, STAT_TCP_RETRANSMITS);
	tcp_trace(s, p, TCP_TRACE_RETRANSMIT);
	if (out.seq == p->snd_una && (l->flags & TCP_LOSS_REO_TIMER) == 0)
		tcp_rtx_arm(s, p);
	return true;
}

void tcp_recover_output(struct tcp_stack *s, struct tcp_pcb *p)
{
	struct tcp_loss *l = loss_of(s, p);

	for (unsigned n = 0; n < BURST_MAX && p->loss != 0; n++)
		if (l->lost == 0 || loss_pipe(p, l) >= p->cwnd || !lost_send(s, p, l))
			return;
}
