// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The tables of our addresses and listeners: full size, both families, and a generation that takes
// addresses away.

#include "dataplane/proxy/relay_inner_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLOTS 4

static struct {
	struct blob_header head;
	struct blob_service service[1];
	struct blob_listener listener[BLOB_MAX_LISTENERS];
	struct blob_source source[BLOB_MAX_SOURCES];
} blob;

static struct ip_addr addr_of(uint32_t n, bool v4)
{
	struct ip_addr a = {{0xfd, 0x77}};

	if (v4)
		return ip_addr_from_v4(__builtin_bswap32(0x0a000000U + n));
	memcpy(a.b + 12, &n, sizeof(n));
	return a;
}

static void blob_make(uint32_t listeners, uint32_t sources)
{
	memset(&blob, 0, sizeof(blob));
	blob.head.services = (struct blob_array){offsetof(typeof(blob), service), 1};
	blob.head.listeners = (struct blob_array){offsetof(typeof(blob), listener), listeners};
	blob.head.sources = (struct blob_array){offsetof(typeof(blob), source), sources};
	blob.service[0].slot = 1;
	for (uint32_t i = 0; i < listeners; i++) // two ports an address
		blob.listener[i] = (struct blob_listener){.addr = addr_of(i / 2, i % 4 < 2),
							  .port = (uint16_t)(25 + i % 2)};
	for (uint32_t i = 0; i < sources; i++)
		blob.source[i].addr = addr_of(100000 + i, i % 2);
}

static void every_address_and_no_other(void **state)
{
	static uint64_t stats[STAT_COUNT];
	static struct shm_backend_local backends[SLOTS];
	static struct shm_service_local services[SLOTS];
	static struct shm_backend_ctl ctl[SLOTS];
	struct worker_env env = {.stats = stats, .count = 1};
	const struct relay_config config = {
		.env = &env,
		.max_sessions = 4,
		.shm =
			{
				.backends = backends,
				.services = services,
				.backend_ctl = ctl,
				.backend_slots = SLOTS,
				.service_slots = SLOTS,
			},
	};
	struct relay *r = relay_new(&config);
	struct ip_endpoint at = {addr_of(0, true), 25};

	assert_non_null(r);
	assert_false(relay_is_local(r, &at.addr)); // before the first generation
	assert_null(listener_at(r, &at));
	blob_make(BLOB_MAX_LISTENERS, BLOB_MAX_SOURCES);
	relay_generation(r, &blob.head, NULL);
	for (uint32_t i = 0; i < BLOB_MAX_LISTENERS; i++) {
		at = (struct ip_endpoint){blob.listener[i].addr, blob.listener[i].port};
		assert_true(relay_is_local(r, &at.addr));
		assert_ptr_equal(listener_at(r, &at), &blob.listener[i]);
		at.port = 587;
		assert_null(listener_at(r, &at));
	}
	for (uint32_t i = 0; i < BLOB_MAX_SOURCES; i++) {
		at = (struct ip_endpoint){blob.source[i].addr, 25};
		assert_true(relay_is_local(r, &at.addr));
		assert_null(listener_at(r, &at));
	}
	for (uint32_t i = 10000; i < 90000; i++) {
		at.addr = addr_of(i, i % 2);
		assert_false(relay_is_local(r, &at.addr));
	}
	blob_make(1, 0);
	relay_generation(r, &blob.head, NULL);
	at.addr = addr_of(1, true);
	assert_false(relay_is_local(r, &at.addr));
	at.addr = addr_of(0, true);
	assert_true(relay_is_local(r, &at.addr));
	relay_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_address_and_no_other)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
