// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dot scanner: lines are skipped by vectors, only line ends and line starts are looked at byte
// by byte. Pure.

#include "dataplane/smtp/dot.h"

#include <emmintrin.h>
#include <stdbool.h>

static unsigned mask_of(__m128i v, char c)
{
	return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(c)));
}

// Length of the part at the front, in blocks of sixteen, in which nothing is to be decided: text
// and CRLFs with no dot or NUL behind them. Never ends behind a CR. start: a dot or NUL at the
// front would matter.
static uint32_t plain_len(const uint8_t *data, uint32_t len, bool start)
{
	unsigned cr_before = 0, lf_before = start; // is the byte before the block one?
	uint32_t n = 0;

	for (; len - n >= 16; n += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(data + n));
		unsigned cr = mask_of(v, '\r'), lf = mask_of(v, '\n');
		unsigned unpaired =
			lf ^ (cr << 1 | cr_before); // a LF without CR, or no LF behind one
		unsigned first = (mask_of(v, '.') | mask_of(v, '\0')) & (lf << 1 | lf_before);
		unsigned stop = (unpaired | first) & 0xffff;

		if (stop != 0) {
			n += (uint32_t)__builtin_ctz(stop);
			break;
		}
		cr_before = cr >> 15;
		lf_before = lf >> 15;
	}
	return n > 0 && data[n - 1] == '\r' ? n - 1 : n;
}

enum smtp_dot_event smtp_dot_scan(
	uint8_t *state,
	const uint8_t *data,
	uint32_t len,
	uint32_t *ret_n,
	uint32_t *ret_stuffed
)
{
	uint32_t i = 0;

	*ret_stuffed = 0;
	while (i < len) {
		uint32_t plain = 0;

		if (*state == SMTP_DOT_TEXT || *state == SMTP_DOT_START)
			plain = plain_len(data + i, len - i, *state == SMTP_DOT_START);
		if (plain > 0) {
			i += plain;
			*state = data[i - 1] == '\n' ? SMTP_DOT_START : SMTP_DOT_TEXT;
			continue;
		}
		if (data[i] == '\n' || (data[i] == '\0' && *state != SMTP_DOT_TEXT)) {
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
				*ret_stuffed += 2; // its dot was counted
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
		*state = data[i] == '.' && *state == SMTP_DOT_START ? SMTP_DOT_DOT : SMTP_DOT_TEXT;
		*ret_stuffed += *state == SMTP_DOT_DOT;
		i++;
	}
	*ret_n = i;
	return SMTP_DOT_MORE;
}
