// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Queues, their owners, and what workers without one hand over: each queue has one owner, nothing
// is lost or overtaken however little the port takes, and a full ring takes no more.

#include "dataplane/port/share.h"

#include "common/rng.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// Frames are numbers here: neither share.c nor this test looks into them.
#define FRAME(worker, n) ((struct rte_mbuf *)((uintptr_t)(worker) << 32 | (n) << 1 | 1))

struct wire {
	struct rng rng;
	uint16_t workers;
	uint64_t next[64];   // number that must come next of each worker
	uint64_t queues_now; // that may be used by the worker whose turn it is
};

static uint16_t wire_send(void *up, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	struct wire *w = up;
	uint16_t take = (uint16_t)(rng_below(&w->rng, 2) ? n : rng_below(&w->rng, n + 1U));

	assert_true((w->queues_now >> queue & 1) == 1);
	for (uint16_t i = 0; i < take; i++) {
		uint64_t from = (uintptr_t)pkts[i] >> 32,
			 number = (uint32_t)(uintptr_t)pkts[i] >> 1;

		assert_int_equal(number, w->next[from]);
		w->next[from]++;
	}
	return take;
}

static void every_queue_has_one_owner(void **state)
{
	for (uint16_t workers = 1; workers <= 9; workers++) {
		for (uint16_t queues = 1; queues <= workers; queues++) {
			for (uint16_t first = 0; first < workers; first++) {
				struct share *s = share_new(workers, queues, first);
				uint32_t owned = 0;

				assert_non_null(s);
				assert_int_equal(share_own_queue(s, first), 0);
				for (uint16_t w = 0; w < workers; w++) {
					int q = share_own_queue(s, w);

					assert_true(share_tx_queue(s, w) < queues);
					if (q < 0)
						continue;
					assert_int_equal(share_tx_queue(s, w), q);
					assert_int_equal(owned >> q & 1, 0);
					owned |= 1U << q;
				}
				assert_int_equal(owned, (1U << queues) - 1);
				share_free(s);
			}
		}
	}
}

static void impossible_ones_are_refused(void **state)
{
	assert_null(share_new(2, 0, 0));
	assert_null(share_new(2, 3, 0));
	assert_null(share_new(2, 1, 2));
	assert_int_equal(errno, EINVAL);
}

// Workers that send bursts of any size over a port that takes what it likes.
static void nothing_is_lost_or_overtaken(void **state)
{
	for (unsigned seed = 1; seed <= 60; seed++) {
		struct wire wire = {0};
		uint64_t sent[8] = {0};
		uint16_t workers, queues;
		struct share *s;

		rng_seed(&wire.rng, seed);
		workers = (uint16_t)(1 + rng_below(&wire.rng, 8));
		queues = (uint16_t)(1 + rng_below(&wire.rng, workers));
		s = share_new(workers, queues, (uint16_t)rng_below(&wire.rng, workers));
		assert_non_null(s);
		for (unsigned turn = 0; turn < 4000 || turn % workers != 0; turn++) {
			uint16_t w = (uint16_t)(turn % workers);
			uint16_t n = (uint16_t)rng_below(&wire.rng, 40);
			struct rte_mbuf *burst[40];
			int own = share_own_queue(s, w);

			for (uint16_t i = 0; i < n; i++)
				burst[i] = FRAME(w, sent[w] + i);
			wire.queues_now = own >= 0 ? 1ULL << own : 0;
			share_run(s, w, wire_send, &wire);
			sent[w] += share_tx(s, w, burst, n, wire_send, &wire);
		}
		for (unsigned turn = 0; turn < 4000U * workers; turn++) {
			int own = share_own_queue(s, (uint16_t)(turn % workers));

			wire.queues_now = own >= 0 ? 1ULL << own : 0;
			share_run(s, (uint16_t)(turn % workers), wire_send, &wire);
		}
		for (uint16_t w = 0; w < workers; w++)
			assert_int_equal(wire.next[w], sent[w]);
		share_free(s);
	}
}

static uint16_t nothing_is_taken(void *up, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	return 0;
}

static uint16_t all_is_taken(void *up, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	*(unsigned *)up += n;
	return n;
}

static void a_full_ring_takes_no_more(void **state)
{
	struct share *s = share_new(2, 1, 0);
	unsigned taken = 0, sent = 0;

	assert_non_null(s);
	for (unsigned i = 0; i < 2 * SHARE_HELD_MAX; i++) {
		struct rte_mbuf *m = FRAME(1, i);

		taken += share_tx(s, 1, &m, 1, nothing_is_taken, NULL);
		assert_int_equal(share_run(s, 0, nothing_is_taken, NULL), 0);
	}
	assert_in_range(taken, SHARE_RING_SLOTS - 1, SHARE_HELD_MAX);
	for (unsigned i = 0; i < 100; i++)
		share_run(s, 0, all_is_taken, &sent);
	assert_int_equal(sent, taken);
	share_free(s);
}

static void the_table_is_even(void **state)
{
	for (uint16_t workers = 1; workers <= 64; workers++) {
		unsigned slots[64] = {0};

		for (unsigned i = 0; i < SHARE_RETA_SIZE; i++) {
			// larger tables of NICs repeat it
			assert_int_equal(
				share_slot_owner(i, workers),
				share_slot_owner(i + 3 * SHARE_RETA_SIZE, workers)
			);
			slots[share_slot_owner(i, workers)]++;
		}
		for (uint16_t w = 0; w < workers; w++)
			assert_in_range(
				slots[w], SHARE_RETA_SIZE / workers, SHARE_RETA_SIZE / workers + 1
			);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_queue_has_one_owner),
		cmocka_unit_test(impossible_ones_are_refused),
		cmocka_unit_test(nothing_is_lost_or_overtaken),
		cmocka_unit_test(a_full_ring_takes_no_more),
		cmocka_unit_test(the_table_is_even),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
