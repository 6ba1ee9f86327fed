// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Lines that pass, and what they mean for those that follow; see scan.h. Pure.

#include "dataplane/smtp/scan.h"

#include <string.h>
#include <strings.h>

#define FLAGS_PRX (SMTP_SCAN_F_P | SMTP_SCAN_F_PR)

static bool is_bare(const struct smtp_scan_line *line, const uint8_t *data, uint32_t n, bool whole)
{
	uint32_t text = n - whole; // without LF
	const uint8_t *cr;

	if ((line->flags & SMTP_SCAN_F_CR) != 0 && n > 0 && data[0] != '\n')
		return true;
	cr = memchr(data, '\r', text);
	if (cr != NULL && cr + 1 != data + text)
		return true;
	return memchr(data, '\0', text) != NULL;
}

bool smtp_scan_line(
	struct smtp_scan_line *line,
	char *head,
	uint32_t room,
	const uint8_t *data,
	uint32_t len,
	uint32_t *ret_n
)
{
	const uint8_t *lf = memchr(data, '\n', len);
	uint32_t n = lf != NULL ? (uint32_t)(lf - data) + 1 : len, before = line->len;
	bool cr;

	if (is_bare(line, data, n, lf != NULL))
		line->flags |= SMTP_SCAN_F_BARE;
	cr = lf == NULL ? data[n - 1] == '\r'
	     : n > 1    ? lf[-1] == '\r'
			: (line->flags & SMTP_SCAN_F_CR) != 0;
	line->flags &= (uint8_t)~SMTP_SCAN_F_CR;
	if (cr)
		line->flags |= SMTP_SCAN_F_CR;
	else if (lf != NULL)
		line->flags |= SMTP_SCAN_F_LF;
	if (before < room)
		memcpy(head + before, data, n < room - before ? n : room - before);
	if (lf == NULL || before > 0) // else who looks has all of it
		for (uint32_t i = 0; i < n; i++) {
			uint8_t was = line->flags;

			line->flags &= (uint8_t)~FLAGS_PRX;
			if (data[i] == 'P')
				line->flags |= SMTP_SCAN_F_P;
			else if (data[i] == 'R' && (was & SMTP_SCAN_F_P) != 0)
				line->flags |= SMTP_SCAN_F_PR;
			else if (data[i] == 'X' && (was & SMTP_SCAN_F_PR) != 0)
				line->flags |= SMTP_SCAN_F_PRX;
		}
	line->len = before + n < UINT16_MAX ? (uint16_t)(before + n) : UINT16_MAX;
	*ret_n = n;
	return lf != NULL;
}

const char *smtp_scan_text(
	const struct smtp_scan_line *line,
	const char *head,
	uint32_t room,
	const char *last,
	uint32_t *n,
	char text[SMTP_SCAN_TEXT_MAX]
)
{
	uint32_t kept = line->len > 2 ? line->len - 2U : 0;

	if (line->len == *n)
		return last;
	kept = kept < room ? kept : room;
	memcpy(text, head, kept);
	if (line->len - 2U > kept) {
		bool prx = (line->flags & SMTP_SCAN_F_PRX) != 0;

		memcpy(text + kept, prx ? "...PRX" : "...", prx ? 6 : 3);
		kept += prx ? 6 : 3;
	}
	memcpy(text + kept, "\r\n", 2);
	*n = kept + 2;
	return text;
}

static bool word_is(const char *at, uint32_t len, const char *word)
{
	uint32_t n = (uint32_t)strlen(word);

	return len >= n && strncasecmp(at, word, n) == 0 && (len == n || at[n] == ' ');
}

// Mechanisms that may put a layer of their own around what follows (RFC 4422 3.7).
static bool has_layer(const struct smtp_command *cmd)
{
	return word_is(cmd->args, cmd->args_len, "GSSAPI") ||
	       word_is(cmd->args, cmd->args_len, "GSS-SPNEGO") ||
	       word_is(cmd->args, cmd->args_len, "DIGEST-MD5");
}

enum smtp_verb smtp_scan_verb(const char *head, uint32_t len)
{
	struct smtp_command cmd;

	smtp_command_parse(head, len, &cmd);
	if (cmd.verb == SMTP_V_AUTH && has_layer(&cmd))
		return SMTP_V_UNKNOWN;
	if (cmd.verb != SMTP_V_FORBIDDEN)
		return cmd.verb;
	if (word_is(head, len, "X-ANONYMOUSTLS"))
		return SMTP_V_STARTTLS;
	return word_is(head, len, "XCLIENT") || word_is(head, len, "XFORWARD") ? SMTP_V_FORBIDDEN
									       : SMTP_V_UNKNOWN;
}

bool smtp_scan_is_proxy(const char *head, uint32_t len)
{
	return word_is(head, len, "PROXY");
}

bool smtp_scan_is_open(enum smtp_verb verb)
{
	return verb == SMTP_V_DATA || verb == SMTP_V_AUTH || verb == SMTP_V_UNKNOWN;
}

enum smtp_scan_next smtp_scan_reply(enum smtp_verb verb, unsigned code)
{
	bool refused = code >= 400;

	if (code == 421)
		return SMTP_SCAN_OVER;
	switch (verb) {
	case SMTP_V_DATA:
		return code / 100 == 3 ? SMTP_SCAN_BODY
		       : refused       ? SMTP_SCAN_GOES_ON
				       : SMTP_SCAN_LOST;
	case SMTP_V_STARTTLS:
		return code == 220 ? SMTP_SCAN_TLS : refused ? SMTP_SCAN_GOES_ON : SMTP_SCAN_LOST;
	case SMTP_V_AUTH:
		return code / 100 == 3              ? SMTP_SCAN_SASL
		       : refused || code / 100 == 2 ? SMTP_SCAN_GOES_ON
						    : SMTP_SCAN_LOST;
	case SMTP_V_UNKNOWN:
		return refused ? SMTP_SCAN_GOES_ON : SMTP_SCAN_LOST;
	case SMTP_V_QUIT:
		return refused ? SMTP_SCAN_GOES_ON : SMTP_SCAN_OVER;
	case SMTP_V_BDAT:
	case SMTP_V_BODY: // it knows no BDAT, and reads the octets as commands
		return code == 500 || code == 502 || code / 100 == 3 ? SMTP_SCAN_LOST
								     : SMTP_SCAN_GOES_ON;
	default:
		return code / 100 == 3 ? SMTP_SCAN_LOST : SMTP_SCAN_GOES_ON;
	}
}
