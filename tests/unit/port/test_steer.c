// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Steering rings: order and whole elements, a full ring that takes nothing and loses nothing, and
// the frames that are freed with a ring.

#include "dataplane/port/steer.h"
#include "tests/eal.h"

#include <rte_mbuf.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct rte_mempool *pool;

static void elements_come_in_order_and_whole(void **state)
{
	struct rte_ring *ring = steer_ring_new();
	struct steer_elem got[32];
	uint32_t put = 0, taken = 0;
	unsigned n;

	assert_non_null(ring);
	assert_int_equal(steer_get_burst(ring, got, 32), 0);
	while (taken < 5000) { // several times around
		for (unsigned i = 0; i < 7 + put % 20; i++, put++) {
			const struct steer_elem e = {
				.m = (struct rte_mbuf *)(uintptr_t)(put + 1),
				.port = (uint8_t)put,
				.what = (uint8_t)(put * 3),
			};

			assert_true(steer_put(ring, &e));
		}
		while ((n = steer_get_burst(ring, got, 1 + taken % 32)) > 0) {
			for (unsigned i = 0; i < n; i++, taken++) {
				assert_int_equal((uintptr_t)got[i].m, taken + 1);
				assert_int_equal(got[i].port, (uint8_t)taken);
				assert_int_equal(got[i].what, (uint8_t)(taken * 3));
			}
		}
		assert_int_equal(taken, put);
	}
	steer_ring_free(ring);
}

static void a_full_ring_refuses_and_keeps_what_it_has(void **state)
{
	struct rte_ring *ring = steer_ring_new();
	struct steer_elem e = {0};
	uint32_t held = 0, taken = 0;

	assert_non_null(ring);
	for (; held < 2 * STEER_SLOTS; held++) {
		e.m = (struct rte_mbuf *)(uintptr_t)(held + 1);
		if (!steer_put(ring, &e))
			break;
	}
	assert_int_equal(held, STEER_SLOTS - 1);
	assert_false(steer_put(ring, &e));
	assert_int_equal(steer_get_burst(ring, &e, 1), 1); // room for one
	assert_int_equal((uintptr_t)e.m, 1);
	assert_true(steer_put(ring, &e));
	assert_false(steer_put(ring, &e));
	while (steer_get_burst(ring, &e, 1) == 1)
		taken++;
	assert_int_equal(taken, held);
	steer_ring_free(ring);
}

static void frames_are_freed_with_their_ring(void **state)
{
	struct rte_ring *ring = steer_ring_new();
	unsigned before = rte_mempool_avail_count(pool);

	assert_non_null(ring);
	for (unsigned i = 0; i < 50; i++) {
		const struct steer_elem e = {.m = rte_pktmbuf_alloc(pool)};

		assert_non_null(e.m);
		assert_true(steer_put(ring, &e));
	}
	assert_int_equal(rte_mempool_avail_count(pool), before - 50);
	steer_ring_free(ring);
	assert_int_equal(rte_mempool_avail_count(pool), before);
	steer_ring_free(NULL);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elements_come_in_order_and_whole),
		cmocka_unit_test(a_full_ring_refuses_and_keeps_what_it_has),
		cmocka_unit_test(frames_are_freed_with_their_ring),
	};
	if (!eal_start(64))
		return 1;
	pool = rte_pktmbuf_pool_create("frames", 127, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	return pool != NULL ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
