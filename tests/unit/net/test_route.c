// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Routes: on-link and by gateway, two ports, prefixes that overlap, and the source address.

#include "tests/unit/net/fixture.h"

static struct net_route route(const struct fix *f, const char *dst)
{
	const struct ip_addr a = ip(dst);
	struct net_route r = {.port = 99};

	if (!net_route_lookup(f->net, &a, &r))
		r.port = 99;
	return r;
}

static void
expect(const struct fix *f, const char *dst, uint8_t port, const char *hop, const char *src)
{
	const struct ip_addr next = ip(hop), source = ip(src);
	const struct net_route r = route(f, dst);

	assert_int_equal(r.port, port);
	assert_true(ip_addr_eq(&r.next_hop, &next));
	assert_true(ip_addr_eq(&r.source, &source));
	assert_int_equal(r.on_link, strcmp(dst, hop) == 0);
	assert_int_equal(r.mtu, port == 0 ? 1500 : 1400);
}

static void each_port_has_its_subnets_and_gateway(void **state)
{
	struct fix *f = net_fix_new(0, 1);

	expect(f, "10.0.0.77", 0, "10.0.0.77", "10.0.0.10");
	expect(f, "10.1.0.77", 1, "10.1.0.77", "10.1.0.10");
	expect(f, "2001:db8::77", 0, "2001:db8::77", "2001:db8::10");
	expect(f, "2001:db8:1::77", 1, "2001:db8:1::77", "2001:db8:1::10");
	expect(f, "192.0.2.1", 0, "10.0.0.1", "10.0.0.10");
	// a link-local gateway must not lend a link-local source to what goes beyond it
	expect(f, "2001:db8:2::1", 0, "fe80::1", "2001:db8::10");
	assert_int_equal(route(f, "fe80::77").port, 99);
	net_fix_free(f);
}

static void the_most_specific_prefix_wins(void **state)
{
	static const char *const text[2][3] = {
		{"10.0.0.10/8", "192.0.2.10/25", "2001:db8::10/32"},
		{"10.1.0.10/16", "192.0.2.200/25", "2001:db8:1::10/64"},
	};
	struct ip_prefix address[2][3];
	const struct ip_addr gateway = ip("10.1.0.1");
	struct net_port_config ports[2] = {
		{.info = {.mtu = 1500}},
		{.info = {.mtu = 1400}, .gateways = &gateway, .gateway_count = 1},
	};
	struct fix *f;

	for (unsigned round = 0; round < 2; round++) { // whichever port stands first
		for (unsigned p = 0; p < 2; p++) {
			unsigned at = p ^ round;

			for (unsigned i = 0; i < 3; i++)
				assert_int_equal(ip_prefix_parse(text[at][i], &address[p][i]), 0);
			ports[p].info.mtu = at == 0 ? 1500 : 1400;
			ports[p].addresses = address[p];
			ports[p].address_count = 3;
		}
		f = net_fix_new_ports(ports, 2);
		assert_int_equal(route(f, "10.1.2.3").port, 1 ^ round);
		assert_int_equal(route(f, "10.2.2.3").port, round);
		assert_int_equal(route(f, "192.0.2.3").port, round);
		assert_int_equal(route(f, "192.0.2.130").port, 1 ^ round);
		assert_int_equal(route(f, "2001:db8:1::3").port, 1 ^ round);
		assert_int_equal(route(f, "2001:db8:2::3").port, round);
		assert_int_equal(route(f, "198.51.100.1").port, 1);
		assert_int_equal(route(f, "2001:db9::1").port, 99);
		net_fix_free(f);
	}
}

static void the_source_is_of_the_next_hops_subnet(void **state)
{
	struct ip_prefix address[3];
	const struct ip_addr gateway = ip("10.2.0.1");
	const struct net_port_config port = {
		.info = {.mtu = 1400},
		.addresses = address,
		.address_count = 3,
		.gateways = &gateway,
		.gateway_count = 1,
	};
	const struct ip_addr want = ip("10.2.0.10");
	struct ip_addr got;
	struct fix *f;

	ip_prefix_parse("2001:db8::10/64", &address[0]);
	ip_prefix_parse("10.1.0.10/24", &address[1]);
	ip_prefix_parse("10.2.0.10/24", &address[2]);
	f = net_fix_new_ports(&port, 1);
	got = route(f, "192.0.2.1").source;
	assert_true(ip_addr_eq(&got, &want));
	net_fix_free(f);
}

static void segments_leave_by_their_port(void **state)
{
	struct fix *f = net_fix_new(0, 1);
	const struct ip_addr hop = ip("10.0.0.1");
	const struct ip_addr peer = ip("10.1.0.77");

	net_fix_settle(f);
	neigh_heard(f->net, 0, &hop, mac_a, true);
	neigh_heard(f->net, 1, &peer, mac_b, true);
	fix_tcp_out(f, "10.0.0.25", "192.0.2.1");
	assert_int_equal(fix_last(f)->port, 0);
	assert_memory_equal(fix_last(f)->data, mac_a, 6);
	assert_int_equal(fix_type(fix_last(f)), RTE_ETHER_TYPE_IPV4);
	fix_tcp_out(f, "10.1.0.10", "10.1.0.77");
	assert_int_equal(fix_last(f)->port, 1);
	assert_memory_equal(fix_last(f)->data, mac_b, 6);
	assert_int_equal(fix_type(fix_last(f)), RTE_ETHER_TYPE_VLAN);
	net_fix_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_port_has_its_subnets_and_gateway),
		cmocka_unit_test(the_most_specific_prefix_wins),
		cmocka_unit_test(the_source_is_of_the_next_hops_subnet),
		cmocka_unit_test(segments_leave_by_their_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
