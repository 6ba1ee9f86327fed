// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Replies of ours: well-formed lines, codes and enhanced codes that agree, a counter each.

#include "dataplane/smtp/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void lines_are_well_formed(void **state)
{
	char hostname[256], line[400], code[8];

	memset(hostname, 'h', sizeof(hostname) - 1); // the longest there may be
	hostname[255] = '\0';
	for (unsigned own = 0; own < SMTP_OWN_COUNT; own++) {
		uint32_t len =
			smtp_own_format((enum smtp_own)own, hostname, true, line, sizeof(line));

		assert_in_range(len, 6, sizeof(line));
		assert_memory_equal(line + len - 2, "\r\n", 2);
		for (uint32_t i = 0; i + 2 < len; i++)
			assert_in_range(line[i], ' ', '~');
		snprintf(code, sizeof(code), "%u ", smtp_own_replies[own].code);
		assert_memory_equal(line, code, 4);
		// RFC 2034 3: the class of an enhanced code is the reply's
		if (line[4] >= '2' && line[4] <= '5' && line[5] == '.')
			assert_int_equal(line[4], line[0]);
	}
}

// C5: every line has one but the banner and the reply to HELO; it is left out where it may not
// stand.
static void enhanced_codes_stand_where_they_may(void **state)
{
	for (unsigned own = 0; own < SMTP_OWN_COUNT; own++) {
		char with[400], without[400];
		uint32_t len = smtp_own_format((enum smtp_own)own, "m.x", true, with, sizeof(with));
		uint32_t less =
			smtp_own_format((enum smtp_own)own, "m.x", false, without, sizeof(without));
		bool has = with[4] >= '2' && with[4] <= '5' && with[5] == '.' && with[9] == ' ';

		assert_int_equal(has, own != SMTP_OWN_BANNER && own != SMTP_OWN_HELO);
		assert_int_equal(len - less, has ? 6 : 0);
		assert_memory_equal(with, without, 4);
		assert_memory_equal(with + len - less + 4, without + 4, less - 4);
	}
}

static void each_has_its_counter(void **state)
{
	static const char *const names[] = {
#define OWN(sym, code, text) #sym,
#include "dataplane/smtp/own.def"
#undef OWN
	};

	for (unsigned own = 0; own < SMTP_OWN_COUNT; own++) {
		const char *counter = stat_descs[smtp_own_stat((enum smtp_own)own)].name;
		char want[64] = "reply_";

		for (size_t i = 0; i <= strlen(names[own]); i++)
			want[6 + i] = names[own][i] >= 'A' && names[own][i] <= 'Z'
					      ? (char)(names[own][i] + 32)
					      : names[own][i];
		assert_string_equal(counter, want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_well_formed),
		cmocka_unit_test(enhanced_codes_stand_where_they_may),
		cmocka_unit_test(each_has_its_counter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
