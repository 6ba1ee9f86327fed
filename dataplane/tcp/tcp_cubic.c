// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// CUBIC (RFC 9438): how a congestion window gives way and grows again while the connection has a
// loss block; without one it is Reno's (tcp_ack.c). Octets and milliseconds, no floating point.
// Worker thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

// C = 0.4 segments a second cubed, beta = 0.7, alpha = 3 (1 - beta) / (1 + beta)
#define C_TENTHS 4U
#define BETA_TENTHS 7U
#define ALPHA_THOUSANDTHS 529U
#define AWAY_MAX_MS 100000 // from the inflection: the curve's reach in 64 bits

// Cube root, rounded down.
static uint32_t cube_root(uint64_t n)
{
	uint32_t root = 0;

	for (uint32_t bit = 1U << 20; bit != 0; bit >>= 1) {
		uint64_t r = root | bit;

		if (r * r * r <= n)
			root = (uint32_t)r;
	}
	return root;
}

void tcp_cubic_loss(struct tcp_pcb *p, struct tcp_loss *l, uint32_t flight)
{
	uint32_t was = flight < p->cwnd ? flight : p->cwnd; // never more than was in use
	uint32_t threshold = (uint32_t)((uint64_t)was * BETA_TENTHS / 10);

	// fast convergence: the room that another took is left to it (4.7)
	l->cubic_w_max =
		was < l->cubic_w_max ? (uint32_t)((uint64_t)was * (10 + BETA_TENTHS) / 20) : was;
	l->flags &= (uint8_t)~TCP_LOSS_CUBIC;
	p->ssthresh = threshold > 2U * p->mss ? threshold : 2U * p->mss;
}

static void epoch_begin(struct tcp_stack *s, const struct tcp_pcb *p, struct tcp_loss *l)
{
	l->flags |= TCP_LOSS_CUBIC;
	l->cubic_at_ms = env_now_ms(s->env);
	l->cubic_w_est = p->cwnd;
	l->cubic_k_ms = 0;
	if (p->cwnd >= l->cubic_w_max) {
		l->cubic_w_max = p->cwnd;
	} else { // K = cbrt((w_max - cwnd) / C): in ms^3, segments x 10^9 x 10 / 4
		uint64_t short_of = (uint64_t)(l->cubic_w_max - p->cwnd) * 10 / C_TENTHS;

		l->cubic_k_ms = cube_root(short_of * 1000000000U / p->mss);
	}
}

// W_cubic(t) = C (t - K)^3 + w_max.
static uint32_t curve(const struct tcp_pcb *p, const struct tcp_loss *l, uint32_t t_ms)
{
	int64_t away = (int64_t)t_ms - l->cubic_k_ms;
	int64_t w;

	if (away > AWAY_MAX_MS)
		away = AWAY_MAX_MS;
	if (away < -AWAY_MAX_MS)
		away = -AWAY_MAX_MS;
	w = away * away * away / 1000000 * (C_TENTHS * p->mss) / 10000 + l->cubic_w_max;
	return w < p->mss ? p->mss : w > TCP_TX_LIMIT ? TCP_TX_LIMIT : (uint32_t)w;
}

uint32_t
tcp_cubic_grow(struct tcp_stack *s, const struct tcp_pcb *p, struct tcp_loss *l, uint32_t acked)
{
	uint32_t t, target, alpha;

	if ((l->flags & TCP_LOSS_CUBIC) == 0)
		epoch_begin(s, p, l);
	t = env_now_ms(s->env) - l->cubic_at_ms;
	// what Reno would have by now (4.3)
	alpha = l->cubic_w_est < l->cubic_w_max ? ALPHA_THOUSANDTHS : 1000;
	l->cubic_w_est += (uint32_t)((uint64_t)p->mss * acked / p->cwnd * alpha / 1000) + 1;
	if (l->cubic_w_est > curve(p, l, t))
		return l->cubic_w_est > p->cwnd ? l->cubic_w_est - p->cwnd : 0;
	target = curve(p, l, t + p->srtt_us8 / 8000);
	if (target <= p->cwnd)
		return 0;
	if (target > p->cwnd + p->cwnd / 2)
		target = p->cwnd + p->cwnd / 2;
	return (uint32_t)((uint64_t)(target - p->cwnd) * acked / p->cwnd);
}
