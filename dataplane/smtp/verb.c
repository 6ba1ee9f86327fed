// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Recognises the verb of a command line. Pure.

#include "dataplane/smtp/verb.h"

#include <string.h>
#include <strings.h>

#define BDAT_DIGITS_MAX 18

#define VERB(name, verb) {name, sizeof(name) - 1, verb}
static const struct {
	const char *name;
	uint32_t len;
	enum smtp_verb verb;
} verbs[] = {
	VERB("EHLO", SMTP_V_EHLO),
	VERB("HELO", SMTP_V_HELO),
	VERB("MAIL", SMTP_V_MAIL),
	VERB("RCPT", SMTP_V_RCPT),
	VERB("DATA", SMTP_V_DATA),
	VERB("BDAT", SMTP_V_BDAT),
	VERB("RSET", SMTP_V_RSET),
	VERB("NOOP", SMTP_V_NOOP),
	VERB("VRFY", SMTP_V_VRFY),
	VERB("EXPN", SMTP_V_EXPN),
	VERB("HELP", SMTP_V_HELP),
	VERB("ETRN", SMTP_V_ETRN),
	VERB("AUTH", SMTP_V_AUTH),
	VERB("STARTTLS", SMTP_V_STARTTLS),
	VERB("QUIT", SMTP_V_QUIT),
	VERB("XCLIENT", SMTP_V_FORBIDDEN),
	VERB("XFORWARD", SMTP_V_FORBIDDEN),
	VERB("PROXY", SMTP_V_FORBIDDEN),
	VERB("X-ANONYMOUSTLS", SMTP_V_FORBIDDEN),
	VERB("X-EXPS", SMTP_V_FORBIDDEN),
	VERB("XEXCH50", SMTP_V_FORBIDDEN),
	VERB("XSHADOW", SMTP_V_FORBIDDEN),
};
#undef VERB

void smtp_command_parse(const char *line, uint32_t len, struct smtp_command *ret)
{
	uint32_t word = 0, args;

	while (word < len && line[word] != ' ' && line[word] != '\t')
		word++;
	args = word;
	while (args < len && (line[args] == ' ' || line[args] == '\t'))
		args++;
	*ret = (struct smtp_command
	){.verb = SMTP_V_UNKNOWN, .args = line + args, .args_len = len - args};
	if (word == 0)
		return;
	for (unsigned i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		// length and first letter first: nearly all others differ there
		if (verbs[i].len == word && (line[0] & ~0x20) == verbs[i].name[0] &&
		    strncasecmp(line, verbs[i].name, word) == 0) {
			ret->verb = verbs[i].verb;
			return;
		}
	}
}

bool smtp_verb_may_precede(enum smtp_verb verb)
{
	return verb == SMTP_V_MAIL || verb == SMTP_V_RCPT || verb == SMTP_V_RSET ||
	       verb == SMTP_V_BDAT;
}

enum shm_verb_group smtp_verb_group(enum smtp_verb verb)
{
	switch (verb) {
	case SMTP_V_EHLO:
	case SMTP_V_HELO:
		return SHM_VERB_EHLO;
	case SMTP_V_MAIL:
		return SHM_VERB_MAIL;
	case SMTP_V_RCPT:
		return SHM_VERB_RCPT;
	case SMTP_V_BODY:
		return SHM_VERB_END_OF_DATA;
	default:
		return SHM_VERB_OTHER;
	}
}

const char *smtp_verb_name(enum smtp_verb verb)
{
	for (unsigned i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (verbs[i].verb == verb)
			return verbs[i].name;
	return "";
}

bool smtp_bdat_parse(const struct smtp_command *cmd, uint64_t *ret_octets, bool *ret_last)
{
	uint32_t i = 0;
	uint64_t n = 0;

	for (; i < cmd->args_len && cmd->args[i] >= '0' && cmd->args[i] <= '9'; i++)
		n = i < BDAT_DIGITS_MAX ? n * 10 + (uint64_t)(cmd->args[i] - '0') : UINT64_MAX;
	*ret_octets = n;
	*ret_last = false;
	if (i == 0 || i > BDAT_DIGITS_MAX)
		return false;
	if (i == cmd->args_len)
		return true;
	if (cmd->args[i] != ' ')
		return false;
	while (i < cmd->args_len && cmd->args[i] == ' ')
		i++;
	if (i == cmd->args_len)
		return true;
	*ret_last = cmd->args_len - i == 4 && strncasecmp(cmd->args + i, "LAST", 4) == 0;
	return *ret_last;
}
