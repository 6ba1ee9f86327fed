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

// Sees that the worker has stood still (a stopped process, a paused machine) for longer than `due`
// can tell: each mini of before has had its time.
void minis_stall_check(struct tcp_stack *s)
{
	uint32_t now = env_now_ms(s->env);

	if (now - s->ran_ms > TCP_MINI_STALL_MS) {
		s->syn.fifo.over = s->syn.fifo.tail;
		s->tw.fifo.over = s->tw.fifo.tail;
	}
	s->ran_ms = now;
}

static void due_set(struct tcp_stack *s, struct tcp_mini *mini, uint32_t delay_ms)
{
	mini->due = (uint16_t)((env_now_ms(s->env) + delay_ms + TCP_MINI_TICK_MS - 1) /
			       TCP_MINI_TICK_MS);
}

static void fifo_append(struct tcp_minis *minis, uint32_t idx)
{
	struct tcp_mini *mini = &minis->mini[idx];

	mini->next = 0;
	mini->prev = minis->fifo.tail;
	if (minis->fifo.tail != 0)
		minis->mini[minis->fifo.tail].next = idx;
	else
		minis->fifo.head = idx;
	minis->fifo.tail = idx;
	minis->fifo.count++;
}

static void fifo_leave(struct tcp_minis *minis, struct tcp_mini *mini)
{
	if (minis->fifo.over == (uint32_t)(mini - minis->mini))
		minis->fifo.over = mini->prev;
	if (mini->prev != 0)
		minis->mini[mini->prev].next = mini->next;
	else
		minis->fifo.head = mini->next;
	if (mini->next != 0)
		minis->mini[mini->next].prev = mini->prev;
	else
		minis->fifo.tail = mini->prev;
	minis->fifo.count--;
}

uint32_t mini_push(struct tcp_stack *s, struct tcp_minis *minis, uint32_t delay_ms)
{
	uint32_t idx = idpool_get(&minis->ids);

	if (idx == 0)
		return 0;
	minis_stall_check(s);
	due_set(s, &minis->mini[idx], delay_ms);
	fifo_append(minis, idx);
	return idx;
}

void mini_free(struct tcp_minis *minis, struct tcp_mini *mini)
{
	fifo_leave(minis, mini);
	idpool_put(&minis->ids, (uint32_t)(mini - minis->mini));
}

void mini_kill(struct tcp_stack *s, struct tcp_minis *minis, struct tcp_mini *mini)
{
	flow_remove(s, mini_key(mini));
	mini_free(minis, mini);
}

void mini_again(
	struct tcp_stack *s,
	struct tcp_minis *minis,
	struct tcp_mini *mini,
	uint32_t delay_ms
)
{
	minis_stall_check(s);
	fifo_leave(minis, mini);
	due_set(s, mini, delay_ms);
	fifo_append(minis, (uint32_t)(mini - minis->mini));
}

int32_t mini_left_ms(const struct tcp_stack *s, const struct tcp_mini *mini)
{
	uint32_t now = env_now_ms(s->env);
	uint16_t ticks = (uint16_t)(mini->due - now / TCP_MINI_TICK_MS);

	return (int16_t)ticks * TCP_MINI_TICK_MS - (int32_t)(now % TCP_MINI_TICK_MS);
}

int32_t tcp_minis_left_ms(const struct tcp_stack *s, const struct tcp_minis *minis)
{
	return minis->fifo.over != 0 ? 0 : mini_left_ms(s, &minis->mini[minis->fifo.head]);
}

bool mini_due(const struct tcp_stack *s, const struct tcp_minis *minis)
{
	return minis->fifo.count > 0 && tcp_minis_left_ms(s, minis) <= 0;
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
