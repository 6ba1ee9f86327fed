// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What became of a connection lately: changes of its state, retransmissions, time-outs, in one ring
// of a worker. These are rare beside segments, so it is always written. Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

#define MASK (TCP_TRACE_EVENTS - 1U)
static_assert((TCP_TRACE_EVENTS & MASK) == 0, "masked");

void tcp_trace(struct tcp_stack *s, const struct tcp_pcb *p, enum tcp_trace_kind kind)
{
	s->trace->event[s->trace->next++ & MASK] = (struct tcp_trace_event){
		.pcb = pcb_index(s, p),
		.at_ms = env_now_ms(s->env),
		.seq = kind == TCP_TRACE_RETRANSMIT ? p->snd_una : p->snd_nxt,
		.kind = (uint8_t)kind,
		.state = p->state,
	};
}

void pcb_state_set(struct tcp_stack *s, struct tcp_pcb *p, enum tcp_state state)
{
	p->state = (uint8_t)state;
	tcp_trace(s, p, TCP_TRACE_STATE);
}

const char *tcp_state_name(enum tcp_state state)
{
	static const char *const names[] = {
		[TCP_S_CLOSED] = "closed",
		[TCP_S_SYN_SENT] = "syn-sent",
		[TCP_S_SYN_RCVD] = "syn-received",
		[TCP_S_ESTABLISHED] = "established",
		[TCP_S_FIN_WAIT_1] = "fin-wait-1",
		[TCP_S_FIN_WAIT_2] = "fin-wait-2",
		[TCP_S_CLOSE_WAIT] = "close-wait",
		[TCP_S_CLOSING] = "closing",
		[TCP_S_LAST_ACK] = "last-ack",
	};

	return names[state];
}

static const char *kind_name(unsigned kind)
{
	static const char *const names[] = {
		[TCP_TRACE_NEW] = "new",
		[TCP_TRACE_STATE] = "state",
		[TCP_TRACE_RETRANSMIT] = "retransmit",
		[TCP_TRACE_TIMEOUT] = "timeout",
	};

	return names[kind];
}

// Where the connection's own events begin: an index is used by one after the other.
static uint32_t first_of(const struct tcp_stack *s, struct tcp_conn_id conn, uint32_t oldest)
{
	uint32_t first = oldest;

	for (uint32_t i = oldest; i != s->trace->next; i++) {
		const struct tcp_trace_event *e = &s->trace->event[i & MASK];

		if (e->pcb == conn.v && e->kind == TCP_TRACE_NEW)
			first = i;
	}
	return first;
}

bool tcp_event_next(
	const struct tcp_stack *s,
	struct tcp_conn_id conn,
	uint32_t *at,
	struct tcp_event *ret
)
{
	uint32_t count = s->trace->next < TCP_TRACE_EVENTS ? s->trace->next : TCP_TRACE_EVENTS;
	uint32_t oldest = s->trace->next - count;

	if (*at == 0)
		*at = first_of(s, conn, oldest) - oldest;
	for (uint32_t i = oldest + *at; i != s->trace->next && *at < count; i++) {
		const struct tcp_trace_event *e = &s->trace->event[i & MASK];

		(*at)++;
		if (e->pcb != conn.v)
			continue;
		*ret = (struct tcp_event){
			.what = kind_name(e->kind),
			.state = tcp_state_name((enum tcp_state)e->state),
			.age_ms = env_now_ms(s->env) - e->at_ms,
			.seq = e->seq,
		};
		return true;
	}
	return false;
}
