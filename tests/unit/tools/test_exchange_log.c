// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Exchange's protocol log: delays with and without their why, columns in any order, lines that are
// none.

#include "tools/exchange_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEADER \
	"#Fields: date-time,connector-id,session-id,sequence-number,local-endpoint," \
	"remote-endpoint,event,data,context"
#define LINE(session, event, data) \
	"2020-11-27T09:34:39.159Z,SRV\\Default," session ",1,10.0.0.1:25,192.0.2.7:5," event \
	"," data ","

static struct exchange_log exchange;
static struct exchange_event events[64];
static unsigned count;

static void take(void *up, const struct exchange_event *event)
{
	assert_ptr_equal(up, events);
	if (count < 64)
		events[count++] = *event;
}

static int begin(void **state)
{
	(void)state;
	count = 0;
	exchange_log_init(&exchange, take, events);
	return 0;
}

// In memory that ends with it.
static void feed(const char *text)
{
	size_t len = strlen(text);
	char *line = malloc(len + 1);

	memcpy(line, text, len + 1);
	exchange_log_line(&exchange, line, len);
	free(line);
}

static void the_why_stands_there(void **state)
{
	static const struct {
		const char *why;
		enum tarpit_reason reason;
	} whys[] = {
		{"550 5.1.1 User unknown", TARPIT_RECIPIENT_LOOKUP},
		{"535 5.7.3 Authentication unsuccessful", TARPIT_AUTH_FAILED},
		{"504 5.7.4 Unrecognized authentication type", TARPIT_AUTH_TYPE},
		{"554 5.6.0 Invalid message content", TARPIT_CONTENT},
		{"550 5.7.1 Unable to relay", TARPIT_RELAY},
		{"550 5.7.1 Client was not authenticated", TARPIT_UNKNOWN},
		{"DelayedAck", TARPIT_DELAYED_ACK},
		{"something new", TARPIT_UNKNOWN},
	};

	(void)state;
	feed("\xef\xbb\xbf#Software: Microsoft Exchange Server\r\n");
	feed(HEADER "\r\n");
	for (unsigned i = 0; i < sizeof(whys) / sizeof(whys[0]); i++) {
		char line[256];

		snprintf(
			line,
			sizeof(line),
			LINE("08D8", "*", "Tarpit for '0.00:00:05.250' due to '%s'") "\r\n",
			whys[i].why
		);
		feed(line);
		assert_int_equal(count, i + 1);
		assert_int_equal(events[i].reason, whys[i].reason);
		assert_int_equal(events[i].us, 5250000);
		assert_int_equal(events[i].unix_s, 1606469679);
	}
	assert_int_equal(exchange.malformed, 0);
}

static void else_the_replies_tell(void **state)
{
	(void)state;
	feed(HEADER);
	feed(LINE("1", "<", "MAIL FROM:<a@x.example>"));
	feed(LINE("1", "*", "Tarpit for '0.00:00:05'"));
	feed(LINE("2", "<", "AUTH LOGIN"));
	feed(LINE("2", "*", "Tarpit for '0.00:00:05'"));
	feed(LINE("1", ">", "250 2.1.0 Sender OK"));
	feed(LINE("2", ">", "504 5.7.4 Unrecognized authentication type"));
	feed(LINE("1", ">", "550 5.7.1 Unable to relay"));
	assert_int_equal(count, 2);
	assert_int_equal(events[0].reason, TARPIT_AUTH_TYPE);
	assert_int_equal(events[1].reason, TARPIT_RELAY); // of the group's last reply
	feed(LINE("3", "<", "EHLO c.example"));
	feed(LINE("3", "*", "Tarpit for '0.00:00:05'"));
	feed(LINE("3", ">", "250 CHUNKING"));
	feed(LINE("3", "<", "MAIL FROM:<a@x.example>"));
	assert_int_equal(events[2].reason, TARPIT_DISCREDITED);
	feed(LINE("3", "*", "Tarpit for '0.00:00:15'"));
	feed(LINE("3", ">", "\"250 2.1.0 \"\"Sender\"\", OK\""));
	exchange_log_end(&exchange);
	assert_int_equal(count, 4);
	assert_int_equal(events[3].reason, TARPIT_BACK_PRESSURE);
	feed(LINE("4", ">", "452 4.3.1 Insufficient system resources"));
	assert_int_equal(events[4].reason, TARPIT_BACK_PRESSURE_REJECT);
	assert_int_equal(exchange.malformed, 0);
}

static void columns_stand_in_any_order(void **state)
{
	(void)state;
	feed(LINE("1", "*", "Tarpit for '0.00:00:05' due to 'DelayedAck'"));
	assert_int_equal(exchange.malformed, 1); // no columns were named
	feed("#Fields: data,event,session-id,date-time");
	feed("Tarpit for '1.02:03:04.5' due to 'DelayedAck',*,77,2020-11-27T09:34:39.159Z");
	assert_int_equal(count, 1);
	assert_int_equal(events[0].us, (((1 * 24 + 2) * 60 + 3) * 60 + 4) * 1000000ULL + 500000);
	feed("#Fields: data,event,session-id");
	feed("Tarpit for '0.00:00:05' due to 'DelayedAck',*,77,2020-11-27T09:34:39.159Z");
	assert_int_equal(exchange.malformed, 2);
}

// Each prefix of a line, and each octet changed: an event, or a malformed line, or nothing.
static void lines_that_are_none_do_no_harm(void **state)
{
	static const char good[] =
		LINE("08D8", "*", "\"Tarpit for '0.00:00:05' due to '550 5.1.1 User unknown'\"");
	static const char octets[] = {0, ',', '"', '\'', '\n', '9', '-', (char)0xff, '#'};
	char line[sizeof(good)];

	(void)state;
	feed(HEADER);
	for (size_t len = 0; len < sizeof(good); len++) {
		snprintf(line, len + 1, "%s", good);
		feed(line);
	}
	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		for (unsigned k = 0; k < sizeof(octets); k++) {
			char *copy = malloc(sizeof(good));

			memcpy(copy, good, sizeof(good));
			copy[i] = octets[k];
			exchange_log_line(&exchange, copy, sizeof(good) - 1);
			free(copy);
		}
	}
	for (unsigned i = 0; i < 100; i++)
		feed("2020-11-27T09:34:39.159Z,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,");
	assert_true(exchange.malformed > 100);
	exchange_log_end(&exchange);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_why_stands_there, begin),
		cmocka_unit_test_setup(else_the_replies_tell, begin),
		cmocka_unit_test_setup(columns_stand_in_any_order, begin),
		cmocka_unit_test_setup(lines_that_are_none_do_no_harm, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
