// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Replies that the relay invents: one row each in own.def, with its enhanced status code (RFC 2034,
// 3463; statements C5, P15) and its own counter.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/stats.h"

enum smtp_own {
#define OWN(sym, code, text) SMTP_OWN_##sym,
#include "dataplane/smtp/own.def"
#undef OWN
	SMTP_OWN_COUNT
};

struct smtp_own_reply {
	uint16_t code;
	const char *text; // whole line without CRLF; "%s" at most once: the service's host name
};
extern const struct smtp_own_reply smtp_own_replies[SMTP_OWN_COUNT];

// Writes the line with CRLF into out (at least 400 bytes); returns its length. enhanced: with its
// enhanced status code, which replies to a connection, EHLO and HELO never have (RFC 2034 4).
uint32_t smtp_own_format(
	enum smtp_own own,
	const char *hostname,
	bool enhanced,
	char *out,
	uint32_t out_len
);
// The counter of a reply of ours.
static inline enum stat_id smtp_own_stat(enum smtp_own own)
{
	return (enum stat_id)(STAT_SMTP_OWN_BANNER + own);
}
