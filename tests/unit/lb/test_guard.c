// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Leases over workers, the fast-failure guard, backup pools.

#include "dataplane/lb/lb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORKERS 4
#define SLOTS 8
#define SECOND 1000000000ULL

static struct {
	struct blob_header head;
	struct blob_pool pool[2];
	struct blob_backend backend[4]; // two a pool, slots 1 to 4
} blob;
static struct shm_backend_ctl ctl[SLOTS];
static struct shm_backend_local local[WORKERS][SLOTS];
static struct rng rng;
static struct lb_leases *leases;
static struct lb *worker[WORKERS];
static struct lb_view view[WORKERS];

static int setup(void **state)
{
	memset(ctl, 0, sizeof(ctl));
	memset(local, 0, sizeof(local));
	memset(&blob, 0, sizeof(blob));
	blob.head.pools = (struct blob_array){(uint32_t)offsetof(typeof(blob), pool), 2};
	blob.head.backends = (struct blob_array){(uint32_t)offsetof(typeof(blob), backend), 4};
	for (uint32_t i = 0; i < 2; i++)
		blob.pool[i] = (struct blob_pool
		){.backends = 2 * i, .backend_count = 2, .scheduler = BLOB_SCHED_WLC};
	for (uint32_t i = 0; i < 4; i++)
		blob.backend[i] = (struct blob_backend
		){.slot = i + 1, .weight = 100, .port = 25, .pool = i / 2};
	rng_seed(&rng, 5);
	leases = lb_leases_new(SLOTS);
	for (unsigned w = 0; w < WORKERS; w++) {
		worker[w] = lb_new(SLOTS, leases, &rng);
		view[w] = (struct lb_view){
			.blob = &blob.head,
			.ctl = ctl,
			.local = local[w],
			.slots = SLOTS,
			.workers = WORKERS,
			.now_ns = 100 * SECOND,
		};
	}
	return leases != NULL && worker[WORKERS - 1] != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	for (unsigned w = 0; w < WORKERS; w++)
		lb_free(worker[w]);
	lb_leases_free(leases);
	return 0;
}

static uint32_t open_at(uint32_t slot)
{
	uint32_t sum = 0;

	for (unsigned w = 0; w < WORKERS; w++)
		sum += local[w][slot].active;
	return sum;
}

// Every worker opens and closes as it likes, limits change as reloads change them: the sum never
// grows beyond the limit, and never while it is above it.
static void workers_together_keep_the_limit(void **state)
{
	uint32_t most = 0, full = 0;

	for (unsigned step = 0; step < 200000; step++) {
		unsigned w = rng_below(&rng, WORKERS);
		uint32_t before[3] = {0, open_at(1), open_at(2)};

		if (step % 5000 == 0) {
			static const uint32_t limits[] = {20, 1, 3000, 0, 7, 20};

			blob.backend[0].max_connections = limits[rng_below(&rng, 6)];
			blob.backend[1].max_connections = limits[rng_below(&rng, 6)];
		}
		view[w].now_ns += rng_below(&rng, 3000000);
		lb_leases_settle(worker[w], local[w], view[w].now_ns);
		if (rng_below(&rng, 100) < 55) {
			uint32_t i = lb_pick(worker[w], &view[w], 0, NULL, 0);

			full += i == LB_FULL;
			if (i < 2 && rng_below(&rng, 8) != 0) // a lease may lapse
				local[w][i + 1].active++;
		} else {
			uint32_t slot = 1 + rng_below(&rng, 2);

			local[w][slot].active -= local[w][slot].active > 0;
		}
		for (uint32_t slot = 1; slot <= 2; slot++) {
			uint32_t limit = blob.backend[slot - 1].max_connections;

			if (limit != 0 && open_at(slot) > before[slot])
				assert_in_range(open_at(slot), 0, limit);
			assert_true(lb_leases_used(leases, slot) >= open_at(slot));
			if (limit == 20 && open_at(slot) > before[slot] && open_at(slot) > most)
				most = open_at(slot);
		}
	}
	assert_int_equal(most, 20); // and it is reached
	assert_true(full > 0);
	memset(local, 0, sizeof(local));
	for (unsigned w = 0; w < WORKERS; w++)
		lb_leases_settle(worker[w], local[w], view[w].now_ns + SECOND);
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		assert_int_equal(lb_leases_used(leases, slot), 0);
}

// One worker takes everything, then another needs it.
static void what_one_worker_leaves_another_can_have(void **state)
{
	blob.backend[0].max_connections = 20;
	blob.backend[1].weight = 0;
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(lb_pick(worker[0], &view[0], 0, NULL, 0), 0);
		local[0][1].active++;
	}
	assert_int_equal(lb_pick(worker[0], &view[0], 0, NULL, 0), LB_FULL);
	assert_int_equal(lb_pick(worker[1], &view[1], 0, NULL, 0), LB_FULL);
	local[0][1].active = 3;
	view[0].now_ns += SECOND;
	lb_leases_settle(worker[0], local[0], view[0].now_ns);
	for (unsigned i = 0; i < 17; i++) {
		assert_int_equal(lb_pick(worker[1], &view[1], 0, NULL, 0), 0);
		local[1][1].active++;
	}
	assert_int_equal(lb_pick(worker[1], &view[1], 0, NULL, 0), LB_FULL);
}

// Half the sessions last 20 steps; those at the failing backend end at once.
static unsigned failing_share(bool fails)
{
	uint8_t ends[20][2] = {0};
	unsigned hits = 0;

	for (unsigned step = 0; step < 20000; step++) {
		uint8_t *due = ends[step % 20];
		uint32_t i = lb_pick(worker[0], &view[0], 0, NULL, 0);

		for (unsigned k = 0; k < 2; k++) {
			for (; due[k] > 0; due[k]--) {
				local[0][k + 1].active--;
				lb_report_end(worker[0], k + 1, true, view[0].now_ns);
			}
		}
		hits += i == 0;
		if (i == 0 && fails) {
			lb_report_end(worker[0], 1, false, view[0].now_ns);
		} else {
			local[0][i + 1].active++;
			due[i]++;
		}
		view[0].now_ns += SECOND / 200;
	}
	return hits;
}

static void who_refuses_quickly_gains_nothing(void **state)
{
	assert_in_range(failing_share(true), 5000, 10400); // of 20,000: never more than its share
}

static void who_refuses_quickly_gains_nothing_by_weight(void **state)
{
	blob.backend[0].weight = 50;
	assert_in_range(failing_share(true), 2000, 7100);
}

static void who_is_quick_and_good_gains(void **state)
{
	unsigned hits = 0;

	for (unsigned i = 0; i < 1000; i++) { // no load at the first, ever
		uint32_t at = lb_pick(worker[0], &view[0], 0, NULL, 0);

		hits += at == 0;
		if (at == 0)
			lb_report_end(worker[0], 1, true, view[0].now_ns);
		else
			local[0][2].active++;
	}
	assert_in_range(hits, 650, 850);
}

static void a_backup_is_for_when_nothing_is_up(void **state)
{
	const uint32_t tried[] = {1, 2};

	blob.pool[0].backup = 2;
	ctl[1].health = SHM_HEALTH_DOWN;
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(lb_pick(worker[0], &view[0], 0, NULL, 0), 1);
	assert_int_equal(lb_pick(worker[0], &view[0], 0, tried, 2), LB_NONE); // one is up
	lb_leases_settle(worker[0], local[0], view[0].now_ns);
	blob.backend[1].max_connections = 1;
	assert_int_equal(lb_pick(worker[1], &view[1], 0, NULL, 0), 1);
	local[1][2].active = 1;
	assert_int_equal(lb_pick(worker[1], &view[1], 0, NULL, 0), LB_FULL); // up, if full
	ctl[2].health = SHM_HEALTH_EJECTED;
	for (unsigned i = 0; i < 50; i++)
		assert_in_range(lb_pick(worker[0], &view[0], 0, NULL, 0), 2, 3);
	ctl[3].health = SHM_HEALTH_MAINTENANCE;
	assert_int_equal(lb_pick(worker[0], &view[0], 0, NULL, 0), 3);
	ctl[4].admin = BLOB_ADMIN_DRAIN;
	assert_int_equal(lb_pick(worker[0], &view[0], 0, NULL, 0), LB_NONE); // no panic mode
}

static void our_own_failures_count_when_control_is_gone(void **state)
{
	blob.pool[0].backup = 2;
	for (unsigned i = 0; i < 3; i++)
		for (uint32_t slot = 1; slot <= 2; slot++)
			lb_report_failure(worker[0], slot, view[0].now_ns);
	for (unsigned i = 0; i < 50; i++)
		assert_in_range(lb_pick(worker[0], &view[0], 0, NULL, 0), 2, 3);
	assert_in_range(lb_pick(worker[1], &view[1], 0, NULL, 0), 0, 1); // its own view
	blob.pool[0].backup = 0;
	assert_in_range(lb_pick(worker[0], &view[0], 0, NULL, 0), 0, 1); // rather than none
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(workers_together_keep_the_limit),
		CASE(what_one_worker_leaves_another_can_have),
		CASE(who_refuses_quickly_gains_nothing),
		CASE(who_refuses_quickly_gains_nothing_by_weight),
		CASE(who_is_quick_and_good_gains),
		CASE(a_backup_is_for_when_nothing_is_up),
		CASE(our_own_failures_count_when_control_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
