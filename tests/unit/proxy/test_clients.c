// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Sessions of a client address: limits over all workers, by service, an IPv6 client being its /64;
// a full bucket admits uncounted; everything counted is given back. Handshakes likewise, and how
// many begin in a second.

#include "dataplane/proxy/relay_inner_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORKERS 2
#define SESSIONS 4000

static uint64_t stats[STAT_COUNT];
static struct worker_env env[WORKERS];
static struct relay *worker[WORKERS];
static struct session sessions[SESSIONS];

static int setup(void **state)
{
	memset(stats, 0, sizeof(stats));
	memset(sessions, 0, sizeof(sessions));
	for (unsigned i = 0; i < WORKERS; i++) {
		env[i] = (struct worker_env){.stats = stats, .count = WORKERS, .id = (uint16_t)i};
		worker[i] = calloc(1, sizeof(*worker[i]));
		if (worker[i] == NULL)
			return -1;
		worker[i]->env = &env[i];
		worker[i]->config.client_key = (struct hash_key){5, 6};
		worker[i]->clients = client_table_new(SESSIONS);
		worker[i]->clients_of = calloc(WORKERS, sizeof(*worker[i]->clients_of));
		worker[i]->shakers = client_table_new(SESSIONS);
		worker[i]->shakers_of = calloc(WORKERS, sizeof(*worker[i]->shakers_of));
		if (worker[i]->clients == NULL || worker[i]->clients_of == NULL ||
		    worker[i]->shakers == NULL || worker[i]->shakers_of == NULL)
			return -1;
	}
	for (unsigned i = 0; i < WORKERS * WORKERS; i++)
		relay_neighbor_set(worker[i / WORKERS], i % WORKERS, worker[i % WORKERS]);
	return 0;
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		client_table_free(worker[i]->clients);
		client_table_free(worker[i]->shakers);
		free(worker[i]->clients_of);
		free(worker[i]->shakers_of);
		free(worker[i]);
	}
	return 0;
}

static bool admit(unsigned w, unsigned n, uint32_t slot, uint32_t limit, const char *from)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(from, &addr), 0);
	sessions[n].service_slot = slot;
	return client_admit(worker[w], &sessions[n], limit, &addr);
}

static void a_limit_holds_over_all_workers(void **state)
{
	assert_true(admit(0, 0, 1, 3, "192.0.2.1"));
	assert_true(admit(1, 1, 1, 3, "192.0.2.1"));
	assert_true(admit(1, 2, 1, 3, "192.0.2.1"));
	assert_false(admit(0, 3, 1, 3, "192.0.2.1"));
	assert_false(admit(1, 3, 1, 3, "192.0.2.1"));
	assert_int_equal(sessions[3].client_entry, 0); // and is not counted
	assert_true(admit(0, 3, 1, 3, "192.0.2.2"));
	assert_true(admit(0, 4, 2, 3, "192.0.2.1")); // another service
	client_leave(worker[1], &sessions[1]);
	client_leave(worker[1], &sessions[1]); // once only
	assert_true(admit(0, 5, 1, 3, "192.0.2.1"));
	assert_false(admit(0, 6, 1, 3, "192.0.2.1"));
	assert_int_equal(client_table_sum(worker[0]->clients), 4);
	assert_int_equal(client_table_sum(worker[1]->clients), 1);
}

static void an_ipv6_client_is_its_network(void **state)
{
	assert_true(admit(0, 0, 1, 2, "2001:db8:0:1::1"));
	assert_true(admit(0, 1, 1, 2, "2001:db8:0:1:ffff::2"));
	assert_false(admit(0, 2, 1, 2, "2001:db8:0:1::3"));
	assert_true(admit(0, 2, 1, 2, "2001:db8:0:2::1"));
}

// Every address once, then none left of them, in any order; what finds no place is told.
static void many_clients_come_and_go(void **state)
{
	uint32_t counted = 0;

	for (unsigned n = 0; n < SESSIONS; n++) {
		char text[IP_ADDR_STRLEN];

		snprintf(text, sizeof(text), "10.1.%u.%u", n / 250, n % 250 + 1);
		assert_true(admit(0, n, 1, 1, text));
		counted += sessions[n].client_entry != 0;
	}
	assert_int_equal(client_table_sum(worker[0]->clients), counted);
	assert_int_equal(stats[STAT_SESSION_CLIENT_UNCOUNTED], SESSIONS - counted);
	assert_true(counted > 900); // of 1,024 places
	assert_true(counted < SESSIONS);
	for (unsigned n = 0; n < SESSIONS; n++)
		client_leave(worker[0], &sessions[(n * 7) % SESSIONS]);
	assert_int_equal(client_table_sum(worker[0]->clients), 0);
	assert_true(admit(0, 0, 1, 1, "172.16.0.1")); // places are given again
	assert_int_not_equal(sessions[0].client_entry, 0);
	assert_false(admit(0, 1, 1, 1, "172.16.0.1"));
	client_leave(worker[0], &sessions[0]);
}

static struct blob_service service = {.slot = 1};

static bool may(unsigned w, const char *from)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(from, &addr), 0);
	return shake_may(worker[w], &service, &addr);
}

static uint32_t begin(unsigned w, const char *from)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(from, &addr), 0);
	return shake_count(worker[w], &service, &addr);
}

static void clock_set(uint64_t ms)
{
	for (unsigned i = 0; i < WORKERS; i++)
		env[i].now_ns = ms * 1000000;
}

static void handshakes_at_once(void **state)
{
	uint32_t entry[3];

	service = (struct blob_service){.slot = 1, .shakes_per_client = 3};
	entry[0] = begin(0, "192.0.2.1");
	entry[1] = begin(1, "192.0.2.1");
	assert_true(may(0, "192.0.2.1"));
	entry[2] = begin(1, "192.0.2.1");
	assert_false(may(0, "192.0.2.1"));
	assert_false(may(1, "192.0.2.1"));
	assert_true(may(1, "192.0.2.2"));
	service.slot = 2;
	assert_true(may(1, "192.0.2.1")); // another service
	service.slot = 1;
	assert_int_equal(client_table_sum(worker[0]->clients), 0); // no session
	shake_leave(worker[1], &entry[1]);
	assert_int_equal(entry[1], 0);
	shake_leave(worker[1], &entry[1]); // once only
	assert_true(may(0, "192.0.2.1"));
	shake_leave(worker[0], &entry[0]);
	shake_leave(worker[1], &entry[2]);
	assert_int_equal(client_table_sum(worker[0]->shakers), 0);
	assert_int_equal(client_table_sum(worker[1]->shakers), 0);
	service = (struct blob_service){.slot = 1};
	assert_int_equal(begin(0, "192.0.2.1"), 0); // nothing to count for
	assert_true(may(0, "192.0.2.1"));
}

// A client that asks for more than it may all the time, at two workers: how many begin in so many
// milliseconds.
static unsigned begun_in(uint32_t from_ms, uint32_t ms, const char *from)
{
	unsigned n = 0;

	for (uint32_t t = from_ms; t < from_ms + ms; t++) {
		clock_set(t);
		for (unsigned w = 0; w < WORKERS; w++) {
			uint32_t entry;

			if (!may(w, from))
				continue;
			entry = begin(w, from);
			shake_leave(worker[w], &entry); // over at once
			n++;
		}
	}
	return n;
}

static void handshakes_in_a_second(void **state)
{
	unsigned n;

	service = (struct blob_service){.slot = 1, .shakes_per_second = 50};
	assert_int_equal(begun_in(5000, 1000, "2001:db8::1"), 50);
	n = begun_in(6000, 20000, "2001:db8::2"); // the same /64
	assert_in_range(n, 950, 1010);
	assert_int_equal(begun_in(26000, 1, "192.0.2.1"), 2);       // another client
	assert_int_equal(begun_in(40000, 1000, "2001:db8::1"), 50); // long ago is forgotten
	clock_set(0xffffff00U); // the clock's wrap is no time machine
	assert_true(may(0, "2001:db8::1"));
	service.shakes_per_second = BLOB_MAX_SHAKES_PER_SECOND;
	n = 0;
	clock_set(50000);
	for (; n < 10000 && may(0, "192.0.2.9"); n++) {
		uint32_t entry = begin(0, "192.0.2.9");

		shake_leave(worker[0], &entry);
	}
	assert_int_equal(n, BLOB_MAX_SHAKES_PER_SECOND);
}

// A client's place is kept for as long as its last second counts.
static void a_place_is_kept_while_it_counts(void **state)
{
	uint32_t counted = 0, entry;

	service = (struct blob_service){.slot = 1, .shakes_per_second = 1};
	clock_set(1000);
	entry = begin(0, "192.0.2.1");
	shake_leave(worker[0], &entry);
	for (unsigned round = 0; round < 2; round++) {
		clock_set(1500 + round * 5000);
		assert_int_equal(may(0, "192.0.2.1"), round == 1);
		for (unsigned n = 0; n < SESSIONS; n++) {
			char text[IP_ADDR_STRLEN];

			snprintf(text, sizeof(text), "10.%u.%u.%u", round, n / 250, n % 250 + 1);
			entry = begin(0, text);
			counted += entry != 0;
			shake_leave(worker[0], &entry);
		}
		assert_int_equal(client_table_sum(worker[0]->shakers), 0);
	}
	assert_in_range(counted, 1800, 2048); // twice all places
	assert_int_equal(stats[STAT_TLS_CLIENT_UNCOUNTED], 2 * SESSIONS - counted);
}

static void memory_is_as_said(void **state)
{
	assert_int_equal(client_table_bytes(1), 1024 * 16);
	assert_int_equal(client_table_bytes(8 * 1024), 1024 * 16);
	assert_int_equal(client_table_bytes(8 * 1024 + 8), 2048 * 16);
	assert_int_equal(client_table_bytes(1000000), 131072 * 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_limit_holds_over_all_workers, setup, teardown),
		cmocka_unit_test_setup_teardown(an_ipv6_client_is_its_network, setup, teardown),
		cmocka_unit_test_setup_teardown(many_clients_come_and_go, setup, teardown),
		cmocka_unit_test_setup_teardown(handshakes_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(handshakes_in_a_second, setup, teardown),
		cmocka_unit_test_setup_teardown(a_place_is_kept_while_it_counts, setup, teardown),
		cmocka_unit_test(memory_is_as_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
