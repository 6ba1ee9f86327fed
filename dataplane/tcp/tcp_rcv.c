// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Received data: in order to the application, out of order kept sorted and bounded; FIN; the window
// we offer. Worker thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

static uint32_t bytes_held(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	return p->rx_bytes + (p->peer != 0 ? pcb_of(s, p->peer)->tx_bytes : 0);
}

static uint32_t slices_free(const struct tcp_stack *s)
{
	return s->config.max_slices - s->slices.used;
}

// Less would not do: a record that does not fit could never be read, and would be held for ever.
static uint32_t least(const struct tcp_pcb *p)
{
	return p->mss + p->rcv_least * 2048U;
}

// What one connection may hold shrinks with what is free, and the last eighth is for those that
// hold less than their least: senders into a dead backend must not silence the box. Counted as if
// each queue entry held the least that it can (TCP_COPY_MAX).
static uint32_t memory_share(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	uint32_t left = slices_free(s), reserve = s->config.max_slices / TCP_SHARE_RESERVE;
	uint64_t share = left > reserve ? (uint64_t)(left - reserve) * TCP_COPY_MAX : 0;

	share /= TCP_SHARE_DIVISOR;
	return share < least(p) ? least(p) : share < UINT32_MAX ? (uint32_t)share : UINT32_MAX;
}

// Windows offered while there was plenty may all be filled later: then nothing more is taken from a
// connection that holds its share.
static bool over_share(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	if (slices_free(s) >= s->config.max_slices / 2 || bytes_held(s, p) < memory_share(s, p))
		return false;
	stat_inc(s->env, STAT_TCP_OVER_SHARE);
	return true;
}

uint32_t tcp_rcv_window(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	uint32_t share = memory_share(s, p);
	uint32_t cap = p->rcv_cap < share ? p->rcv_cap : share;
	uint32_t bound = least(p) > TCP_PRESSURE_WINDOW ? least(p) : TCP_PRESSURE_WINDOW;
	uint32_t held = bytes_held(s, p), window;
	int32_t offered = seq_diff(p->rcv_adv, p->rcv_nxt);

	if (s->pressure >= TCP_PRESSURE_WINDOWS && cap > bound)
		cap = bound;
	window = cap > held ? cap - held : 0;
	if (window < p->mss && window < cap)
		window = 0; // silly window avoidance: nothing rather than less than a segment
	if (offered > 0 && (uint32_t)offered > window)
		window = (uint32_t)offered; // never shrink (RFC 7323 2.4)
	return window;
}

static void in_order(struct tcp_stack *s, struct tcp_pcb *p, uint32_t idx)
{
	p->rcv_nxt += s->slice[idx].len;
	if ((p->flags & TCP_F_ORPHAN) != 0)
		slice_free(s, idx); // draining: read and discarded
	else
		rx_append(s, p, idx);
}

// Out-of-order segments that have become in order; what overlaps is cut off. True: the peer's FIN
// is next.
static bool ooo_deliver(struct tcp_stack *s, struct tcp_pcb *p)
{
	while (p->ooo_head != 0) {
		uint32_t idx = p->ooo_head;
		struct tcp_slice *sl = &s->slice[idx];
		int32_t old = seq_diff(p->rcv_nxt, sl->seq);
		bool fin = sl->fin && old <= sl->len;

		if (old < 0)
			return false;
		p->ooo_head = sl->next;
		if (old >= sl->len) {
			slice_free(s, idx);
		} else {
			sl->off = (uint16_t)(sl->off + old);
			sl->len = (uint16_t)(sl->len - old);
			in_order(s, p, idx);
		}
		if (fin) {
			ooo_drop(s, p); // nothing comes behind it
			return true;
		}
	}
	return false;
}

// Where a segment belongs in the queue out of order; NULL: one that holds all of it is there
// already.
static uint32_t *
ooo_place(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_seg *seg, unsigned *ret_count)
{
	uint32_t *place = NULL, *link = &p->ooo_head;

	*ret_count = 0;
	for (; *link != 0; link = &s->slice[*link].next) {
		struct tcp_slice *sl = &s->slice[*link];
		int32_t ahead = seq_diff(seg->seq, sl->seq);

		if (ahead >= 0 && (uint32_t)ahead + seg->len <= sl->len) {
			sl->mark = ++s->ooo_mark;
			sl->fin = sl->fin || ((seg->flags & RTE_TCP_FIN_FLAG) != 0 &&
					      (uint32_t)ahead + seg->len == sl->len);
			return NULL;
		}
		if (ahead <= 0 && place == NULL)
			place = link;
		++*ret_count;
	}
	return place != NULL ? place : link;
}

// Keeps a segment beyond the first gap, sorted by sequence.
static void ooo_insert(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_seg *seg)
{
	unsigned count;
	uint32_t *link = ooo_place(s, p, seg, &count);
	uint32_t idx;

	if (link == NULL) { // a duplicate
		tcp_dsack_note(s, p, seg->seq, seg->seq + seg->len);
		return;
	}
	if (count >= TCP_OOO_MAX) {
		stat_inc(s->env, STAT_TCP_OOO_FULL);
		return;
	}
	if (s->pressure >= TCP_PRESSURE_PRUNE) {
		stat_inc(s->env, STAT_TCP_PRUNED);
		return;
	}
	if (over_share(s, p))
		return;
	idx = slice_new(s, seg->m, seg->seq, seg->off, seg->len);
	if (idx == 0)
		return;
	seg->m = NULL;
	s->slice[idx].mark = ++s->ooo_mark;
	s->slice[idx].fin = (seg->flags & RTE_TCP_FIN_FLAG) != 0;
	s->slice[idx].next = *link;
	*link = idx;
	stat_inc(s->env, STAT_TCP_OUT_OF_ORDER);
}

static void ack_later(struct tcp_stack *s, struct tcp_pcb *p)
{
	if ((p->flags & TCP_F_DELACK) != 0) {
		p->flags |= TCP_F_ACK_NOW; // the second segment (RFC 9293 3.8.6.3)
		pcb_dirty(s, p);
		return;
	}
	p->flags |= TCP_F_DELACK;
	p->delack_at_ms = env_now_ms(s->env) + TCP_DELACK_MS;
	tcp_timer_update(s, p);
}

void tcp_rcv_data(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_seg *seg)
{
	bool fin = false;
	uint32_t idx;

	if (seg->seq != p->rcv_nxt) {
		ooo_insert(s, p, seg);
		p->flags |= TCP_F_ACK_NOW; // a duplicate ACK tells of the gap
		pcb_dirty(s, p);
		return;
	}
	idx = over_share(s, p) ? 0 : slice_new(s, seg->m, seg->seq, seg->off, seg->len);
	if (idx == 0)
		return; // not taken, not acknowledged: it comes again
	seg->m = NULL;
	in_order(s, p, idx);
	if (p->ooo_head != 0) {
		fin = ooo_deliver(s, p);
		p->flags |= TCP_F_ACK_NOW; // a gap is filled: at once (RFC 5681 4.2)
		pcb_dirty(s, p);
	} else {
		ack_later(s, p);
	}
	pcb_event(s, p, TCP_EV_DATA);
	if (fin)
		tcp_rcv_fin(s, p);
}

void tcp_rcv_fin(struct tcp_stack *s, struct tcp_pcb *p)
{
	p->rcv_nxt++;
	p->flags |= TCP_F_FIN_RCVD | TCP_F_ACK_NOW;
	pcb_dirty(s, p);
	pcb_event(s, p, TCP_EV_FIN);
	switch (p->state) {
	case TCP_S_ESTABLISHED:
		pcb_state_set(s, p, TCP_S_CLOSE_WAIT);
		break;
	case TCP_S_FIN_WAIT_1:
		pcb_state_set(s, p, TCP_S_CLOSING); // our FIN is not acknowledged yet, else the ACK
						    // before moved us on
		tcp_state_timer(s, p, 0);
		break;
	case TCP_S_FIN_WAIT_2:
		tcp_time_wait_enter(s, p);
		pcb_finish(s, p);
		break;
	default:
		break;
	}
}
