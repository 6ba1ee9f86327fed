// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Log lines as they leave: one write and one line each, whatever is in them.

#include "common/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int out[2], saved;

static int setup(void **state)
{
	unsetenv("JOURNAL_STREAM");
	log_init("test", LOG_INFO);
	saved = dup(STDERR_FILENO);
	return saved < 0 || pipe2(out, O_NONBLOCK | O_DIRECT) < 0 || dup2(out[1], STDERR_FILENO) < 0
		       ? -1
		       : 0;
}

static int teardown(void **state)
{
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(out[0]);
	close(out[1]);
	unsetenv("JOURNAL_STREAM");
	return 0;
}

// What one write wrote; "" when there was none.
static const char *next_write(void)
{
	static char text[4096];
	ssize_t n = read(out[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void lines_have_the_programs_name(void **state)
{
	log_line(LOG_ERROR, "port %s: %d", "lan", 7);
	log_line(LOG_INFO, "second");
	assert_string_equal(next_write(), "test: port lan: 7\n");
	assert_string_equal(next_write(), "test: second\n");
	assert_string_equal(next_write(), "");
}

static void the_journal_gets_a_priority(void **state)
{
	setenv("JOURNAL_STREAM", "8:1", 1);
	log_line(LOG_WARNING, "x");
	log_line(LOG_NOTICE, "y");
	assert_string_equal(next_write(), "<4>test: x\n");
	assert_string_equal(next_write(), "<5>test: y\n");
}

static void what_is_too_verbose_is_left_out(void **state)
{
	log_init("test", LOG_WARNING);
	log_line(LOG_NOTICE, "x");
	log_line(LOG_INFO, "x");
	assert_string_equal(next_write(), "");
	log_line(LOG_WARNING, "y");
	assert_string_equal(next_write(), "test: y\n");
}

// Cut, and still a line.
static void long_lines_end(void **state)
{
	static char text[3000];
	const char *got;

	for (size_t len = 990; len < 1040; len++) {
		memset(text, 'a', len);
		text[len] = '\0';
		log_line(LOG_INFO, "%s", text);
		got = next_write();
		assert_in_range(strlen(got), 990, 1023);
		assert_int_equal(strncmp(got, "test: aaa", 9), 0);
		assert_ptr_equal(strchr(got, '\n'), got + strlen(got) - 1);
		assert_int_equal(got[strlen(got) - 2], 'a');
		if (len < 1010)
			assert_int_equal(strlen(got), len + 7);
		assert_string_equal(next_write(), "");
	}
	memset(text, 'b', sizeof(text) - 1);
	setenv("JOURNAL_STREAM", "8:1", 1);
	log_line(LOG_INFO, "%s", text);
	got = next_write();
	assert_int_equal(got[strlen(got) - 1], '\n');
}

// Nowhere to tell: not an error.
static void a_closed_end_does_no_harm(void **state)
{
	close(STDERR_FILENO);
	log_line(LOG_ERROR, "x");
	assert_string_equal(next_write(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lines_have_the_programs_name, setup, teardown),
		cmocka_unit_test_setup_teardown(the_journal_gets_a_priority, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_too_verbose_is_left_out, setup, teardown),
		cmocka_unit_test_setup_teardown(long_lines_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_closed_end_does_no_harm, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
