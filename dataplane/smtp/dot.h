// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// End of a DATA body: exactly CRLF . CRLF, the CRLF of the DATA line counting as the first (RFC
// 5321 4.1.1.4, statements G1 and G2), found in any segmentation. Pure; the state is one byte in
// the session.
//
// A NUL in front of the first byte of a line, or behind a dot there, is as a bare CR or LF: who
// drops NULs would see CRLF . CRLF where it was not (CRLF NUL . CRLF, CRLF . NUL CRLF). Mail has no
// NULs (RFC 5322 2.3, RFC 2045 2.8), so no other one needs a rule: it is passed on as it is.

#pragma once

#include <stdint.h>

enum smtp_dot_state {
	SMTP_DOT_START,  // at the start of a line: after CRLF, or of the body
	SMTP_DOT_DOT,    // "." at the start of a line
	SMTP_DOT_TEXT,   // inside a line
	SMTP_DOT_BROKEN, // behind a bare CR or LF that was turned into CRLF: a dot here is text and
			 // must be stuffed
};

enum smtp_dot_event {
	SMTP_DOT_MORE, // all `len` bytes looked at, except a CR at the end whose meaning the next
		       // byte decides
	SMTP_DOT_END,  // the body ends with byte *ret_n
	SMTP_DOT_BARE, // byte *ret_n (not counted) is a CR or LF that does not belong to a CRLF, or
		       // a NUL around a dot at the start of a line
	SMTP_DOT_STUFF, // byte *ret_n (not counted) is a dot that must be doubled (only after
			// SMTP_DOT_BROKEN)
};

// Scans len bytes; *ret_n is how many of them belong to the body and may be forwarded, *ret_stuffed
// how many of those are not of the message: dots that stuff, and the last line. After SMTP_DOT_BARE
// the caller calls again behind the bare byte with the state it chose (BROKEN, or TEXT when it
// passes the byte on as it is).
enum smtp_dot_event smtp_dot_scan(
	uint8_t *state,
	const uint8_t *data,
	uint32_t len,
	uint32_t *ret_n,
	uint32_t *ret_stuffed
);
