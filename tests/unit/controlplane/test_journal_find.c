// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Searches find what reading all lines finds, the newest first.

#include "tests/unit/controlplane/journal_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/rng.h"
#include "controlplane/journal_find.h"

#include <cmocka.h>

// Another way to the same: every line, through a JSON parser.
static bool wanted(const json_t *o, const struct find_query *q)
{
	const json_t *to = json_array_get(json_object_get(o, "to"), 0);
	const struct {
		const char *want, *have;
	} texts[] = {
		{q->from, json_string_value(json_object_get(o, "from"))},
		{q->to, json_string_value(json_object_get(to, "address"))},
		{q->queue_id, json_string_value(json_object_get(o, "queue_id"))},
	};
	bool v6 = json_integer_value(json_object_get(o, "worker")) == 1;

	for (unsigned i = 0; i < 3; i++) {
		size_t w = strlen(texts[i].want), h = strlen(texts[i].have);

		if (w == 0)
			continue;
		if (texts[i].want[0] == '@'
			    ? h < w || strcasecmp(texts[i].have + h - w, texts[i].want) != 0
			    : strcasecmp(texts[i].have, texts[i].want) != 0)
			return false;
	}
	return !q->has_client || (v6 ? q->client.len == 32 : q->client.len == 96 + 24);
}

static void find_compare(const json_t *all, const struct find_query *q)
{
	struct find *f = calloc(1, sizeof(*f));
	size_t i = json_array_size(all), len, same = 0;
	const char *line;

	assert_non_null(f);
	assert_int_equal(find_begin(f, rig.j->dir_fd, q), 0);
	while (!f->done) {
		json_t *o;

		line = find_next(f, &len);
		if (line == NULL)
			continue;
		o = json_loadb(line, len, 0, NULL);
		assert_non_null(o);
		while (i > 0 && !wanted(json_array_get(all, i - 1), q))
			i--;
		assert_true(i > 0);
		assert_true(json_equal(o, json_array_get(all, --i)));
		json_decref(o);
		same++;
	}
	if (!f->limited)
		while (i > 0)
			assert_false(wanted(json_array_get(all, --i), q));
	else
		assert_int_equal(same, q->limit);
	find_end(f);
}

static void test_find(void **state)
{
	struct rng rng;
	json_t *all;

	rng_seed(&rng, 11);
	rig.j->max_bytes = 64 << 20; // a file each 4 MiB
	for (unsigned i = 0; i < 24000; i++) {
		char from[64], to[64], id[32], helo[128];

		snprintf(id, sizeof(id), "4X%xz%u", (unsigned)rng_below(&rng, 1 << 30), i);
		snprintf(
			from,
			sizeof(from),
			"u%u@From%u.example",
			(unsigned)rng_below(&rng, 50),
			i % 7
		);
		snprintf(
			to,
			sizeof(to),
			"\"r %u\"@to%u.example",
			(unsigned)rng_below(&rng, 3000),
			i % 5
		);
		snprintf(
			helo,
			sizeof(helo),
			"%.*s",
			1 + (int)rng_below(&rng, 60),
			"u1@from1.example-----------------------------------------------------"
		);
		if (i == 12345)
			snprintf(id, sizeof(id), "NEEDLE-1");
		if (i % 2000 == 1999)
			snprintf(to, sizeof(to), "rare@to.example");
		assert_true(tell(i % WORKERS, helo, id, from, to));
		if (i % 1000 == 999)
			journal_rig_run();
	}
	journal_rig_run();
	all = journal_rig_lines();
	assert_int_equal(json_array_size(all), 24000);
	struct find_query q[] = {
		{.queue_id = "needle-1", .limit = 10},
		{.to = "Rare@to.EXAMPLE", .limit = 100},
		{.to = "rare@to.example", .limit = 5},
		{.to = "\"r 77\"@to2.example", .limit = 1000},
		{.from = "u1@from1.example", .limit = 100000},
		{.from = "@from3.example", .to = "@to4.example", .limit = 100000},
		{.from = "nobody@from1.example", .limit = 10},
		{.has_client = true, .from = "u2@from2.example", .limit = 100000},
		{.has_client = true, .limit = 100000},
		{.limit = 100000},
		{.limit = 3},
	};
	for (size_t i = 0; i < sizeof(q) / sizeof(q[0]); i++) {
		if (q[i].has_client)
			ip_prefix_parse(i == 7 ? "192.0.2.0/24" : "2001:db8::/32", &q[i].client);
		find_compare(all, &q[i]);
	}
	json_decref(all);
}

static void test_times(void **state)
{
	char ret[FIND_TIME_LEN];

	assert_true(find_time_parse("2026-11-27T08:53:33Z", ret));
	assert_string_equal(ret, "2026-11-27T08:53:33");
	assert_true(find_time_parse("2026-11-27", ret));
	assert_string_equal(ret, "2026-11-27");
	assert_true(find_time_parse("1795769613", ret));
	assert_string_equal(ret, "2026-11-27T08:53:33");
	assert_true(find_time_parse("90s", ret) && find_time_parse("15m", ret));
	assert_true(find_time_parse("2h", ret) && find_time_parse("7d", ret));
	assert_false(find_time_parse("yesterday", ret));
	assert_false(find_time_parse("2h30", ret));
	assert_false(find_time_parse("12", ret));
	assert_false(find_time_parse("2026-11-27\" x", ret));
	assert_false(find_time_parse("2026-11-27T08:53:33.123456789Z", ret));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, journal_rig_setup, journal_rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_find),
		TEST(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
