// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Ids in the replies of many servers to an end of data, and addresses out of MAIL and RCPT.

#include "dataplane/smtp/queue_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *line, *enhanced, *queue_id, *message_id;
} replies[] = {
	// Postfix, and filters before it that hand its reply on
	{"250 2.0.0 Ok: queued as 4XyZab3Kq1z9sP", "2.0.0", "4XyZab3Kq1z9sP", ""},
	{"250 2.0.0 Ok: queued as 7F3A12C0B5", "2.0.0", "7F3A12C0B5", ""},
	{"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 9B1C2D3E4F",
	 "2.0.0",
	 "9B1C2D3E4F",
	 ""},
	{"250 Ok: queued as 5BD9C120ABC", "0.0.0", "5BD9C120ABC", ""},
	// Exim
	{"250 OK id=1rABcd-0000Kx-2Q", "0.0.0", "1rABcd-0000Kx-2Q", ""},
	{"250 OK id=1t8sQz-000000023Hl-1Zp0", "0.0.0", "1t8sQz-000000023Hl-1Zp0", ""},
	// Exchange, old and new, and its online sibling
	{"250 2.6.0 <a1b2@mail.example.com> [InternalId=4389456543, Hostname=EX1.example.com] 1534 "
	 "bytes in 0.126, 11.823 KB/sec Queued mail for delivery",
	 "2.6.0",
	 "4389456543",
	 "a1b2@mail.example.com"},
	{"250 2.6.0 <a1b2@mail.example.com> [InternalId=77] Queued mail for delivery",
	 "2.6.0",
	 "77",
	 "a1b2@mail.example.com"},
	{"250 2.6.0  <EX2aKhTfRk00000001@ex.example.com> Queued mail for delivery",
	 "2.6.0",
	 "",
	 "EX2aKhTfRk00000001@ex.example.com"},
	// Sendmail, OpenSMTPD, and others that word it as they do
	{"250 2.0.0 w8GHZ1x1012345 Message accepted for delivery", "2.0.0", "w8GHZ1x1012345", ""},
	{"250 2.0.0 3pa0n2rk6d-1 Message accepted for delivery", "2.0.0", "3pa0n2rk6d-1", ""},
	{"250 2.0.0 d3ad8eef Message accepted for delivery", "2.0.0", "d3ad8eef", ""},
	{"250 123456 message accepted for delivery", "0.0.0", "123456", ""},
	// qmail, IronPort, Haraka, Stalwart, iCloud, GMX
	{"250 ok 1187022337 qp 5302", "0.0.0", "5302", ""},
	{"250 ok:  Message 1234567 accepted", "0.0.0", "1234567", ""},
	{"250 Message Queued (5BA1F32E-7A0B-4C3D.1)", "0.0.0", "5BA1F32E-7A0B-4C3D.1", ""},
	{"250 2.0.0 Message queued with id 1a2b3c4d5e.", "2.0.0", "1a2b3c4d5e", ""},
	{"250 2.5.0 Ok, envelope id 0PBX0012345678@ms.example.com", "2.5.0", "", ""},
	{"250 Requested mail action okay, completed: id=0MTjYq-1Xv1oB3z5l-00QQ1C",
	 "0.0.0",
	 "0MTjYq-1Xv1oB3z5l-00QQ1C",
	 ""},
	// by its looks
	{"250 2.0.0 OK  1700000000 d9443c01a7336-1d3e5f0a2b4si1234567plg.123 - gsmtp",
	 "2.0.0",
	 "d9443c01a7336-1d3e5f0a2b4si1234567plg.123",
	 ""},
	{"250 Ok 0100018b7c2f3d4e-a1b2c3d4-0000-1111-2222-333344445555-000000",
	 "0.0.0",
	 "0100018b7c2f3d4e-a1b2c3d4-0000-1111-2222-333344445555-000000",
	 ""},
	{"250 2.0.0 OK 6C/40-31245-9F0A1B25", "2.0.0", "6C/40-31245-9F0A1B25", ""},
	{"250 Ok. 000000000011F2C3.00000000655A1B2C.00003D4E",
	 "0.0.0",
	 "000000000011F2C3.00000000655A1B2C.00003D4E",
	 ""},
	{"250 2.0.0 OK accepted <0a1b2c3d4e>", "2.0.0", "0a1b2c3d4e", ""},
	// no id in it
	{"250 2.0.0 Ok", "2.0.0", "", ""},
	{"250 ok", "0.0.0", "", ""},
	{"250", "0.0.0", "", ""},
	{"250 ", "0.0.0", "", ""},
	{"250 2.6.0 Message received", "2.6.0", "", ""},
	{"250 Queued (0.125 seconds)", "0.0.0", "", ""},
	{"250 2.0.0 accepted by mx01.mail4you.example.com", "2.0.0", "", ""},
	{"250 2.0.0 delivered to user1234@example.com", "2.0.0", "", ""},
	{"250 2.0.0 Ok: queued as ", "2.0.0", "", ""},
	{"250 2.0.0 Ok: queued as user1@example.com", "2.0.0", "", ""},
	{"250 OK void=12", "0.0.0", "", ""},
	{"250 5.0.0 Ok: queued as ABCDEF12", "0.0.0", "ABCDEF12", ""},
	{"250 2.0 fine", "0.0.0", "", ""},
	{"250 2.0.0", "2.0.0", "", ""},
	{"250 23.6.0 Ok", "0.0.0", "", ""},
	{"250 2.0000.0 Ok", "0.0.0", "", ""},
	// refusals have none
	{"550 5.7.1 Message 123456789 id=abcdef refused", "5.7.1", "", ""},
	{"451 4.3.0 queue file write error", "4.3.0", "", ""},
	{"554 5.6.0 <a@b> Invalid message content", "5.6.0", "", ""},
};

static void part_is(const struct smtp_text *t, const char *want, const char *line)
{
	if (t->len != strlen(want) || (t->len > 0 && memcmp(t->at, want, t->len) != 0))
		fail_msg("%s: \"%.*s\", not \"%s\"", line, (int)t->len, t->at, want);
}

static void test_replies(void **state)
{
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		uint32_t len = (uint32_t)strlen(replies[i].line);
		char *line = malloc(len); // ends where the reply does
		struct smtp_receipt r;
		char enhanced[32];

		assert_non_null(line);
		memcpy(line, replies[i].line, len);
		smtp_receipt_parse(line, len, &r);
		part_is(&r.queue_id, replies[i].queue_id, replies[i].line);
		part_is(&r.message_id, replies[i].message_id, replies[i].line);
		snprintf(
			enhanced,
			sizeof(enhanced),
			"%u.%u.%u",
			r.enhanced[0],
			r.enhanced[1],
			r.enhanced[2]
		);
		assert_string_equal(enhanced, replies[i].enhanced);
		for (uint32_t n = 0; n < len; n++)
			smtp_receipt_parse(line + len - n, n, &r); // each suffix ends there too
		free(line);
	}
}

static const struct {
	const char *args;
	bool good;
	const char *address;
} addresses[] = {
	{"FROM:<a@b.example>", true, "a@b.example"},
	{"FROM:<>", true, ""},
	{"from:<a@b.example> SIZE=100 AUTH=<boss@b.example>", true, "a@b.example"},
	{"TO: <a@b.example>", true, "a@b.example"},
	{"TO:a@b.example NOTIFY=NEVER", true, "a@b.example"},
	{"TO:<\"a>b c\"@b.example> ORCPT=x", true, "\"a>b c\"@b.example"},
	{"TO:<\"a\\\"> b\"@b.example>", true, "\"a\\\"> b\"@b.example"},
	{"TO:<@r1.example,@r2.example:a@b.example>", true, "a@b.example"},
	{"TO:<postmaster>", true, "postmaster"},
	{"TO:<a@b.example", false, ""},
	{"TO:<\"a@b.example>", false, ""},
	{"TO:", false, ""},
	{"TO", false, ""},
	{"", false, ""},
};

static void test_addresses(void **state)
{
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		struct smtp_text t;
		bool good = smtp_address_parse(
			addresses[i].args, (uint32_t)strlen(addresses[i].args), &t
		);

		assert_int_equal(good, addresses[i].good);
		if (good)
			part_is(&t, addresses[i].address, addresses[i].args);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
