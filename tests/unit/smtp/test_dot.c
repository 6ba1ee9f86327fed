// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dot scanner against a slow reference, over random bodies made of the bytes that matter, in
// random segmentation.

#include "dataplane/smtp/dot.h"

#include "common/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool line_starts_at(const uint8_t *data, uint32_t i)
{
	return i == 0 || (i >= 2 && data[i - 2] == '\r' && data[i - 1] == '\n');
}

// Index behind the end of data, or 0: CRLF . CRLF, the body beginning as if after CRLF. *bare:
// first CR or LF alone before it, or NUL where one who drops NULs could see such an end.
static uint32_t reference_end(const uint8_t *data, uint32_t len, uint32_t *bare)
{
	*bare = UINT32_MAX;
	for (uint32_t i = 0; i < len; i++) {
		bool crlf = data[i] == '\r' && i + 1 < len && data[i + 1] == '\n';
		bool start;

		if (data[i] == '\r' && i + 1 == len)
			return 0;
		if (data[i] == '\n' || (data[i] == '\r' && !crlf)) {
			*bare = i;
			return 0;
		}
		start = line_starts_at(data, i);
		if (data[i] == '\0' &&
		    (start || (data[i - 1] == '.' && line_starts_at(data, i - 1)))) {
			*bare = i;
			return 0;
		}
		if (start && i + 2 < len && data[i] == '.' && data[i + 1] == '\r' &&
		    data[i + 2] == '\n')
			return i + 3;
		if (crlf)
			i++;
	}
	return 0;
}

// Feeds pieces as the relay does: what is not taken comes again in front of the next piece.
static enum smtp_dot_event scan_in_pieces(
	struct rng *rng,
	const uint8_t *data,
	uint32_t len,
	uint32_t piece_max,
	uint32_t *ret_at,
	uint32_t *ret_stuffed
)
{
	uint8_t state = SMTP_DOT_START;
	uint32_t at = 0, end = 0;

	*ret_stuffed = 0;

	while (end < len) {
		enum smtp_dot_event event;
		uint32_t n, stuffed;

		end += 1 + rng_below(rng, piece_max);
		end = end < len ? end : len;
		event = smtp_dot_scan(&state, data + at, end - at, &n, &stuffed);
		at += n;
		*ret_stuffed += stuffed;
		if (event != SMTP_DOT_MORE) {
			*ret_at = at;
			return event;
		}
	}
	*ret_at = at;
	return SMTP_DOT_MORE;
}

static void check(struct rng *rng, const uint8_t *data, uint32_t len, uint32_t piece_max)
{
	uint32_t bare, at, stuffed, dots = 0;
	uint32_t end = reference_end(data, len, &bare);
	enum smtp_dot_event event = scan_in_pieces(rng, data, len, piece_max, &at, &stuffed);

	for (uint32_t i = 0; i < at; i++)
		dots += data[i] == '.' && line_starts_at(data, i);
	assert_int_equal(stuffed, dots + (event == SMTP_DOT_END ? 2 : 0));

	if (end != 0) {
		assert_int_equal(event, SMTP_DOT_END);
		assert_int_equal(at, end);
	} else if (bare != UINT32_MAX) {
		assert_int_equal(event, SMTP_DOT_BARE);
		assert_int_equal(at, bare);
	} else {
		assert_int_equal(event, SMTP_DOT_MORE);
		assert_int_equal(at, len > 0 && data[len - 1] == '\r' ? len - 1 : len);
	}
}

static void agrees_with_the_reference(void **state)
{
	static const char alphabet[] = "\r\n\r\n\r\n..ab\0"; // and the NUL
	struct rng rng;

	rng_seed(&rng, 11);
	for (unsigned round = 0; round < 200000; round++) {
		uint8_t data[24];
		uint32_t len = rng_below(&rng, sizeof(data) + 1);

		for (uint32_t i = 0; i < len; i++)
			data[i] = (uint8_t)alphabet[rng_below(&rng, sizeof(alphabet) - 1)];
		check(&rng, data, len, 4);
	}
}

// Lines long enough for whole blocks, what matters at any place of them; each body ends exactly at
// the end of its memory.
static void agrees_over_blocks(void **state)
{
	static const char *const tokens[] = {
		"\r\n",
		"\r\n",
		"\r\n",
		"\r\n.",
		"\r\n..",
		".",
		"a~a",
		"\r\n.\r\n",
		"\r",
		"\n",
		"\r\n~.a",
		"\r\n.~\r\n"
	}; // "~": NUL
	struct rng rng;

	rng_seed(&rng, 12);
	for (unsigned round = 0; round < 100000; round++) {
		unsigned kinds = rng_below(&rng, 3) == 0 ? 12 : 7; // the last ones end it
		uint32_t want = 16 + rng_below(&rng, 200), len = 0;
		uint8_t text[512], *data;

		while (len < want) {
			const char *token = tokens[rng_below(&rng, kinds)];

			for (uint32_t n = rng_below(&rng, 40); n > 0; n--)
				text[len++] = 'a';
			for (; *token != '\0'; token++)
				text[len++] = *token == '~' ? '\0' : (uint8_t)*token;
		}
		data = malloc(len);
		assert_non_null(data);
		memcpy(data, text, len);
		check(&rng, data, len, rng_below(&rng, 2) == 0 ? len : 50);
		free(data);
	}
}

static void a_dot_behind_a_repaired_line_end_is_stuffed(void **state)
{
	uint8_t dot = SMTP_DOT_BROKEN;
	uint32_t n, stuffed;

	assert_int_equal(
		smtp_dot_scan(&dot, (const uint8_t *)".\r\n", 3, &n, &stuffed), SMTP_DOT_STUFF
	);
	assert_int_equal(n, 0);
	assert_int_equal(
		smtp_dot_scan(&dot, (const uint8_t *)".\r\n", 3, &n, &stuffed), SMTP_DOT_MORE
	);
	assert_int_equal(n, 3);
	assert_int_equal(stuffed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_reference),
		cmocka_unit_test(agrees_over_blocks),
		cmocka_unit_test(a_dot_behind_a_repaired_line_end_is_stuffed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
