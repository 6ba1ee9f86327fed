// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// An EHLO that is kept for a later leg comes out as it was said, to the octet; long ones come from
// a bounded slab and go back there.

#include "dataplane/proxy/relay_inner_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t stats[STAT_COUNT];
static struct worker_env env = {.stats = stats, .count = 1};
static struct relay *relay;

static int setup(void **state)
{
	relay = calloc(1, sizeof(*relay));
	if (relay == NULL)
		return -1;
	relay->env = &env;
	relay->config.max_sessions = 16;
	return ehlo_init(relay) ? 0 : -1;
}

static int teardown(void **state)
{
	ehlo_free(relay);
	free(relay);
	return 0;
}

static void as_it_was_said(void **state)
{
	static const char *const lines[] = {
		"EHLO client.example\r\n",
		"ehlo client.example\r\n",
		"eHlO [IPv6:2001:db8::1]\r\n",
		"HELO x\r\n",
		"helo  two blanks \r\n",
		"hELo %s%n\r\n",
	};
	char longest[EHLO_LINE_MAX + 1], out[EHLO_LINE_MAX];
	struct session s = {0};

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		uint32_t len = (uint32_t)strlen(lines[i]);

		assert_true(ehlo_keep(relay, &s, lines[i], len));
		assert_int_equal(ehlo_line(relay, &s, out), len);
		assert_memory_equal(out, lines[i], len);
		assert_int_equal(
			(s.ehlo.verb & SESSION_EHLO_HELO) != 0,
			lines[i][0] == 'h' || lines[i][0] == 'H'
		);
	}
	for (int n = 1; n <= EHLO_NAME_MAX; n++) {
		int len = snprintf(longest, sizeof(longest), "eHLO %0*d\r\n", n, 7);

		assert_true(ehlo_keep(relay, &s, longest, (uint32_t)len));
		assert_int_equal(ehlo_line(relay, &s, out), len);
		assert_memory_equal(out, longest, (size_t)len);
	}
	assert_int_equal(relay->ehlo_ids.used, 1);
	ehlo_forget(relay, &s);
	assert_int_equal(relay->ehlo_ids.used, 0);
}

static void what_cannot_be_kept(void **state)
{
	struct session s = {0};
	char line[EHLO_NAME_MAX + 16];
	int len = snprintf(line, sizeof(line), "EHLO %0*d\r\n", EHLO_NAME_MAX + 1, 7);

	assert_false(ehlo_keep(relay, &s, "EHLO\r\n", 6));
	assert_false(ehlo_keep(relay, &s, "EHLO \r\n", 7));
	assert_false(ehlo_keep(relay, &s, line, (uint32_t)len));
	assert_int_equal(s.flags & SESSION_F_EHLO_KEPT, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(as_it_was_said, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_kept, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
