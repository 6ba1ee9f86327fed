// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// CUBIC against the formula of RFC 9438 in floating point, over minutes of virtual time.

#include "dataplane/tcp/tcp_loss_inner_types.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MSS 1460U

static uint64_t stats[STAT_COUNT];
static struct worker_env env = {.count = 1, .stats = stats};
static struct tcp_stack stack = {.env = &env};

static double cube_root(double n)
{
	double r = n;

	for (unsigned i = 0; i < 100; i++)
		r -= (r * r * r - n) / (3 * r * r);
	return r;
}

// Acknowledges a whole window in segments, spread over a round trip.
static void round_trip(struct tcp_pcb *p, struct tcp_loss *l, uint32_t rtt_ms)
{
	uint32_t segments = p->cwnd / MSS;
	uint64_t start = env.now_ns;

	for (uint32_t i = 0; i < segments; i++) {
		env.now_ns = start + (uint64_t)rtt_ms * 1000000U * i / segments;
		p->cwnd += tcp_cubic_grow(&stack, p, l, MSS);
	}
	env.now_ns = start + (uint64_t)rtt_ms * 1000000U;
}

static void a_loss_takes_three_tenths(void **state)
{
	struct tcp_pcb p = {.mss = MSS, .cwnd = 100 * MSS, .ssthresh = UINT32_MAX};
	struct tcp_loss l = {0};

	tcp_cubic_loss(&p, &l, 100 * MSS);
	assert_int_equal(p.ssthresh, 70 * MSS);
	assert_int_equal(l.cubic_w_max, 100 * MSS);
	p.cwnd = 80 * MSS; // lost again before it was back: the other flow's room is left to it
	tcp_cubic_loss(&p, &l, 80 * MSS);
	assert_int_equal(p.ssthresh, 56 * MSS);
	assert_int_equal(l.cubic_w_max, 68 * MSS);
	tcp_cubic_loss(&p, &l, 10 * MSS); // little of it was in use
	assert_int_equal(p.ssthresh, 7 * MSS);
	tcp_cubic_loss(&p, &l, 1000);
	assert_int_equal(p.ssthresh, 2 * MSS);
}

static void the_window_follows_the_curve(void **state)
{
	static const uint32_t sizes[] = {200, 1000, 2000};

	for (unsigned i = 0; i < 3; i++) {
		struct tcp_pcb p = {.mss = MSS, .srtt_us8 = 8 * 50000};
		struct tcp_loss l = {0};
		double w_max = sizes[i], k = cube_root(w_max * 0.3 / 0.4), start, last = 0;

		env.now_ns = 1000000000;
		p.cwnd = sizes[i] * MSS;
		tcp_cubic_loss(&p, &l, p.cwnd);
		p.cwnd = p.ssthresh;
		start = (double)env.now_ns / 1e9;
		for (unsigned n = 0; n < 20 * (unsigned)(k + 4); n++) {
			double t, w, reno = l.cubic_w_est / (double)MSS;

			round_trip(&p, &l, 50);
			t = (double)env.now_ns / 1e9 - start;
			w = 0.4 * (t - k) * (t - k) * (t - k) + w_max;
			assert_true(p.cwnd >= last); // never smaller without a loss
			last = p.cwnd;
			// as the curve, a round trip early or late; more where Reno is faster
			if (t > 0.5 && w > 1.5 * 0.7 * w_max)
				assert_true(p.cwnd >= 0.9 * w * MSS);
			assert_true(p.cwnd <= 1.2 * (w > reno ? w : reno) * MSS);
		}
		assert_true(p.cwnd > sizes[i] * MSS); // past the old maximum
	}
}

// On short paths CUBIC is no slower than Reno after the same loss (4.3).
static void as_fast_as_reno(void **state)
{
	struct tcp_pcb p = {.mss = MSS, .cwnd = 20 * MSS, .srtt_us8 = 8 * 5000};
	struct tcp_loss l = {0};
	double reno = 14;

	env.now_ns = 1000000000;
	tcp_cubic_loss(&p, &l, p.cwnd);
	p.cwnd = p.ssthresh;
	for (unsigned n = 0; n < 100; n++) {
		round_trip(&p, &l, 5);
		reno += reno < 20 ? 0.52 : 0.95;
		assert_true(p.cwnd >= (reno - 2) * MSS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_loss_takes_three_tenths),
		cmocka_unit_test(the_window_follows_the_curve),
		cmocka_unit_test(as_fast_as_reno),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
