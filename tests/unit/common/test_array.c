// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of tables: zeroed, aligned, refused when they cannot be.

#include "common/array.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void check(size_t count, size_t size, size_t align)
{
	uint8_t *mem = array_new(count, size);

	assert_non_null(mem);
	assert_int_equal((uintptr_t)mem % align, 0);
	for (size_t i = 0; i < count * size; i++)
		assert_int_equal(mem[i], 0);
	free(mem);
}

static void tables_are_zero_and_aligned(void **state)
{
	check(1, 1, 64);
	check(1000, 24, 64);
	check(1U << 16, 64, 2U << 20);
	check((2U << 20) + 1, 1, 2U << 20);
}

static void impossible_sizes_are_refused(void **state)
{
	assert_null(array_new(SIZE_MAX / 2, 3));
	assert_null(array_new(SIZE_MAX - 100, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_zero_and_aligned),
		cmocka_unit_test(impossible_sizes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
