// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Minis: connections of 64 bytes, half-open or in TIME_WAIT, each kind in a FIFO list of constant
// delay; and the numbers that a tuple begins with. Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

uint32_t tcp_isn(const struct tcp_stack *s, const struct flow_key *key)
{
	// RFC 6528: a keyed hash of the tuple plus a clock of 4 us
	return (uint32_t)hash_siphash13(&s->config.isn_key, key, sizeof(*key)) +
	       (uint32_t)(s->env->now_ns / 4000U);
}

uint32_t tcp_ts_offset(const struct tcp_stack *s, const struct flow_key *key)
{
	return (uint32_t)(hash_siphash13(&s->config.isn_key, key, sizeof(*key)) >> 32);
}

uint32_t mini_push(struct tcp_minis *minis)
{
	uint32_t idx = idpool_get(&minis->ids);

	if (idx == 0)
		return 0;
	minis->mini[idx].next = 0;
	if (minis->fifo.tail != 0)
		minis->mini[minis->fifo.tail].next = idx;
	else
		minis->fifo.head = idx;
	minis->fifo.tail = idx;
	minis->fifo.count++;
	return idx;
}

uint32_t mini_pop(struct tcp_minis *minis)
{
	uint32_t idx = minis->fifo.head;

	minis->fifo.head = minis->mini[idx].next;
	if (minis->fifo.head == 0)
		minis->fifo.tail = 0;
	minis->fifo.count--;
	idpool_put(&minis->ids, idx);
	return idx;
}

void mini_kill(struct tcp_stack *s, struct tcp_mini *mini)
{
	flow_remove(s, mini_key(mini));
	mini->kind = TCP_MINI_DEAD;
}

void mini_ack(struct tcp_stack *s, const struct tcp_mini *mini, uint32_t seq, uint16_t wnd)
{
	struct tcp_reply reply = {
		.key = mini_key(mini),
		.seq = seq,
		.ack = mini->rcv_nxt,
		.wnd = wnd,
		.flags = RTE_TCP_ACK_FLAG,
	};

	if ((mini->flags & TCP_F_TS) != 0)
		reply.options_len = tcp_options_ts(
			reply.options,
			env_now_ms(s->env) + tcp_ts_offset(s, mini_key(mini)),
			mini->ts_recent
		);
	tcp_reply_send(s, &reply);
}
