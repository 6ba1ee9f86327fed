// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Blocks of a pcapng file: octets as the draft draws them, lengths at both ends, no octet written
// behind a room that is too small.

#include "controlplane/pcapng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t out[1024];

static uint32_t u32(size_t at)
{
	uint32_t v;

	memcpy(&v, out + at, sizeof(v));
	return v;
}

// The option's octets, NULL when it is not there; off: of the first one.
static const uint8_t *option_find(size_t off, size_t len, uint16_t code, size_t want)
{
	while (off + 4 <= len - 4) {
		uint16_t have = (uint16_t)u32(off), n = (uint16_t)(u32(off) >> 16);

		if (have == code) {
			assert_int_equal(n, want);
			return out + off + 4;
		}
		if (have == 0)
			break;
		off += 4 + (n + 3U) / 4 * 4;
	}
	return NULL;
}

static void length_at_both_ends(size_t len)
{
	assert_true(len > 12 && len % 4 == 0);
	assert_int_equal(u32(4), len);
	assert_int_equal(u32(len - 4), len);
	assert_int_equal(u32(len - 8), 0); // end of options
}

static void blocks_are_as_drawn(void **state)
{
	static const uint8_t frame[5] = {1, 2, 3, 4, 5};
	struct pcapng_packet p = {
		.interface = 3,
		.time_ns = 0x0102030405060708,
		.bytes = 5,
		.wire_bytes = 1500,
		.lost = 7,
		.direction = PCAPNG_OUT,
		.comment = "session 9",
	};
	const struct pcapng_statistics s = {
		.interface = 2,
		.time_ns = 99,
		.start_ns = 0x1122334455667788,
		.end_ns = 5,
		.delivered = 12,
		.lost = 34,
	};
	static const uint8_t start[8] = {0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55};
	uint8_t *data;
	uint64_t n;
	size_t len = pcapng_section(out, sizeof(out), "mailrace", "a comment");

	length_at_both_ends(len);
	assert_int_equal(u32(0), 0x0a0d0d0a);
	assert_int_equal(u32(8), 0x1a2b3c4d);
	assert_int_equal(u32(12), 1);
	assert_memory_equal(option_find(24, len, 4, 8), "mailrace", 8);
	assert_memory_equal(option_find(24, len, 1, 9), "a comment", 9);
	len = pcapng_interface(out, sizeof(out), "wan", 4096);
	length_at_both_ends(len);
	assert_int_equal(u32(0), 1);
	assert_int_equal(u32(8), 1);
	assert_int_equal(u32(12), 4096);
	assert_memory_equal(option_find(16, len, 2, 3), "wan", 3);
	assert_int_equal(*option_find(16, len, 9, 1), 9);
	len = pcapng_packet(out, sizeof(out), &p, &data);
	memcpy(data, frame, sizeof(frame));
	length_at_both_ends(len);
	assert_int_equal(u32(0), 6);
	assert_int_equal(u32(8), 3);
	assert_int_equal(u32(12), 0x01020304);
	assert_int_equal(u32(16), 0x05060708);
	assert_int_equal(u32(20), 5);
	assert_int_equal(u32(24), 1500);
	assert_memory_equal(out + 28, frame, 5);
	assert_int_equal(*option_find(36, len, 2, 4), PCAPNG_OUT);
	assert_int_equal(*option_find(36, len, 4, 8), 7);
	assert_memory_equal(option_find(36, len, 1, 9), "session 9", 9);
	p.lost = 0;
	p.comment = "";
	len = pcapng_packet(out, sizeof(out), &p, &data);
	assert_null(option_find(36, len, 4, 8));
	assert_null(option_find(36, len, 1, 9));
	len = pcapng_statistics(out, sizeof(out), &s);
	length_at_both_ends(len);
	assert_int_equal(u32(0), 5);
	assert_int_equal(u32(8), 2);
	assert_memory_equal(option_find(20, len, 2, 8), start, 8);
	memcpy(&n, option_find(20, len, 5, 8), sizeof(n));
	assert_int_equal(n, 34);
	memcpy(&n, option_find(20, len, 8, 8), sizeof(n));
	assert_int_equal(n, 12);
}

static void what_does_not_fit_is_not_written(void **state)
{
	const struct pcapng_packet p = {.bytes = 333, .direction = PCAPNG_IN, .comment = "c"};
	uint8_t *data;
	size_t need = pcapng_packet(out, sizeof(out), &p, &data);

	for (size_t room = 0; room < need; room++) {
		uint8_t *exact = malloc(room + 1); // a write behind it is seen by the sanitizer

		assert_non_null(exact);
		assert_int_equal(pcapng_packet(exact + 1, room, &p, &data), 0);
		free(exact);
	}
	assert_int_equal(pcapng_packet(out, need, &p, &data), need);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_as_drawn),
		cmocka_unit_test(what_does_not_fit_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
