// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Memory pressure: what is done as connections come to hold 60, 75, 85 and 95 % of the queue
// entries (one buffer each at most): windows stop growing, out-of-order data is dropped, SYNs are
// not answered, the connection that holds most buffers is reset. Buffers, not bytes: segments of
// 257 octets pin as much memory each as full ones. Each ends when less is held again. Once a turn;
// the walk over the connections is bounded a turn. Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

#define PRESSURE_WALK 2048  // connections and their buffers a turn, beyond the last one's
#define PRESSURE_COUNT 4096 // in a queue; whoever holds more is counted so

static const uint8_t percent[] = {0, 60, 75, 85, 95}; // by enum tcp_pressure

static bool holds(const struct tcp_stack *s, unsigned percents)
{
	return (uint64_t)s->slices.used * 100 >= (uint64_t)s->config.max_slices * percents;
}

// Up at once, down when 5 % less are held.
static enum tcp_pressure level_now(const struct tcp_stack *s)
{
	unsigned level = s->pressure;

	while (level < TCP_PRESSURE_ABORT && holds(s, percent[level + 1]))
		level++;
	while (level > TCP_PRESSURE_NONE && !holds(s, percent[level] - 5U))
		level--;
	return (enum tcp_pressure)level;
}

static void largest_abort(struct tcp_stack *s)
{
	struct tcp_pcb *p = pcb_of(s, s->largest);

	if (s->largest == 0 || (p->rx_head | p->tx_head) == 0)
		return;
	stat_inc(s->env, STAT_TCP_PRESSURE_ABORTED);
	tcp_reset_send(s, p);
	pcb_kill(s, p, TCP_CLOSE_NO_MEMORY);
}

static void lap_begin(struct tcp_stack *s)
{
	s->walk = 1;
	s->largest = s->largest_held = 0;
}

static uint32_t queue_count(const struct tcp_stack *s, uint32_t head)
{
	uint32_t n = 0;

	for (; head != 0 && n < PRESSURE_COUNT; head = s->slice[head].next)
		n++;
	return n;
}

static void walk(struct tcp_stack *s)
{
	for (unsigned n = 0; n < PRESSURE_WALK; n++, s->walk++) {
		struct tcp_pcb *p;
		uint32_t held;

		if (s->walk >= s->pcbs.count) {
			if (s->pressure == TCP_PRESSURE_ABORT)
				largest_abort(s);
			lap_begin(s);
			return;
		}
		p = pcb_of(s, s->walk);
		if (p->ooo_head != 0) {
			// not acknowledged yet: the peer sends it again
			stat_add(s->env, STAT_TCP_PRUNED, ooo_drop(s, p));
		}
		held = queue_count(s, p->rx_head) + queue_count(s, p->tx_head);
		n += held;
		if (held > s->largest_held) {
			s->largest = s->walk;
			s->largest_held = held;
		}
	}
}

void tcp_pressure_run(struct tcp_stack *s)
{
	enum tcp_pressure level = level_now(s);

	if (level != s->pressure) {
		s->pressure = (uint8_t)level;
		stat_set(s->env, STAT_TCP_PRESSURE, level);
	}
	if (level < TCP_PRESSURE_PRUNE) {
		s->walk = 0;
		return;
	}
	if (s->walk == 0)
		lap_begin(s);
	walk(s);
}
