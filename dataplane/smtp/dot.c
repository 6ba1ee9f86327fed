// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dot scanner: lines are skipped by vectors, only line ends and line starts are looked at byte
// by byte. Pure.

#include "dataplane/smtp/dot.h"

#include <emmintrin.h>
#include <stdbool.h>

// Bytes up to the next CR or LF, sixteen at a time.
static uint32_t text_len(const uint8_t *data, uint32_t len)
{
	const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n');
	uint32_t i = 0;

	for (; len - i >= 16; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(data + i));
		__m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, cr), _mm_cmpeq_epi8(v, lf));
		unsigned mask = (unsigned)_mm_movemask_epi8(hit);

		if (mask != 0)
			return i + (uint32_t)__builtin_ctz(mask);
	}
	while (i < len && data[i] != '\r' && data[i] != '\n')
		i++;
	return i;
}

enum smtp_dot_event
smtp_dot_scan(uint8_t *state, const uint8_t *data, uint32_t len, uint32_t *ret_n)
{
	uint32_t i = 0;

	while (i < len) {
		if (data[i] == '\n') {
			*ret_n = i;
			return SMTP_DOT_BARE;
		}
		if (data[i] == '\r') {
			*ret_n = i;
			if (i + 1 == len)
				return SMTP_DOT_MORE;
			if (data[i + 1] != '\n')
				return SMTP_DOT_BARE;
			i += 2;
			if (*state == SMTP_DOT_DOT) {
				*ret_n = i;
				return SMTP_DOT_END;
			}
			*state = SMTP_DOT_START;
			continue;
		}
		if (data[i] == '.' && *state == SMTP_DOT_BROKEN) {
			*state = SMTP_DOT_TEXT;
			*ret_n = i;
			return SMTP_DOT_STUFF;
		}
		if (data[i] == '.' && *state == SMTP_DOT_START) {
			*state = SMTP_DOT_DOT;
			i++;
			continue;
		}
		*state = SMTP_DOT_TEXT;
		i += text_len(data + i, len - i);
	}
	*ret_n = i;
	return SMTP_DOT_MORE;
}
