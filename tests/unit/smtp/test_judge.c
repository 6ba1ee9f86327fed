// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What replies say of a server's health, and replies made temporary.

#include "dataplane/smtp/judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	enum smtp_verb verb;
	const char *line;
	enum shm_signal signal;
} replies[] = {
	{SMTP_V_UNKNOWN, "421 4.3.2 Service not available", SHM_SIGNAL_BANNER_421},
	{SMTP_V_UNKNOWN, "421 mx.example", SHM_SIGNAL_BANNER_421},
	{SMTP_V_UNKNOWN, "554 5.7.1 no", SHM_SIGNALS}, // of the client or our address
	{SMTP_V_UNKNOWN, "220 hello", SHM_SIGNALS},
	{SMTP_V_MAIL, "421 4.3.2 Shutting down", SHM_SIGNAL_MAIL_421},
	{SMTP_V_EHLO, "421 4.3.2 Shutting down", SHM_SIGNALS},
	{SMTP_V_NOOP, "421 4.4.2 Timeout", SHM_SIGNALS},
	{SMTP_V_MAIL, "452 4.3.1 Insufficient system resources", SHM_SIGNAL_STORAGE},
	{SMTP_V_MAIL, "452 4.2.2 Mailbox full", SHM_SIGNALS},
	{SMTP_V_MAIL, "552 5.3.4 too large", SHM_SIGNALS},
	{SMTP_V_BODY, "451 4.3.0 queue file write error", SHM_SIGNAL_SYSTEM},
	{SMTP_V_BODY, "451 4.3", SHM_SIGNALS},
	{SMTP_V_BODY, "451 4.30.0 x", SHM_SIGNALS},
	{SMTP_V_DATA,
	 "451 4.7.0 Temporary server error. Please try again later. PRX5 ",
	 SHM_SIGNAL_PROXY},
	{SMTP_V_MAIL, "451 4.7.0 Temporary server error", SHM_SIGNALS},
	{SMTP_V_BODY, "451 4.7.1 Greylisted PRX", SHM_SIGNALS},
	// never a reply to RCPT: greylisting, unknown users, block lists
	{SMTP_V_RCPT, "450 4.2.0 Greylisted", SHM_SIGNALS},
	{SMTP_V_RCPT, "450 4.7.1 Greylisted", SHM_SIGNALS},
	{SMTP_V_RCPT, "451 4.7.1 Try again", SHM_SIGNALS},
	{SMTP_V_RCPT, "451 4.3.0 Temporary lookup failure", SHM_SIGNALS},
	{SMTP_V_RCPT, "451 4.7.0 ... PRX2", SHM_SIGNALS},
	{SMTP_V_RCPT, "452 4.3.1 full", SHM_SIGNALS},
	{SMTP_V_RCPT, "421 4.7.0 too many errors", SHM_SIGNALS},
	{SMTP_V_RCPT, "550 5.1.1 User unknown", SHM_SIGNALS},
	// nor to AUTH
	{SMTP_V_AUTH, "454 4.7.0 Temporary authentication failure", SHM_SIGNALS},
	{SMTP_V_AUTH, "451 4.3.0 x", SHM_SIGNALS},
	{SMTP_V_AUTH, "421 4.7.0 too many", SHM_SIGNALS},
	// nor what refuses a mail
	{SMTP_V_BODY, "550 5.7.1 blocked", SHM_SIGNALS},
	{SMTP_V_BODY, "554 5.6.0 content", SHM_SIGNALS},
};

static void replies_are_judged(void **state)
{
	for (unsigned i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		const char *line = replies[i].line;

		assert_int_equal(
			smtp_reply_signal(
				replies[i].verb,
				(unsigned)strtoul(line, NULL, 10),
				line,
				(uint32_t)strlen(line)
			),
			replies[i].signal
		);
	}
	for (unsigned code = 200; code < 600; code++) // an empty text, a text that is cut
		for (uint32_t len = 3; len < 10; len++)
			assert_int_equal(
				smtp_reply_signal(SMTP_V_EHLO, code, "4514.3.11", len), SHM_SIGNALS
			);
}

static void soften(const char *from, const char *to)
{
	char line[80];

	memcpy(line, from, strlen(from) + 1);
	smtp_reply_soften(line, (uint32_t)strlen(from));
	assert_string_equal(line, to);
}

static void five_becomes_four(void **state)
{
	soften("550 5.1.1 User 5.unknown\r\n", "450 4.1.1 User 5.unknown\r\n");
	soften("550-5.7.1 first\r\n", "450-4.7.1 first\r\n");
	soften("554 no code 5.1.1\r\n", "454 no code 5.1.1\r\n");
	soften("552\r\n", "452\r\n");
	soften("5", "4");
	soften("", "");
	soften("250 5.ok\r\n", "250 5.ok\r\n");
	soften("451 4.3.0 x\r\n", "451 4.3.0 x\r\n");
	assert_true(smtp_verb_softens(SMTP_V_RCPT));
	assert_true(smtp_verb_softens(SMTP_V_BODY));
	assert_false(smtp_verb_softens(SMTP_V_EHLO)); // the client is to fall back to HELO
	assert_false(smtp_verb_softens(SMTP_V_AUTH)); // a wrong password stays wrong
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_are_judged),
		cmocka_unit_test(five_becomes_four),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
