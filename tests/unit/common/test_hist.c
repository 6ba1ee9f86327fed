// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Buckets, sums and quantiles of the latency histograms.

#include "common/abi/hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void edges_rise_and_bound_their_buckets(void **state)
{
	assert_int_equal(hist_bucket(0), 0);
	assert_int_equal(hist_bucket(UINT64_MAX), hist_bucket(UINT64_MAX - 1));
	for (unsigned i = 0; hist_edge_us(i) != UINT64_MAX; i++) {
		assert_int_equal(hist_bucket(hist_edge_us(i) - 1), i);
		assert_int_equal(hist_bucket(hist_edge_us(i)), i + 1);
		assert_true(i == 0 || hist_edge_us(i) > hist_edge_us(i - 1));
		assert_true(hist_bucket(hist_edge_us(i)) < SHM_HIST_BUCKETS);
	}
}

// Four an octave, a little wider beside a policy's edge; together they fill the table.
static void buckets_are_narrow(void **state)
{
	unsigned n = 0;

	for (; hist_edge_us(n) != UINT64_MAX; n++)
		assert_true(n == 0 || hist_edge_us(n) * 3 < hist_edge_us(n - 1) * 4 + 1);
	assert_int_equal(n + 1, SHM_HIST_BUCKETS);
	assert_true(hist_edge_us(n - 1) > 720000000); // the longest time-out of ours
}

// A reply tarpitted by five seconds and one sent just before never share a bucket.
static void policies_delays_have_edges(void **state)
{
	static const unsigned seconds[] = {1, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 600};

	for (unsigned i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		uint64_t us = seconds[i] * 1000000ULL;

		assert_int_not_equal(hist_bucket(us), hist_bucket(us - us / 50));
		assert_int_equal(hist_bucket(us), hist_bucket(us + us / 200));
	}
}

static void quantiles_lie_in_their_buckets(void **state)
{
	struct shm_hist h = {0}, sum = {0};

	assert_int_equal(hist_quantile_us(&h, 0.5), 0);
	for (unsigned i = 0; i < 90; i++)
		hist_add(&h, 1000);
	for (unsigned i = 0; i < 10; i++)
		hist_add(&h, 5000000);
	assert_int_equal(hist_bucket(hist_quantile_us(&h, 0.5)), hist_bucket(1000));
	assert_int_equal(hist_bucket(hist_quantile_us(&h, 0.95)), hist_bucket(5000000));
	hist_merge(&sum, &h);
	hist_merge(&sum, &h);
	assert_int_equal(sum.count, 200);
	assert_int_equal(sum.sum_us, 2 * h.sum_us);
	assert_int_equal(hist_quantile_us(&sum, 0.5), hist_quantile_us(&h, 0.5));
	memset(&h, 0, sizeof(h));
	hist_add(&h, 1ULL << 40); // the open bucket: at least its lower edge
	assert_true(hist_quantile_us(&h, 0.5) > 600000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edges_rise_and_bound_their_buckets),
		cmocka_unit_test(buckets_are_narrow),
		cmocka_unit_test(policies_delays_have_edges),
		cmocka_unit_test(quantiles_lie_in_their_buckets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
