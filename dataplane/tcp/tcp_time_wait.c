// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TIME_WAIT (RFC 9293 3.10.7.4, RFC 6191, RFC 1337): minis that answer for a connection that is
// over and end after a minute without a FIN. Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

void tcp_time_wait_enter(struct tcp_stack *s, const struct tcp_pcb *p)
{
	struct tcp_mini *mini;
	uint32_t idx;

	if (s->tw.fifo.count == s->config.max_minis) { // the oldest gives way
		stat_inc(s->env, STAT_TCP_TIME_WAIT_RECYCLED);
		mini_kill(s, &s->tw, &s->tw.mini[s->tw.fifo.head]);
	}
	idx = mini_push(s, &s->tw, TCP_TIME_WAIT_MS);
	mini = &s->tw.mini[idx];
	memcpy(mini, pcb_key(p), sizeof(struct flow_key));
	mini->flags = (uint8_t)(p->flags & (TCP_F_TS | TCP_F_WS));
	mini->rcv_nxt = p->rcv_nxt;
	mini->snd_nxt = p->snd_max;
	mini->ts_recent = p->ts_recent;
	// takes the tuple over
	flow_replace(s, mini_key(mini), TCP_INDEX_MINI | TCP_INDEX_TIME_WAIT | idx);
	if ((p->flags & TCP_F_ACK_NOW) != 0) // of the peer's FIN: the PCB will not send it any more
		mini_ack(s, mini, mini->snd_nxt, 0);
}

// May a SYN begin a new incarnation (RFC 6191 2)?
static bool may_begin(const struct tcp_mini *mini, const struct tcp_seg *seg)
{
	bool had_ts = (mini->flags & TCP_F_TS) != 0;

	if (seg->has_ts && !had_ts)
		return true;
	if (seg->has_ts && seg->ts_val != mini->ts_recent)
		return seq_diff(seg->ts_val, mini->ts_recent) > 0;
	return seq_diff(seg->seq, mini->rcv_nxt) > 0;
}

void tcp_time_wait_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	const struct tcp_seg *seg,
	struct tcp_mini *mini
)
{
	unsigned flags = seg->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG | RTE_TCP_RST_FLAG);
	uint32_t isn;

	if ((flags & RTE_TCP_RST_FLAG) != 0)
		return; // RFC 1337
	if (flags == RTE_TCP_SYN_FLAG && may_begin(mini, seg)) {
		stat_inc(s->env, STAT_TCP_TIME_WAIT_REUSED);
		isn = tcp_isn(s, mini_key(mini));
		if (seq_diff(isn, mini->snd_nxt) <= 0) // above all of the old one
			isn = mini->snd_nxt + UINT16_MAX;
		mini_kill(s, &s->tw, mini);
		tcp_syn_input(s, pkt, seg, isn);
		return;
	}
	if ((seg->flags & RTE_TCP_FIN_FLAG) != 0)
		mini_again(s, &s->tw, mini, TCP_TIME_WAIT_MS); // the wait begins anew
	if ((seg->flags & (RTE_TCP_FIN_FLAG | RTE_TCP_SYN_FLAG)) != 0 || seg->len > 0)
		mini_ack(s, mini, mini->snd_nxt, 0);
}

void tcp_time_wait_run(struct tcp_stack *s)
{
	for (unsigned n = 0; n < TCP_TIMER_QUOTA && mini_due(s, &s->tw); n++)
		mini_kill(s, &s->tw, &s->tw.mini[s->tw.fifo.head]);
}
