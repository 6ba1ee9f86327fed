// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TIME_WAIT (RFC 9293 3.10.7.4, RFC 6191, RFC 1337): minis that answer for a connection that is
// over and end after a minute without a FIN. Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

// The oldest gives way when there is none.
static uint32_t time_wait_new(struct tcp_stack *s)
{
	struct tcp_minis *tw = &s->tw;
	struct tcp_mini *oldest = &tw->mini[tw->fifo.head];
	uint32_t idx, tail;

	if (tw->fifo.count + 1 == tw->ids.count) {
		if (oldest->kind != TCP_MINI_DEAD) {
			stat_inc(s->env, STAT_TCP_TIME_WAIT_RECYCLED);
			mini_kill(s, oldest);
		}
		mini_pop(tw);
	}
	tail = tw->fifo.tail;
	idx = mini_push(tw);
	tw->mini[idx].prev = tail;
	return idx;
}

void tcp_time_wait_enter(struct tcp_stack *s, const struct tcp_pcb *p)
{
	uint32_t idx = time_wait_new(s);
	struct tcp_mini *mini = &s->tw.mini[idx];

	memcpy(mini, pcb_key(p), sizeof(struct flow_key));
	mini->kind = TCP_MINI_TIME_WAIT;
	mini->flags = (uint8_t)(p->flags & (TCP_F_TS | TCP_F_WS));
	mini->rcv_nxt = p->rcv_nxt;
	mini->snd_nxt = p->snd_max;
	mini->ts_recent = p->ts_recent;
	mini->deadline_ms = env_now_ms(s->env) + TCP_TIME_WAIT_MS;
	flow_remove(s, pcb_key(p)); // the mini takes the tuple over
	if (!flow_insert(s, mini_key(mini), TCP_INDEX_MINI | TCP_INDEX_TIME_WAIT | idx))
		mini->kind = TCP_MINI_DEAD;
	if ((p->flags & TCP_F_ACK_NOW) != 0) // of the peer's FIN: the PCB will not send it any more
		mini_ack(s, mini, mini->snd_nxt, 0);
}

// The wait begins anew: to the end of the list.
static void time_wait_restart(struct tcp_stack *s, struct tcp_mini *mini)
{
	struct tcp_minis *tw = &s->tw;
	uint32_t idx = (uint32_t)(mini - tw->mini);

	mini->deadline_ms = env_now_ms(s->env) + TCP_TIME_WAIT_MS;
	if (tw->fifo.tail == idx)
		return;
	if (tw->fifo.head == idx)
		tw->fifo.head = mini->next;
	else
		tw->mini[mini->prev].next = mini->next;
	tw->mini[mini->next].prev = mini->prev;
	mini->prev = tw->fifo.tail;
	mini->next = 0;
	tw->mini[tw->fifo.tail].next = idx;
	tw->fifo.tail = idx;
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
		mini_kill(s, mini);
		tcp_syn_input(s, pkt, seg, isn);
		return;
	}
	if ((seg->flags & RTE_TCP_FIN_FLAG) != 0)
		time_wait_restart(s, mini);
	if ((seg->flags & (RTE_TCP_FIN_FLAG | RTE_TCP_SYN_FLAG)) != 0 || seg->len > 0)
		mini_ack(s, mini, mini->snd_nxt, 0);
}

void tcp_time_wait_run(struct tcp_stack *s)
{
	uint32_t now = env_now_ms(s->env);

	for (unsigned n = 0; n < TCP_TIMER_QUOTA && s->tw.fifo.count > 0; n++) {
		struct tcp_mini *mini = &s->tw.mini[s->tw.fifo.head];

		if (seq_diff(mini->deadline_ms, now) > 0)
			break;
		if (mini->kind != TCP_MINI_DEAD)
			mini_kill(s, mini);
		mini_pop(&s->tw);
	}
}
