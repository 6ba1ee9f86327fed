// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// SMTP commands as the relay sees them (RFC 5321 4.1, 2920, 3030, 4954): the verb of a line and how
// it may stand in a group. Pure functions.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/shm_layout.h"

#define SMTP_LINE_MAX \
	2048 // command line, CRLF included (C3: at least 512 and the extensions' growth)
#define SMTP_AUTH_LINE_MAX 12288 // RFC 4954 4

enum smtp_verb {
	SMTP_V_UNKNOWN,
	SMTP_V_EHLO,
	SMTP_V_HELO,
	SMTP_V_MAIL,
	SMTP_V_RCPT,
	SMTP_V_DATA,
	SMTP_V_BDAT,
	SMTP_V_RSET,
	SMTP_V_NOOP,
	SMTP_V_VRFY,
	SMTP_V_EXPN,
	SMTP_V_HELP,
	SMTP_V_ETRN,
	SMTP_V_AUTH,
	SMTP_V_STARTTLS,
	SMTP_V_QUIT,
	SMTP_V_FORBIDDEN, // XCLIENT, PROXY and the like: never from a client (C15)
	SMTP_V_BODY,      // not a verb: the end of a body, in the list of what awaits a reply
	SMTP_V_AGAIN,     // nor this: in that list, how many more of the one before it
	SMTP_V_COUNT
};

struct smtp_command {
	enum smtp_verb verb;
	const char *args; // after the verb and blanks, not NUL-terminated
	uint32_t args_len;
};

// line without its CRLF. Verbs are case-insensitive (C2); args are the bytes as they came.
void smtp_command_parse(const char *line, uint32_t len, struct smtp_command *ret);
// May further commands follow in the same group before its reply (RFC 2920 3.1)?
bool smtp_verb_may_precede(enum smtp_verb verb);
enum shm_verb_group smtp_verb_group(enum smtp_verb verb);
const char *smtp_verb_name(enum smtp_verb verb);
// "BDAT n [LAST]" (RFC 3030 2). False: syntax error, or n of more than 18 digits; *ret_octets
// follow all the same.
bool smtp_bdat_parse(const struct smtp_command *cmd, uint64_t *ret_octets, bool *ret_last);
