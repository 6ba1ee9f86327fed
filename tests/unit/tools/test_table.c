// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Tables for people: widths, units, nested members, and nothing that a terminal could obey.

#include "tools/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *printed(const char *json, const struct column *columns)
{
	json_t *rows = json_loads(json, 0, NULL);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(rows);
	assert_non_null(out);
	if (columns != NULL)
		table_print(out, rows, columns);
	else
		members_print(out, rows, "");
	fclose(out);
	json_decref(rows);
	return text;
}

static void columns_are_as_wide_as_they_must(void **state)
{
	static const struct column columns[] = {
		{"NAME", "name"},
		{"N", "n"},
		{"P50", "p50_seconds"},
		{"R", "probe.reply"},
		{NULL, NULL}
	};
	char *text =
		printed("[{\"name\":\"a-long-one\",\"n\":7,\"p50_seconds\":0.0000405,\"probe\":{"
			"\"reply\":\"x\"}},"
			"{\"name\":[\"b\",\"c\"],\"n\":1234,\"p50_seconds\":5.25}]",
			columns);

	assert_string_equal(
		text,
		"NAME           N    P50  R\n"
		"a-long-one     7   40us  x\n"
		"b,c         1234  5.25s   \n"
	);
	free(text);
	text = printed("[]", columns);
	assert_string_equal(text, "NAME  N  P50  R\n");
	free(text);
}

static void a_reply_cannot_write_to_the_terminal(void **state)
{
	static const struct column columns[] = {{"R", "r"}, {NULL, NULL}};
	char *text = printed("[{\"r\":\"\\u001b[2J\\r\\n\\u00e9\"}]", columns);

	for (char *c = text; *c != '\0'; c++)
		assert_true(*c == '\n' || (*c >= ' ' && *c <= '~'));
	free(text);
}

static void members_one_a_line(void **state)
{
	char *text = printed("{\"a\":{\"b_seconds\":0.25,\"c\":true},\"d\":\"e\"}", NULL);

	assert_non_null(strstr(text, "a.b_seconds"));
	assert_non_null(strstr(text, " 250.0ms\n"));
	assert_non_null(strstr(text, " yes\n"));
	assert_non_null(strstr(text, " e\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_as_wide_as_they_must),
		cmocka_unit_test(a_reply_cannot_write_to_the_terminal),
		cmocka_unit_test(members_one_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
