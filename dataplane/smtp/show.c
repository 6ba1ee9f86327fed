// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Lines of a dialogue without their secrets, see show.h.

#include "dataplane/smtp/show.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "dataplane/smtp/verb.h"

static uint32_t as_it_is(const char *line, uint32_t len, char out[SMTP_SHOW_MAX])
{
	uint32_t n = len < SMTP_SHOW_MAX ? len : SMTP_SHOW_MAX;

	memcpy(out, line, n);
	return n;
}

uint32_t smtp_show_nothing(const char *why, char out[SMTP_SHOW_MAX])
{
	return (uint32_t)snprintf(out, SMTP_SHOW_MAX, "(%s)", why);
}

static const char *const mechanisms[] = {
	"PLAIN",
	"LOGIN",
	"CRAM-MD5",
	"DIGEST-MD5",
	"SCRAM-SHA-1",
	"SCRAM-SHA-1-PLUS",
	"SCRAM-SHA-256",
	"SCRAM-SHA-256-PLUS",
	"XOAUTH2",
	"OAUTHBEARER",
	"NTLM",
	"GSSAPI",
	"GSS-SPNEGO",
	"EXTERNAL",
	"ANONYMOUS",
};

static uint32_t word_length(const char *p, uint32_t len)
{
	uint32_t n = 0;

	while (n < len && p[n] != ' ' && p[n] != '\t')
		n++;
	return n;
}

// A mechanism that is not known may be a secret in the wrong place.
static uint32_t auth_show(const struct smtp_command *cmd, char out[SMTP_SHOW_MAX])
{
	uint32_t n = word_length(cmd->args, cmd->args_len);

	for (unsigned i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++)
		if (strlen(mechanisms[i]) == n && strncasecmp(cmd->args, mechanisms[i], n) == 0)
			return (uint32_t)snprintf(
				out,
				SMTP_SHOW_MAX,
				"AUTH %s%s",
				mechanisms[i],
				n < cmd->args_len ? " (not shown)" : ""
			);
	return (uint32_t)snprintf(out, SMTP_SHOW_MAX, "AUTH (not shown)");
}

uint32_t smtp_show_command(const char *line, uint32_t len, bool sasl, char out[SMTP_SHOW_MAX])
{
	struct smtp_command cmd;

	if (sasl)
		return smtp_show_nothing("SASL data", out);
	smtp_command_parse(line, len, &cmd);
	switch (cmd.verb) {
	case SMTP_V_UNKNOWN:
		return smtp_show_nothing("no known command", out);
	case SMTP_V_FORBIDDEN:
		return (uint32_t)snprintf(
			out, SMTP_SHOW_MAX, "%.*s (not shown)", (int)word_length(line, len), line
		);
	case SMTP_V_AUTH:
		return auth_show(&cmd, out);
	default:
		return as_it_is(line, len, out);
	}
}

// Length of an enhanced status code (RFC 3463 2) at the front, 0: none.
static uint32_t status_length(const char *p, uint32_t len)
{
	uint32_t n = 0, dots = 0;

	while (n < len && (isdigit((unsigned char)p[n]) || p[n] == '.'))
		dots += p[n++] == '.';
	return dots == 2 && n <= 9 && (n == len || p[n] == ' ') ? n : 0;
}

uint32_t smtp_show_reply(const char *line, uint32_t len, bool to_auth, char out[SMTP_SHOW_MAX])
{
	uint32_t n;

	if (!to_auth && (len < 3 || memcmp(line, "334", 3) != 0))
		return as_it_is(line, len, out);
	if (len < 4)
		return as_it_is(line, len, out); // a code alone
	n = status_length(line + 4, len - 4);
	return (uint32_t)snprintf(
		out,
		SMTP_SHOW_MAX,
		"%.4s%.*s%s(not shown)",
		line,
		(int)n,
		line + 4,
		n > 0 ? " " : ""
	);
}
