// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a session and its leg are in the middle of. For this folder and its tests.

#pragma once

enum {
	SESSION_F_CLIENT_FIN = 1 << 0, // half-closed: what it sent before still counts
	SESSION_F_LEG_FIN = 1 << 1,
	SESSION_F_SWALLOW_LINE = 1 << 2, // rest of a line that was refused before its CRLF
	SESSION_F_WAIT = 1 << 3, // the last command must be answered before the next is read
	SESSION_F_BDAT_LAST = 1 << 4,
	SESSION_F_CLOSING = 1 << 5, // 221 or 421 was said: only the queue is flushed
	SESSION_F_MAIL = 1 << 6,    // a transaction is open
	SESSION_F_EHLO_KEPT = 1 << 7,
	SESSION_F_SAID_QUIT = 1 << 8,
	SESSION_F_RETRY = 1 << 9,        // waits for a buffer
	SESSION_F_LEG_ONLY = 1 << 10,    // an abandoned leg: never was a session of a client
	SESSION_F_ORPHAN = 1 << 11,      // counted as such at its backend
	SESSION_F_LEG_WAIT = 1 << 12,    // no leg yet: all backends are at their limit
	SESSION_F_OFFERED = 1 << 13,     // STARTTLS: by its policy when it was accepted
	SESSION_F_TLS_ONLY = 1 << 14,    // no mail before it
	SESSION_F_TLS_WAIT = 1 << 15,    // the handshake is to begin when there is room for it
	SESSION_F_AUTHED = 1 << 16,      // another leg would not know who the client is
	SESSION_F_CHUNKS_LOST = 1 << 17, // further chunks of the message are swallowed too
	SESSION_F_GREETED = 1 << 18,     // EHLO was answered: enhanced codes from here on (C5)
	SESSION_F_REOPENED = 1 << 19,    // the next leg is to be told EHLO a second time
	SESSION_F_SWALLOW_CR = 1 << 20,  // of that line: the octet before is a CR
	SESSION_F_CHUNKS = 1 << 21,      // the leg has chunks of a message, and not the last
	SESSION_F_UNSAID = 1 << 22,      // after STARTTLS: EHLO is to be said anew
	SESSION_F_PASSED = 1 << 23, // passthrough: octets went on, so no other backend may be tried
};

enum {                                      // of the leg: begin anew with each
	SESSION_LEG_F_SOFT_BOUNCE = 1 << 0, // the pool's, when it was opened
	SESSION_LEG_F_FRUIT = 1 << 1,       // a recipient or a message was accepted last
	SESSION_LEG_F_JUDGED = 1 << 2,      // counted among the backend's legs
	SESSION_LEG_F_FAILING = 1 << 3,     // counted among those with a signal
	SESSION_LEG_F_RCPT_VOTED = 1 << 4,  // of this transaction
	SESSION_LEG_F_MAILED = 1 << 5,      // a MAIL was accepted
	SESSION_LEG_F_STARTTLS = 1 << 6,    // the pool's, when it was opened
	SESSION_LEG_F_IMPLICIT = 1 << 7,    // likewise: TLS from the start
	SESSION_LEG_F_OFFERED = 1 << 8,     // STARTTLS, by the backend
	SESSION_LEG_F_HELD = 1 << 9,        // room was made for a whole reply
	SESSION_LEG_F_REFUSES = 1 << 10,    // passthrough: its greeting; another is tried
	SESSION_LEG_F_UNASKED = 1 << 11,    // passthrough: a reply came in the middle of a body
};
