// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Acknowledgements: what they free, the round-trip estimate (RFC 6298), congestion window (RFC 5681
// Reno, RFC 6582 NewReno where there is no scoreboard) and the send window. Worker thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

void tcp_rtt_sample(struct tcp_pcb *p, uint32_t rtt_ms)
{
	uint32_t rtt = (rtt_ms > 0 ? rtt_ms : 1) * 1000U;
	uint32_t rto;

	if (rtt_ms > TCP_RTO_MAX_MS)
		return; // an echo that cannot be ours
	if (p->srtt_us8 == 0) {
		p->srtt_us8 = rtt * 8;
		p->rttvar_us4 = rtt * 2;
	} else {
		int32_t err = (int32_t)rtt - (int32_t)(p->srtt_us8 / 8);
		uint32_t mag = (uint32_t)(err < 0 ? -err : err);

		p->rttvar_us4 = p->rttvar_us4 - p->rttvar_us4 / 4 + mag;
		p->srtt_us8 = (uint32_t)((int32_t)p->srtt_us8 + err);
	}
	// On a steady path the variance goes to nothing, and a delayed ACK would be a time-out.
	rto = p->rttvar_us4 > TCP_RTO_MIN_MS * 1000U ? p->rttvar_us4 : TCP_RTO_MIN_MS * 1000U;
	rto = (p->srtt_us8 / 8 + rto) / 1000U;
	p->rto_ms = (uint16_t)(rto > TCP_RTO_MAX_MS ? TCP_RTO_MAX_MS : rto);
}

void tcp_handshake_was_lost(struct tcp_pcb *p)
{
	p->cwnd = p->mss; // RFC 5681 3.1
	if (p->srtt_us8 == 0)
		p->rto_ms = TCP_RTO_SYN_LOST_MS;
}

static void rtt_update(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_seg *seg)
{
	uint32_t now = env_now_ms(s->env);

	if ((p->flags & TCP_F_TS) != 0 && seg->has_ts && seg->ts_ecr != 0) {
		tcp_rtt_sample(p, now + p->ts_offset - seg->ts_ecr);
	} else if ((p->flags & TCP_F_RTT) != 0 && seq_diff(seg->ack, p->rtt_seq) > 0) {
		tcp_rtt_sample(p, now - p->rtt_at_ms);
		p->flags &= (uint16_t)~TCP_F_RTT;
	}
}

static void cwnd_grow(struct tcp_stack *s, struct tcp_pcb *p, uint32_t acked)
{
	// of slow start: as much as is acknowledged, two segments at most, one after a time-out
	// (RFC 3465 2.2, 2.3)
	uint32_t most = seq_diff(p->snd_una, p->recover) < 0 ? p->mss : 2U * p->mss;
	uint32_t add;

	if (p->cwnd < p->ssthresh)
		add = acked < most ? acked : most;
	else if (p->loss != 0)
		add = tcp_cubic_grow(s, p, loss_of(s, p), acked);
	else
		add = (uint32_t)((uint64_t)p->mss * acked / p->cwnd) +
		      1; // about one segment a round trip
	if (p->cwnd < TCP_TX_LIMIT)
		p->cwnd += add;
}

static void recovery_ack(struct tcp_stack *s, struct tcp_pcb *p, uint32_t acked)
{
	if (seq_diff(p->snd_una, p->recover) >= 0) { // full acknowledgement, RFC 6582 3.2 step 3
		p->flags &= (uint16_t)~TCP_F_RECOVERY;
		p->cwnd = p->ssthresh;
		return;
	}
	tcp_retransmit_first(s, p); // partial: the next hole
	p->cwnd = p->cwnd > acked ? p->cwnd - acked : p->mss;
	p->cwnd += p->mss;
}

static void duplicate_ack(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t flight = p->snd_max - p->snd_una;

	if ((p->flags & TCP_F_RECOVERY) != 0) {
		if (p->cwnd < TCP_TX_LIMIT)
			p->cwnd += p->mss;
		pcb_dirty(s, p);
		return;
	}
	if (p->dupacks < UINT8_MAX)
		p->dupacks++;
	if (p->dupacks < TCP_DUPACKS && flight <= p->cwnd + p->mss && p->snd_nxt == p->snd_max)
		tcp_send_beyond(s, p); // limited transmit (RFC 3042)
	if (p->dupacks != TCP_DUPACKS ||
	    seq_diff(p->snd_una, p->recover) < 0) // once a window, RFC 6582 3.2 step 2
		return;
	stat_inc(s->env, STAT_TCP_FAST_RETRANSMITS);
	p->flags |= TCP_F_RECOVERY;
	p->recover = p->snd_max;
	p->ssthresh = flight / 2 > 2U * p->mss ? flight / 2 : 2U * p->mss;
	p->cwnd = p->ssthresh + 3U * p->mss;
	tcp_retransmit_first(s, p);
	p->flags &= (uint16_t)~TCP_F_RTX;
	tcp_rtx_arm(s, p);
}

static void window_take(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_seg *seg)
{
	uint32_t wnd = seg->wnd << p->snd_wscale;

	if (seq_diff(p->snd_wl1, seg->seq) > 0 ||
	    (p->snd_wl1 == seg->seq && seq_diff(p->snd_wl2, seg->ack) > 0))
		return;
	if (wnd > p->snd_wnd)
		pcb_dirty(s, p);
	p->snd_wnd = wnd;
	p->snd_wl1 = seg->seq;
	p->snd_wl2 = seg->ack;
}

// The FIN of ours was acknowledged.
static void fin_acked(struct tcp_stack *s, struct tcp_pcb *p)
{
	p->flags &= (uint16_t)~(TCP_F_FIN_QUEUED | TCP_F_FIN_SENT);
	switch (p->state) {
	case TCP_S_FIN_WAIT_1:
		pcb_state_set(s, p, TCP_S_FIN_WAIT_2);
		if ((p->flags & TCP_F_ORPHAN) != 0)
			tcp_state_timer(s, p, TCP_FIN_WAIT_2_MS);
		break;
	case TCP_S_CLOSING:
		tcp_time_wait_enter(s, p);
		pcb_finish(s, p);
		break;
	case TCP_S_LAST_ACK:
		pcb_finish(s, p);
		break;
	default:
		break;
	}
}

static void new_ack(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_seg *seg)
{
	uint32_t acked = seg->ack - p->snd_una;
	uint32_t flight = p->snd_max - p->snd_una;
	bool fin = acked > p->tx_bytes; // data is all acknowledged, and one more
	uint32_t data = fin ? p->tx_bytes : acked;

	rtt_update(s, p, seg);
	p->snd_una = seg->ack;
	if (seq_diff(p->snd_nxt, p->snd_una) < 0)
		p->snd_nxt = p->snd_una;
	p->backoff = 0;
	p->dupacks = 0;
	if (data > 0)
		tx_acked(s, p, data);
	if ((p->flags & TCP_F_RECOVERY) == 0) {
		if (2 * flight >= p->cwnd) // only what is used has been tried (RFC 7661 4.3)
			cwnd_grow(s, p, acked);
	} else if (p->loss == 0) {
		recovery_ack(s, p, acked);
	}
	tcp_rtx_stop(s, p);
	if (p->snd_max != p->snd_una)
		tcp_rtx_arm(s, p);
	else
		p->rtx_at_ms = env_now_ms(s->env); // idle from now on
	pcb_dirty(s, p);
	if (fin)
		fin_acked(s, p);
}

bool tcp_ack_input(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_seg *seg)
{
	uint32_t max_wnd =
		p->snd_wnd > 65535U << p->snd_wscale ? p->snd_wnd : 65535U << p->snd_wscale;
	struct tcp_news news; // with a scoreboard, or blocks for one
	bool may_be_dup = true;

	// RFC 5961 5: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.MAX
	if (seq_diff(seg->ack, p->snd_max) > 0 || seq_diff(seg->ack, p->snd_una - max_wnd) < 0) {
		stat_inc(s->env, STAT_TCP_BAD_ACK);
		p->flags |= TCP_F_ACK_NOW;
		pcb_dirty(s, p);
		return false;
	}
	if ((p->flags & TCP_F_PERSIST) != 0)
		p->dupacks = 0; // the peer lives, even with its window shut
	if ((p->loss | seg->sack) != 0) {
		tcp_score_input(s, p, seg, &news);
		may_be_dup = p->loss == 0 && !news.dsack;
	}
	if (seq_diff(seg->ack, p->snd_una) > 0) {
		new_ack(s, p, seg);
		if (p->state == TCP_S_CLOSED)
			return false;
	} else if (seg->ack == p->snd_una && seg->len == 0 &&
		   (seg->flags & RTE_TCP_FIN_FLAG) == 0 &&
		   seg->wnd << p->snd_wscale == p->snd_wnd && p->snd_max != p->snd_una &&
		   (p->flags & TCP_F_PERSIST) == 0 && may_be_dup) {
		duplicate_ack(s, p);
	}
	if (p->loss != 0)
		tcp_recover_run(s, p, &news);
	window_take(s, p, seg);
	return true;
}
