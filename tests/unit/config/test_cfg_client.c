// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of the configuration: who backends are told the client is.

#include "tests/unit/config/fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

static const void *array_of(const struct blob_header *h, const struct blob_array *a)
{
	return (const uint8_t *)h + a->off;
}

// The blob of a model, checked.
static struct blob_header *blob_of(const struct cfg *cfg)
{
	struct cfg_slots *slots = cfg_slots_new(16, 16);
	const char *reason = "";
	void *blob = NULL;
	size_t len;

	assert_int_equal(cfg_blob_build(cfg, slots, 7, &blob, &len, &errs), 0);
	cfg_slots_free(slots);
	assert_int_equal(blob_check(blob, len, 16, 16, &reason), 0);
	return blob;
}

static void blob_is_refused(struct blob_header *h, const char *want)
{
	const char *reason = "";

	h->crc32 = 0;
	h->crc32 = (uint32_t)crc32(0, (const Bytef *)h, h->length);
	assert_int_equal(blob_check(h, h->length, 16, 16, &reason), -EINVAL);
	assert_string_equal(reason, want);
}

static void each_way_of_a_pool(void **state)
{
	static const struct {
		const char *text;
		enum blob_client_address way;
	} ways[] = {
		{"", BLOB_CLIENT_SNAT},
		{"client_address = \"snat\";", BLOB_CLIENT_SNAT},
		{"client_address = \"proxy-v1\";", BLOB_CLIENT_PROXY_V1},
		{"client_address = \"proxy-v2\";", BLOB_CLIENT_PROXY_V2},
		{"client_address = \"xclient\";", BLOB_CLIENT_XCLIENT},
	};
	char text[100];

	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct blob_header *h;
		struct cfg *cfg;

		snprintf(text, sizeof(text), "%s scheduler =", ways[i].text);
		cfg = load_with("scheduler =", text);
		assert_non_null(cfg);
		assert_int_equal(errs.count, 0);
		h = blob_of(cfg);
		assert_int_equal(
			((const struct blob_pool *)array_of(h, &h->pools))->client_address,
			ways[i].way
		);
		((struct blob_pool *)(uintptr_t)array_of(h, &h->pools))->client_address = 9;
		blob_is_refused(h, "pool's client address");
		free(h);
		cfg_free(cfg);
	}
	refused("scheduler =",
		"client_address = \"proxy-v3\"; scheduler =",
		"pools.mail.client_address",
		"is not one of the values");
	refused("scheduler =",
		"client_address = \"transparent\"; scheduler =",
		"pools.mail.client_address",
		"not built yet");
}

static void a_rule_has_its_own(void **state)
{
	struct cfg *cfg = load_two(
		"scheduler =",
		"client_address = \"proxy-v2\"; scheduler =",
		"bare_lf = \"restuff\"",
		"client_address = \"proxy-v1\"; bare_lf = \"restuff\""
	);
	const struct blob_service *service;
	struct blob_rule *rule;
	struct blob_header *h;

	assert_non_null(cfg);
	assert_int_equal(errs.count, 0);
	h = blob_of(cfg);
	service = array_of(h, &h->services);
	rule = (struct blob_rule *)(uintptr_t)array_of(h, &h->rules);
	assert_int_equal(service->policy.client_address, 0); // the pool's
	assert_int_equal(rule->policy.client_address, 1 + BLOB_CLIENT_PROXY_V1);
	rule->policy.client_address = 9;
	blob_is_refused(h, "rule");
	free(h);
	cfg_free(cfg);
	cfg = load_with("scheduler =", "client_address = \"proxy-v2\"; scheduler =");
	assert_non_null(cfg);
	assert_int_equal(cfg->services[0].rules[0].policy.client_address, 0);
	cfg_free(cfg);
}

static void warned(const char *pool, const char *rule, const char *what)
{
	struct cfg *cfg = load_two("scheduler =", pool, "bare_lf = \"restuff\"", rule);

	assert_non_null(cfg);
	assert_int_equal(errs.errors, 0);
	assert_int_equal(errs.count, what != NULL ? 1 : 0);
	if (what != NULL) {
		assert_true(errs.item[0].warning && errs.item[0].line > 0);
		assert_string_equal(
			errs.item[0].key, "virtual_services.inbound.rules[0].client_address"
		);
		assert_non_null(strstr(errs.item[0].reason, what));
	}
	cfg_free(cfg);
}

// A listener that waits for a header takes no session without one, and the other way round.
static void headers_for_some_clients_only_are_warned_of(void **state)
{
	warned("client_address = \"proxy-v2\"; scheduler =",
	       "client_address = \"snat\"",
	       "without a PROXY header, and pool \"mail\" with");
	warned("scheduler =",
	       "client_address = \"proxy-v1\"",
	       "with a PROXY header, and pool \"mail\" without");
	warned("client_address = \"proxy-v2\"; scheduler =", "client_address = \"proxy-v1\"", NULL);
	warned("client_address = \"snat\"; scheduler =", "client_address = \"snat\"", NULL);
}

// Nothing of ours can stand in a dialogue that is passed through.
static void no_xclient_in_passthrough(void **state)
{
	static const char key[] = "virtual_services.inbound";
	static const char pass[] = "pool = \"mail\"; tls = { mode = \"passthrough\"; };";
	struct cfg *cfg = load_two(
		"scheduler =", "client_address = \"xclient\"; scheduler =", "pool = \"mail\";", pass
	);

	assert_null(cfg);
	assert_string_equal(errs.item[0].key, key);
	assert_non_null(strstr(errs.item[0].reason, "no XCLIENT of ours"));
	assert_null(load_two(
		"scheduler =",
		"client_address = \"xclient\"; scheduler =",
		"bare_lf = \"restuff\"",
		"tls = { mode = \"passthrough\"; }"
	));
	assert_null(load_two(
		"pool = \"mail\";", pass, "bare_lf = \"restuff\"", "client_address = \"xclient\""
	));
	cfg = load_two(
		"scheduler =",
		"client_address = \"xclient\"; scheduler =",
		"bare_lf = \"restuff\"",
		"tls = { mode = \"passthrough\"; }; client_address = \"snat\""
	);
	assert_non_null(cfg);
	cfg_free(cfg);
}

// Who sends a header first, behind the service's own rules in the blob.
static void headers_come_from_networks(void **state)
{
	struct cfg *cfg = load_two(
		"networks = {",
		"networks = { proxies = [ \"10.1.0.0/16\", \"2001:db8:1::/48\" ]; one = [ "
		"\"10.2.0.1\" ];",
		"pool = \"mail\";",
		"pool = \"mail\"; proxy_protocol_from = [ \"one\", \"proxies\" ];"
	);
	const struct blob_service *service;
	const struct blob_prefix *prefix;
	const struct blob_rule *rule;
	struct blob_header *h;
	struct ip_prefix want;

	assert_non_null(cfg);
	assert_int_equal(errs.count, 0);
	assert_true(cfg->dataplane.headers);
	h = blob_of(cfg);
	service = array_of(h, &h->services);
	rule = array_of(h, &h->rules);
	prefix = array_of(h, &h->prefixes);
	assert_int_equal(h->rules.count, 3);
	assert_int_equal(service->rule_count, 1);
	assert_int_equal(service->header_rules, 2);
	assert_int_equal(rule[1].prefix_count, 1);
	assert_int_equal(rule[2].prefix_count, 2);
	assert_int_equal(ip_prefix_parse("10.2.0.1", &want), 0);
	assert_true(ip_addr_eq(&prefix[rule[1].prefixes].addr, &want.addr));
	assert_int_equal(ip_prefix_parse("10.1.0.0/16", &want), 0);
	assert_true(ip_addr_eq(&prefix[rule[2].prefixes].addr, &want.addr));
	assert_int_equal(prefix[rule[2].prefixes].len, want.len);
	((struct blob_service *)(uintptr_t)service)->header_rules = 3;
	blob_is_refused(h, "service's pool or rules");
	((struct blob_service *)(uintptr_t)service)->header_rules = UINT32_MAX;
	blob_is_refused(h, "service's pool or rules");
	free(h);
	cfg_free(cfg);
	cfg = load_with("scheduler =", "scheduler =");
	assert_non_null(cfg);
	assert_false(cfg->dataplane.headers);
	cfg_free(cfg);
	refused("pool = \"mail\";",
		"pool = \"mail\"; proxy_protocol_from = [ \"plotters\" ];",
		"virtual_services.inbound.proxy_protocol_from",
		"not among networks");
	refused("pool = \"mail\";",
		"pool = \"mail\"; proxy_protocol_from = [ ];",
		"virtual_services.inbound.proxy_protocol_from",
		"1 to 64 names");
	refused("pool = \"mail\";",
		"pool = \"mail\"; proxy_protocol_from = \"printers\";",
		"virtual_services.inbound.proxy_protocol_from",
		"wants a list");
}

// Of the tarpit: who waits behind who sends headers, who is spared behind these.
static void tarpits_take_networks(void **state)
{
	struct cfg *cfg = load_two(
		"networks = {",
		"networks = { bad = [ \"10.1.0.0/16\", \"10.3.0.0/16\" ]; good = [ \"10.2.0.1\" ];",
		"pool = \"mail\";",
		"pool = \"mail\"; proxy_protocol_from = [ \"good\" ]; tarpit = { networks = [ "
		"\"bad\" ]; except = [ \"good\" ]; delay = \"7s\"; errors = 9; };"
	);
	struct blob_service *service;
	const struct blob_rule *rule;
	struct blob_header *h;

	assert_non_null(cfg);
	assert_int_equal(errs.count, 0);
	h = blob_of(cfg);
	service = (struct blob_service *)(uintptr_t)array_of(h, &h->services);
	rule = array_of(h, &h->rules);
	assert_int_equal(h->rules.count, 4);
	assert_int_equal(service->header_rules, 1);
	assert_int_equal(service->tarpit_rules, 1);
	assert_int_equal(service->tarpit_spared, 1);
	assert_int_equal(service->tarpit_delay_ms, 7000);
	assert_int_equal(service->tarpit_errors, 9);
	assert_int_equal(rule[2].prefix_count, 2);
	assert_int_equal(rule[3].prefix_count, 1);
	service->tarpit_errors = BLOB_MAX_TARPIT_ERRORS + 1;
	blob_is_refused(h, "service's tarpit");
	service->tarpit_errors = 1;
	service->tarpit_spared = 2;
	blob_is_refused(h, "service's tarpit");
	service->tarpit_spared = 1;
	service->tarpit_delay_ms = BLOB_MAX_TARPIT_DELAY_MS + 1;
	blob_is_refused(h, "service's tarpit");
	free(h);
	cfg_free(cfg);
}

static void tarpits_that_cannot_work(void **state)
{
	static const struct {
		const char *text, *path, *why;
	} bad[] = {
		{"", "virtual_services.inbound.tarpit", "lets nobody wait"},
		{"networks = [ \"plotters\" ];",
		 "virtual_services.inbound.tarpit.networks",
		 "not among networks"},
		{"errors = 0;", "virtual_services.inbound.tarpit.errors", "1"},
		{"errors = 61;", "virtual_services.inbound.tarpit.errors", "60"},
		{"errors = 3; delay = \"2m\";", "virtual_services.inbound.tarpit.delay", "1s to 60s"
		},
		{"errors = 3; delay = \"10ms\";",
		 "virtual_services.inbound.tarpit.delay",
		 "1s to 60s"},
		{"networks = [ \"printers\" ]; except = [ \"printers\" ];",
		 "virtual_services.inbound.tarpit",
		 "both"},
	};
	char text[200];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "pool = \"mail\"; tarpit = { %s };", bad[i].text);
		refused("pool = \"mail\";", text, bad[i].path, bad[i].why);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_way_of_a_pool),
		cmocka_unit_test(a_rule_has_its_own),
		cmocka_unit_test(headers_for_some_clients_only_are_warned_of),
		cmocka_unit_test(no_xclient_in_passthrough),
		cmocka_unit_test(headers_come_from_networks),
		cmocka_unit_test(tarpits_take_networks),
		cmocka_unit_test(tarpits_that_cannot_work),
	};

	sample = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
