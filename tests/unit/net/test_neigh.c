// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The neighbor table: what is believed of whom (the tables of RFC 4861 7.2.3 and 7.2.5), when a
// neighbor is asked again and when it is given up, what waits for it meanwhile, and a full table.

#include "tests/unit/net/fixture.h"

#include <stdio.h>
#include <stdlib.h>

#define PEER "2001:db8::77"

static int setup(void **state)
{
	struct fix *f = net_fix_new(0, 1);

	net_fix_settle(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	net_fix_free(*state);
	return 0;
}

static struct neigh *entry(struct fix *f, const char *addr)
{
	const struct ip_addr a = ip(addr);

	for (uint32_t i = 0; i < (f->shared->bucket_mask + 1) * NEIGH_WAYS; i++)
		if (f->shared->neigh[i].state != NEIGH_S_FREE &&
		    ip_addr_eq(&f->shared->neigh[i].addr, &a))
			return &f->shared->neigh[i];
	return NULL;
}

// Leaves PEER in this state, with mac_a unless it is incomplete.
static struct neigh *entry_in(struct fix *f, enum neigh_state state)
{
	const struct ip_addr a = ip(PEER);
	struct neigh *e = entry(f, PEER);

	if (e == NULL)
		neigh_resolve(f->net, 0, &a);
	e = entry(f, PEER);
	assert_non_null(e);
	e->state = (uint8_t)state;
	e->moved_ns = 0;
	e->probes = 1;
	memcpy(e->mac, mac_a, 6);
	return e;
}

static void expect(const struct neigh *e, enum neigh_state state, const uint8_t mac[6])
{
	assert_int_equal(e->state, state);
	if (mac != NULL)
		assert_memory_equal(e->mac, mac, 6);
}

static void advertise(struct fix *f, const uint8_t *mac, bool solicited, bool override)
{
	const struct ip_addr a = ip(PEER);
	const struct neigh_advert advert = {mac, solicited, override};

	neigh_advertised(f->net, 0, &a, &advert);
}

static void advertisements_by_the_table(void **state)
{
	static const enum neigh_state known[] = {NEIGH_S_REACHABLE, NEIGH_S_STALE, NEIGH_S_PROBE};
	struct fix *f = *state;

	// INCOMPLETE: without an address it says nothing; Override does not matter
	for (unsigned i = 0; i < 4; i++) {
		bool solicited = (i & 1) != 0, override = (i & 2) != 0;
		struct neigh *e = entry_in(f, NEIGH_S_INCOMPLETE);

		advertise(f, NULL, solicited, override);
		expect(e, NEIGH_S_INCOMPLETE, NULL);
		advertise(f, mac_b, solicited, override);
		expect(e, solicited ? NEIGH_S_REACHABLE : NEIGH_S_STALE, mac_b);
	}
	for (unsigned i = 0; i < 3; i++) {
		enum neigh_state was = known[i];
		struct neigh *e = entry_in(f, was);

		// another address without Override is never taken
		advertise(f, mac_b, false, false);
		expect(e, was == NEIGH_S_REACHABLE ? NEIGH_S_STALE : was, mac_a);
		e = entry_in(f, was);
		advertise(f, mac_b, true, false);
		expect(e, was == NEIGH_S_REACHABLE ? NEIGH_S_STALE : was, mac_a);
		// with Override it is
		e = entry_in(f, was);
		advertise(f, mac_b, false, true);
		expect(e, NEIGH_S_STALE, mac_b);
		e = entry_in(f, was);
		advertise(f, mac_b, true, true);
		expect(e, NEIGH_S_REACHABLE, mac_b);
		// the same address, or none: only Solicited confirms
		for (unsigned k = 0; k < 4; k++) {
			const uint8_t *mac = (k & 1) != 0 ? mac_a : NULL;

			e = entry_in(f, was);
			advertise(f, mac, false, (k & 2) != 0);
			expect(e, was, mac_a);
			e = entry_in(f, was);
			advertise(f, mac, true, (k & 2) != 0);
			expect(e, NEIGH_S_REACHABLE, mac_a);
		}
	}
}

static void sources_of_solicitations_by_the_table(void **state)
{
	struct fix *f = *state;
	const struct ip_addr a = ip(PEER);
	struct neigh *e;

	neigh_heard(f->net, 0, &a, mac_a, false);
	assert_null(entry(f, PEER));
	neigh_heard(f->net, 0, &a, mac_a, true);
	expect(entry(f, PEER), NEIGH_S_STALE, mac_a);
	e = entry_in(f, NEIGH_S_INCOMPLETE);
	neigh_heard(f->net, 0, &a, mac_b, true);
	expect(e, NEIGH_S_STALE, mac_b);
	e = entry_in(f, NEIGH_S_REACHABLE);
	neigh_heard(f->net, 0, &a, mac_a, true);
	expect(e, NEIGH_S_REACHABLE, mac_a);
	neigh_heard(f->net, 0, &a, mac_b, true);
	expect(e, NEIGH_S_STALE, mac_b);
	assert_int_equal(f->stats[STAT_NET_NEIGH_MOVED], 1);
}

static void a_neighbor_moves_once_a_second(void **state)
{
	struct fix *f = *state;
	const struct ip_addr a = ip(PEER);
	struct neigh *e = entry_in(f, NEIGH_S_REACHABLE);

	neigh_heard(f->net, 0, &a, mac_b, true);
	expect(e, NEIGH_S_STALE, mac_b);
	for (unsigned i = 0; i < 5; i++)
		neigh_heard(f->net, 0, &a, mac_a, true);
	advertise(f, mac_a, true, true);
	expect(e, NEIGH_S_STALE, mac_b);
	assert_int_equal(f->stats[STAT_NET_NEIGH_FLAPPING], 6);
	f->env.now_ns += NEIGH_MOVE_NS;
	advertise(f, mac_a, true, true);
	expect(e, NEIGH_S_REACHABLE, mac_a);
	assert_int_equal(f->stats[STAT_NET_NEIGH_MOVED], 2);
}

// What a poisoner says is used until the next scan, then asked of it; when it does not answer, the
// true owner is asked for again.
static void a_moved_neighbor_that_does_not_answer_is_forgotten(void **state)
{
	struct fix *f = *state;
	const struct ip_addr a = ip(PEER);

	entry_in(f, NEIGH_S_REACHABLE)->used = 1;
	neigh_heard(f->net, 0, &a, mac_b, true);
	net_flush(f->net);
	net_fix_forget(f);
	net_fix_run(f, 500);
	assert_int_equal(f->sent_count, 1); // asked by unicast
	assert_memory_equal(fix_last(f)->data, mac_b, 6);
	net_fix_run(f, 4000);
	assert_int_equal(f->sent_count, NEIGH_PROBES);
	assert_null(entry(f, PEER));
}

static void resolution_is_retried_and_given_up(void **state)
{
	struct fix *f = *state;

	fix_tcp_out(f, "10.0.0.10", "10.0.0.77");
	assert_int_equal(fix_count_type(f, RTE_ETHER_TYPE_ARP), 1);
	net_fix_run(f, 900);
	assert_int_equal(fix_count_type(f, RTE_ETHER_TYPE_ARP), 1);
	net_fix_run(f, 3600);
	assert_int_equal(fix_count_type(f, RTE_ETHER_TYPE_ARP), NEIGH_PROBES);
	assert_int_equal(f->sent_count, NEIGH_PROBES);
	assert_int_equal(f->stats[STAT_NET_NEIGH_FAILED], 1); // and what waited is dropped
	assert_null(entry(f, "10.0.0.77"));
}

static void what_waits_goes_when_the_neighbor_answers(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < NET_PENDING_NEIGHBOR; i++)
		fix_tcp_out(f, "10.0.0.10", "10.0.0.77");
	assert_int_equal(f->sent_count, 1);
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.77", mac_b, "10.0.0.10", mac_ours[0]);
	expect(entry(f, "10.0.0.77"), NEIGH_S_REACHABLE, mac_b);
	net_fix_run(f, 10);
	assert_int_equal(fix_count_type(f, RTE_ETHER_TYPE_IPV4), NET_PENDING_NEIGHBOR);
	assert_memory_equal(fix_last(f)->data, mac_b, 6);
	fix_tcp_out(f, "10.0.0.10", "10.0.0.77"); // and at once from now on
	assert_int_equal(fix_count_type(f, RTE_ETHER_TYPE_IPV4), NET_PENDING_NEIGHBOR + 1);
}

static void what_waits_is_bounded(void **state)
{
	struct fix *f = *state;
	char peer[32];

	for (unsigned i = 0; i < NET_PENDING_NEIGHBOR + 2; i++) // the latest stay (RFC 4861 7.2.2)
		fix_tcp_out(f, "10.0.0.10", "10.0.0.77");
	assert_int_equal(f->net->pending_count, NET_PENDING_NEIGHBOR);
	assert_int_equal(f->stats[STAT_NET_NEIGH_QUEUE_FULL], 2);
	for (unsigned i = 0; i < NET_PENDING_MAX; i++) {
		snprintf(peer, sizeof(peer), "10.0.0.%u", 100 + i);
		fix_tcp_out(f, "10.0.0.10", peer);
	}
	assert_int_equal(f->net->pending_count, NET_PENDING_MAX);
	assert_int_equal(f->stats[STAT_NET_NEIGH_QUEUE_FULL], 2 + NET_PENDING_NEIGHBOR);
	net_fix_run(f, 4000);
	assert_int_equal(f->net->pending_count, 0);
	assert_int_equal(f->stats[STAT_NET_NEIGH_FAILED], NET_PENDING_MAX);
}

static void the_latest_packets_wait(void **state)
{
	struct fix *f = *state;

	fix_tcp_out(f, "10.0.0.25", "10.0.0.77"); // source tells which
	for (unsigned i = 0; i < NET_PENDING_NEIGHBOR; i++)
		fix_tcp_out(f, "10.0.0.10", "10.0.0.77");
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.77", mac_b, "10.0.0.10", mac_ours[0]);
	net_fix_forget(f);
	net_fix_run(f, 10);
	assert_int_equal(f->sent_count, NET_PENDING_NEIGHBOR);
	for (unsigned i = 0; i < f->sent_count; i++)
		assert_int_equal(f->sent[i].data[29], 10);
}

static void a_neighbor_in_use_is_asked_again(void **state)
{
	struct fix *f = *state;
	struct neigh *e;

	fix_tcp_out(f, "10.0.0.10", "10.0.0.77");
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.77", mac_b, "10.0.0.10", mac_ours[0]);
	net_fix_run(f, 29000);
	fix_tcp_out(f, "10.0.0.10", "10.0.0.77");
	net_fix_forget(f);
	net_fix_run(f, 1500);
	e = entry(f, "10.0.0.77");
	expect(e, NEIGH_S_PROBE, mac_b);
	assert_int_equal(f->sent_count, 1);
	assert_memory_equal(fix_last(f)->data, mac_b, 6); // unicast
	fix_tcp_out(f, "10.0.0.10", "10.0.0.77");         // used meanwhile
	assert_int_equal(fix_type(fix_last(f)), RTE_ETHER_TYPE_IPV4);
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.77", mac_b, "10.0.0.10", mac_ours[0]);
	expect(e, NEIGH_S_REACHABLE, mac_b);
}

static void a_neighbor_out_of_use_grows_stale_and_old(void **state)
{
	struct fix *f = *state;

	fix_tcp_out(f, "10.0.0.10", "10.0.0.77");
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.77", mac_b, "10.0.0.10", mac_ours[0]);
	net_fix_run(f, 100);
	entry(f, "10.0.0.77")->used = 0;
	net_fix_forget(f);
	net_fix_run(f, 31000);
	expect(entry(f, "10.0.0.77"), NEIGH_S_STALE, mac_b);
	f->env.now_ns += NEIGH_GONE_NS;
	net_fix_run(f, 2000);
	assert_null(entry(f, "10.0.0.77"));
	assert_int_equal(f->sent_count, 0); // nobody was asked
}

static void a_full_bucket_gives_up_stale_ones_only(void **state)
{
	struct fix *f = *state;
	unsigned used = 0;
	char peer[32];

	// 64 entries in 8 buckets: fill them all
	for (unsigned i = 0; i < 250; i++) {
		const struct ip_addr a =
			(snprintf(peer, sizeof(peer), "10.0.0.%u", i + 1), ip(peer));

		neigh_heard(f->net, 0, &a, mac_a, true);
	}
	assert_int_equal(f->stats[STAT_NET_NEIGH_FULL], 0); // hearsay makes room for hearsay
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(f->shared->neigh[i].state, NEIGH_S_STALE);
		f->shared->neigh[i].state = NEIGH_S_REACHABLE;
	}
	f->shared->neigh[3].state = NEIGH_S_STALE; // one unused, one used, in one bucket
	f->shared->neigh[5].state = NEIGH_S_STALE;
	f->shared->neigh[5].used = 1;
	f->shared->neigh[5].since_ns = 0;
	for (unsigned i = 0; i < 250; i++) {
		const struct ip_addr a =
			(snprintf(peer, sizeof(peer), "10.0.1.%u", i + 1), ip(peer));

		neigh_resolve(f->net, 0, &a);
	}
	for (unsigned i = 0; i < 64; i++)
		used += f->shared->neigh[i].state == NEIGH_S_INCOMPLETE;
	assert_int_equal(used, 2);
	assert_true(f->shared->neigh[3].since_ns <= f->shared->neigh[5].since_ns);
	assert_int_equal(f->stats[STAT_NET_NEIGH_FULL], 248);
}

static void other_workers_ask_worker_0(void **state)
{
	struct fix *f = net_fix_new(1, 2);
	const struct ip_addr a = ip("10.0.0.77");

	net_fix_settle(f);
	for (unsigned i = 0; i < 2; i++)
		fix_tcp_out(f, "10.0.0.10", "10.0.0.77");
	assert_int_equal(f->sent_count, 0);
	assert_int_equal(f->steer_count, 1); // once for both
	assert_int_equal(f->steer_to, 0);
	assert_int_equal(f->steer_what, NET_STEER_RESOLVE);
	assert_memory_equal(f->steered.data, a.b, 16);
	f->steer_full = true;
	fix_tcp_out(f, "10.0.0.10", "10.0.0.78");
	assert_int_equal(f->stats[STAT_WORKER_STEER_FULL], 1);
	assert_int_equal(f->stats[STAT_WORKER_STEERED_OUT], 1);
	net_fix_free(f);
	f = net_fix_new(0, 2);
	net_fix_settle(f);
	net_fix_asked(f, 0, &a);
	assert_int_equal(f->sent_count, 1);
	assert_int_equal(f->stats[STAT_WORKER_STEERED_IN], 1); // as many as went out
	net_fix_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(advertisements_by_the_table, setup, teardown),
		cmocka_unit_test_setup_teardown(
			sources_of_solicitations_by_the_table, setup, teardown
		),
		cmocka_unit_test_setup_teardown(a_neighbor_moves_once_a_second, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_moved_neighbor_that_does_not_answer_is_forgotten, setup, teardown
		),
		cmocka_unit_test_setup_teardown(
			resolution_is_retried_and_given_up, setup, teardown
		),
		cmocka_unit_test_setup_teardown(
			what_waits_goes_when_the_neighbor_answers, setup, teardown
		),
		cmocka_unit_test_setup_teardown(what_waits_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(the_latest_packets_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(a_neighbor_in_use_is_asked_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_neighbor_out_of_use_grows_stale_and_old, setup, teardown
		),
		cmocka_unit_test_setup_teardown(
			a_full_bucket_gives_up_stale_ones_only, setup, teardown
		),
		cmocka_unit_test(other_workers_ask_worker_0),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
