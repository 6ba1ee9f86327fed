// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The flow table against a plain list: every key is found, none that was removed, whatever the
// load; overflow buckets come back.

#include "dataplane/tcp/tcp_inner_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONNS 3000

static uint64_t stats[STAT_COUNT];
static struct worker_env env = {.count = 1, .stats = stats};

static bool
on_syn(void *app,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	return false;
}

static const struct tcp_ops ops = {.on_syn = on_syn};

static struct tcp_stack *stack_sized(uint32_t conns, uint32_t minis)
{
	const struct tcp_config config = {
		.env = &env,
		.ops = &ops,
		.max_conns = conns,
		.max_minis = minis,
		.max_slices = 16,
		.flow_key = {17, 4},
		.isn_key = {1, 2},
	};
	struct tcp_stack *s = tcp_stack_new(&config);

	assert_non_null(s);
	return s;
}

static struct tcp_stack *stack_new(void)
{
	return stack_sized(CONNS, 64);
}

// Tuple number n: both families, neighboring ports.
static struct flow_key key_of(uint32_t n)
{
	struct flow_key key = {.local_port = 25, .remote_port = (uint16_t)(n % 60000 + 1)};

	memset(&key.local, 0, sizeof(key.local));
	if (n % 2 == 0) {
		key.local = ip_addr_from_v4(0x01020304);
		key.remote = ip_addr_from_v4(n / 7);
	} else {
		key.local.b[0] = key.remote.b[0] = 0x20;
		key.remote.b[15] = (uint8_t)(n / 7);
	}
	return key;
}

static void a_full_table_finds_all(void **state)
{
	struct tcp_stack *s = stack_new();
	static uint32_t idx[CONNS];
	struct flow_key key;

	for (uint32_t n = 0; n < CONNS; n++) {
		key = key_of(n);
		assert_int_equal(flow_lookup(s, &key), 0);
		idx[n] = pcb_index(s, pcb_alloc(s, &key));
		assert_int_not_equal(idx[n], 0);
	}
	key = key_of(CONNS);
	assert_null(pcb_alloc(s, &key)); // no PCB left, and counted
	assert_int_equal(stats[STAT_TCP_NO_PCB], 1);
	for (uint32_t n = 0; n < CONNS; n++) {
		key = key_of(n);
		assert_int_equal(flow_lookup(s, &key), idx[n]);
	}
	for (uint32_t n = 0; n < CONNS; n += 2) {
		key = key_of(n);
		flow_remove(s, &key);
	}
	for (uint32_t n = 0; n < CONNS; n++) {
		key = key_of(n);
		assert_int_equal(flow_lookup(s, &key), n % 2 == 0 ? 0 : idx[n]);
	}
	tcp_stack_free(s);
}

static void any_order_of_changes(void **state)
{
	struct tcp_stack *s = stack_new();
	static uint32_t idx[CONNS];

	memset(idx, 0, sizeof(idx));
	srandom(3);
	for (unsigned i = 0; i < 200000; i++) {
		uint32_t n = (uint32_t)random() % CONNS;
		struct flow_key key = key_of(n);

		assert_int_equal(flow_lookup(s, &key), idx[n]);
		if (idx[n] == 0) {
			idx[n] = idpool_get(&s->pcbs);
			memcpy(&s->pcb[idx[n]], &key, sizeof(key));
			assert_true(flow_insert(s, &key, idx[n]));
		} else {
			flow_remove(s, &key);
			idpool_put(&s->pcbs, idx[n]);
			idx[n] = 0;
		}
	}
	for (uint32_t n = 0; n < CONNS; n++) {
		struct flow_key key = key_of(n);

		assert_int_equal(flow_lookup(s, &key), idx[n]);
		if (idx[n] != 0)
			flow_remove(s, &key);
	}
	assert_int_equal(s->overflow.used, 0);
	tcp_stack_free(s);
}

static void crowded_buckets_overflow_and_recover(void **state)
{
	struct tcp_stack *s = stack_new();
	unsigned overflowed = 0;

	s->buckets = 2; // for all
	for (uint32_t n = 0; n < 100; n++) {
		struct flow_key key = key_of(n);

		memcpy(&s->pcb[n + 1], &key, sizeof(key));
		assert_true(flow_insert(s, &key, n + 1));
		overflowed = s->overflow.used;
	}
	assert_true(overflowed > 5);
	for (uint32_t n = 0; n < 100; n++) {
		struct flow_key key = key_of(n);

		assert_int_equal(flow_lookup(s, &key), n + 1);
		flow_remove(s, &key);
		assert_int_equal(flow_lookup(s, &key), 0);
	}
	assert_int_equal(s->overflow.used, 0);
	tcp_stack_free(s);
}

static void minis_are_told_apart(void **state)
{
	struct tcp_stack *s = stack_new();
	struct flow_key half = key_of(1), wait = key_of(2);

	memcpy(&s->syn.mini[5], &half, sizeof(half));
	memcpy(&s->tw.mini[5], &wait, sizeof(wait));
	assert_true(flow_insert(s, &half, TCP_INDEX_MINI | 5));
	assert_true(flow_insert(s, &wait, TCP_INDEX_MINI | TCP_INDEX_TIME_WAIT | 5));
	assert_int_equal(flow_lookup(s, &half), TCP_INDEX_MINI | 5);
	assert_int_equal(flow_lookup(s, &wait), TCP_INDEX_MINI | TCP_INDEX_TIME_WAIT | 5);
	flow_remove(s, &half);
	assert_int_equal(flow_lookup(s, &half), 0);
	assert_int_not_equal(flow_lookup(s, &wait), 0);
	tcp_stack_free(s);
}

// As ten thousand sessions have it: with every connection, half-open and closed one in it, there is
// still a place for the last.
static void everything_at_once_has_a_place(void **state)
{
	const uint32_t conns = 21315, minis = 2689;
	struct tcp_stack *s = stack_sized(conns, minis);

	for (uint32_t n = 0; n < conns + 2 * minis; n++) {
		struct flow_key key = key_of(n);
		uint32_t i = n < conns ? n + 1 : (n - conns) / 2 + 1;
		void *at = n < conns              ? (void *)&s->pcb[i]
			   : (n - conns) % 2 == 0 ? (void *)&s->syn.mini[i]
						  : (void *)&s->tw.mini[i];
		uint32_t kind = n < conns              ? 0
				: (n - conns) % 2 == 0 ? TCP_INDEX_MINI
						       : TCP_INDEX_MINI | TCP_INDEX_TIME_WAIT;

		memcpy(at, &key, sizeof(key));
		assert_true(flow_insert(s, &key, kind | i));
		assert_int_equal(flow_lookup(s, &key), kind | i);
	}
	for (uint32_t n = 0; n < conns + 2 * minis; n++) {
		struct flow_key key = key_of(n);

		assert_int_not_equal(flow_lookup(s, &key), 0);
		flow_remove(s, &key);
	}
	assert_int_equal(s->overflow.used, 0);
	tcp_stack_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_table_finds_all),
		cmocka_unit_test(any_order_of_changes),
		cmocka_unit_test(everything_at_once_has_a_place),
		cmocka_unit_test(crowded_buckets_overflow_and_recover),
		cmocka_unit_test(minis_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
