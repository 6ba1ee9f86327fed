// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Lines that pass in pieces: the same is found wherever they are cut; what verbs and replies make
// of a dialogue.

#include "dataplane/smtp/scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/smtp/judge.h"
#include "dataplane/smtp/reply.h"

// In an exact block, so that the sanitizer sees an octet too many.
static bool
feed(struct smtp_scan_line *line, char *head, const char *data, uint32_t len, uint32_t *ret_n)
{
	uint8_t *exact = malloc(len);
	bool whole;

	assert_non_null(exact);
	memcpy(exact, data, len);
	whole = smtp_scan_line(line, head, SMTP_SCAN_REPLY, exact, len, ret_n);
	free(exact);
	return whole;
}

// Cut at two places. Returns the flags that tell of its line end.
static unsigned look(const char *text, uint32_t len, uint32_t a, uint32_t b)
{
	char head[SMTP_SCAN_REPLY];
	struct smtp_scan_line line = {0};
	const uint32_t cut[] = {a, b, len};
	uint32_t at = 0, n = 0;
	bool whole = false;

	for (unsigned i = 0; i < 3 && !whole; i++) {
		if (cut[i] <= at)
			continue;
		whole = feed(&line, head, text + at, cut[i] - at, &n);
		at += n;
	}
	assert_true(whole);
	assert_int_equal(at, len);
	assert_int_equal(line.len, len);
	return line.flags & (SMTP_SCAN_F_BARE | SMTP_SCAN_F_LF);
}

static void a_line_is_the_same_in_all_pieces(void **state)
{
	static const struct {
		const char *text;
		uint32_t len;
		unsigned flags;
	} lines[] = {
		{"NOOP\r\n", 6, 0},
		{"\r\n", 2, 0},
		{"\n", 1, SMTP_SCAN_F_LF},
		{"NOOP\n", 5, SMTP_SCAN_F_LF},
		{"NO\rOP\r\n", 7, SMTP_SCAN_F_BARE},
		{"NOOP\r\r\n", 7, SMTP_SCAN_F_BARE},
		{"\rNOOP\r\n", 7, SMTP_SCAN_F_BARE},
		{"NO\0OP\r\n", 7, SMTP_SCAN_F_BARE},
		{"NOOP\0\n", 6, SMTP_SCAN_F_BARE | SMTP_SCAN_F_LF},
		{"NO\rOP\n", 6, SMTP_SCAN_F_BARE | SMTP_SCAN_F_LF},
	};

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		for (uint32_t a = 0; a <= lines[i].len; a++)
			for (uint32_t b = a; b <= lines[i].len; b++)
				assert_int_equal(
					look(lines[i].text, lines[i].len, a, b), lines[i].flags
				);
}

static void what_a_reply_says_of_the_server_is_found_in_all_pieces(void **state)
{
	static const struct {
		const char *text;
		enum shm_signal want;
	} lines[] = {
		{"451 4.7.0 Temporary server error. Please try again later. PRX5 \r\n",
		 SHM_SIGNAL_PROXY},
		{"451 4.7.0 PPRX\r\n", SHM_SIGNAL_PROXY},
		{"451 4.7.0 PRPX RPX\r\n", SHM_SIGNALS},
		{"451 4.3.0 no\r\n", SHM_SIGNAL_SYSTEM},
		{"452 4.3.1 Insufficient system resources\r\n", SHM_SIGNAL_STORAGE},
		{"421\r\n", SHM_SIGNAL_MAIL_421},
		{"250 2.1.0 ok PRX\r\n", SHM_SIGNALS},
	};

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		uint32_t len = (uint32_t)strlen(lines[i].text);

		for (uint32_t a = 0; a < len; a++)
			for (uint32_t b = a; b < len; b++) {
				char text[SMTP_SCAN_TEXT_MAX], head[SMTP_SCAN_REPLY];
				struct smtp_scan_line line = {0};
				uint32_t n = 0, at = 0;
				const char *shown;
				bool more;
				unsigned code;

				for (unsigned k = 0; k < 3; k++) {
					uint32_t to = k == 0 ? a : k == 1 ? b : len;

					if (to > at)
						feed(&line, head, lines[i].text + at, to - at, &n);
					at = to > at ? to : at;
				}
				shown = smtp_scan_text(
					&line,
					head,
					SMTP_SCAN_REPLY,
					lines[i].text + at - n,
					&n,
					text
				);
				code = smtp_reply_code(shown, n - 2, &more);
				assert_int_equal(
					smtp_reply_signal(SMTP_V_MAIL, code, shown, n),
					lines[i].want
				);
			}
	}
}

static void long_lines_stay_long(void **state)
{
	static char text[70000];
	char head[SMTP_SCAN_REPLY];
	struct smtp_scan_line line = {0};
	uint32_t n;

	memset(text, 'x', sizeof(text));
	for (unsigned i = 0; i < 3; i++)
		assert_false(feed(&line, head, text, 40000, &n));
	assert_int_equal(line.len, UINT16_MAX);
	assert_true(feed(&line, head, "\r\n", 2, &n));
	assert_int_equal(line.len, UINT16_MAX);
}

static enum smtp_verb verb(const char *line)
{
	return smtp_scan_verb(line, (uint32_t)strlen(line));
}

static void verbs_that_lead_elsewhere_are_told_apart(void **state)
{
	assert_int_equal(verb("mail FROM:<a@b>"), SMTP_V_MAIL);
	assert_int_equal(verb("STARTTLS"), SMTP_V_STARTTLS);
	assert_int_equal(verb("x-anonymoustls"), SMTP_V_STARTTLS);
	assert_int_equal(verb("XCLIENT ADDR=1.2.3.4"), SMTP_V_FORBIDDEN);
	assert_int_equal(verb("XFORWARD NAME=a"), SMTP_V_FORBIDDEN);
	assert_int_equal(verb("XCLIENTS x"), SMTP_V_UNKNOWN);
	assert_int_equal(verb("X-EXPS GSSAPI"), SMTP_V_UNKNOWN);
	assert_int_equal(verb("XEXCH50 12 2"), SMTP_V_UNKNOWN);
	assert_int_equal(verb("TURN"), SMTP_V_UNKNOWN);
	assert_int_equal(verb("AUTH PLAIN AGEAYg=="), SMTP_V_AUTH);
	assert_int_equal(verb("AUTH gssapi"), SMTP_V_UNKNOWN);
	assert_int_equal(verb("AUTH DIGEST-MD5"), SMTP_V_UNKNOWN);
	assert_int_equal(verb("AUTH"), SMTP_V_AUTH);
	assert_true(smtp_scan_is_proxy("PROXY TCP4 1.2.3.4", 18));
	assert_false(smtp_scan_is_proxy("PROXYTCP4", 9));
	for (enum smtp_verb v = 0; v < SMTP_V_COUNT; v++)
		assert_int_equal(
			smtp_scan_is_open(v),
			v == SMTP_V_DATA || v == SMTP_V_AUTH || v == SMTP_V_UNKNOWN
		);
}

static void replies_tell_how_it_goes_on(void **state)
{
	for (enum smtp_verb v = 0; v < SMTP_V_COUNT; v++) {
		assert_int_equal(smtp_scan_reply(v, 421), SMTP_SCAN_OVER);
		assert_int_equal(smtp_scan_reply(v, 550), SMTP_SCAN_GOES_ON);
		for (unsigned code = 334; code <= 354; code += 20)
			assert_int_equal(
				smtp_scan_reply(v, code),
				v == SMTP_V_DATA   ? SMTP_SCAN_BODY
				: v == SMTP_V_AUTH ? SMTP_SCAN_SASL
				: v == SMTP_V_QUIT ? SMTP_SCAN_OVER
						   : SMTP_SCAN_LOST
			);
	}
	assert_int_equal(smtp_scan_reply(SMTP_V_STARTTLS, 220), SMTP_SCAN_TLS);
	assert_int_equal(smtp_scan_reply(SMTP_V_STARTTLS, 250), SMTP_SCAN_LOST);
	assert_int_equal(smtp_scan_reply(SMTP_V_STARTTLS, 454), SMTP_SCAN_GOES_ON);
	assert_int_equal(smtp_scan_reply(SMTP_V_AUTH, 235), SMTP_SCAN_GOES_ON);
	assert_int_equal(smtp_scan_reply(SMTP_V_DATA, 250), SMTP_SCAN_LOST);
	assert_int_equal(smtp_scan_reply(SMTP_V_UNKNOWN, 250), SMTP_SCAN_LOST);
	assert_int_equal(smtp_scan_reply(SMTP_V_FORBIDDEN, 220), SMTP_SCAN_GOES_ON);
	assert_int_equal(smtp_scan_reply(SMTP_V_QUIT, 221), SMTP_SCAN_OVER);
	assert_int_equal(smtp_scan_reply(SMTP_V_MAIL, 250), SMTP_SCAN_GOES_ON);
	assert_int_equal(smtp_scan_reply(SMTP_V_BODY, 250), SMTP_SCAN_GOES_ON);
	assert_int_equal(smtp_scan_reply(SMTP_V_BDAT, 500), SMTP_SCAN_LOST);
	assert_int_equal(smtp_scan_reply(SMTP_V_BODY, 502), SMTP_SCAN_LOST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_the_same_in_all_pieces),
		cmocka_unit_test(what_a_reply_says_of_the_server_is_found_in_all_pieces),
		cmocka_unit_test(long_lines_stay_long),
		cmocka_unit_test(verbs_that_lead_elsewhere_are_told_apart),
		cmocka_unit_test(replies_tell_how_it_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
