// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of the configuration: the shipped sample, errors with their places, blobs and their
// check.

#include "tests/unit/config/fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_sample_loads(void **state)
{
	struct cfg *cfg = cfg_load(sample, &errs);

	assert_non_null(cfg);
	assert_string_equal(cfg->hostname, "mail.example.com");
	assert_int_equal(cfg->pools[0].backend_count, 2);
	assert_int_equal(cfg->services[0].listen_count, 2);
	assert_int_equal(cfg->services[0].rules[0].policy.bare_lf, BLOB_BARE_LF_RESTUFF);
	assert_int_equal(cfg->services[0].max_message_bytes, 50U << 20);
	cfg_free(cfg);
}

static void errors_name_the_key(void **state)
{
	refused("workers = 1;", "wokers = 1;", "dataplane.wokers", "unknown key");
	refused("workers = 1;", "workers = 0;", "dataplane.workers", "not between");
	refused("workers = 1;", "workers = \"1\";", "dataplane.workers", "whole number");
	refused("\"3s\"", "\"3\"", "pools.mail.connect_timeout", "wants a time");
	refused("pool = \"mail\"", "pool = \"post\"", "virtual_services.inbound", "not among pools"
	);
	refused("198.51.100.52:25", "198.51.100.52", "pools.mail.backends[1]", "ADDRESS:PORT");
	refused("\"2001:db8:25::10/64\" ]",
		"\"2001:db8:25::10/64\" ]; gateways = [ \"198.51.100.1\", \"198.51.100.2\" ]",
		"ports.lan.gateways",
		"one gateway a family");
	refused("\"2001:db8:25::10/64\" ];",
		"\"2001:db8:25::10/64\" ]; gateways = [ \"198.51.100.1\" ]; }; wan = { device = "
		"\"net_tap1\"; addresses = [ \"192.0.2.10/24\" ]; gateways = [ \"fe80::1\", "
		"\"192.0.2.1\" ];",
		"ports.wan.gateways",
		"one gateway a family");
	refused("name = \"mx2\"", "name = \"mx1\"", "pools.mail.backends[1]", "already");
	refused("listen = [ \"198.51.100.25:25\", ",
		"listen = [ \"198.51.100.25:25\", \"198.51.100.25:25\", ",
		"virtual_services.inbound.listen",
		"listened on already");
	refused("name = \"mx1\"",
		"name = \"mx/1\"",
		"pools.mail.backends[0].name",
		"letters, digits");
	refused("name = \"mx1\"",
		"name = \"m\xffx\"",
		"pools.mail.backends[0].name",
		"letters, digits");
	refused("from = \"printers\"",
		"from = \"plotters\"",
		"virtual_services.inbound.rules[0]",
		"not among networks");
}

static void keys_not_built_yet_are_refused_by_name(void **state)
{
	refused("scheduler =",
		"client_address = \"transparent\"; scheduler =",
		"pools.mail.client_address",
		"not built yet");
}

static void a_pool_has_a_backup_and_it_has_none(void **state)
{
	static const char second[] = "pools = { sorry = { soft_bounce = true; slow_start = \"2m\"; "
				     "backends = ( { name = \"s\"; address = "
				     "\"198.51.100.60:25\"; } ); %s };";
	char text[400];
	struct cfg *cfg;
	void *blob;
	size_t len;
	struct cfg_slots *slots = cfg_slots_new(16, 16);
	const struct blob_pool *pool;

	snprintf(
		text,
		sizeof(text),
		second,
		"}; third = { backup = \"sorry\"; backends = ( { name = \"t\"; address = "
		"\"198.51.100.61:25\"; } );"
	);
	cfg = load_with("pools = {", text);
	assert_non_null(cfg);
	assert_int_equal(cfg_blob_build(cfg, slots, 7, &blob, &len, &errs), 0);
	pool = (const struct blob_pool *)((uint8_t *)blob + ((struct blob_header *)blob)->pools.off
	);
	assert_int_equal(pool[0].flags, BLOB_POOL_F_SOFT_BOUNCE);
	assert_int_equal(pool[0].slow_start_ms, 120000);
	assert_int_equal(pool[0].backup, 0);
	assert_int_equal(pool[1].backup, 1);
	assert_int_equal(pool[1].flags, 0);
	assert_true(cfg->pools[1].passive_health && cfg->pools[1].bounce_guard);
	free(blob);
	cfg_free(cfg);
	cfg_slots_free(slots);
	snprintf(text, sizeof(text), second, "backup = \"sorry\";");
	refused("pools = {", text, "pools.sorry.backup", "no backup of itself");
	snprintf(
		text,
		sizeof(text),
		second,
		"backup = \"mail\"; } ; x = { backup = \"sorry\"; "
		"backends = ( { name = \"t\"; address = "
		"\"198.51.100.61:25\"; } );"
	);
	refused("pools = {", text, "pools.x.backup", "has a backup itself");
	refused("scheduler =", "backup = \"none\"; scheduler =", "pools.mail.backup", "not among");
	refused("scheduler =",
		"ejection_time = \"1s\"; scheduler =",
		"pools.mail.ejection_time",
		"at least 5s");
}

// Each pool is small enough, all together are not: no generation could hold them.
static void more_backends_than_a_generation_holds_are_refused(void **state)
{
	char path[] = "/tmp/mailrace-test-XXXXXX";
	FILE *f = fdopen(mkstemp(path), "w");

	fprintf(f,
		"hostname = \"a\"; ports = { p = { device = \"d\"; addresses = [ "
		"\"1.2.3.4/8\" ]; "
		"}; };\npools = {\n");
	for (unsigned i = 0; i < 65; i++) {
		fprintf(f, "p%u = { backends = (", i);
		for (unsigned k = 0; k < 253; k++)
			fprintf(f,
				"%s{ name = \"%u\"; address = \"1.1.1.1:1\"; }",
				k > 0 ? "," : "",
				k);
		fprintf(f, "); };\n");
	}
	fprintf(f,
		"};\nvirtual_services = { s = { listen = [ \"1.2.3.4:25\" ]; pool = "
		"\"p0\"; }; };\n");
	fclose(f);
	assert_null(cfg_load(path, &errs));
	remove(path);
	assert_int_equal(errs.errors, 1);
	assert_string_equal(errs.item[0].reason, "16445 backends in all, at most 16384");
}

static void every_truncation_is_refused_or_loads(void **state)
{
	static char text[16384];
	FILE *f = fopen(sample, "r");
	size_t len = fread(text, 1, sizeof(text), f);

	fclose(f);
	for (size_t n = 0; n < len; n += 7) {
		char path[] = "/tmp/mailrace-test-XXXXXX";
		FILE *out = fdopen(mkstemp(path), "w");
		struct cfg *cfg;

		fwrite(text, 1, n, out);
		fclose(out);
		cfg = cfg_load(path, &errs);
		assert_true((cfg != NULL) == (errs.errors == 0));
		cfg_free(cfg);
		remove(path);
	}
}

static void *blob_new(size_t *ret_len)
{
	struct cfg *cfg = cfg_load(sample, &errs);
	struct cfg_slots *slots = cfg_slots_new(16, 16);
	void *blob;

	assert_int_equal(cfg_blob_build(cfg, slots, 7, &blob, ret_len, &errs), 0);
	cfg_slots_free(slots);
	cfg_free(cfg);
	return blob;
}

static void blobs_pass_their_check_and_no_flipped_bit_does(void **state)
{
	size_t len;
	uint8_t *blob = blob_new(&len);
	const char *reason;

	assert_int_equal(blob_check(blob, len, 16, 16, &reason), 0);
	assert_int_equal(
		blob_check(blob, len, 2, 16, &reason), -EINVAL
	); // slots beyond the segment's
	assert_int_equal(blob_check(blob, len - 1, 16, 16, &reason), -EINVAL);
	for (size_t i = 0; i < len; i++) {
		blob[i] ^= (uint8_t)(1U << (i % 8));
		assert_int_equal(blob_check(blob, len, 16, 16, &reason), -EINVAL);
		blob[i] ^= (uint8_t)(1U << (i % 8));
	}
	free(blob);
}

static void slots_stay_with_their_names(void **state)
{
	struct cfg *a = cfg_load(sample, &errs);
	struct cfg *b =
		load_with("{ name = \"mx1\"; address = \"198.51.100.51:25\"; weight = 100; },", "");
	struct cfg_slots *slots = cfg_slots_new(16, 16);
	const struct blob_backend *be;
	struct blob_header *h;
	uint32_t mx2;
	void *blob;
	size_t len;

	assert_int_equal(cfg_blob_build(a, slots, 1, &blob, &len, &errs), 0);
	h = blob;
	be = (const struct blob_backend *)((uint8_t *)blob + h->backends.off);
	mx2 = be[1].slot;
	free(blob);
	assert_int_equal(cfg_blob_build(b, slots, 2, &blob, &len, &errs), 0);
	h = blob;
	be = (const struct blob_backend *)((uint8_t *)blob + h->backends.off);
	assert_string_equal(be[0].name, "mx2");
	assert_int_equal(be[0].slot, mx2);
	free(blob);
	cfg_slots_free(slots);
	cfg_free(a);
	cfg_free(b);
}

// A restarted control process knows only the generation in force, in which mx1 does not
// stand any more, though sessions still hold its slot.
static void a_new_table_adopts_slots_and_leaves_those_in_use(void **state)
{
	struct cfg *both = cfg_load(sample, &errs);
	struct cfg *one =
		load_with("{ name = \"mx1\"; address = \"198.51.100.51:25\"; weight = 100; },", "");
	struct cfg *other = load_with("name = \"mx1\"", "name = \"mx9\"");
	struct cfg_slots *slots = cfg_slots_new(16, 16), *again = cfg_slots_new(16, 16);
	const struct blob_backend *be;
	uint32_t mx1, mx2;
	void *blob, *next;
	size_t len;

	assert_int_equal(cfg_blob_build(both, slots, 1, &blob, &len, &errs), 0);
	be = (const struct blob_backend *)((uint8_t *)blob +
					   ((struct blob_header *)blob)->backends.off);
	mx1 = be[0].slot;
	mx2 = be[1].slot;
	free(blob);
	assert_int_equal(cfg_blob_build(one, slots, 2, &blob, &len, &errs), 0);
	cfg_slots_adopt(again, blob);
	cfg_slots_hold(again, CFG_SLOT_BACKEND, mx1, true);
	assert_int_equal(cfg_blob_build(other, again, 3, &next, &len, &errs), 0);
	be = (const struct blob_backend *)((uint8_t *)next +
					   ((struct blob_header *)next)->backends.off);
	assert_string_equal(be[0].name, "mx9");
	assert_int_not_equal(be[0].slot, mx1);
	assert_int_equal(be[1].slot, mx2);
	free(blob);
	free(next);
	cfg_slots_free(slots);
	cfg_slots_free(again);
	cfg_free(both);
	cfg_free(one);
	cfg_free(other);
}

// The table is full: the slot of the name that left is the one to give away, whatever the
// order.
static void a_new_name_takes_only_the_slot_of_one_that_is_gone(void **state)
{
	struct cfg *a = cfg_load(sample, &errs);
	struct cfg *b = load_with(
		"backends = ( { name = \"mx1\"; address = \"198.51.100.51:25\"; weight = "
		"100; },",
		"backends = ( { name = \"new\"; address = \"198.51.100.59:25\"; weight = "
		"100; },"
	);
	struct cfg_slots *slots = cfg_slots_new(3, 3);
	const struct blob_backend *be;
	uint32_t mx1, mx2;
	void *blob;
	size_t len;

	for (unsigned round = 0; round < 4; round++) { // the search begins elsewhere each time
		assert_int_equal(cfg_blob_build(a, slots, 1, &blob, &len, &errs), 0);
		be = (const struct blob_backend *)((uint8_t *)blob +
						   ((struct blob_header *)blob)->backends.off);
		mx1 = be[0].slot;
		mx2 = be[1].slot;
		free(blob);
		assert_int_equal(cfg_blob_build(b, slots, 2, &blob, &len, &errs), 0);
		be = (const struct blob_backend *)((uint8_t *)blob +
						   ((struct blob_header *)blob)->backends.off);
		assert_string_equal(be[0].name, "new");
		assert_int_equal(be[0].slot, mx1);
		assert_int_equal(be[1].slot, mx2);
		free(blob);
	}
	cfg_slots_free(slots);
	cfg_free(a);
	cfg_free(b);
}

static void a_reload_names_what_it_cannot_change(void **state)
{
	const char *keys[CFG_START_ONLY_MAX];
	struct cfg *a = cfg_load(sample, &errs);
	struct cfg *b = load_with("workers = 1", "workers = 3");
	struct cfg *c = load_with("weight = 100", "weight = 50");

	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(c);
	assert_int_equal(cfg_diff_start_only(a, a, keys), 0);
	assert_int_equal(cfg_diff_start_only(a, c, keys), 0);
	assert_int_equal(cfg_diff_start_only(a, b, keys), 1);
	assert_string_equal(keys[0], "dataplane.workers");
	b->ports[0].addresses[0].len--;
	assert_int_equal(cfg_diff_start_only(a, b, keys), 2);
	assert_string_equal(keys[1], "ports");
	a->dataplane.max_tls_connections++; // that of b follows from what else it says
	assert_int_equal(cfg_diff_start_only(a, b, keys), 2);
	b->dataplane.max_tls_derived = false;
	assert_int_equal(cfg_diff_start_only(a, b, keys), 3);
	assert_string_equal(keys[1], "dataplane.max_tls_connections");
	cfg_free(a);
	cfg_free(b);
	cfg_free(c);
}

static void *blob_of(const struct cfg *cfg, size_t *len)
{
	struct cfg_slots *slots = cfg_slots_new(100, 100);
	void *blob;

	assert_non_null(cfg);
	assert_int_equal(cfg_blob_build(cfg, slots, 1, &blob, len, &errs), 0);
	cfg_slots_free(slots);
	return blob;
}

// What is kept for a start with a broken file says all that the file said.
static void the_text_of_a_file_loads_again(void **state)
{
	char *text = NULL, *again = NULL;
	struct cfg *cfg = cfg_load_text(sample, &errs, &text), *kept;
	const char *keys[CFG_START_ONLY_MAX];
	void *blob, *kept_blob;
	size_t len, kept_len;

	assert_non_null(text);
	kept = cfg_parse(text, "kept", &errs);
	assert_non_null(kept);
	assert_int_equal(cfg_diff_start_only(cfg, kept, keys), 0);
	blob = blob_of(cfg, &len);
	kept_blob = blob_of(kept, &kept_len);
	assert_int_equal(len, kept_len);
	assert_memory_equal(blob, kept_blob, len);
	assert_null(cfg_load_text("/of-this-name/is-nothing", &errs, &again));
	assert_null(again);
	assert_null(cfg_parse("hostname = ", "kept", &errs));
	assert_string_equal(errs.item[0].file, "kept");
	free(blob);
	free(kept_blob);
	free(text);
	cfg_free(cfg);
	cfg_free(kept);
}

static void a_refused_file_still_names_the_state_folder(void **state)
{
	struct cfg *cfg = load_with("hostname", "control = { state_dir = \"/x\"; }; hostname");

	assert_string_equal(cfg->control.state_dir, "/x");
	cfg_free(cfg);
	assert_null(load_with("hostname = ", "control = { state_dir = \"/x\"; }; hostname = 5 + "));
	assert_string_equal(errs.state_dir, "/x");
	assert_null(
		load_with("hostname", "control = { state_dir = \"/x\"; }; garbage = 1; hostname")
	);
	assert_string_equal(errs.state_dir, "/x");
	assert_null(load_with("hostname", "{ state_dir"));
	assert_string_equal(errs.state_dir, "");
}

// What all workers have together is what the file says, not one more each.
static void workers_share_without_a_rest(void **state)
{
	static const uint32_t totals[] = {CFG_MAX_WORKERS, 1000, 10000, 16000000, 32000000};

	for (unsigned workers = 1; workers <= CFG_MAX_WORKERS; workers++) {
		for (unsigned i = 0; i < sizeof(totals) / sizeof(totals[0]); i++) {
			uint32_t least = totals[i] / workers, sum = 0;

			for (unsigned w = 0; w < workers; w++) {
				uint32_t share = cfg_share(totals[i], workers, w);

				assert_in_range(share, least, least + 1);
				sum += share;
			}
			assert_int_equal(sum, totals[i]);
		}
		assert_int_equal(cfg_share(0, workers, workers - 1), 1);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sample_loads),
		cmocka_unit_test(errors_name_the_key),
		cmocka_unit_test(keys_not_built_yet_are_refused_by_name),
		cmocka_unit_test(a_pool_has_a_backup_and_it_has_none),
		cmocka_unit_test(more_backends_than_a_generation_holds_are_refused),
		cmocka_unit_test(every_truncation_is_refused_or_loads),
		cmocka_unit_test(blobs_pass_their_check_and_no_flipped_bit_does),
		cmocka_unit_test(slots_stay_with_their_names),
		cmocka_unit_test(a_new_table_adopts_slots_and_leaves_those_in_use),
		cmocka_unit_test(a_new_name_takes_only_the_slot_of_one_that_is_gone),
		cmocka_unit_test(a_reload_names_what_it_cannot_change),
		cmocka_unit_test(the_text_of_a_file_loads_again),
		cmocka_unit_test(a_refused_file_still_names_the_state_folder),
		cmocka_unit_test(workers_share_without_a_rest),
	};

	sample = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
