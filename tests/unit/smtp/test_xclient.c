// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// XCLIENT: only what a server offers, in one line whatever the client is called.

#include "dataplane/smtp/xclient.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ALL \
	(SMTP_XCLIENT_NAME | SMTP_XCLIENT_ADDR | SMTP_XCLIENT_PORT | SMTP_XCLIENT_PROTO | \
	 SMTP_XCLIENT_HELO | SMTP_XCLIENT_DESTADDR | SMTP_XCLIENT_DESTPORT)

static uint32_t offer(const char *line)
{
	size_t len = strlen(line);
	char *exact = malloc(len + 1);
	uint32_t n;

	assert_non_null(exact);
	memcpy(exact + 1, line, len);
	n = smtp_xclient_offer(exact + 1, (uint32_t)len);
	free(exact);
	return n;
}

static void offers(void **state)
{
	assert_int_equal(
		offer("250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR "
		      "DESTPORT\r\n"),
		ALL
	);
	assert_int_equal(offer("250 xclient addr\r\n"), SMTP_XCLIENT_ADDR);
	assert_int_equal(
		offer("250-XCLIENT  NAME  ADDR \r\n"), SMTP_XCLIENT_NAME | SMTP_XCLIENT_ADDR
	);
	assert_int_equal(offer("250-XCLIENT\r\n"), 0);
	assert_int_equal(offer("250-XCLIENTS ADDR\r\n"), 0);
	assert_int_equal(offer("250-XFORWARD NAME ADDR\r\n"), 0);
	assert_int_equal(offer("250-XCLIENT ADDRESS NAMES LOGIN\r\n"), 0);
	assert_int_equal(offer("250"), 0);
	assert_int_equal(offer("250-"), 0);
}

static const char *
line_of(uint32_t offered, const char *client, const char *local, const char *helo, bool esmtp)
{
	static char out[SMTP_XCLIENT_MAX + 1];
	struct smtp_xclient_client c = {
		.helo = helo, .helo_len = helo != NULL ? (uint32_t)strlen(helo) : 0, .esmtp = esmtp
	};
	uint32_t n;

	assert_int_equal(ip_endpoint_parse(client, &c.client), 0);
	assert_int_equal(ip_endpoint_parse(local, &c.local), 0);
	n = smtp_xclient_line(offered, &c, out);
	assert_true(n <= SMTP_XCLIENT_MAX);
	out[n] = '\0';
	assert_string_equal(out + n - 2, "\r\n");
	return out;
}

static void lines(void **state)
{
	static const char a[] = "192.0.2.1:40000", b[] = "198.51.100.25:25";

	assert_string_equal(
		line_of(ALL, a, b, NULL, false),
		"XCLIENT NAME=[UNAVAILABLE] PORT=40000 DESTADDR=198.51.100.25 DESTPORT=25 "
		"ADDR=192.0.2.1\r\n"
	);
	assert_string_equal(
		line_of(ALL, a, b, "client.example", true),
		"XCLIENT NAME=[UNAVAILABLE] PORT=40000 PROTO=ESMTP HELO=client.example "
		"DESTADDR=198.51.100.25 DESTPORT=25 ADDR=192.0.2.1\r\n"
	);
	assert_string_equal(
		line_of(ALL, "[2001:db8::1]:1", "[2001:db8::25]:25", "x", false),
		"XCLIENT NAME=[UNAVAILABLE] PORT=1 PROTO=SMTP HELO=x DESTADDR=IPV6:2001:db8::25 "
		"DESTPORT=25 ADDR=IPV6:2001:db8::1\r\n"
	);
	assert_string_equal(
		line_of(SMTP_XCLIENT_ADDR, a, b, "x", true), "XCLIENT ADDR=192.0.2.1\r\n"
	);
}

static void names_are_xtext_and_bounded(void **state)
{
	static const char a[] = "192.0.2.1:40000", b[] = "198.51.100.25:25";
	char name[256];

	assert_string_equal(
		line_of(SMTP_XCLIENT_ADDR | SMTP_XCLIENT_HELO, a, b, "a+b=c d\xc3\xa4", true),
		"XCLIENT HELO=a+2Bb+3Dc+20d+C3+A4 ADDR=192.0.2.1\r\n"
	);
	memset(name, 'n', 250);
	name[250] = '\0';
	assert_non_null(strstr(line_of(ALL, a, b, name, true), name));
	memset(name, '+', 250); // three octets each: no room, and left out whole
	assert_null(strstr(line_of(ALL, a, b, name, true), "HELO"));
	assert_non_null(strstr(line_of(ALL, a, b, name, true), " ADDR=192.0.2.1\r\n"));
}

static bool is_fault(unsigned code, const char *line)
{
	return smtp_xclient_fault(code, line, (uint32_t)strlen(line));
}

static void refusals(void **state)
{
	assert_true(is_fault(550, "550 5.7.0 Error: insufficient authorization\r\n"));
	assert_true(is_fault(550, "550 no\r\n"));
	assert_true(is_fault(550, "550\r\n"));
	assert_true(is_fault(501, "501 5.5.4 Bad PORT\r\n"));
	assert_true(is_fault(500, "500 5.5.2 what\r\n"));
	assert_true(is_fault(503, "503 5.5.1 not now\r\n"));
	assert_false(is_fault(550, "550 5.7.1 Client host rejected\r\n"));
	assert_false(is_fault(554, "554 5.7.1 Client host rejected\r\n"));
	assert_false(is_fault(450, "450 4.7.1 come later\r\n"));
	assert_false(is_fault(421, "421 4.7.0 too many\r\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offers),
		cmocka_unit_test(lines),
		cmocka_unit_test(names_are_xtext_and_bounded),
		cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
