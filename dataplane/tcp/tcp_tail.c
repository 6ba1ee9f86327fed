// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Tail loss probe (RFC 8985 7): when nothing is heard for two round trips, one segment goes out
// that the peer must answer, new if there is one, else the last; its answer tells RACK what is
// missing. Only where that fails the retransmission timer does its harsh work. A flight of no more
// than a segment is probed at the time-out itself. Worker thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

#define PTO_MIN_MS 10 // a peer's host may be late, too

#define TLP_BUSY (TCP_LOSS_TLP | TCP_LOSS_TLP_NO_RTT)

// Where a probe would help: data in flight, and neither a scoreboard nor a recovery at work.
static bool probe_may(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	if ((p->flags & (TCP_F_SACK | TCP_F_RECOVERY)) != TCP_F_SACK || p->backoff != 0 ||
	    p->state <= TCP_S_SYN_RCVD || p->tx_bytes == 0 || p->snd_wnd == 0 ||
	    p->snd_nxt != p->snd_max || p->snd_nxt == p->snd_una ||
	    seq_diff(p->snd_una, p->recover) < 0)
		return false;
	if (p->loss != 0) {
		const struct tcp_loss *l = loss_of(s, p);

		return (l->flags & TLP_BUSY) == 0 && (l->sacked | l->lost) == 0;
	}
	return true;
}

uint32_t tcp_tail_delay(const struct tcp_stack *s, const struct tcp_pcb *p, uint32_t rto_ms)
{
	uint32_t pto_ms = p->srtt_us8 / 4000;

	if (!probe_may(s, p) || p->srtt_us8 == 0)
		return rto_ms;
	if (pto_ms < PTO_MIN_MS)
		pto_ms = PTO_MIN_MS;
	return pto_ms < rto_ms ? pto_ms : rto_ms;
}

// The last octets sent, as much as a segment takes, from the start of a slice if one begins there.
static bool last_send(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t data_end = pcb_data_end(p);
	uint32_t end = seq_diff(p->snd_nxt, data_end) < 0 ? p->snd_nxt : data_end;
	uint32_t limit = tcp_segment_limit(s, p), idx = p->tx_head, first;
	struct tcp_out out = {.flags = RTE_TCP_ACK_FLAG};

	while (end - s->slice[idx].seq > limit) { // the queue's last slice begins before end
		uint32_t next = s->slice[idx].next;

		if (next == 0 || seq_diff(s->slice[next].seq, end) >= 0) {
			idx = tx_split(s, p, idx, end - limit);
			break;
		}
		idx = next;
	}
	if (idx == 0)
		return false;
	out.seq = s->slice[idx].seq;
	out.len = (uint16_t)(end - out.seq);
	if (end == data_end) {
		out.flags |= RTE_TCP_PSH_FLAG;
		if ((p->flags & TCP_F_FIN_SENT) != 0)
			out.flags |= RTE_TCP_FIN_FLAG;
	}
	if (!tcp_segment_send(s, p, &out))
		return false;
	for (first = idx; first != 0 && seq_diff(s->slice[first].seq, end) < 0;
	     first = s->slice[first].next)
		s->slice[first].mark = mark_now(s) | TCP_SL_AGAIN;
	p->flags &= (uint16_t)~TCP_F_RTT; // Karn
	stat_inc(s->env, STAT_TCP_RETRANSMITS);
	tcp_trace(s, p, TCP_TRACE_RETRANSMIT);
	return true;
}

bool tcp_tail_probe(struct tcp_stack *s, struct tcp_pcb *p)
{
	struct tcp_loss *l = probe_may(s, p) ? loss_take(s, p) : NULL;

	if (l == NULL)
		return false;
	if (!tcp_send_beyond(s, p)) {
		if (!last_send(s, p))
			return false;
		l->flags |= TCP_LOSS_TLP_AGAIN;
	}
	stat_inc(s->env, STAT_TCP_TAIL_PROBES);
	l->flags |= TLP_BUSY;
	l->tlp_end = p->snd_nxt;
	tcp_rtx_arm(s, p);
	return true;
}

// RFC 8985 7.4.2: what the answer to a probe says. True: the probe mended a loss that nobody saw.
bool tcp_tail_ack(struct tcp_pcb *p, struct tcp_loss *l, const struct tcp_news *news)
{
	bool mended = false;

	if ((l->flags & TCP_LOSS_TLP) == 0 || seq_diff(p->snd_una, l->tlp_end) < 0)
		return false;
	if ((l->flags & TCP_LOSS_TLP_AGAIN) != 0 && !news->dsack) {
		bool bare = news->acked == 0 && !news->sacked;

		if (p->snd_una == l->tlp_end && !bare)
			return false; // not known yet whether both came
		mended = !bare;
	}
	l->flags &= (uint8_t)~(TCP_LOSS_TLP | TCP_LOSS_TLP_AGAIN);
	return mended;
}
