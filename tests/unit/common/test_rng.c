// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of common/rng.c.

#include "common/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void same_seed_same_numbers(void **state)
{
	struct rng a, b, c;

	rng_seed(&a, 7);
	rng_seed(&b, 7);
	rng_seed(&c, 8);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t x = rng_next(&a);

		assert_true(x == rng_next(&b));
		assert_true(x != rng_next(&c));
	}
}

static void below_stays_below_and_reaches_all(void **state)
{
	unsigned hits[10] = {0};
	struct rng rng;

	rng_seed(&rng, 1);
	for (unsigned i = 0; i < 10000; i++)
		hits[rng_below(&rng, 10)]++;
	for (unsigned i = 0; i < 10; i++)
		assert_in_range(hits[i], 800, 1200);
	assert_int_equal(rng_below(&rng, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_seed_same_numbers),
		cmocka_unit_test(below_stays_below_and_reaches_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
