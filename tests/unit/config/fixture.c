// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See fixture.h.

#include "tests/unit/config/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const char *sample;
struct cfg_errors errs;

// Loaded out of a file, as operators do.
struct cfg *load_text(const char *text)
{
	char path[] = "/tmp/mailrace-test-XXXXXX";
	FILE *f = fdopen(mkstemp(path), "w");
	struct cfg *cfg;

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	cfg = cfg_load(path, &errs);
	remove(path);
	return cfg;
}

static void replace(char text[20000], const char *from, const char *to)
{
	char *at = strstr(text, from), tail[20000];

	assert_non_null(at);
	snprintf(tail, sizeof(tail), "%s", at + strlen(from));
	snprintf(at, 20000 - (size_t)(at - text), "%s%s", to, tail);
}

// The sample with two pieces of text replaced, loaded.
struct cfg *load_two(const char *from, const char *to, const char *other_from, const char *other_to)
{
	static char text[20000];
	FILE *f = fopen(sample, "r");

	assert_non_null(f);
	text[fread(text, 1, 16383, f)] = '\0';
	fclose(f);
	replace(text, from, to);
	if (other_from != NULL)
		replace(text, other_from, other_to);
	return load_text(text);
}

struct cfg *load_with(const char *from, const char *to)
{
	return load_two(from, to, NULL, NULL);
}

void refused(const char *from, const char *to, const char *key, const char *reason)
{
	assert_null(load_with(from, to));
	assert_true(errs.errors > 0);
	assert_string_equal(errs.item[0].key, key);
	assert_non_null(strstr(errs.item[0].reason, reason));
	assert_true(errs.item[0].line > 0);
}
