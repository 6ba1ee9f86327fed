// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Reply lines of backends (RFC 5321 4.2): code, continuation, and what the relay must know of an
// EHLO reply. Pure functions.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SMTP_REPLY_LINE_MAX 2048
#define SMTP_REPLY_MAX (64U << 10) // C4: a whole reply

// Extensions that a leg advertised: what MAIL and RCPT parameters and verbs may pass (P10, C14).
enum smtp_cap {
	SMTP_CAP_PIPELINING = 1U << 0,
	SMTP_CAP_CHUNKING = 1U << 1,
	SMTP_CAP_8BITMIME = 1U << 2,
	SMTP_CAP_SMTPUTF8 = 1U << 3,
	SMTP_CAP_DSN = 1U << 4,
	SMTP_CAP_BINARYMIME = 1U << 5,
	SMTP_CAP_SIZE = 1U << 6,
	SMTP_CAP_AUTH = 1U << 7,
	SMTP_CAP_ETRN = 1U << 8,
	SMTP_CAP_DELIVERBY = 1U << 9,
	SMTP_CAP_REQUIRETLS = 1U << 10,
	SMTP_CAP_MT_PRIORITY = 1U << 11,
	SMTP_CAP_FUTURERELEASE = 1U << 12,
};

// Code of a line without its CRLF: 200-599 and '-' or ' ' (or nothing) behind it. 0: not a reply
// line.
unsigned smtp_reply_code(const char *line, uint32_t len, bool *ret_more);

enum smtp_reply_part { SMTP_REPLY_MORE, SMTP_REPLY_WHOLE, SMTP_REPLY_BROKEN };

// A reply that is looked at before it is relayed; zero at its start.
struct smtp_reply_scan {
	char head[4];
	uint32_t len, total; // of the line, of the reply
	unsigned code;
	bool cr;
};

// Its next octets, in any segmentation. Broken: a line without code, or with another than the first
// one's, or too long, or that ends without CRLF; or more than SMTP_REPLY_MAX (C4).
enum smtp_reply_part
smtp_reply_scan(struct smtp_reply_scan *scan, const uint8_t *data, uint32_t len);

// Limits of ours; 0: none.
struct smtp_limits {
	uint32_t message_bytes, recipients;
	bool starttls; // the client could have TLS and has not: shown that, but no AUTH (P11)
};

// Rewrites a whole EHLO reply (lines with CRLF) into out: keywords that cannot be relayed are left
// out (STARTTLS in this mode; XCLIENT, XFORWARD and Microsoft's private verbs: C15), SIZE (P9) and
// the RCPTMAX of LIMITS (RFC 9422, P14) are lowered to our own limits. *ret_caps: what the leg
// advertised. Returns the length, 0 when it does not fit.
uint32_t smtp_ehlo_filter(
	const char *in,
	uint32_t len,
	const struct smtp_limits *limits,
	char *out,
	uint32_t out_len,
	uint32_t *ret_caps
);

// Parameters of MAIL or RCPT against what the leg advertised (P10): false when one of them needs an
// extension that is not there. *ret_size: value of SIZE=, 0 when absent.
bool smtp_params_check(const char *args, uint32_t len, uint32_t caps, uint64_t *ret_size);
