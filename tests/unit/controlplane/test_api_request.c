// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Requests of the API: calls, methods, names and limits.

#include "controlplane/api_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct api_request want;

static enum api_call call(const char *method, const char *path, const char *limit)
{
	api_request_parse(method, path, limit, &want);
	return want.call;
}

static void calls_have_their_method(void **state)
{
	assert_int_equal(call("GET", "/v1/status", NULL), API_STATUS);
	assert_false(want.changes);
	assert_int_equal(call("POST", "/v1/status", NULL), API_BAD_METHOD);
	assert_int_equal(call("PUT", "/v1/sessions", NULL), API_BAD_METHOD);
	assert_int_equal(call("GET", "/v1/reload", NULL), API_BAD_METHOD);
	assert_int_equal(call("POST", "/v1/reload", NULL), API_RELOAD);
	assert_true(want.changes);
	assert_int_equal(call("POST", "/v1/check", NULL), API_CHECK);
	assert_false(want.changes);
	assert_int_equal(call("GET", "/v1/mail", NULL), API_MAIL);
	assert_true(want.changes); // not for those who may only look
	assert_int_equal(call("GET", "/v1/statu", NULL), API_UNKNOWN);
	assert_int_equal(call("GET", "/v1/status/", NULL), API_UNKNOWN);
	assert_int_equal(call("", "", NULL), API_UNKNOWN);
}

static void limits_are_numbers_and_nothing_else(void **state)
{
	static const char *const bad[] = {
		"", "0", "100001", "1x", " 1", "+1", "-18446744073709551615", "99999999999999999999"
	};

	assert_int_equal(call("GET", "/v1/sessions", NULL), API_SESSIONS);
	assert_int_equal(want.limit, API_SESSIONS_LIMIT);
	assert_int_equal(call("GET", "/v1/sessions", "100000"), API_SESSIONS);
	assert_int_equal(want.limit, 100000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(call("GET", "/v1/sessions", bad[i]), API_BAD_LIMIT);
}

static void backends_are_pool_and_name(void **state)
{
	static const char *const bad[] = {
		"", "drain", "a/drain", "/b/drain", "a//drain", "a/b/", "a/b/drains", "a/b/c/drain"
	};
	char path[300];

	assert_int_equal(call("POST", "/v1/backends/mail/mx1/drain", NULL), API_BACKEND_DRAIN);
	assert_string_equal(want.pool, "mail");
	assert_string_equal(want.name, "mx1");
	assert_true(want.changes);
	assert_int_equal(call("POST", "/v1/backends/a/drain/enable", NULL), API_BACKEND_ENABLE);
	assert_int_equal(call("GET", "/v1/backends/a/b/enable", NULL), API_BAD_METHOD);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(path, sizeof(path), "/v1/backends/%s", bad[i]);
		assert_int_equal(call("POST", path, NULL), API_UNKNOWN);
		assert_true(want.changes); // strangers are not told what is there
	}
	snprintf(path, sizeof(path), "/v1/backends/%063d/%063d/drain", 1, 2);
	assert_int_equal(call("POST", path, NULL), API_BACKEND_DRAIN);
	snprintf(path, sizeof(path), "/v1/backends/%064d/%063d/drain", 1, 2);
	assert_int_equal(call("POST", path, NULL), API_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_have_their_method),
		cmocka_unit_test(limits_are_numbers_and_nothing_else),
		cmocka_unit_test(backends_are_pool_and_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
