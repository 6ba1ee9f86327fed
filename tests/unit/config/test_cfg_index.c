// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of the indexes by name: the table itself, and libconfig's groups searched through it.

#include "config/cfg_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/cfg_read.h"

#include <cmocka.h>

#define MANY 3000

static void texts_are_found(void **state)
{
	static char name[MANY][16];
	struct cfg_index index;

	assert_true(cfg_index_init(&index, MANY, 0));
	for (uint32_t i = 0; i < MANY; i++) {
		snprintf(name[i], sizeof(name[i]), "n%u", i);
		assert_int_equal(cfg_index_put(&index, name[i], i), CFG_INDEX_NONE);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		char copy[16];

		memcpy(copy, name[i], sizeof(copy));
		assert_int_equal(cfg_index_get(&index, copy), i);
		assert_int_equal(cfg_index_put(&index, copy, 7), i);
	}
	assert_int_equal(cfg_index_get(&index, "n3000"), CFG_INDEX_NONE);
	assert_int_equal(cfg_index_put(&index, "one too many", 1), CFG_INDEX_NONE);
	assert_int_equal(cfg_index_get(&index, "one too many"), CFG_INDEX_NONE);
	cfg_index_release(&index);
	assert_int_equal(cfg_index_get(&index, "n1"), CFG_INDEX_NONE);
	assert_int_equal(cfg_index_put(&index, "n1", 1), CFG_INDEX_NONE);
}

static void keys_of_bytes_are_found(void **state)
{
	const uint8_t a[4] = {0, 1, 0, 2}, b[4] = {0, 1, 0, 3};
	struct cfg_index index;

	assert_true(cfg_index_init(&index, 1, sizeof(a)));
	assert_int_equal(cfg_index_put(&index, a, 5), CFG_INDEX_NONE);
	assert_int_equal(cfg_index_get(&index, (const uint8_t[4]){0, 1, 0, 2}), 5);
	assert_int_equal(cfg_index_get(&index, b), CFG_INDEX_NONE);
	cfg_index_release(&index);
}

// "g = { m0 = 0; m1 = 1; ... <last> };"
static char *group_text(unsigned members, const char *last)
{
	char *text = malloc(32 * members + 100);
	size_t n = (size_t)snprintf(text, 32, "g = {\n");

	for (unsigned i = 0; i < members; i++)
		n += (size_t)snprintf(text + n, 32, "m%u = %u;\n", i, i);
	snprintf(text + n, 100, "%s };", last);
	return text;
}

static void members_are_found(void **state)
{
	for (unsigned members = 1; members <= MANY; members = members * 3 / 2 + 1) {
		char *text = group_text(members, "");
		config_setting_t *g;
		config_t file;

		config_init(&file);
		config_set_destructor(&file, cfg_members_free);
		assert_int_equal(config_read_string(&file, text), CONFIG_TRUE);
		g = config_setting_get_member(config_root_setting(&file), "g");
		assert_non_null(g);
		for (unsigned i = 0; i < members; i++) {
			config_setting_t *m;
			char name[16];

			snprintf(name, sizeof(name), "m%u", i);
			m = config_setting_get_member(g, name);
			assert_non_null(m);
			assert_int_equal(config_setting_get_int(m), i);
			assert_null(config_setting_get_member(m, name));
		}
		assert_non_null(config_lookup(&file, "g.m0"));
		assert_non_null(config_lookup(&file, "g/m0"));
		assert_null(config_lookup(&file, "g.m"));
		assert_null(config_setting_get_member(g, "m"));
		assert_null(config_setting_get_member(g, "other"));
		// libconfig's own calls come here as well: without it they are a hundred times
		// slower
		assert_true(members <= 16 || config_setting_get_hook(g) != NULL);
		config_destroy(&file);
		free(text);
	}
}

static void a_member_twice_is_refused(void **state)
{
	static const unsigned members[] = {1, 2, 16, 17, 18, 64, 65, 66, 1000};

	for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		char again[32], *text;
		config_t file;

		snprintf(again, sizeof(again), "\nm%u = 1;", members[i] / 2);
		text = group_text(members[i], again);
		config_init(&file);
		config_set_destructor(&file, cfg_members_free);
		assert_int_equal(config_read_string(&file, text), CONFIG_FALSE);
		assert_int_equal(config_error_line(&file), members[i] + 3);
		assert_string_equal(config_error_text(&file), "duplicate setting name");
		config_destroy(&file);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_are_found),
		cmocka_unit_test(keys_of_bytes_are_found),
		cmocka_unit_test(members_are_found),
		cmocka_unit_test(a_member_twice_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
