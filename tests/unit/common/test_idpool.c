// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of common/idpool.c.

#include "common/idpool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void hands_out_each_index_once(void **state)
{
	uint32_t mem[100];
	bool seen[100] = {0};
	struct idpool pool;
	uint32_t idx;

	idpool_init(&pool, mem, 100);
	for (unsigned i = 1; i < 100; i++) {
		idx = idpool_get(&pool);
		assert_true(idx > 0 && idx < 100 && !seen[idx]);
		seen[idx] = true;
	}
	assert_int_equal(idpool_get(&pool), 0);
	assert_int_equal(pool.used, 99);
	idpool_put(&pool, 42);
	assert_int_equal(idpool_get(&pool), 42);
	for (idx = 1; idx < 100; idx++)
		idpool_put(&pool, idx);
	assert_int_equal(pool.used, 0);
}

static void tiny_pools_are_empty(void **state)
{
	uint32_t mem[1];
	struct idpool pool;

	idpool_init(&pool, mem, 1);
	assert_int_equal(idpool_get(&pool), 0);
	idpool_init(&pool, mem, 0);
	assert_int_equal(idpool_get(&pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hands_out_each_index_once),
		cmocka_unit_test(tiny_pools_are_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
