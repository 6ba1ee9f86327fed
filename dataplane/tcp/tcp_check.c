// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Walks the whole stack and aborts on a broken invariant: debug builds, tests and the simulator.
// Never on a worker's path.

#include "dataplane/tcp/tcp_inner_types.h"

static uint32_t
list_check(const struct tcp_stack *s, uint32_t head, uint32_t *ret_bytes, uint32_t *ret_last)
{
	uint32_t n = 0;

	*ret_bytes = 0;
	*ret_last = 0;
	for (uint32_t idx = head; idx != 0; idx = s->slice[idx].next) {
		const struct tcp_slice *sl = &s->slice[idx];

		BUG_ON(n++ > s->slices.count); // a circle
		BUG_ON(sl->m == NULL || rte_mbuf_refcnt_read(sl->m) == 0);
		BUG_ON(sl->off + sl->len > sl->m->buf_len);
		*ret_bytes += sl->len;
		*ret_last = idx;
	}
	return n;
}

static bool state_needs_timer(const struct tcp_pcb *p)
{
	bool in_flight = p->snd_max != p->snd_una || p->state <= TCP_S_SYN_RCVD;
	bool waiting = p->tx_bytes > 0 || (p->flags & TCP_F_FIN_QUEUED) != 0;

	return in_flight || waiting ||
	       (p->state == TCP_S_FIN_WAIT_2 && (p->flags & TCP_F_ORPHAN) != 0);
}

static bool sent_is_queued(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	uint32_t sent = p->tx_head != 0 ? s->slice[p->tx_head].sent : 0;

	for (uint32_t idx = p->tx_head; idx != 0; idx = s->slice[idx].next)
		if (idx == sent)
			return true;
	return sent == 0;
}

// Marks are of sent octets, and their sums are the loss block's.
static void marks_check(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	uint32_t sacked = 0, lost = 0;

	for (uint32_t idx = p->tx_head; idx != 0; idx = s->slice[idx].next) {
		const struct tcp_slice *sl = &s->slice[idx];
		uint32_t mark = sl->mark & (TCP_SL_SACKED | TCP_SL_LOST);

		BUG_ON(mark == (TCP_SL_SACKED | TCP_SL_LOST));
		BUG_ON(mark != 0 && seq_diff(sl->seq + sl->len, p->snd_nxt) > 0);
		sacked += mark == TCP_SL_SACKED ? sl->len : 0U;
		lost += mark == TCP_SL_LOST ? sl->len : 0U;
	}
	BUG_ON(sacked != (p->loss != 0 ? s->loss[p->loss].sacked : 0));
	BUG_ON(lost != (p->loss != 0 ? s->loss[p->loss].lost : 0));
}

static uint32_t pcb_check(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	uint32_t bytes, last, slices;

	slices = list_check(s, p->rx_head, &bytes, &last);
	BUG_ON(bytes != p->rx_bytes || last != p->rx_tail);
	slices += list_check(s, p->tx_head, &bytes, &last);
	BUG_ON(bytes != p->tx_bytes || last != p->tx_tail);
	BUG_ON(!sent_is_queued(s, p));
	slices += list_check(s, p->ooo_head, &bytes, &last);
	if (p->state == TCP_S_CLOSED) {
		BUG_ON(p->loss != 0);
		BUG_ON(p->tx_bytes > 0 && p->close_reason != TCP_CLOSE_UNREAD);
		return slices;
	}
	BUG_ON(flow_lookup(s, pcb_key(p)) != pcb_index(s, p));
	BUG_ON(seq_diff(p->snd_nxt, p->snd_una) < 0 || seq_diff(p->snd_max, p->snd_nxt) < 0);
	marks_check(s, p);
	BUG_ON(p->peer != 0 && pcb_of(s, p->peer)->peer != pcb_index(s, p));
	if (state_needs_timer(p) && (p->flags & TCP_F_DIRTY) == 0)
		BUG_ON((p->flags & (TCP_F_RTX | TCP_F_STATE_TIMER)) == 0 ||
		       !wheel_is_armed(&p->timer));
	if ((p->flags & TCP_F_DELACK) != 0)
		BUG_ON(!wheel_is_armed(&p->timer));
	return slices;
}

// The FIFO both ways, in order of time but for those that a stall left behind, and each tuple led
// to its mini.
static void minis_check(const struct tcp_stack *s, const struct tcp_minis *minis, uint32_t kind)
{
	uint32_t before = 0, n = 0;
	bool over = minis->fifo.over != 0, in_order = false;

	for (uint32_t idx = minis->fifo.head; idx != 0; idx = minis->mini[idx].next) {
		const struct tcp_mini *mini = &minis->mini[idx];

		BUG_ON(n++ > minis->ids.count); // a circle
		BUG_ON(mini->prev != before);
		BUG_ON(in_order && (int16_t)(mini->due - minis->mini[before].due) < 0);
		BUG_ON(flow_lookup(s, mini_key(mini)) != (kind | idx));
		before = idx;
		in_order = !over;
		over = over && idx != minis->fifo.over;
	}
	BUG_ON(over);
	BUG_ON(minis->fifo.tail != before);
	BUG_ON(n != minis->fifo.count || n != minis->ids.used);
}

void tcp_check(const struct tcp_stack *s)
{
	uint32_t slices = 0, used = 0, losses = 0;

	for (uint32_t i = 1; i < s->pcbs.count; i++) {
		if (s->pcbs.next[i] != UINT32_MAX)
			continue; // free
		used++;
		slices += pcb_check(s, &s->pcb[i]);
		losses += s->pcb[i].loss != 0;
	}
	BUG_ON(used != s->pcbs.used);
	BUG_ON(slices != s->slices.used);
	BUG_ON(losses != s->losses.used);
	minis_check(s, &s->syn, TCP_INDEX_MINI);
	minis_check(s, &s->tw, TCP_INDEX_MINI | TCP_INDEX_TIME_WAIT);
}
