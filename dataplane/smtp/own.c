// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The table of our own replies, and its text. Pure.

#include "dataplane/smtp/own.h"

#include <stdio.h>
#include <string.h>

#define CODE_LEN 6 // "4.3.2 "

const struct smtp_own_reply smtp_own_replies[SMTP_OWN_COUNT] = {
#define OWN(sym, code, text) [SMTP_OWN_##sym] = {code, text},
#include "dataplane/smtp/own.def"
#undef OWN
};

#define OWN(sym, code, text) \
	static_assert( \
		(int)STAT_SMTP_OWN_##sym - (int)STAT_SMTP_OWN_BANNER == (int)SMTP_OWN_##sym, \
		"rows of own.def and of stats.def stand in the same order" \
	);
#include "dataplane/smtp/own.def"
#undef OWN

#pragma GCC diagnostic ignored "-Wformat-nonliteral" // the formats are the table's rows
uint32_t
smtp_own_format(enum smtp_own own, const char *hostname, bool enhanced, char *out, uint32_t out_len)
{
	const char *text = smtp_own_replies[own].text;
	int n = snprintf(out, out_len - 2, text, hostname);
	uint32_t len = n < (int)out_len - 3 ? (uint32_t)n : out_len - 3;

	if (!enhanced && text[4] >= '2' && text[4] <= '5' && text[5] == '.') {
		len -= CODE_LEN;
		memmove(out + 4, out + 4 + CODE_LEN, len - 4);
	}

	out[len] = '\r';
	out[len + 1] = '\n';
	return len + 2;
}
