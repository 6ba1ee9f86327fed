// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Replies that mean trouble of the server itself, as Postfix, Exchange and others word them. Pure.

#include "dataplane/smtp/judge.h"

#include <string.h>

#define TEXT_AT 4 // "451 "

static bool text_begins(const char *line, uint32_t len, const char *with)
{
	uint32_t n = (uint32_t)strlen(with);

	return len >= TEXT_AT + n && memcmp(line + TEXT_AT, with, n) == 0;
}

static bool text_contains(const char *line, uint32_t len, const char *what)
{
	return len > TEXT_AT && memmem(line + TEXT_AT, len - TEXT_AT, what, strlen(what)) != NULL;
}

enum shm_signal
smtp_reply_signal(enum smtp_verb verb, unsigned code, const char *line, uint32_t len)
{
	if (verb == SMTP_V_RCPT || verb == SMTP_V_AUTH || code / 100 != 4)
		return SHM_SIGNALS;
	if (code == 421)
		return verb == SMTP_V_UNKNOWN ? SHM_SIGNAL_BANNER_421
		       : verb == SMTP_V_MAIL  ? SHM_SIGNAL_MAIL_421
					      : SHM_SIGNALS;
	if (code == 452 && text_begins(line, len, "4.3.1"))
		return SHM_SIGNAL_STORAGE;
	if (code == 451 && text_begins(line, len, "4.3."))
		return SHM_SIGNAL_SYSTEM;
	if (code == 451 && text_begins(line, len, "4.7.0") && text_contains(line, len, "PRX"))
		return SHM_SIGNAL_PROXY;
	return SHM_SIGNALS;
}

bool smtp_verb_softens(enum smtp_verb verb)
{
	return verb == SMTP_V_MAIL || verb == SMTP_V_RCPT || verb == SMTP_V_DATA ||
	       verb == SMTP_V_BDAT || verb == SMTP_V_BODY;
}

void smtp_reply_soften(char *line, uint32_t len)
{
	if (len == 0 || line[0] != '5')
		return;
	line[0] = '4';
	if (text_begins(line, len, "5."))
		line[TEXT_AT] = '4';
}
