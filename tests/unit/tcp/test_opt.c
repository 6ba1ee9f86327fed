// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TCP options: what is written is read again; malformed ones are refused at every length.

#include "dataplane/tcp/tcp_inner_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// Options at the end of their own block.
static bool parse(const uint8_t *options, unsigned len, struct tcp_seg *seg)
{
	uint8_t *block = malloc(sizeof(struct rte_tcp_hdr) + len);
	bool good;

	assert_non_null(block);
	memset(block, 0, sizeof(struct rte_tcp_hdr));
	memcpy(block + sizeof(struct rte_tcp_hdr), options, len);
	*seg = (struct tcp_seg){0};
	good = tcp_options_parse(
		(const struct rte_tcp_hdr *)block, (unsigned)sizeof(struct rte_tcp_hdr) + len, seg
	);
	free(block);
	return good;
}

static void what_is_written_is_read(void **state)
{
	uint8_t out[40];
	struct tcp_seg seg;
	unsigned n = tcp_options_syn(out, 1460, TCP_F_WS | TCP_F_TS, 0x01020304, 0xfffefdfc);

	assert_int_equal(n % 4, 0);
	assert_true(parse(out, n, &seg));
	assert_int_equal(seg.mss, 1460);
	assert_true(seg.has_ws && seg.has_ts);
	assert_int_equal(seg.wscale, TCP_WSCALE);
	assert_int_equal(seg.ts_val, 0x01020304);
	assert_int_equal(seg.ts_ecr, 0xfffefdfc);
	n = tcp_options_syn(out, 536, 0, 1, 2);
	assert_int_equal(n, 4);
	assert_true(parse(out, n, &seg));
	assert_int_equal(seg.mss, 536);
	assert_false(seg.has_ws || seg.has_ts);
	assert_int_equal(tcp_options_ts(out, 7, 8), 12);
	assert_true(parse(out, 12, &seg) && seg.has_ts && seg.ts_val == 7 && seg.ts_ecr == 8);
}

static void odd_but_legal(void **state)
{
	static const uint8_t wide[] = {3, 3, 15, 0}; // a shift of 15 is taken as 14
	static const uint8_t unknown[] = {254, 4, 1, 2, 2, 4, 5, 180}; // skipped
	static const uint8_t sizes[] = {2, 3, 9, 1, 8, 4, 1, 2};       // known kinds of odd sizes
	static const uint8_t ended[] = {1, 0, 2, 1}; // nothing counts after the end
	struct tcp_seg seg;

	assert_true(parse(wide, sizeof(wide), &seg) && seg.wscale == 14);
	assert_true(parse(unknown, sizeof(unknown), &seg) && seg.mss == 1460);
	assert_true(parse(sizes, sizeof(sizes), &seg) && seg.mss == 0 && !seg.has_ts);
	assert_true(parse(ended, sizeof(ended), &seg));
	assert_true(parse(ended, 0, &seg));
}

static void selective_acknowledgements(void **state)
{
	static const uint8_t permitted[] = {4, 2, 1, 1}, long_permitted[] = {4, 3, 0, 1};
	static const uint8_t odd[] = {5, 9, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1}; // not whole blocks
	static const uint8_t none[] = {5, 2, 1, 1};
	const struct tcp_block block[TCP_SACK_BLOCKS_MAX] = {
		{UINT32_MAX - 1, 3}, {7, 0x01020304}, {5, 5}, {9, 8}
	};
	uint8_t header[sizeof(struct rte_tcp_hdr) + 40] = {0};
	uint8_t *options = header + sizeof(struct rte_tcp_hdr);
	struct tcp_block got[TCP_SACK_BLOCKS_MAX];
	struct tcp_seg seg;

	assert_true(parse(permitted, 4, &seg) && seg.has_sack && seg.sack == 0);
	assert_true(parse(long_permitted, 4, &seg) && !seg.has_sack);
	assert_true(parse(odd, sizeof(odd), &seg) && seg.sack == 0);
	assert_true(parse(none, 4, &seg) && seg.sack == 0);
	for (unsigned n = 1; n <= TCP_SACK_BLOCKS_MAX; n++) {
		unsigned len = tcp_options_sack(options, block, n);

		assert_int_equal(len, 4 + 8 * n);
		assert_true(parse(options, len, &seg));
		assert_int_equal(seg.sack, sizeof(struct rte_tcp_hdr) + 2);
		assert_int_equal(
			tcp_options_blocks((const struct rte_tcp_hdr *)header, &seg, got), n
		);
		assert_memory_equal(got, block, n * sizeof(block[0]));
		for (unsigned cut = 1; cut < len - 2; cut++)
			assert_false(parse(options, len - cut, &seg));
	}
	for (unsigned flags = 0; flags <= TCP_F_NEGOTIATED; flags++) {
		unsigned len = tcp_options_syn(options, 1460, flags, 1, 2);

		assert_true(len % 4 == 0 && len <= 20);
		assert_true(parse(options, len, &seg));
		assert_int_equal(seg.has_sack, (flags & TCP_F_SACK) != 0);
		assert_int_equal(seg.has_ts, (flags & TCP_F_TS) != 0);
		assert_int_equal(seg.has_ws, (flags & TCP_F_WS) != 0);
		assert_int_equal(seg.mss, 1460);
	}
}

static void malformed_at_every_length(void **state)
{
	uint8_t out[40];
	struct tcp_seg seg;
	unsigned n = tcp_options_syn(out, 1460, TCP_F_WS | TCP_F_TS, 1, 2);
	static const uint8_t zero[] = {2, 0, 5, 180}, one[] = {2, 1, 5, 180}, bare[] = {1, 1, 1, 2};

	for (unsigned len = 1; len < n; len++) {
		bool whole = len == 4 || len == 5 || len == 8 || len == 9 || len == 10;

		assert_int_equal(parse(out, len, &seg), whole);
	}
	assert_false(parse(zero, 4, &seg));
	assert_false(parse(one, 4, &seg));
	assert_false(parse(bare, 4, &seg));
	srandom(1);
	for (unsigned i = 0; i < 20000; i++) { // never out of the block, whatever stands there
		for (unsigned k = 0; k < sizeof(out); k++)
			out[k] = (uint8_t)(random() % 12);
		parse(out, (unsigned)random() % (sizeof(out) + 1), &seg);
	}
}

static void sequence_numbers_wrap(void **state)
{
	assert_int_equal(seq_diff(1, UINT32_MAX), 2);
	assert_int_equal(seq_diff(UINT32_MAX, 1), -2);
	assert_int_equal(seq_diff(0x80000000U, 0), INT32_MIN);
	assert_int_equal(seq_diff(5, 5), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(odd_but_legal),
		cmocka_unit_test(selective_acknowledgements),
		cmocka_unit_test(malformed_at_every_length),
		cmocka_unit_test(sequence_numbers_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
