// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// No secret is shown, whatever a client makes of AUTH; what is no secret is shown as it is.

#include "dataplane/smtp/show.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char out[SMTP_SHOW_MAX];

static const char *command(const char *line, bool sasl)
{
	char *exact = malloc(strlen(line) + 1); // a read behind it is seen by the sanitizer
	uint32_t n;

	assert_non_null(exact);
	memcpy(exact + 1, line, strlen(line));
	n = smtp_show_command(exact + 1, (uint32_t)strlen(line), sasl, out);
	free(exact);
	assert_true(n < SMTP_SHOW_MAX);
	out[n] = '\0';
	return out;
}

static const char *reply(const char *line, bool to_auth)
{
	uint32_t n = smtp_show_reply(line, (uint32_t)strlen(line), to_auth, out);

	assert_true(n < SMTP_SHOW_MAX);
	out[n] = '\0';
	return out;
}

static void secrets_are_not_shown(void **state)
{
	static const char *const lines[] = {
		"AUTH PLAIN c2VjcmV0",
		"auth plain c2VjcmV0",
		"AUTH LOGIN c2VjcmV0",
		"AUTH\tc2VjcmV0",
		"AUTH  PLAIN c2VjcmV0",
		"AUTH PLAIN\tc2VjcmV0",
		"c2VjcmV0",
		"AUTHPLAIN c2VjcmV0",
		" AUTH PLAIN c2VjcmV0",
		"\tc2VjcmV0",
		"AUTH PLAIN=c2VjcmV0",
		"XCLIENT LOGIN=c2VjcmV0",
		"xforward c2VjcmV0",
		"AUTH P c2VjcmV0 ",
		"AUTH c2VjcmV0",
	};

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		assert_null(strstr(command(lines[i], false), "c2VjcmV0"));
		assert_null(strstr(command(lines[i], true), "c2VjcmV0"));
	}
	assert_string_equal(command("AUTH PLAIN c2VjcmV0", false), "AUTH PLAIN (not shown)");
	assert_string_equal(command("auth login", false), "AUTH LOGIN");
	assert_string_equal(command("AUTH", false), "AUTH (not shown)");
	assert_string_equal(command("XCLIENT", false), "XCLIENT (not shown)");
	assert_string_equal(command("c2VjcmV0", true), "(SASL data)");
	assert_string_equal(command("c2VjcmV0", false), "(no known command)");
	assert_string_equal(reply("334 c2VjcmV0", false), "334 (not shown)");
	assert_string_equal(reply("334 c2VjcmV0", true), "334 (not shown)");
	assert_string_equal(reply("535 5.7.8 wrong: c2VjcmV0", true), "535 5.7.8 (not shown)");
	assert_string_equal(reply("535 c2VjcmV0", true), "535 (not shown)");
	assert_string_equal(reply("535-5.7.8", true), "535-5.7.8 (not shown)");
	assert_string_equal(reply("235 1.2.3.c2VjcmV0", true), "235 (not shown)");
}

static void all_else_is_shown(void **state)
{
	static const char *const lines[] = {
		"EHLO client.example",
		"MAIL FROM:<a@b.example> SIZE=100",
		"rcpt to:<c@d.example>",
		"DATA",
		"BDAT 5 LAST",
		"NOOP x",
		"QUIT",
	};
	char longest[3000];

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_string_equal(command(lines[i], false), lines[i]);
	assert_string_equal(reply("250-PIPELINING", false), "250-PIPELINING");
	assert_string_equal(reply("250", true), "250");
	assert_string_equal(reply("33", true), "33");
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "NOOP ", 5);
	assert_int_equal(smtp_show_command(longest, sizeof(longest), false, out), SMTP_SHOW_MAX);
	assert_int_equal(smtp_show_reply(longest, sizeof(longest), false, out), SMTP_SHOW_MAX);
	assert_true(smtp_show_command(longest, sizeof(longest), true, out) < 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(secrets_are_not_shown),
		cmocka_unit_test(all_else_is_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
