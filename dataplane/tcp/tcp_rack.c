// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// RACK (RFC 8985 6): a segment is lost when one that was sent sufficiently later has arrived. Times
// are milliseconds; segments of the same one go by sequence. Worker thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

#define REO_PERSIST 16 // recoveries until the window is small again

// Steps 1-3: RTT and the latest sent segment that has arrived, reordering.
void tcp_rack_delivered(
	struct tcp_stack *s,
	struct tcp_loss *l,
	uint32_t mark,
	uint32_t end,
	uint32_t fack
)
{
	int32_t rtt = mark_diff(mark_now(s), mark);
	bool again = (mark & TCP_SL_AGAIN) != 0;

	if (rtt < 0)
		return; // sent days ago
	if (again && (uint32_t)rtt < l->rtt_min_ms)
		return; // so soon: the first transmission arrived
	if (!again)
		l->flags &= (uint8_t)~TCP_LOSS_TLP_NO_RTT;
	if (!again && (uint32_t)rtt < l->rtt_min_ms)
		l->rtt_min_ms = rtt > 0 ? (uint32_t)rtt : 1;
	if (!again && seq_diff(end, fack) < 0)
		l->flags |= TCP_LOSS_REORDERED;
	if ((l->flags & TCP_LOSS_RACK) != 0 &&
	    (mark_diff(mark, l->rack_mark) < 0 ||
	     (mark_diff(mark, l->rack_mark) == 0 && seq_diff(end, l->rack_end) <= 0)))
		return;
	l->flags |= TCP_LOSS_RACK;
	l->rack_mark = mark;
	l->rack_end = end;
	l->rtt_ms = (uint32_t)rtt > l->rtt_min_ms ? (uint32_t)rtt : l->rtt_min_ms;
}

// Step 4: something was sent again in vain, so wait longer; at most once a round trip.
void tcp_rack_dsack(struct tcp_pcb *p, struct tcp_loss *l)
{
	if (seq_diff(p->snd_una, l->dsack_seq) < 0)
		return;
	l->dsack_seq = p->snd_nxt;
	l->reo_persist = REO_PERSIST;
	if (l->reo_mult < UINT8_MAX)
		l->reo_mult++;
}

void tcp_rack_recovered(struct tcp_loss *l)
{
	if (l->reo_persist > 0 && --l->reo_persist == 0)
		l->reo_mult = 1;
}

// How long a segment may be late, in milliseconds.
static uint32_t reo_window(const struct tcp_pcb *p, const struct tcp_loss *l)
{
	uint32_t window = l->rtt_min_ms * l->reo_mult / 4, srtt = p->srtt_us8 / 8000;
	bool recovering = seq_diff(p->snd_una, p->recover) < 0;

	if ((l->flags & TCP_LOSS_REORDERED) == 0 &&
	    (recovering || l->sacked > (TCP_DUPACKS - 1U) * p->mss))
		return 0;
	if (window > srtt)
		window = srtt;
	return window > 0 ? window : 1; // the clock's step
}

// Was the slice sent before the latest one that has arrived?
static bool is_before(const struct tcp_loss *l, const struct tcp_slice *sl)
{
	int32_t diff = mark_diff(l->rack_mark, sl->mark);

	return diff > 0 || (diff == 0 && seq_diff(l->rack_end, sl->seq + sl->len) > 0);
}

// Step 5.
uint32_t tcp_rack_detect(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_loss *l)
{
	uint32_t limit = l->rtt_ms + reo_window(p, l), now = mark_now(s);
	int32_t wait = 0;

	if ((l->flags & TCP_LOSS_RACK) == 0)
		return 0;
	for (uint32_t idx = p->tx_head; idx != 0; idx = s->slice[idx].next) {
		const struct tcp_slice *sl = &s->slice[idx];
		int32_t left;

		if (seq_diff(sl->seq, p->snd_nxt) >= 0)
			break;
		if ((sl->mark & (TCP_SL_SACKED | TCP_SL_LOST)) != 0)
			continue;
		if (!is_before(l, sl)) {
			if ((sl->mark & TCP_SL_AGAIN) == 0)
				break; // all behind it were sent later still
			continue;
		}
		left = (int32_t)limit - mark_diff(now, sl->mark);
		if (left > 0)
			wait = left > wait ? left : wait;
		else if (!slice_lost(s, p, l, idx))
			wait = wait > 0 ? wait : 1; // no queue entry now
	}
	return (uint32_t)wait;
}
