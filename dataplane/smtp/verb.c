// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Recognises the verb of a command line. Pure.

#include "dataplane/smtp/verb.h"

#include <string.h>
#include <strings.h>

static const struct {
	const char *name;
	enum smtp_verb verb;
} verbs[] = {
	{"EHLO", SMTP_V_EHLO},
	{"HELO", SMTP_V_HELO},
	{"MAIL", SMTP_V_MAIL},
	{"RCPT", SMTP_V_RCPT},
	{"DATA", SMTP_V_DATA},
	{"BDAT", SMTP_V_BDAT},
	{"RSET", SMTP_V_RSET},
	{"NOOP", SMTP_V_NOOP},
	{"VRFY", SMTP_V_VRFY},
	{"EXPN", SMTP_V_EXPN},
	{"HELP", SMTP_V_HELP},
	{"ETRN", SMTP_V_ETRN},
	{"AUTH", SMTP_V_AUTH},
	{"STARTTLS", SMTP_V_STARTTLS},
	{"QUIT", SMTP_V_QUIT},
	{"XCLIENT", SMTP_V_FORBIDDEN},
	{"XFORWARD", SMTP_V_FORBIDDEN},
	{"PROXY", SMTP_V_FORBIDDEN},
	{"X-ANONYMOUSTLS", SMTP_V_FORBIDDEN},
	{"X-EXPS", SMTP_V_FORBIDDEN},
	{"XEXCH50", SMTP_V_FORBIDDEN},
	{"XSHADOW", SMTP_V_FORBIDDEN},
};

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
	for (unsigned i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strlen(verbs[i].name) == word && strncasecmp(line, verbs[i].name, word) == 0)
			ret->verb = verbs[i].verb;
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

	for (; i < cmd->args_len && cmd->args[i] >= '0' && cmd->args[i] <= '9'; i++) {
		if (i == 18)
			return false;
		n = n * 10 + (uint64_t)(cmd->args[i] - '0');
	}
	if (i == 0)
		return false;
	*ret_octets = n;
	*ret_last = false;
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
