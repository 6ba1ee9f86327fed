// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of common/addr.c.

#include "common/addr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void parses_and_formats_addresses(void **state)
{
	static const char *const good[] = {
		"0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "2001:db8::1", "fe80::1"
	};
	static const char *const bad[] = {
		"", "1.2.3", "1.2.3.4.5", "256.1.1.1", ":::", "2001:db8::1::2", "host"
	};
	struct ip_addr a;
	char buf[IP_ADDR_STRLEN];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(ip_addr_parse(good[i], &a), 0);
		assert_string_equal(ip_addr_format(&a, buf), good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(ip_addr_parse(bad[i], &a) < 0);
}

static void parses_endpoints(void **state)
{
	static const char *const bad[] = {
		"192.0.2.1",
		"192.0.2.1:",
		"192.0.2.1:0",
		"192.0.2.1:65536",
		"2001:db8::1:25",
		"[2001:db8::1]",
		"[]:25",
		"[2001:db8::1]25",
		"192.0.2.1:25x",
		"192.0.2.1:+25",
	};
	struct ip_endpoint e;
	char buf[IP_ENDPOINT_STRLEN];

	assert_int_equal(ip_endpoint_parse("192.0.2.1:25", &e), 0);
	assert_int_equal(e.port, 25);
	assert_string_equal(ip_endpoint_format(&e.addr, e.port, buf), "192.0.2.1:25");
	assert_int_equal(ip_endpoint_parse("[2001:db8::1]:587", &e), 0);
	assert_string_equal(ip_endpoint_format(&e.addr, e.port, buf), "[2001:db8::1]:587");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(ip_endpoint_parse(bad[i], &e) < 0);
}

static bool contains(const char *prefix, const char *addr)
{
	struct ip_prefix p;
	struct ip_addr a;

	assert_int_equal(ip_prefix_parse(prefix, &p), 0);
	assert_int_equal(ip_addr_parse(addr, &a), 0);
	return ip_prefix_contains(&p, &a);
}

static void prefixes_contain_their_addresses_only(void **state)
{
	struct ip_prefix p;

	assert_true(contains("10.0.0.0/8", "10.255.255.255"));
	assert_false(contains("10.0.0.0/8", "11.0.0.0"));
	assert_true(contains("192.0.2.77/25", "192.0.2.1"));
	assert_false(contains("192.0.2.77/25", "192.0.2.128"));
	assert_true(contains("192.0.2.1", "192.0.2.1"));
	assert_false(contains("192.0.2.1", "192.0.2.0"));
	assert_true(contains("0.0.0.0/0", "203.0.113.9"));
	assert_false(contains("0.0.0.0/0", "2001:db8::1"));
	assert_true(contains("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(contains("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(ip_prefix_parse("10.0.0.0/33", &p) < 0);
	assert_true(ip_prefix_parse("2001:db8::/129", &p) < 0);
	assert_true(ip_prefix_parse("10.0.0.0/", &p) < 0);
}

static void martian_sources_are_known(void **state)
{
	static const char *const martian[] = {
		"0.0.0.0",
		"0.1.2.3",
		"127.0.0.1",
		"224.0.0.1",
		"255.255.255.255",
		"::",
		"::1",
		"ff02::1"
	};
	static const char *const fine[] = {"10.0.0.1", "223.255.255.255", "2001:db8::1", "fe80::1"};
	struct ip_addr a;

	for (size_t i = 0; i < sizeof(martian) / sizeof(martian[0]); i++) {
		ip_addr_parse(martian[i], &a);
		assert_true(ip_addr_is_martian_source(&a));
	}
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		ip_addr_parse(fine[i], &a);
		assert_false(ip_addr_is_martian_source(&a));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_and_formats_addresses),
		cmocka_unit_test(parses_endpoints),
		cmocka_unit_test(prefixes_contain_their_addresses_only),
		cmocka_unit_test(martian_sources_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
