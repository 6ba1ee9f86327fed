// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The filter of captures: by session while there is one, by listener before, by memory after. TCP
// and the relay are played here.

#include "dataplane/watch/watch_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct watch watch;
static struct {
	bool connected; // does TCP know the tuple?
	struct relay_view view;
	uint32_t service; // of the listener
} world;

bool tcp_user_find(
	const struct tcp_stack *stack,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint32_t *ret_user
)
{
	*ret_user = 7;
	return world.connected;
}

void relay_view_get(struct relay *relay, uint32_t user, struct relay_view *ret)
{
	assert_int_equal(user, 7);
	*ret = world.view;
}

uint32_t relay_listener_service(const struct relay *relay, const struct ip_endpoint *local)
{
	return local->port == 25 ? world.service : 0;
}

static struct ip_endpoint at(const char *text)
{
	struct ip_endpoint e;

	assert_int_equal(ip_endpoint_parse(text, &e), 0);
	return e;
}

static bool match(const char *local, const char *remote, struct watch_owner *owner)
{
	const struct ip_endpoint l = at(local), r = at(remote);

	return watch_match_tuple(&watch, &l, &r, owner);
}

static void client_set(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	watch.filter.client = p.addr;
	watch.filter.client_len = p.len;
	watch.filter.flags |= CTL_CAPTURE_F_CLIENT;
}

static void backend_set(const char *text)
{
	const struct ip_endpoint e = at(text);

	watch.filter.backend = e.addr;
	watch.filter.backend_port = e.port;
	watch.filter.flags |= CTL_CAPTURE_F_BACKEND;
}

static int setup(void **state)
{
	memset(&watch, 0, sizeof(watch));
	memset(&world, 0, sizeof(world));
	world.service = 3;
	world.view = (struct relay_view){
		.id = 42,
		.client = at("192.0.2.5:1000").addr,
		.backend = at("10.0.0.1:2525"),
		.service_slot = 3,
	};
	return 0;
}

#define VIP "203.0.113.1:25"
#define CLIENT "192.0.2.5:1000"
#define SOURCE "10.0.0.9:4000"
#define BACKEND "10.0.0.1:2525"

static void both_legs_of_a_client_from_first_to_last(void **state)
{
	struct watch_owner o;

	client_set("192.0.2.0/24");
	assert_true(match(VIP, CLIENT, &o)); // SYN: by the listener
	assert_int_equal(o.leg, CAPTURE_LEG_CLIENT);
	assert_false(match(VIP, "198.51.100.5:1000", &o));
	assert_false(match(SOURCE, BACKEND, &o)); // nobody's
	world.connected = true;
	assert_true(match(VIP, CLIENT, &o));
	assert_int_equal(o.session, 42);
	world.view.is_leg = true;
	assert_true(match(SOURCE, BACKEND, &o));
	assert_int_equal(o.leg, CAPTURE_LEG_BACKEND);
	world.view.client = (struct ip_addr){0}; // the client has gone, its leg has not
	assert_true(match(SOURCE, BACKEND, &o));
	assert_false(match("10.0.0.9:4001", BACKEND, &o)); // nor is a probe's the client's
	world.connected = false;                           // FIN, last ACK
	assert_true(match(SOURCE, BACKEND, &o));
	assert_int_equal(o.session, 42);
	assert_int_equal(o.leg, CAPTURE_LEG_BACKEND);
	world.connected = true; // the same ports for another client's session
	world.view.id = 43;
	world.view.client = at("198.51.100.5:1").addr;
	assert_false(match(SOURCE, BACKEND, &o));
	world.connected = false;
	assert_false(match(SOURCE, BACKEND, &o)); // and its last frames are not the first one's
}

static void conditions_are_joined(void **state)
{
	static const struct {
		const char *client, *backend;
		uint64_t session;
		uint32_t service;
		bool connected, unconnected; // matches of the client's leg
	} rows[] = {
		{NULL, NULL, 0, 0, true, true},
		{"192.0.2.5", NULL, 0, 0, true, true},
		{"192.0.2.6", NULL, 0, 0, false, false},
		{"::/0", NULL, 0, 0, true, true}, // of the 128-bit form: everybody
		{"2001:db8::/32", NULL, 0, 0, false, false},
		{NULL, BACKEND, 0, 0, true, false},
		{NULL, "10.0.0.1:2526", 0, 0, false, false},
		{NULL, NULL, 42, 0, true, false},
		{NULL, NULL, 41, 0, false, false},
		{NULL, NULL, 0, 3, true, true},
		{NULL, NULL, 0, 4, false, false},
		{"192.0.2.5", BACKEND, 42, 3, true, false},
		{"192.0.2.5", "10.0.0.2:2525", 42, 3, false, false},
		{"192.0.2.5", NULL, 0, 4, false, false},
	};
	struct watch_owner o;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		setup(state);
		if (rows[i].client != NULL)
			client_set(rows[i].client);
		if (rows[i].backend != NULL)
			backend_set(rows[i].backend);
		watch.filter.session = rows[i].session;
		watch.filter.service_slot = rows[i].service;
		assert_int_equal(match(VIP, CLIENT, &o), rows[i].unconnected);
		world.connected = true;
		assert_int_equal(match(VIP, CLIENT, &o), rows[i].connected);
	}
	setup(state);
	backend_set(BACKEND); // a refused SYN to a backend has no session any more
	assert_true(match(SOURCE, BACKEND, &o));
	assert_false(match(SOURCE, "10.0.0.1:2526", &o));
}

static void the_memory_is_bounded(void **state)
{
	struct watch_owner o;
	unsigned found = 0;

	client_set("192.0.2.5");
	world.connected = true;
	for (unsigned i = 0; i < 3 * WATCH_TUPLES; i++) {
		struct ip_endpoint local = at(SOURCE);

		local.port = (uint16_t)(1000 + i);
		assert_true(watch_match_tuple(
			&watch, &local, &(struct ip_endpoint){world.view.backend.addr, 2525}, &o
		));
	}
	world.connected = false;
	for (unsigned i = 0; i < 3 * WATCH_TUPLES; i++) {
		struct ip_endpoint local = at(SOURCE);

		local.port = (uint16_t)(1000 + i);
		found += watch_match_tuple(
			&watch, &local, &(struct ip_endpoint){world.view.backend.addr, 2525}, &o
		);
	}
	assert_int_equal(found, WATCH_TUPLES);
}

static void frames_without_ports(void **state)
{
	struct net_frame f = {.kind = NET_FRAME_ADDRESSES};

	f.src = at(CLIENT).addr;
	f.dst = at(VIP).addr;
	assert_true(watch_match_addresses(&watch, &f));
	client_set("192.0.2.0/24");
	assert_true(watch_match_addresses(&watch, &f));
	f.src = at(BACKEND).addr;
	assert_false(watch_match_addresses(&watch, &f));
	f.dst = at(CLIENT).addr; // to the client
	assert_true(watch_match_addresses(&watch, &f));
	backend_set(BACKEND);
	assert_true(watch_match_addresses(&watch, &f));
	f.kind = NET_FRAME_OTHER;
	assert_false(watch_match_addresses(&watch, &f));
	setup(state);
	assert_true(watch_match_addresses(&watch, &f));
	watch.filter.session = 42;
	assert_false(watch_match_addresses(&watch, &f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(both_legs_of_a_client_from_first_to_last, setup),
		cmocka_unit_test_setup(conditions_are_joined, setup),
		cmocka_unit_test_setup(the_memory_is_bounded, setup),
		cmocka_unit_test_setup(frames_without_ports, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
