// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Commands: verbs in any case, arguments byte-exact, BDAT's numbers.

#include "dataplane/smtp/verb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct smtp_command parse(const char *line)
{
	// at the end of its own block, so that the sanitizer sees a byte too many
	size_t len = strlen(line);
	char *copy = malloc(len + (len == 0));
	static char kept[4096];
	struct smtp_command cmd;

	assert_non_null(copy);
	memcpy(copy, line, len);
	smtp_command_parse(copy, (uint32_t)len, &cmd);
	memcpy(kept, cmd.args, cmd.args_len);
	cmd.args = kept;
	free(copy);
	return cmd;
}

static void every_verb_in_any_case(void **state)
{
	static const struct {
		const char *line;
		enum smtp_verb verb;
		const char *args;
	} cases[] = {
		{"EHLO a.b", SMTP_V_EHLO, "a.b"},
		{"ehlo  a.b ", SMTP_V_EHLO, "a.b "},
		{"HeLo x", SMTP_V_HELO, "x"},
		{"MAIL FROM:<a@b> SIZE=3", SMTP_V_MAIL, "FROM:<a@b> SIZE=3"},
		{"rcpt to:<>", SMTP_V_RCPT, "to:<>"},
		{"DATA", SMTP_V_DATA, ""},
		{"BDAT 5 LAST", SMTP_V_BDAT, "5 LAST"},
		{"RSET", SMTP_V_RSET, ""},
		{"NOOP x", SMTP_V_NOOP, "x"},
		{"VRFY a", SMTP_V_VRFY, "a"},
		{"EXPN a", SMTP_V_EXPN, "a"},
		{"HELP", SMTP_V_HELP, ""},
		{"ETRN a", SMTP_V_ETRN, "a"},
		{"AUTH PLAIN", SMTP_V_AUTH, "PLAIN"},
		{"STARTTLS", SMTP_V_STARTTLS, ""},
		{"QUIT", SMTP_V_QUIT, ""},
		{"XCLIENT ADDR=1.2.3.4", SMTP_V_FORBIDDEN, "ADDR=1.2.3.4"},
		{"DATAX", SMTP_V_UNKNOWN, ""},
		{"DAT", SMTP_V_UNKNOWN, ""},
		{"", SMTP_V_UNKNOWN, ""},
		{" QUIT", SMTP_V_UNKNOWN, NULL},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct smtp_command cmd = parse(cases[i].line);

		assert_int_equal(cmd.verb, cases[i].verb);
		if (cmd.verb == SMTP_V_UNKNOWN)
			continue;
		assert_int_equal(cmd.args_len, strlen(cases[i].args));
		assert_memory_equal(cmd.args, cases[i].args, cmd.args_len);
	}
}

static void bdat_takes_numbers_only(void **state)
{
	static const struct {
		const char *line;
		bool good, last;
		uint64_t octets;
	} cases[] = {
		{"BDAT 0", true, false, 0},
		{"BDAT 0 LAST", true, true, 0},
		{"bdat 86 last", true, true, 86},
		{"BDAT 999999999999999999", true, false, 999999999999999999ULL},
		{"BDAT 1000000000000000000", false, false, UINT64_MAX},
		{"BDAT", false, false, 0},
		{"BDAT -1", false, false, 0},
		{"BDAT 1x", false, false, 1},
		{"BDAT 12 LAS", false, false, 12},
		{"BDAT 12 LASTX", false, false, 12},
		{"BDAT LAST", false, false, 0},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct smtp_command cmd = parse(cases[i].line);
		uint64_t octets = 0;
		bool last = false;

		assert_int_equal(smtp_bdat_parse(&cmd, &octets, &last), cases[i].good);
		assert_int_equal(last, cases[i].last);
		assert_int_equal(octets, cases[i].octets); // also of those that are refused
	}
}

// RFC 2920 3.1: these end a group, the others may stand before more.
static void groups_end_where_the_rfc_says(void **state)
{
	for (unsigned v = SMTP_V_EHLO; v <= SMTP_V_QUIT; v++) {
		bool ends = v == SMTP_V_EHLO || v == SMTP_V_DATA || v == SMTP_V_VRFY ||
			    v == SMTP_V_EXPN || v == SMTP_V_QUIT || v == SMTP_V_NOOP ||
			    v == SMTP_V_STARTTLS || v == SMTP_V_AUTH;

		if (v == SMTP_V_MAIL || v == SMTP_V_RCPT || v == SMTP_V_RSET)
			assert_true(smtp_verb_may_precede((enum smtp_verb)v));
		if (ends && v != SMTP_V_NOOP)
			assert_false(smtp_verb_may_precede((enum smtp_verb)v));
	}
	assert_int_equal(smtp_verb_group(SMTP_V_MAIL), SHM_VERB_MAIL);
	assert_int_equal(smtp_verb_group(SMTP_V_RCPT), SHM_VERB_RCPT);
	assert_int_equal(smtp_verb_group(SMTP_V_BODY), SHM_VERB_END_OF_DATA);
	assert_int_equal(smtp_verb_group(SMTP_V_QUIT), SHM_VERB_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_verb_in_any_case),
		cmocka_unit_test(bdat_takes_numbers_only),
		cmocka_unit_test(groups_end_where_the_rfc_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
