// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Single rules of the classifier, on replies made by hand.

#include "dataplane/tarpit/tarpit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS 1000U
#define S 1000000U

static struct tarpit_backend backend;
static struct tarpit_leg leg;
static struct tarpit_verdict verdict[TARPIT_VERDICTS];

static struct tarpit_reply reply_of(enum smtp_verb verb, const char *line, uint32_t us)
{
	return (struct tarpit_reply){
		.verb = verb,
		.code = (unsigned)strtoul(line, NULL, 10),
		.line = line,
		.len = (uint32_t)strlen(line),
		.us = us,
		.banner = verb == SMTP_V_UNKNOWN,
	};
}

static unsigned judge(enum smtp_verb verb, const char *line, uint32_t us)
{
	const struct tarpit_reply reply = reply_of(verb, line, us);

	return tarpit_judge(&backend, &leg, &reply, verdict);
}

// A server that answers in 10 ms, and a leg that was greeted.
static int begin(void **state)
{
	static const enum smtp_verb verbs[] = {
		SMTP_V_UNKNOWN, SMTP_V_EHLO, SMTP_V_MAIL, SMTP_V_RCPT, SMTP_V_DATA, SMTP_V_BODY
	};

	(void)state;
	memset(&backend, 0, sizeof(backend));
	memset(&leg, 0, sizeof(leg));
	leg.fast = 1;
	for (unsigned i = 0; i < 100; i++) {
		const struct tarpit_reply reply = reply_of(verbs[i % 6], "250 ok", 10 * MS);

		assert_true(tarpit_ordinary(&backend, &reply));
	}
	return 0;
}

static const struct {
	enum smtp_verb verb;
	const char *line;
	enum tarpit_kind kind;
} kinds[] = {
	{SMTP_V_RCPT, "550 5.1.1 User unknown", TARPIT_KIND_USER},
	{SMTP_V_RCPT, "550 5.1.10 RESOLVER.ADR.RecipientNotFound", TARPIT_KIND_USER},
	{SMTP_V_RCPT, "550 5.1.100 x", TARPIT_KIND_ERROR},
	{SMTP_V_RCPT, "550 5.1.1", TARPIT_KIND_USER},
	{SMTP_V_RCPT, "550 5.1.", TARPIT_KIND_ERROR},
	{SMTP_V_MAIL, "550 5.1.1 x", TARPIT_KIND_ERROR},
	{SMTP_V_AUTH, "535 5.7.3 Authentication unsuccessful", TARPIT_KIND_AUTH},
	{SMTP_V_AUTH, "535 Incorrect authentication data", TARPIT_KIND_AUTH},
	{SMTP_V_AUTH, "504 5.7.4 Unrecognized authentication type", TARPIT_KIND_AUTH_TYPE},
	{SMTP_V_MAIL, "535 5.7.3 x", TARPIT_KIND_ERROR},
	{SMTP_V_BODY, "554 5.6.0 Invalid message content", TARPIT_KIND_CONTENT},
	{SMTP_V_BODY, "554 5.6.1 x", TARPIT_KIND_ERROR},
	{SMTP_V_RCPT, "550 5.7.1 Unable to relay", TARPIT_KIND_RELAY},
	{SMTP_V_RCPT, "550 5.7.54 SMTP; Unable to relay recipient", TARPIT_KIND_RELAY},
	{SMTP_V_RCPT, "554 5.7.1 <a@b>: Relay access denied", TARPIT_KIND_RELAY},
	{SMTP_V_RCPT, "550 5.7.1 spam", TARPIT_KIND_ERROR},
	{SMTP_V_MAIL, "452 4.3.1 Insufficient system resources", TARPIT_KIND_NO_ROOM},
	{SMTP_V_UNKNOWN, "421 4.3.2 Service not available", TARPIT_KIND_NO_ROOM},
	{SMTP_V_MAIL, "452 4.2.2 Mailbox full", TARPIT_KIND_ERROR},
	{SMTP_V_BODY, "250 2.6.0 <x> Queued mail for delivery", TARPIT_KIND_ACK},
	{SMTP_V_BODY, "250 2.0.0 Ok: queued as 4X", TARPIT_KIND_GOOD},
	{SMTP_V_MAIL, "250 2.6.0 x", TARPIT_KIND_GOOD},
};

static void replies_are_of_a_kind(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const char *line = kinds[i].line;
		unsigned code = (unsigned)strtoul(line, NULL, 10);

		assert_int_equal(
			tarpit_kind(kinds[i].verb, code, line, (uint32_t)strlen(line)),
			kinds[i].kind
		);
		for (uint32_t len = 0; len <= strlen(line); len++) { // no octet beyond
			char *cut = malloc(len + 1);

			memcpy(cut, line, len);
			tarpit_kind(kinds[i].verb, code, cut, len);
			free(cut);
		}
	}
}

static void the_interval_never_strikes_the_authenticated(void **state)
{
	struct tarpit_reply reply = reply_of(SMTP_V_RCPT, "550 5.1.1 User unknown", 5010 * MS);

	(void)state;
	assert_int_equal(tarpit_judge(&backend, &leg, &reply, verdict), 1);
	assert_int_equal(verdict[0].reason, TARPIT_RECIPIENT_LOOKUP);
	assert_int_equal(verdict[0].us, 5010 * MS);
	reply.authed = true;
	assert_int_equal(tarpit_judge(&backend, &leg, &reply, verdict), 1);
	assert_int_equal(verdict[0].reason, TARPIT_UNKNOWN);
	reply.us = 10 * MS;
	assert_int_equal(tarpit_judge(&backend, &leg, &reply, verdict), 0);
}

// A server that lets delays grow comes by the same ones in each session: two equal ones that fall
// out of the growth are no back pressure.
static void equal_steps_of_a_growth_are_no_back_pressure(void **state)
{
	uint32_t us = 500 * MS;
	unsigned rate = 0;

	(void)state;
	for (unsigned n = 0; n < 10; n++, us += us / 5)
		if (judge(SMTP_V_MAIL, "250 ok", us + 10 * MS) == 1)
			rate += verdict[0].reason == TARPIT_EXIM_RATE;
	assert_true(rate >= 4);
	for (unsigned n = 0; n < 6; n++) {
		leg = (struct tarpit_leg){.fast = 1};
		judge(SMTP_V_MAIL, "250 ok", 3010 * MS);
		assert_int_equal(verdict[0].reason, TARPIT_UNKNOWN);
	}
}

// Half a second, and ten minutes: from the fourth of them on.
static void any_interval_is_learned(void **state)
{
	static const uint32_t intervals[] = {500 * MS, 20 * S, 600 * S};

	for (unsigned i = 0; i < 3; i++) {
		begin(state);
		for (unsigned n = 0; n < 6; n++) {
			leg = (struct tarpit_leg){.fast = 1};
			assert_int_equal(
				judge(SMTP_V_RCPT, "550 5.1.1 no", intervals[i] + (10 + n) * MS), 1
			);
			if (n >= 3)
				assert_int_equal(verdict[0].reason, TARPIT_RECIPIENT_LOOKUP);
		}
		assert_in_range(
			tarpit_interval_ms(&backend) * MS,
			intervals[i] - 20 * MS,
			intervals[i] + 20 * MS
		);
		// and holds for what else the connector delays
		leg = (struct tarpit_leg){.fast = 1};
		judge(SMTP_V_RCPT, "550 5.7.1 Unable to relay", intervals[i]);
		assert_int_equal(verdict[0].reason, TARPIT_RELAY);
	}
}

static void a_group_is_held_for_its_last_reply(void **state)
{
	struct tarpit_reply mail = reply_of(SMTP_V_MAIL, "250 2.1.0 Sender OK", 5020 * MS);
	struct tarpit_reply rcpt = reply_of(SMTP_V_RCPT, "550 5.7.1 Unable to relay", 0);

	(void)state;
	mail.more = true;
	rcpt.follows = true;
	assert_int_equal(tarpit_judge(&backend, &leg, &mail, verdict), 0);
	assert_int_equal(tarpit_judge(&backend, &leg, &rcpt, verdict), 1);
	assert_int_equal(verdict[0].reason, TARPIT_RELAY);
	assert_int_equal(verdict[0].us, 5020 * MS);
	assert_int_equal(tarpit_leg_end(&backend, &leg, verdict), 0);

	// it was not held for one that is good; nor for one that came later
	assert_int_equal(tarpit_judge(&backend, &leg, &mail, verdict), 0);
	rcpt = reply_of(SMTP_V_RCPT, "250 2.1.5 ok", 0);
	rcpt.follows = true;
	assert_int_equal(tarpit_judge(&backend, &leg, &rcpt, verdict), 1);
	assert_int_equal(verdict[0].reason, TARPIT_UNKNOWN);
	assert_int_equal(tarpit_judge(&backend, &leg, &mail, verdict), 0);
	assert_int_equal(tarpit_leg_end(&backend, &leg, verdict), 1);
	assert_int_equal(verdict[0].us, 5020 * MS);
}

static void an_address_is_discredited_from_the_greeting_on(void **state)
{
	(void)state;
	leg = (struct tarpit_leg){0};
	assert_int_equal(judge(SMTP_V_UNKNOWN, "220 mx", 5020 * MS), 0);
	assert_int_equal(judge(SMTP_V_EHLO, "250 ok", 5010 * MS), 0);
	assert_int_equal(judge(SMTP_V_MAIL, "250 ok", 5030 * MS), 1);
	assert_int_equal(verdict[0].reason, TARPIT_DISCREDITED);
	assert_int_equal(verdict[0].events, 3);
	assert_int_equal(verdict[0].us, 15060 * MS);
	leg = (struct tarpit_leg){0}; // by now it is known
	assert_int_equal(judge(SMTP_V_UNKNOWN, "220 mx", 5020 * MS), 1);
	assert_int_equal(verdict[0].reason, TARPIT_DISCREDITED);
	leg = (struct tarpit_leg){0};
	judge(SMTP_V_UNKNOWN, "220 mx", 10 * MS); // and soon forgotten
	for (unsigned i = 0; i < 4; i++)
		judge(SMTP_V_EHLO, "250 ok", 10 * MS);
	leg = (struct tarpit_leg){0};
	assert_int_equal(judge(SMTP_V_UNKNOWN, "220 mx", 5020 * MS), 0);
	assert_int_equal(judge(SMTP_V_EHLO, "250 ok", 10 * MS), 1);
	assert_int_not_equal(verdict[0].reason, TARPIT_DISCREDITED);
}

static void want_of_room_is_told_whatever_it_took(void **state)
{
	(void)state;
	assert_int_equal(judge(SMTP_V_MAIL, "452 4.3.1 Insufficient system resources", 1 * MS), 1);
	assert_int_equal(verdict[0].reason, TARPIT_BACK_PRESSURE_REJECT);
	assert_int_equal(judge(SMTP_V_MAIL, "421 4.3.2 Shutting down", 1 * MS), 1);
	assert_int_equal(verdict[0].reason, TARPIT_BACK_PRESSURE_REJECT);
	assert_int_equal(judge(SMTP_V_MAIL, "550 5.7.1 no", 1 * MS), 0);
}

static void one_slow_reply_has_no_reason(void **state)
{
	(void)state;
	assert_int_equal(judge(SMTP_V_MAIL, "250 ok", 7 * S), 1);
	assert_int_equal(verdict[0].reason, TARPIT_UNKNOWN);
	assert_int_equal(judge(SMTP_V_BODY, "250 2.6.0 ok", 17 * S), 1);
	assert_int_equal(verdict[0].reason, TARPIT_UNKNOWN);
	assert_int_equal(judge(SMTP_V_RCPT, "550 5.1.1 no", 9 * S), 1);
	assert_int_equal(verdict[0].reason, TARPIT_UNKNOWN);
}

// Whatever comes, nothing but counts: and never more verdicts than there is room for.
static void anything_may_come(void **state)
{
	uint32_t x = 1;

	(void)state;
	for (unsigned i = 0; i < 1000000; i++) {
		struct tarpit_reply reply = {.len = 0};
		unsigned n;

		x = x * 1664525 + 1013904223;
		reply.verb = (enum smtp_verb)(x >> 8) % SMTP_V_COUNT;
		reply.line = kinds[(x >> 4) % (sizeof(kinds) / sizeof(kinds[0]))].line;
		reply.len = (uint32_t)strlen(reply.line);
		reply.code = (unsigned)strtoul(reply.line, NULL, 10);
		reply.us = (x & 7) == 0 ? UINT32_MAX - x % 99 : x >> (x & 31);
		reply.banner = (x & 1024) != 0;
		reply.follows = (x & 2048) != 0;
		reply.more = (x & 4096) != 0;
		reply.authed = (x & 0x30000) == 0;
		reply.pieces = (x & 0x700000) == 0 ? 9 : 0;
		n = tarpit_judge(&backend, (x & 0x8000) != 0 ? &leg : NULL, &reply, verdict);
		assert_in_range(n, 0, TARPIT_VERDICTS);
		for (unsigned k = 0; k < n; k++)
			assert_in_range(verdict[k].reason, 0, TARPIT_REASONS - 1);
		if ((x & 0xf00000) == 0)
			leg = (struct tarpit_leg){0};
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_are_of_a_kind),
		cmocka_unit_test_setup(the_interval_never_strikes_the_authenticated, begin),
		cmocka_unit_test_setup(equal_steps_of_a_growth_are_no_back_pressure, begin),
		cmocka_unit_test(any_interval_is_learned),
		cmocka_unit_test_setup(a_group_is_held_for_its_last_reply, begin),
		cmocka_unit_test_setup(an_address_is_discredited_from_the_greeting_on, begin),
		cmocka_unit_test_setup(want_of_room_is_told_whatever_it_took, begin),
		cmocka_unit_test_setup(one_slow_reply_has_no_reason, begin),
		cmocka_unit_test_setup(anything_may_come, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
