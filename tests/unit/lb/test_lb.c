// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Distribution, limits and health of both schedulers.

#include "dataplane/lb/lb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct {
	struct blob_header head;
	struct blob_pool pool;
	struct blob_backend backend[3];
} blob;
static struct shm_backend_ctl ctl[8];
static struct shm_backend_local local[8];
static struct rng rng;

static struct lb_view view_make(enum blob_scheduler scheduler)
{
	memset(ctl, 0, sizeof(ctl));
	memset(local, 0, sizeof(local));
	memset(&blob, 0, sizeof(blob));
	blob.head.pools = (struct blob_array){(uint32_t)offsetof(typeof(blob), pool), 1};
	blob.head.backends = (struct blob_array){(uint32_t)offsetof(typeof(blob), backend), 3};
	blob.pool = (struct blob_pool){.backend_count = 3, .scheduler = (uint8_t)scheduler};
	for (uint32_t i = 0; i < 3; i++)
		blob.backend[i] = (struct blob_backend){.slot = i + 1, .weight = i + 1, .port = 25};
	rng_seed(&rng, 5);
	return (struct lb_view
	){.blob = &blob.head, .ctl = ctl, .local = local, .slots = 8, .workers = 1, .now_ns = 1};
}

static void round_robin_follows_the_weights(void **state)
{
	struct lb_view view = view_make(BLOB_SCHED_WRR);
	struct lb *lb = lb_new(8, NULL, &rng);
	unsigned hits[3] = {0};

	for (unsigned i = 0; i < 600; i++)
		hits[lb_pick(lb, &view, 0, NULL, 0)]++;
	assert_int_equal(hits[0], 100);
	assert_int_equal(hits[1], 200);
	assert_int_equal(hits[2], 300);
	lb_free(lb);
}

static void whether_there_is_another_takes_nothing(void **state)
{
	struct lb_view view = view_make(BLOB_SCHED_WRR);
	struct lb *lb = lb_new(8, NULL, &rng);
	const uint32_t tried[] = {1, 2, 3};

	assert_true(lb_has(lb, &view, 0, tried, 2));
	assert_false(lb_has(lb, &view, 0, tried, 3));
	assert_int_equal(lb_leases_held(lb, 3), 0);
	ctl[3].health = SHM_HEALTH_DOWN;
	assert_false(lb_has(lb, &view, 0, tried, 2));
	ctl[3].health = SHM_HEALTH_UP;
	for (unsigned i = 0; i < 3; i++)
		lb_report_failure(lb, 3, view.now_ns);
	assert_false(lb_has(lb, &view, 0, tried, 2)); // failed lately
	lb_report_success(lb, 3);
	assert_true(lb_has(lb, &view, 0, tried, 2));
	blob.backend[2].max_connections = 5;
	local[3].active = 5;
	while (lb_pick(lb, &view, 0, tried, 2) == 2)
		;
	assert_false(lb_has(lb, &view, 0, tried, 2));
	lb_free(lb);
}

static void least_connections_follow_load_by_weight(void **state)
{
	struct lb_view view = view_make(BLOB_SCHED_WLC);
	struct lb *lb = lb_new(8, NULL, &rng);

	for (unsigned i = 0; i < 6000; i++)
		local[blob.backend[lb_pick(lb, &view, 0, NULL, 0)].slot].active++;
	assert_in_range(local[1].active, 900, 1100);
	assert_in_range(local[2].active, 1850, 2150);
	assert_in_range(local[3].active, 2850, 3150);
	lb_free(lb);
}

static void down_draining_full_and_tried_ones_are_left_out(void **state)
{
	for (unsigned scheduler = 0; scheduler < 2; scheduler++) {
		struct lb_view view = view_make((enum blob_scheduler)scheduler);
		struct lb *lb = lb_new(8, NULL, &rng);
		const uint32_t tried[] = {3};

		ctl[1].health = SHM_HEALTH_DOWN;
		for (unsigned i = 0; i < 50; i++)
			assert_int_equal(lb_pick(lb, &view, 0, tried, 1), 1);
		blob.backend[1].max_connections = 5;
		local[2].active = 5;
		assert_int_equal(lb_pick(lb, &view, 0, tried, 1), LB_FULL); // no panic mode
		local[2].active = 4;
		blob.backend[1].admin = BLOB_ADMIN_DRAIN;
		assert_int_equal(lb_pick(lb, &view, 0, tried, 1), LB_NONE);
		lb_free(lb);
	}
}

static void one_that_keeps_failing_is_avoided_for_a_while(void **state)
{
	struct lb_view view = view_make(BLOB_SCHED_WRR);
	struct lb *lb = lb_new(8, NULL, &rng);
	const uint32_t tried[] = {1, 2};

	for (unsigned i = 0; i < 3; i++)
		lb_report_failure(lb, 3, view.now_ns);
	for (unsigned i = 0; i < 50; i++)
		assert_int_not_equal(lb_pick(lb, &view, 0, NULL, 0), 2);
	assert_int_equal(lb_pick(lb, &view, 0, tried, 2), 2); // rather than none
	view.now_ns += 2000000000ULL;
	lb_generation(lb, &blob.head);
	assert_int_equal(lb_pick(lb, &view, 0, NULL, 0), 2);
	lb_free(lb);
}

static void a_probe_that_finds_it_up_ends_the_avoidance(void **state)
{
	struct lb_view view = view_make(BLOB_SCHED_WRR);
	struct lb *lb = lb_new(8, NULL, &rng);
	unsigned hits[3] = {0};

	ctl[3].health = SHM_HEALTH_UP;
	for (unsigned i = 0; i < 8; i++)
		lb_report_failure(lb, 3, view.now_ns);
	for (unsigned i = 0; i < 60; i++)
		hits[lb_pick(lb, &view, 0, NULL, 0)]++;
	assert_int_equal(hits[2], 0);
	ctl[3].changes += 2; // down and up again, with no choice in between
	for (unsigned i = 0; i < 60; i++)
		hits[lb_pick(lb, &view, 0, NULL, 0)]++;
	assert_int_equal(hits[2], 30);
	lb_free(lb);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_robin_follows_the_weights),
		cmocka_unit_test(whether_there_is_another_takes_nothing),
		cmocka_unit_test(least_connections_follow_load_by_weight),
		cmocka_unit_test(down_draining_full_and_tried_ones_are_left_out),
		cmocka_unit_test(one_that_keeps_failing_is_avoided_for_a_while),
		cmocka_unit_test(a_probe_that_finds_it_up_ends_the_avoidance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
