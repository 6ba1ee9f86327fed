// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a segment says of itself: headers and directories that no dataplane writes.

#include "common/abi/attach.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct {
	struct shm_header head;
	uint64_t text[64];
} segment;
static const struct shm_view view =
	{(uint8_t *)&segment, sizeof(segment), (const struct shm_header *)&segment};

static int segment_make(void **state)
{
	segment.head = (struct shm_header){
		.magic = SHM_STATS_MAGIC,
		.size_of_header = sizeof(struct shm_header),
		.size = sizeof(segment),
		.workers = 2,
		.backend_slots = 8,
		.service_slots = 8,
		.stat_count = 100,
		.dir = {{SHM_SEC_WORKER, 4, sizeof(struct shm_header), 128}},
	};
	return 0;
}

static void a_good_header_is_taken(void **state)
{
	assert_true(shm_view_ok(&view, SHM_STATS_MAGIC));
	assert_false(shm_view_ok(&view, SHM_CONTROL_MAGIC));
	segment.head.size--;
	assert_false(shm_view_ok(&view, SHM_STATS_MAGIC));
}

// A reader would loop over them for hours.
static void counts_that_cannot_be_are_refused(void **state)
{
	uint32_t *const counts[] = {
		&segment.head.workers,
		&segment.head.backend_slots,
		&segment.head.service_slots,
		&segment.head.stat_count,
	};

	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		*counts[i] = UINT32_MAX;
		assert_false(shm_view_ok(&view, SHM_STATS_MAGIC));
		segment_make(NULL);
	}
}

static void entries_lie_inside(void **state)
{
	struct shm_dir_entry *e = &segment.head.dir[0];

	assert_ptr_equal(shm_view_entry(&view, SHM_SEC_WORKER, 0, 128), segment.text);
	assert_ptr_equal(shm_view_entry(&view, SHM_SEC_WORKER, 3, 1), segment.text + 48);
	assert_null(shm_view_entry(&view, SHM_SEC_WORKER, 4, 1));
	assert_null(shm_view_entry(&view, SHM_SEC_WORKER, 0, 129));
	assert_null(shm_view_entry(&view, SHM_SEC_PORT, 0, 1));
	e->count = UINT32_MAX;
	assert_null(shm_view_entry(&view, SHM_SEC_WORKER, 4, 1));
	assert_null(shm_view_entry(&view, SHM_SEC_WORKER, UINT32_MAX - 1, 1));
	e->off = UINT64_MAX - 7;
	assert_null(shm_view_entry(&view, SHM_SEC_WORKER, 0, 1));
}

// Of slots there may be none: nothing is needed of an entry that has no size.
static void a_stride_of_nothing_divides_nothing(void **state)
{
	segment.head.dir[0].stride = 0;
	assert_null(shm_view_entry(&view, SHM_SEC_WORKER, 0, 0));
}

static void entries_are_aligned(void **state)
{
	segment.head.dir[0].off++;
	assert_null(shm_view_entry(&view, SHM_SEC_WORKER, 0, 8));
	segment_make(NULL);
	segment.head.dir[0].stride = 127;
	assert_null(shm_view_entry(&view, SHM_SEC_WORKER, 0, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_good_header_is_taken, segment_make),
		cmocka_unit_test_setup(counts_that_cannot_be_are_refused, segment_make),
		cmocka_unit_test_setup(entries_lie_inside, segment_make),
		cmocka_unit_test_setup(a_stride_of_nothing_divides_nothing, segment_make),
		cmocka_unit_test_setup(entries_are_aligned, segment_make),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
