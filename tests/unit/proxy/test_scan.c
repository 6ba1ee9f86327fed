// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Passthrough dialogues between two connections: octets arrive in segments cut everywhere and leave
// as they came, and what was read of them (counters, times, state) is the same for every cut.
// Random octets in the middle of dialogues change nothing of what goes on.

#include "tests/unit/proxy/scan_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/abi/hist.h"

#define BODY \
	"Subject: x\r\n\r\n..dot\r\n.x\r\nQUIT\r\nbare\nlf\n.\nand \r " \
	"cr\r.\r\r\n.\r\r\n..\r\n.\0\r\nend\r\n" \
	".\r\n"
static const struct step whole[] = {
	{'B', "220-mx.test ready\r\n220 since long\r\n", 0},
	{'C', "EHLO client.test\r\n", 0},
	{'B',
	 "250-mx.test\r\n250-PIPELINING\r\n250-STARTTLS\r\n250-CHUNKING\r\n250 SIZE 1000000\r\n",
	 0},
	{'C', "XCLIENT ADDR=192.0.2.1 NAME=[UNAVAILABLE]\r\n", 0},
	{'B', "220 mx.test ready\r\n", 0},
	{'C', "AUTH LOGIN\r\n", 0},
	{'B', "334 VXNlcm5hbWU6\r\n", 0},
	{'C', "MAIL FROM:<no@command>\r\n", 0}, // an answer
	{'B', "334 UGFzc3dvcmQ6\r\n", 0},
	{'C', "c2VjcmV0\r\n", 0},
	{'B', "235 2.7.0 ok\r\n", 0},
	{'C',
	 "MAIL FROM:<a@b>\r\nRCPT TO:<1@c>\r\nRCPT TO:<2@c>\r\nRCPT TO:<3@c>\r\nRCPT TO:<4@c>\r\n"
	 "RCPT TO:<5@c>\r\nRCPT TO:<6@c>\r\nRCPT TO:<7@c>\r\nRCPT TO:<8@c>\r\nRCPT TO:<9@c>\r\n"
	 "RCPT TO:<10@c>\r\nRCPT TO:<11@c>\r\nRCPT TO:<12@c>\r\nRCPT TO:<13@c>\r\nRCPT "
	 "TO:<14@c>\r\n"
	 "RCPT TO:<15@c>\r\nDATA\r\n",
	 0},
	{'B',
	 "250 2.1.0 ok\r\n250 2.1.5 1\r\n550 5.1.1 2\r\n250 3\r\n250 4\r\n250 5\r\n250 "
	 "6\r\n250-7\r\n"
	 "250 7\r\n250 8\r\n450 4.2.0 9\r\n250 10\r\n250 11\r\n250 12\r\n250 13\r\n250 14\r\n250 "
	 "15\r\n"
	 "354 go on\r\n",
	 0},
	{'C', BODY, sizeof(BODY) - 1},
	{'B', "250 2.0.0 queued\r\n", 0},
	{'C',
	 "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 20\r\n\r\n.\r\nQUIT\r\nabcdefg\r\nBDAT "
	 "0\r\nBDAT 6 "
	 "LAST\r\nabcd\r\nNOOP\r\n",
	 0},
	{'B',
	 "250 ok\r\n250 ok\r\n250 20 octets\r\n250 0 octets\r\n250 2.0.0 queued\r\n250 ok\r\n",
	 0},
	{'C', "MAIL FROM:<s@b>\r\n", 0},
	{'B', "451 4.7.0 Temporary server error. Please try again later. PRX2 \r\n", 0},
	{'C', "MAIL FROM:<s@b>\r\nRSET\r\nXUNKNOWN\r\n", 0},
	{'B', "452 4.3.1 no space\r\n250 ok\r\n500 5.5.1 what?\r\n", 0},
	{'C', "x-anonymoustls\r\n", 0},
	{'B', "454 4.7.0 not now\r\n", 0},
	{'C', "STARTTLS\r\n", 0},
	{'B', "220 2.0.0 go ahead\r\n", 0},
	{'C', "\x16\x03\x01\0\n\rQUIT\r\n", 12},
	{'B', "\x16\x03\x03\0\0\r\n421 no\r\n", 15},
	{'C', "QUIT\r\n", 0},
};
#define WHOLE_STEPS (sizeof(whole) / sizeof(whole[0]))

static void the_dialogue_is_read_right(void **state)
{
	struct outcome o;

	play(whole, WHOLE_STEPS, STREAM_MAX, UINT32_MAX, 0);
	outcome_get(&o);
	stop();
	assert_int_equal(o.state, RELAY_S_SPLICE);
	assert_int_equal(o.leg_state, LEG_S_READY);
	assert_int_equal(o.stats[STAT_SCAN_STARTTLS], 1);
	for (unsigned i = STAT_SCAN_STARTTLS + 1; i <= STAT_SCAN_CODE; i++)
		assert_int_equal(o.stats[i], 0);
	assert_int_equal(o.hist[SHM_VERB_BANNER], 1);
	assert_int_equal(o.hist[SHM_VERB_EHLO], 1);
	assert_int_equal(o.hist[SHM_VERB_MAIL], 4);
	assert_int_equal(o.hist[SHM_VERB_RCPT], 16);
	assert_int_equal(o.hist[SHM_VERB_END_OF_DATA], 2);
	assert_int_equal(o.recipients, 14);
	assert_int_equal(o.messages, 2);
	assert_int_equal(o.bytes, sizeof(BODY) - 1 + 26);
	assert_int_equal(o.signal[SHM_SIGNAL_PROXY], 1);
	assert_int_equal(o.signal[SHM_SIGNAL_STORAGE], 1);
	assert_int_equal(o.mails, 1);
	assert_int_equal(o.replies_5xx, 2);
	assert_int_equal(o.pending, 0);
}

static void every_cut_reads_the_same(void **state)
{
	struct outcome first, o;

	play(whole, WHOLE_STEPS, STREAM_MAX, UINT32_MAX, 0);
	outcome_get(&first);
	stop();
	for (uint32_t piece = 1; piece < 40; piece++) {
		play(whole, WHOLE_STEPS, piece, UINT32_MAX, 0);
		outcome_get(&o);
		assert_memory_equal(&o, &first, sizeof(o));
		stop();
	}
	for (unsigned i = 0; i < WHOLE_STEPS; i++) {
		uint32_t len = whole[i].len != 0 ? whole[i].len : (uint32_t)strlen(whole[i].text);

		for (uint32_t cut = 1; cut < len; cut++) {
			play(whole, WHOLE_STEPS, STREAM_MAX, i, cut);
			outcome_get(&o);
			assert_memory_equal(&o, &first, sizeof(o));
			stop();
		}
	}
}

static const struct {
	enum stat_id why;
	struct step steps[5];
} ends[] = {
	{STAT_SCAN_BARE, {{'C', "NOOP\n", 0}}},
	{STAT_SCAN_BARE, {{'C', "NO\0OP\r\n", 7}}},
	{STAT_SCAN_BARE, {{'C', "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 11}}},
	{STAT_SCAN_EMPTY, {{'C', "\r\n", 0}}},
	{STAT_SCAN_EARLY, {{'C', "DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n", 0}}},
	{STAT_SCAN_EARLY, {{'C', "AUTH LOGIN\r\ndXNlcg==\r\n", 0}}},
	{STAT_SCAN_BDAT, {{'C', "BDAT x\r\n", 0}}},
	{STAT_SCAN_BDAT, {{'C', "BDAT           1           LAST\r\n", 0}}},
	{STAT_SCAN_UNASKED, {{'B', "250 ok\r\n", 0}}},
	{STAT_SCAN_UNASKED,
	 {{'C', "DATA\r\n", 0}, {'B', "354 go on\r\n", 0}, {'B', "250 ok\r\n", 0}}},
	{STAT_SCAN_OVER, {{'B', "421 4.3.2 bye\r\n", 0}}},
	{STAT_SCAN_OVER, {{'C', "QUIT\r\n", 0}, {'B', "221 bye\r\n", 0}}},
	{STAT_SCAN_REPLY, {{'C', "NOOP\r\n", 0}, {'B', "hello\r\n", 0}}},
	{STAT_SCAN_REPLY, {{'C', "NOOP\r\n", 0}, {'B', "250-a\r\n251 b\r\n", 0}}},
	{STAT_SCAN_REPLY, {{'C', "NOOP\r\n", 0}, {'B', "250 ok\n", 0}}},
	{STAT_SCAN_CODE, {{'C', "TURN\r\n", 0}, {'B', "250 ok\r\n", 0}}},
	{STAT_SCAN_CODE, {{'C', "XEXCH50 12 2\r\n", 0}, {'B', "354 send\r\n", 0}}},
	{STAT_SCAN_CODE, {{'C', "BDAT 2 LAST\r\nab", 0}, {'B', "500 what?\r\n", 0}}},
	{STAT_SCAN_CODE, {{'C', "AUTH GSSAPI\r\n", 0}, {'B', "334 \r\n", 0}}},
	{STAT_SCAN_OUTSTANDING,
	 {{'C',
	   "RSET\r\nNOOP\r\nRSET\r\nNOOP\r\nRSET\r\nNOOP\r\nRSET\r\nNOOP\r\nRSET\r\nNOOP\r\n"
	   "RSET\r\nNOOP\r\nRSET\r\nNOOP\r\nRSET\r\nNOOP\r\n",
	   0}}},
	{STAT_SCAN_STARTTLS, {{'C', "X-ANONYMOUSTLS\r\n", 0}, {'B', "220 go\r\n", 0}}},
};

static void each_end_of_reading_is_counted(void **state)
{
	static const struct step banner = {'B', "220 mx.test\r\n", 0};
	static const struct step after[] = {
		{'C', "MAIL FROM:<a@b>\r\nDATA\r\n", 0},
		{'B', "250 ok\r\n354 go on\r\n", 0},
		{'C', "\0\xff\r\n.\r\n", 7},
	};

	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		for (uint32_t piece = 1; piece < 4; piece++) {
			uint32_t p = piece == 3 ? STREAM_MAX : piece;
			uint64_t sum = 0;

			start(4096);
			say(&banner, p, UINT32_MAX);
			for (unsigned k = 0; k < 5 && ends[i].steps[k].text != NULL; k++)
				say(&ends[i].steps[k], p, UINT32_MAX);
			for (unsigned k = 0; k < 3; k++)
				say(&after[k], p, UINT32_MAX);
			bytes_compare();
			for (unsigned k = STAT_SCAN_STARTTLS; k <= STAT_SCAN_CODE; k++)
				sum += stats[k];
			assert_int_equal(stats[ends[i].why], 1);
			assert_int_equal(sum, 1);
			assert_int_equal(session->state, RELAY_S_SPLICE);
			assert_int_equal(session->pending_count, 0);
			stop();
		}
}

static void a_long_line_ends_it(void **state)
{
	static char text[20000];
	const struct step steps[] = {{'B', "220 mx.test\r\n", 0}, {'C', text, 2100}};
	const struct step auth[] = {
		{'B', "220 mx.test\r\n", 0},
		{'C', "AUTH PLAIN ", 0},
		{'C', text, 1000},
		{'C', text, 1000},
		{'C', text, 1000},
		{'C', "\r\n", 0},
		{'B', "235 ok\r\n", 0},
	};

	memset(text, 'x', sizeof(text));
	play(steps, 2, 1000, UINT32_MAX, 0);
	assert_int_equal(stats[STAT_SCAN_LONG], 1);
	stop();
	play(auth, 7, 1000, UINT32_MAX, 0);
	assert_int_equal(stats[STAT_SCAN_LONG], 0);
	assert_int_equal(session->state, RELAY_S_PASS);
	assert_int_equal(session->pending_count, 0);
	stop();
}

// What stands in front of us may name the client: it has no reply.
static void a_proxy_header_is_no_command(void **state)
{
	static const struct step steps[] = {
		{'C', "PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\nEHLO early\r\n", 0},
		{'B', "220 mx.test\r\n", 0},
		{'B', "250 mx.test\r\n", 0},
	};

	play(steps, 3, STREAM_MAX, UINT32_MAX, 0);
	assert_int_equal(session->state, RELAY_S_PASS);
	assert_int_equal(session->pending_count, 0);
	assert_int_equal(backends[1].latency[SHM_VERB_EHLO].count, 1);
	stop();
}

static void a_thousand_recipients_in_a_group(void **state)
{
	static char group[32768], replies[32768];
	struct step steps[] = {
		{'B', "220 mx.test\r\n", 0},
		{'C', group, 0},
		{'B', replies, 0},
	};
	char *g = group, *p = replies;

	for (unsigned i = 0; i < 1000; i++) {
		g += snprintf(g, 64, "RCPT TO:<%u@c.test>\r\n", i);
		p += snprintf(p, 64, "250 2.1.5 %u\r\n", i);
	}
	snprintf(g, 64, "DATA\r\n");
	snprintf(p, 64, "354 go on\r\n");
	for (uint32_t piece = 500; piece < 1500; piece += 333) {
		play(steps, 3, piece, UINT32_MAX, 0);
		assert_int_equal(backends[1].recipients, 1000);
		assert_int_equal(backends[1].latency[SHM_VERB_RCPT].count, 1000);
		assert_int_equal(session->state, RELAY_S_PASS_DATA);
		stop();
	}
}

// The commands of a group that arrived in one turn are one entry, with the time of all; the next
// turn's are another's.
static void times_are_those_of_their_turn(void **state)
{
	static const struct step banner = {'B', "220 mx.test\r\n", 0};
	static const struct step group = {'C', "RCPT TO:<a@b>\r\nRCPT TO:<b@b>\r\n", 0};
	static const struct step replies = {'B', "250 a\r\n250 b\r\n250 c\r\n250 d\r\n", 0};

	start(4096);
	say(&banner, STREAM_MAX, UINT32_MAX);
	say(&group, STREAM_MAX, UINT32_MAX);
	assert_int_equal(session->pending_count, 2);
	env.now_ns += 4000000000;
	say(&group, STREAM_MAX, UINT32_MAX);
	assert_int_equal(session->pending_count, 4);
	env.now_ns += 1000000000;
	say(&replies, STREAM_MAX, UINT32_MAX);
	assert_int_equal(session->pending_count, 0);
	assert_int_equal(backends[1].latency[SHM_VERB_RCPT].count, 4);
	assert_in_range(
		hist_quantile_us(&backends[1].latency[SHM_VERB_RCPT], 0.4), 900000, 1200000
	);
	assert_in_range(
		hist_quantile_us(&backends[1].latency[SHM_VERB_RCPT], 0.9), 4500000, 6000000
	);
	bytes_compare();
	stop();
}

// Room for little: what is looked at and waits is not looked at again.
static void nothing_is_looked_at_twice(void **state)
{
	struct outcome first, o;

	play(whole, WHOLE_STEPS, 200, UINT32_MAX, 0);
	outcome_get(&first);
	stop();
	start(4096);
	for (unsigned i = 0; i < WHOLE_STEPS; i++) {
		struct tcp_pcb *to = whole[i].who == 'B' ? client : leg;
		uint32_t held = TCP_TX_LIMIT - 40 - to->tx_bytes;

		to->tx_bytes += held; // as if so much were queued
		say(&whole[i], 200, UINT32_MAX);
		to->tx_bytes -= held;
		relay_tcp_ops.on_sent(
			relay, (struct tcp_conn_id){pcb_index(relay->tcp, to)}, to->user
		);
		bytes_compare();
	}
	outcome_get(&o);
	assert_memory_equal(&o, &first, sizeof(o));
	stop();
}

static void random_octets_pass_as_they_are(void **state)
{
	static uint8_t noise[300];

	srandom(11);
	for (unsigned round = 0; round < 3000; round++) {
		start(4096);
		for (unsigned i = 0; i < WHOLE_STEPS && is_alive(); i++) {
			const struct step *step =
				&whole[(unsigned)random() % 4 == 0
					       ? (unsigned)random() % WHOLE_STEPS
					       : i];
			struct step odd = {random() % 2 ? 'B' : 'C', (const char *)noise, 0};

			say(step, 1 + (uint32_t)random() % 300, UINT32_MAX);
			if (random() % 6 != 0)
				continue;
			odd.len = 1 + (uint32_t)random() % (sizeof(noise) - 1);
			for (uint32_t k = 0; k < odd.len; k++)
				noise[k] = (uint8_t)(random() % 3
							     ? "\r\n. 25410-BDATQUIX"[random() % 18]
							     : random());
			say(&odd, 1 + (uint32_t)random() % 300, UINT32_MAX);
		}
		assert_true(is_alive());
		bytes_compare();
		relay_check(relay);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_dialogue_is_read_right),
		cmocka_unit_test(every_cut_reads_the_same),
		cmocka_unit_test(each_end_of_reading_is_counted),
		cmocka_unit_test(a_long_line_ends_it),
		cmocka_unit_test(a_proxy_header_is_no_command),
		cmocka_unit_test(a_thousand_recipients_in_a_group),
		cmocka_unit_test(times_are_those_of_their_turn),
		cmocka_unit_test(nothing_is_looked_at_twice),
		cmocka_unit_test(random_octets_pass_as_they_are),
	};

	if (!rig_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
