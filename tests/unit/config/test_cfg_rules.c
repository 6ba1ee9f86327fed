// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of the configuration: what may not stand together, and what is not built.

#include "tests/unit/config/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *target;

// What a server could take for the end of a message goes only to those that do not.
static void bare_line_ends_pass_to_strict_backends_only(void **state)
{
	static const char sorry[] = "pools = { sorry = { %s backends = ( { name = \"s\"; address = "
				    "\"198.51.100.60:25\"; } ); };";
	static const char service[] = "pool = \"sorry\"; bare_lf = \"pass\";";
	char text[300];
	struct cfg *cfg;

	refused("pool = \"mail\";",
		"pool = \"mail\"; bare_lf = \"pass\";",
		"virtual_services.inbound.bare_lf",
		"strict = true in pool \"mail\"");
	refused("bare_lf = \"restuff\"",
		"bare_lf = \"pass\"",
		"virtual_services.inbound.rules[0].bare_lf",
		"strict = true in pool \"mail\"");
	cfg = load_with("slow_start =", "strict = true; slow_start =");
	assert_non_null(cfg);
	assert_true(cfg->pools[0].strict);
	cfg_free(cfg);
	// a backup takes the same sessions
	snprintf(text, sizeof(text), sorry, "strict = true; backup = \"mail\";");
	assert_non_null(strstr(text, "strict"));
	cfg = load_two("pools = {", text, "pool = \"mail\";", service);
	assert_null(cfg);
	assert_string_equal(errs.item[0].key, "virtual_services.inbound.bare_lf");
	assert_non_null(strstr(errs.item[0].reason, "strict = true in pool \"mail\""));
	assert_true(errs.item[0].line > 0);
	snprintf(text, sizeof(text), sorry, "strict = true;");
	cfg = load_two("pools = {", text, "pool = \"mail\";", service);
	assert_non_null(cfg);
	assert_int_equal(cfg->services[0].policy.bare_lf, BLOB_BARE_LF_PASS);
	cfg_free(cfg);
}

#define TWO_FAMILIES \
	"source_addresses = { probes = [ \"198.51.100.39\", \"198.51.100.40\", " \
	"\"2001:db8:25::39\" ]; four = [ \"198.51.100.41\" ]; };\npools = { six = { %s backends " \
	"= ( " \
	"{ name = \"s\"; address = \"[2001:db8:25::51]:25\"; }, { name = \"f\"; address = " \
	"\"198.51.100.61:25\"; } ); };"

// Each family has an address of its own among those of a group.
static void source_addresses_suit_the_family(void **state)
{
	char text[600], said[800];
	struct cfg *cfg;
	struct ip_addr want;

	snprintf(text, sizeof(text), TWO_FAMILIES, "probe = { source = \"probes\"; };");
	cfg = load_with("pools = {", text);
	assert_non_null(cfg);
	assert_int_equal(errs.count, 0);
	assert_int_equal(ip_addr_parse("198.51.100.39", &want), 0);
	assert_true(ip_addr_eq(&cfg->pools[0].probe.source[1], &want));
	assert_int_equal(ip_addr_parse("2001:db8:25::39", &want), 0);
	assert_true(ip_addr_eq(&cfg->pools[0].probe.source[0], &want));
	assert_true(ip_addr_is_unspecified(&cfg->pools[1].probe.source[0]));
	cfg_free(cfg);
	// probes come from no other address than the file says
	snprintf(text, sizeof(text), TWO_FAMILIES, "probe = { source = \"four\"; };");
	refused("pools = {", text, "pools.six.probe.source", "no IPv6 address for backend \"s\"");
	// mail does, and that is said
	snprintf(text, sizeof(text), TWO_FAMILIES, "source = \"four\";");
	cfg = load_with("pools = {", text);
	assert_non_null(cfg);
	assert_int_equal(errs.count, 1);
	assert_int_equal(errs.errors, 0);
	assert_true(errs.item[0].warning && errs.item[0].line > 0);
	assert_string_equal(errs.item[0].key, "pools.six.source");
	cfg_error_format(&errs.item[0], said, sizeof(said));
	assert_non_null(strstr(said, ": warning: pools.six.source: \"four\" has no IPv6 address"));
	cfg_free(cfg);
}

// The whole of the language, with what is built and what is not: nothing is unknown, and each key
// that is not built is refused by name, at its line.
static void the_target_names_what_is_not_built(void **state)
{
	static const struct {
		unsigned line;
		const char *key;
	} unbuilt[] = {
		{29, "pools.exchange.client_address"},
		{31, "pools.exchange.probe.starttls"},
		{46, "virtual_services.inbound.limits.messages_per_minute"},
	};

	assert_null(cfg_load(target, &errs));
	assert_int_equal(errs.count, sizeof(unbuilt) / sizeof(unbuilt[0]));
	assert_int_equal(errs.errors, errs.count);
	for (unsigned i = 0; i < errs.count; i++) {
		assert_string_equal(errs.item[i].key, unbuilt[i].key);
		assert_int_equal(errs.item[i].line, unbuilt[i].line);
		assert_non_null(strstr(errs.item[i].reason, "not built yet in this version"));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bare_line_ends_pass_to_strict_backends_only),
		cmocka_unit_test(source_addresses_suit_the_family),
		cmocka_unit_test(the_target_names_what_is_not_built),
	};

	sample = argv[1];
	target = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
