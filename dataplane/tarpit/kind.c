// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a reply says, by its code, its enhanced code (RFC 3463) and a word or two. Pure.

#include "dataplane/tarpit/tarpit_types.h"

#include <string.h>

#define TEXT_AT 4 // "550 "
#define WORDS_MAX 128

// Does the enhanced code follow, and end there?
static bool enhanced(const char *line, uint32_t len, const char *code)
{
	uint32_t n = (uint32_t)strlen(code), end = TEXT_AT + n;

	return len >= end && memcmp(line + TEXT_AT, code, n) == 0 &&
	       (len == end || line[end] < '0' || line[end] > '9');
}

static bool says_relay(const char *line, uint32_t len)
{
	uint32_t end = len < WORDS_MAX ? len : WORDS_MAX;

	for (uint32_t i = TEXT_AT; i + 5 <= end; i++)
		if ((line[i] | 0x20) == 'r' && (line[i + 1] | 0x20) == 'e' &&
		    (line[i + 2] | 0x20) == 'l' && (line[i + 3] | 0x20) == 'a' &&
		    (line[i + 4] | 0x20) == 'y')
			return true;
	return false;
}

static bool unknown_user(enum smtp_verb verb, unsigned code, const char *line, uint32_t len)
{
	return code == 550 && (verb == SMTP_V_RCPT || verb == SMTP_V_BODY) &&
	       (enhanced(line, len, "5.1.1") || enhanced(line, len, "5.1.10"));
}

enum tarpit_kind tarpit_kind(enum smtp_verb verb, unsigned code, const char *line, uint32_t len)
{
	if (code < 400)
		return verb == SMTP_V_BODY && code == 250 && enhanced(line, len, "2.6.0")
			       ? TARPIT_KIND_ACK
			       : TARPIT_KIND_GOOD;
	if ((code == 452 && enhanced(line, len, "4.3.1")) ||
	    (code == 421 && enhanced(line, len, "4.3.2")))
		return TARPIT_KIND_NO_ROOM;
	if (unknown_user(verb, code, line, len))
		return TARPIT_KIND_USER;
	if (verb == SMTP_V_AUTH && code == 535)
		return TARPIT_KIND_AUTH;
	if (verb == SMTP_V_AUTH && code == 504)
		return TARPIT_KIND_AUTH_TYPE;
	if (verb == SMTP_V_BODY && code == 554 && enhanced(line, len, "5.6.0"))
		return TARPIT_KIND_CONTENT;
	if (verb == SMTP_V_RCPT && (code == 550 || code == 554) &&
	    (enhanced(line, len, "5.7.54") ||
	     (enhanced(line, len, "5.7.1") && says_relay(line, len))))
		return TARPIT_KIND_RELAY;
	return TARPIT_KIND_ERROR;
}
