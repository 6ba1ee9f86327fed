// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dot scanner: lines are skipped with memchr, only line ends and line starts are looked at byte
// by byte. Pure.

#include "dataplane/smtp/dot.h"

#include <stdbool.h>
#include <string.h>

// Bytes up to the next CR or LF.
static uint32_t text_len(const uint8_t *data, uint32_t len)
{
	const uint8_t *lf = memchr(data, '\n', len);
	uint32_t end = lf != NULL ? (uint32_t)(lf - data) : len;
	const uint8_t *cr = memchr(data, '\r', end);

	return cr != NULL ? (uint32_t)(cr - data) : end;
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
