// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The ring between control and a worker: order, full, and a peer that lies about the indices.

#include "common/abi/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ctl_ring *ring_new(void)
{
	struct ctl_ring *r = aligned_alloc(64, sizeof(*r));

	assert_non_null(r);
	memset(r, 0, sizeof(*r));
	return r;
}

static void order_full_and_wrap(void **state)
{
	struct ctl_ring *r = ring_new();
	struct ctl_msg msg = {.type = CTL_CMD_PROBE};
	uint32_t in = 0, out = 0;

	r->head = r->tail = UINT32_MAX - 5; // the indices run over
	assert_int_equal(ctl_ring_get(r, &msg), CTL_RING_EMPTY);
	for (unsigned round = 0; round < 5; round++) {
		for (msg.request_id = in; ctl_ring_put(r, &msg); msg.request_id = ++in)
			;
		assert_int_equal(in - out, CTL_RING_SLOTS);
		for (unsigned i = 0; i < CTL_RING_SLOTS / 2 + round; i++) {
			assert_int_equal(ctl_ring_get(r, &msg), CTL_RING_MSG);
			assert_int_equal(msg.request_id, out++);
		}
	}
	free(r);
}

static void impossible_indices_are_given_up(void **state)
{
	struct ctl_ring *r = ring_new();
	struct ctl_msg msg = {.request_id = 1};

	for (uint32_t lie = CTL_RING_SLOTS + 1; lie != 0; lie <<= 1) {
		r->head = 77;
		r->tail = 77 + lie;
		assert_int_equal(ctl_ring_get(r, &msg), CTL_RING_BAD);
		assert_int_equal(ctl_ring_get(r, &msg), CTL_RING_EMPTY);
		msg.request_id = lie;
		assert_true(ctl_ring_put(r, &msg));
		assert_int_equal(ctl_ring_get(r, &msg), CTL_RING_MSG);
		assert_int_equal(msg.request_id, lie);
		r->head = 78; // beyond the tail: a producer finds it full, writes nothing
		r->tail = 77;
		assert_false(ctl_ring_put(r, &msg));
	}
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_full_and_wrap),
		cmocka_unit_test(impossible_indices_are_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
