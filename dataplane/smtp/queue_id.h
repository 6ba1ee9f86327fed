// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the last line of a reply to an end of data says of where the mail is now (statement E7): its
// enhanced code, the server's own id for it, and the Message-ID where the server names that. Every
// server words it in its own way: those known have a rule each, the others a general one that
// rather finds nothing than a word. Also the address out of MAIL and RCPT. Pure functions.

#pragma once

#include <stdbool.h>
#include <stdint.h>

struct smtp_text { // a part of the line it was found in; len 0: not there
	const char *at;
	uint32_t len;
};

struct smtp_receipt {
	uint16_t enhanced[3]; // RFC 3463; all 0: none
	struct smtp_text queue_id, message_id;
};

// line: without its CRLF, of which the code was found good. Ids are looked for in 2yz only.
void smtp_receipt_parse(const char *line, uint32_t len, struct smtp_receipt *ret);

// The address in the arguments of MAIL or RCPT ("FROM:<a@b> SIZE=5"), without angles, source route
// and parameters: of those AUTH= names who is logged in. False: there is none that can be read.
bool smtp_address_parse(const char *args, uint32_t len, struct smtp_text *ret);
