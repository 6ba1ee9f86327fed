// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Reply lines, EHLO filtering and envelope parameters.

#include "dataplane/smtp/reply.h"

#include "dataplane/smtp/verb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned code(const char *line, bool *more)
{
	return smtp_reply_code(line, (uint32_t)strlen(line), more);
}

static void codes_are_three_digits_and_a_mark(void **state)
{
	static const char *const bad[] = {
		"", "2", "25", "25x ok", "650 ok", "150 ok", "2500 ok", "250_ok", " 250 ok"
	};
	bool more;

	assert_int_equal(code("250 ok", &more), 250);
	assert_false(more);
	assert_int_equal(code("250-ok", &more), 250);
	assert_true(more);
	assert_int_equal(code("421", &more), 421);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(code(bad[i], &more), 0);
}

static enum smtp_reply_part scanned(const char *text, uint32_t len, uint32_t piece)
{
	struct smtp_reply_scan scan = {0};
	enum smtp_reply_part part = SMTP_REPLY_MORE;

	for (uint32_t at = 0; at < len && part == SMTP_REPLY_MORE; at += piece)
		part = smtp_reply_scan(
			&scan, (const uint8_t *)text + at, piece < len - at ? piece : len - at
		);
	return part;
}

static void whole_replies_are_told_from_broken_ones(void **state)
{
	static const struct {
		const char *text;
		enum smtp_reply_part want;
	} cases[] = {
		{"", SMTP_REPLY_MORE},
		{"250", SMTP_REPLY_MORE},
		{"250 ok\r", SMTP_REPLY_MORE},
		{"250-ok\r\n", SMTP_REPLY_MORE},
		{"250-ok\r\n250", SMTP_REPLY_MORE},
		{"250 ok\r\n", SMTP_REPLY_WHOLE},
		{"250\r\n", SMTP_REPLY_WHOLE},
		{"250-a\r\n250-\r\n250 c\r\n", SMTP_REPLY_WHOLE},
		{"250 a\r\n999", SMTP_REPLY_WHOLE},
		{"250-a\r\n251 b\r\n", SMTP_REPLY_BROKEN},
		{"250-a\r\nb\r\n", SMTP_REPLY_BROKEN},
		{"250-a\n250 b\r\n", SMTP_REPLY_BROKEN},
		{"250 a\n", SMTP_REPLY_BROKEN},
		{"25\r\n", SMTP_REPLY_BROKEN},
		{"\r\n", SMTP_REPLY_BROKEN},
		{"\n", SMTP_REPLY_BROKEN},
		{"250_a\r\n", SMTP_REPLY_BROKEN},
	};
	static char text[SMTP_REPLY_MAX + 1];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (uint32_t piece = 1; piece < 24; piece++)
			assert_int_equal(
				scanned(cases[i].text, (uint32_t)strlen(cases[i].text), piece),
				cases[i].want
			);
	memset(text, 'x', sizeof(text));
	memcpy(text, "250 ", 4);
	assert_int_equal(scanned(text, SMTP_REPLY_LINE_MAX - 1, 7), SMTP_REPLY_MORE);
	assert_int_equal(scanned(text, SMTP_REPLY_LINE_MAX, 7), SMTP_REPLY_BROKEN);
	for (uint32_t i = 0; i < SMTP_REPLY_MAX; i += 8)
		memcpy(text + i, "250-ab\r\n", 8);
	assert_int_equal(scanned(text, SMTP_REPLY_MAX, 1000), SMTP_REPLY_MORE);
	text[SMTP_REPLY_MAX - 5] = ' ';
	assert_int_equal(scanned(text, SMTP_REPLY_MAX, 1000), SMTP_REPLY_WHOLE);
	text[SMTP_REPLY_MAX - 5] = '-';
	assert_int_equal(scanned(text, SMTP_REPLY_MAX + 1, 1000), SMTP_REPLY_BROKEN);
}

static void filtered(const char *in, uint32_t max, const char *want, uint32_t want_caps)
{
	const struct smtp_limits limits = {.message_bytes = max, .recipients = max};
	char out[512];
	uint32_t caps, n = smtp_ehlo_filter(
			       in, (uint32_t)strlen(in), &limits, out, sizeof(out) - 1, &caps
		       );

	out[n] = '\0';
	assert_string_equal(out, want);
	assert_int_equal(caps, want_caps);
}

static void ehlo_replies_lose_what_cannot_be_relayed(void **state)
{
	filtered(
		"250-mx\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 XCLIENT NAME\r\n",
		0,
		"250-mx\r\n250 PIPELINING\r\n",
		SMTP_CAP_PIPELINING
	);
	filtered("250-mx\r\n250-BURL imap\r\n250 VERB\r\n", 0, "250 mx\r\n", 0); // C14
	filtered("250-mx\r\n250-X-ANONYMOUSTLS\r\n250 xforward NAME\r\n", 0, "250 mx\r\n", 0);
	filtered("250 mx\r\n", 0, "250 mx\r\n", 0);
	filtered(
		"250-mx\r\n250-SIZE 9000\r\n250 CHUNKING\r\n",
		500,
		"250-mx\r\n250-SIZE 500\r\n250 CHUNKING\r\n",
		SMTP_CAP_SIZE | SMTP_CAP_CHUNKING
	);
	filtered("250-mx\r\n250 SIZE\r\n", 500, "250-mx\r\n250 SIZE 500\r\n", SMTP_CAP_SIZE);
	filtered("250-mx\r\n250 SIZE 100\r\n", 500, "250-mx\r\n250 SIZE 100\r\n", SMTP_CAP_SIZE);
}

static void starttls_is_shown_and_auth_is_not(void **state)
{
	static const char in[] = "250-mx\r\n250-AUTH PLAIN\r\n250-AUTH=LOGIN\r\n250 8BITMIME\r\n";
	const struct smtp_limits limits = {.starttls = true};
	char out[256];
	uint32_t caps, n = smtp_ehlo_filter(in, sizeof(in) - 1, &limits, out, sizeof(out), &caps);

	assert_int_equal(n, 36);
	assert_memory_equal(out, "250-mx\r\n250-8BITMIME\r\n250 STARTTLS\r\n", n);
	assert_int_equal(caps, SMTP_CAP_AUTH | SMTP_CAP_8BITMIME);
}

// RFC 9422: the smaller one holds.
static void limits_are_lowered_to_ours(void **state)
{
	static const struct {
		const char *in, *out;
		uint32_t max;
	} cases[] = {
		{"250-mx\r\n250 LIMITS RCPTMAX=1000 MAILMAX=5\r\n",
		 "250-mx\r\n250 LIMITS RCPTMAX=200 MAILMAX=5\r\n",
		 200},
		{"250-mx\r\n250 LIMITS MAILMAX=5 rcptmax=100\r\n",
		 "250-mx\r\n250 LIMITS MAILMAX=5 rcptmax=100\r\n",
		 200},
		{"250-mx\r\n250 LIMITS MAILMAX=5\r\n",
		 "250-mx\r\n250 LIMITS MAILMAX=5 RCPTMAX=200\r\n",
		 200},
		{"250-mx\r\n250 limits\r\n", "250-mx\r\n250 limits RCPTMAX=200\r\n", 200},
		{"250-mx\r\n250 LIMITS RCPTMAX=1000\r\n", "250-mx\r\n250 LIMITS RCPTMAX=1000\r\n", 0
		},
		{"250-mx\r\n250 LIMITSX RCPTMAX=1000\r\n",
		 "250-mx\r\n250 LIMITSX RCPTMAX=1000\r\n",
		 200},
		{"250 LIMITS RCPTMAX=1000\r\n", "250 LIMITS RCPTMAX=1000\r\n", 200
		}, // a host's name
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		filtered(cases[i].in, cases[i].max, cases[i].out, 0);
}

// A keyword cut off at the end of its block, as a fuzzer found it: nothing behind it is read.
static void limits_cut_off_are_not_read_beyond(void **state)
{
	static const char text[] = "250-mx\r\n250-LIMITS RCPTM";
	const struct smtp_limits limits = {.recipients = 100};
	uint32_t len = sizeof(text) - 1, caps, n;
	char *copy = malloc(len);
	char out[512];

	assert_non_null(copy);
	memcpy(copy, text, len);
	n = smtp_ehlo_filter(copy, len, &limits, out, sizeof(out), &caps);
	out[n] = '\0';
	assert_string_equal(out, "250-mx\r\n250 LIMITS RCPTM RCPTMAX=100\r\n");
	free(copy);
}

static bool params(const char *args, uint32_t caps, uint64_t *size)
{
	return smtp_params_check(args, (uint32_t)strlen(args), caps, size);
}

static void parameters_need_their_extension(void **state)
{
	uint64_t size;

	assert_true(params("FROM:<a@b> SIZE=123", SMTP_CAP_SIZE, &size));
	assert_int_equal(size, 123);
	assert_false(params("FROM:<a@b> SIZE=123", 0, &size));
	assert_false(params("FROM:<a@b> body=8bitmime", 0, &size));
	assert_false(params("FROM:<a@b> BODY=BINARYMIME", SMTP_CAP_8BITMIME, &size));
	assert_true(params(
		"FROM:<a@b> BODY=8BITMIME SMTPUTF8", SMTP_CAP_8BITMIME | SMTP_CAP_SMTPUTF8, &size
	));
	assert_true(params("FROM:<\"a> SIZE=1\"@b>", 0, &size)); // inside a quoted local part
	assert_false(params("TO:<a@b> NOTIFY=NEVER", SMTP_CAP_SIZE, &size));
	assert_false(params("FROM:a@b BODY=8BITMIME", 0, &size)); // without brackets
	assert_true(params("FROM: a@b SIZE=77", SMTP_CAP_SIZE, &size));
	assert_int_equal(size, 77);
	assert_true(params("FROM:\"a b SIZE=1\"@c", 0, &size));
	assert_true(params("FROM:<a@b> XUNKNOWN=1", 0, &size));      // the backend's to refuse
	assert_false(params("FROM:<a@b>\tBODY=8BITMIME", 0, &size)); // blanks, too
	assert_false(params("FROM:\ta@b\tBODY=8BITMIME", 0, &size));
	assert_true(params("FROM:<a@b> X=1\t SIZE=9\t", SMTP_CAP_SIZE, &size));
	assert_int_equal(size, 9);
}

static void commands_are_recognised(void **state)
{
	struct smtp_command cmd;
	uint64_t n;
	bool last;

	smtp_command_parse("mail FROM:<a@b>", 15, &cmd);
	assert_int_equal(cmd.verb, SMTP_V_MAIL);
	assert_int_equal(cmd.args_len, 10);
	smtp_command_parse("MAILX", 5, &cmd);
	assert_int_equal(cmd.verb, SMTP_V_UNKNOWN);
	smtp_command_parse("xclient ADDR=1", 14, &cmd);
	assert_int_equal(cmd.verb, SMTP_V_FORBIDDEN);
	smtp_command_parse("BDAT 86 LAST", 12, &cmd);
	assert_true(smtp_bdat_parse(&cmd, &n, &last) && n == 86 && last);
	smtp_command_parse("BDAT 0", 6, &cmd);
	assert_true(smtp_bdat_parse(&cmd, &n, &last) && n == 0 && !last);
	smtp_command_parse("BDAT 12 FIRST", 13, &cmd);
	assert_false(smtp_bdat_parse(&cmd, &n, &last));
	assert_int_equal(n, 12);
	smtp_command_parse("BDAT -1", 7, &cmd);
	assert_false(smtp_bdat_parse(&cmd, &n, &last));
	assert_int_equal(n, 0);
	smtp_command_parse("BDAT 9999999999999999999", 24, &cmd);
	assert_false(smtp_bdat_parse(&cmd, &n, &last));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes_are_three_digits_and_a_mark),
		cmocka_unit_test(whole_replies_are_told_from_broken_ones),
		cmocka_unit_test(ehlo_replies_lose_what_cannot_be_relayed),
		cmocka_unit_test(starttls_is_shown_and_auth_is_not),
		cmocka_unit_test(limits_are_lowered_to_ours),
		cmocka_unit_test(limits_cut_off_are_not_read_beyond),
		cmocka_unit_test(parameters_need_their_extension),
		cmocka_unit_test(commands_are_recognised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
