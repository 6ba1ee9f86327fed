// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A dialogue that is looked at while it passes (mode passthrough): lines found in octets that go on
// at once, so that of a line that came in parts only its head is kept; what a verb is there, and
// what a reply makes of the dialogue. Whatever is in doubt is not read on: who guesses could take
// octets of somebody's TLS for a reply. Pure; the state is a few octets in the session.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/smtp/verb.h"

#define SMTP_SCAN_COMMAND 24 // octets kept of a command: the longest verbs, and BDAT's arguments
#define SMTP_SCAN_REPLY 12   // of a reply: its code, an enhanced code
#define SMTP_SCAN_TEXT_MAX 40

enum {
	SMTP_SCAN_F_CR = 1 << 0,   // the last octet was CR
	SMTP_SCAN_F_BARE = 1 << 1, // there is a CR that is not before LF, or a NUL
	SMTP_SCAN_F_LF = 1 << 2,   // its LF had no CR
	SMTP_SCAN_F_P = 1 << 3,    // PRX is looked for: "P" was last
	SMTP_SCAN_F_PR = 1 << 4,
	SMTP_SCAN_F_PRX = 1 << 5, // it was there
};

struct smtp_scan_line {
	uint16_t len; // octets of it so far, its line end included; stays at UINT16_MAX
	uint8_t flags;
};

// Of a session: what of each side was looked at, and is not a whole line or has not gone on.
struct smtp_scan {
	struct smtp_scan_line command, reply;
	uint16_t command_ahead,
		reply_ahead; // octets looked at that wait for room at the other side
	char command_head[SMTP_SCAN_COMMAND];
	char reply_head[SMTP_SCAN_REPLY];
};

// Takes octets of a line up to its LF, *ret_n <= len; the first `room` octets of the line are kept
// in head. True: the line is whole, and line is to be zeroed before the next.
bool smtp_scan_line(
	struct smtp_scan_line *line,
	char *head,
	uint32_t room,
	const uint8_t *data,
	uint32_t len,
	uint32_t *ret_n
);
// A whole line whose last *n octets stand at last: itself when those are all of it, else what is
// left of it, made in text of its head, with "PRX" if that stood in it (judge.h). *n: its length.
const char *smtp_scan_text(
	const struct smtp_scan_line *line,
	const char *head,
	uint32_t room,
	const char *last,
	uint32_t *n,
	char text[SMTP_SCAN_TEXT_MAX]
);

// The verb of a command's head without line end. Verbs that are read as others: X-ANONYMOUSTLS is
// STARTTLS; XCLIENT and XFORWARD are SMTP_V_FORBIDDEN. Not known, SMTP_V_UNKNOWN, is what may lead
// anywhere: other private verbs, and AUTH by a mechanism that may protect what follows it.
enum smtp_verb smtp_scan_verb(const char *head, uint32_t len);
// A header of the PROXY protocol: no command, it has no reply.
bool smtp_scan_is_proxy(const char *head, uint32_t len);
// May what stands behind the command be data, not a command, as its reply will tell?
bool smtp_scan_is_open(enum smtp_verb verb);

// What the last line of a reply to a verb makes of the dialogue.
enum smtp_scan_next {
	SMTP_SCAN_GOES_ON,
	SMTP_SCAN_BODY, // 3yz: the client's body follows
	SMTP_SCAN_SASL, // 3yz: the client's next line is an answer
	SMTP_SCAN_TLS,  // 220 to STARTTLS
	SMTP_SCAN_OVER, // 421, or QUIT's reply
	SMTP_SCAN_LOST, // anything may follow
};
enum smtp_scan_next smtp_scan_reply(enum smtp_verb verb, unsigned code);
