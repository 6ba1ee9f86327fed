// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of what the traffic generator judges by: messages made from identities, the books, the
// histogram.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "tools/bench/hist.h"
#include "tools/bench/ledger.h"
#include "tools/bench/message.h"

#include <cmocka.h>

static void identities_are_checked(void **state)
{
	struct message_pool pool;
	char digits[MESSAGE_ID_DIGITS];

	assert_true(message_pool_init(&pool, 7, 64, 64));
	for (uint64_t id = 0; id < 1000; id++) {
		message_id_format(&pool, id, digits);
		assert_int_equal(message_id_parse(&pool, digits), id);
		digits[id % MESSAGE_ID_DIGITS] ^= 1; // another digit, or none
		assert_int_equal(message_id_parse(&pool, digits), UINT64_MAX);
	}
	message_pool_fini(&pool);
}

// All runs of a message in one piece.
static uint32_t whole(const struct message *m, uint8_t *out)
{
	uint32_t pos = 0;

	while (pos < m->wire_len) {
		uint32_t n;
		const uint8_t *p = message_run(m, pos, &n);

		assert_true(n > 0 && pos + n <= m->wire_len);
		memcpy(out + pos, p, n);
		pos += n;
	}
	return pos;
}

static void messages_end_at_their_dot_only(void **state)
{
	static uint8_t out[4096];
	struct message_pool pool;

	assert_true(message_pool_init(&pool, 3, 64, 2000));
	for (uint64_t id = 0; id < 5000; id++) {
		struct message m;
		uint32_t len;
		const uint8_t *end;

		message_make(&pool, id, false, &m);
		len = whole(&m, out);
		assert_in_range(m.len, 60, 2000);
		end = memmem(out, len, "\r\n.\r\n", 5);
		assert_ptr_equal(end, out + len - 5);
		for (uint32_t i = 0; i < len; i++) // no bare CR or LF
			assert_true((out[i] == '\r') == (i + 1 < len && out[i + 1] == '\n'));
	}
	message_pool_fini(&pool);
}

static void messages_differ_and_repeat(void **state)
{
	static uint8_t a[4096], b[4096];
	struct message_pool pool;
	struct message m;
	uint32_t len;

	assert_true(message_pool_init(&pool, 3, 1000, 1000));
	message_make(&pool, 1, true, &m);
	len = whole(&m, a);
	assert_int_equal(len, m.len);
	message_make(&pool, 1, true, &m);
	assert_int_equal(whole(&m, b), len);
	assert_memory_equal(a, b, len);
	message_make(&pool, 2, true, &m);
	whole(&m, b);
	assert_memory_not_equal(a, b, 900);
	message_pool_fini(&pool);
}

static void books_find_lost_doubled_invented(void **state)
{
	struct ledger l;
	uint64_t lost, unconfirmed;

	assert_true(ledger_init(&l, 100));
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(ledger_issue(&l), i);
	assert_int_equal(ledger_issue(&l), UINT64_MAX);
	assert_true(ledger_store(&l, 70));
	assert_false(ledger_store(&l, 70));
	assert_false(ledger_store(&l, 100));
	assert_true(ledger_accept(&l, 70));
	assert_false(ledger_accept(&l, 70));
	ledger_compare(&l, &lost, &unconfirmed);
	assert_int_equal(lost + unconfirmed, 0);
	assert_true(ledger_accept(&l, 5));
	assert_true(ledger_store(&l, 64));
	ledger_compare(&l, &lost, &unconfirmed);
	assert_int_equal(lost, 1);
	assert_int_equal(unconfirmed, 1);
	for (unsigned i = 0; i < 2 * LEDGER_FAILURES; i++)
		ledger_fail(&l, "code", "mail", 400 + i);
	ledger_fail(&l, "code", "mail", 400);
	assert_int_equal(l.failure_count, LEDGER_FAILURES);
	assert_int_equal(l.failure[0].count, 2);
	assert_int_equal(l.failures, 2 * LEDGER_FAILURES + 1);
	ledger_fini(&l);
}

static void quantiles_are_three_per_cent_wide(void **state)
{
	struct hist h = {0};

	assert_int_equal(hist_quantile_ns(&h, 0.5), 0);
	for (uint64_t ns = 1; ns <= 1000000; ns++)
		hist_note(&h, ns);
	assert_in_range(hist_quantile_ns(&h, 0.5), 500000, 516000);
	assert_in_range(hist_quantile_ns(&h, 0.99), 990000, 1000000);
	assert_int_equal(hist_quantile_ns(&h, 1.0), 1000000);
	hist_note(&h, UINT64_MAX);
	assert_int_equal(h.max_ns, UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identities_are_checked),
		cmocka_unit_test(messages_end_at_their_dot_only),
		cmocka_unit_test(messages_differ_and_repeat),
		cmocka_unit_test(books_find_lost_doubled_invented),
		cmocka_unit_test(quantiles_are_three_per_cent_wide),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
