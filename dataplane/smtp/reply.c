// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Reply lines, EHLO keywords and envelope parameters. Pure.

#include "dataplane/smtp/reply.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *keyword;
	uint32_t cap;
} caps_known[] = {
	{"PIPELINING", SMTP_CAP_PIPELINING},
	{"CHUNKING", SMTP_CAP_CHUNKING},
	{"8BITMIME", SMTP_CAP_8BITMIME},
	{"SMTPUTF8", SMTP_CAP_SMTPUTF8},
	{"DSN", SMTP_CAP_DSN},
	{"BINARYMIME", SMTP_CAP_BINARYMIME},
	{"SIZE", SMTP_CAP_SIZE},
	{"AUTH", SMTP_CAP_AUTH},
	{"ETRN", SMTP_CAP_ETRN},
	{"DELIVERBY", SMTP_CAP_DELIVERBY},
	{"REQUIRETLS", SMTP_CAP_REQUIRETLS},
	{"MT-PRIORITY", SMTP_CAP_MT_PRIORITY},
	{"FUTURERELEASE", SMTP_CAP_FUTURERELEASE},
};

// Never shown to a client: verbs that would take the session away from the relay, or lend it the
// relay's trust.
static const char *const hidden[] = {
	"STARTTLS",     "XCLIENT",    "XFORWARD",       "X-ANONYMOUSTLS",
	"X-EXPS",       "XEXCH50",    "XSHADOW",        "X-LINK2STATE",
	"XPROXY",       "XPROXYFROM", "XSHADOWREQUEST", "REQUIRETLS",
	"ATRN", // verbs that the relay does not know are refused: not offered either (C14)
	"BURL",         "ONEX",       "TURN",           "VERB",
	"XADR",         "XCIR",       "XGEN",           "XQUE",
	"XREMOTEQUEUE", "XSTA",       "XUSR",           "XVRB",
};

static const struct {
	const char *name;
	uint32_t cap;
} params_known[] = {
	{"SIZE", SMTP_CAP_SIZE},
	{"BODY", SMTP_CAP_8BITMIME},
	{"SMTPUTF8", SMTP_CAP_SMTPUTF8},
	{"RET", SMTP_CAP_DSN},
	{"ENVID", SMTP_CAP_DSN},
	{"NOTIFY", SMTP_CAP_DSN},
	{"ORCPT", SMTP_CAP_DSN},
	{"AUTH", SMTP_CAP_AUTH},
	{"BY", SMTP_CAP_DELIVERBY},
	{"REQUIRETLS", SMTP_CAP_REQUIRETLS},
	{"MT-PRIORITY", SMTP_CAP_MT_PRIORITY},
	{"HOLDFOR", SMTP_CAP_FUTURERELEASE},
	{"HOLDUNTIL", SMTP_CAP_FUTURERELEASE},
};

// The first letter is looked at here: nearly all others differ there already.
static bool word_is(const char *word, uint32_t len, const char *name)
{
	return len > 0 && ((word[0] ^ name[0]) & ~0x20) == 0 && strlen(name) == len &&
	       strncasecmp(word, name, len) == 0;
}

unsigned smtp_reply_code(const char *line, uint32_t len, bool *ret_more)
{
	unsigned code;

	if (len < 3 || line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '9' ||
	    line[2] < '0' || line[2] > '9')
		return 0;
	if (len > 3 && line[3] != ' ' && line[3] != '-')
		return 0;
	*ret_more = len > 3 && line[3] == '-';
	code = (unsigned)(line[0] - '0') * 100 + (unsigned)(line[1] - '0') * 10 +
	       (unsigned)(line[2] - '0');
	return code;
}

enum smtp_reply_part
smtp_reply_scan(struct smtp_reply_scan *scan, const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		uint32_t text = scan->len > 0 ? scan->len - 1 : 0; // without CR
		bool more = false;
		unsigned code;

		if (++scan->total > SMTP_REPLY_MAX)
			return SMTP_REPLY_BROKEN;
		if (data[i] != '\n') {
			if (scan->len < sizeof(scan->head))
				scan->head[scan->len] = (char)data[i];
			if (++scan->len >= SMTP_REPLY_LINE_MAX)
				return SMTP_REPLY_BROKEN;
			scan->cr = data[i] == '\r';
			continue;
		}
		code = smtp_reply_code(
			scan->head, text < sizeof(scan->head) ? text : sizeof(scan->head), &more
		);
		if (!scan->cr || code == 0 || (scan->code != 0 && scan->code != code))
			return SMTP_REPLY_BROKEN;
		if (!more)
			return SMTP_REPLY_WHOLE;
		scan->code = code;
		scan->len = 0;
		scan->cr = false;
	}
	return SMTP_REPLY_MORE;
}

static uint64_t number_get(const char *text, uint32_t len)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < len && i < 18 && text[i] >= '0' && text[i] <= '9'; i++)
		n = n * 10 + (uint64_t)(text[i] - '0');
	return n;
}

// One line of an EHLO reply, without its code: true when the client may see it. Sets the capability
// bit.
static bool keyword_take(const char *text, uint32_t len, bool starttls, uint32_t *caps)
{
	uint32_t word = 0;

	while (word < len && text[word] != ' ' && text[word] != '=' && text[word] != '\r')
		word++;
	for (unsigned i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
		if (word_is(text, word, hidden[i]))
			return false;
	for (unsigned i = 0; i < sizeof(caps_known) / sizeof(caps_known[0]); i++)
		if (word_is(text, word, caps_known[i].keyword))
			*caps |= caps_known[i].cap;
	return !starttls || !word_is(text, word, "AUTH");
}

static bool keyword_is(const char *line, uint32_t len, const char *keyword)
{
	uint32_t n = (uint32_t)strlen(keyword);

	return len >= 4 + n && strncasecmp(line + 4, keyword, n) == 0 &&
	       (len == 4 + n || line[4 + n] == ' ');
}

// LIMITS with the smaller RCPTMAX, ours added where they name none; grows by at most 16 octets.
static uint32_t limits_put(const char *line, uint32_t len, uint32_t max, char *out)
{
	uint32_t used = 10, at = 10; // "250-LIMITS"
	bool named = false;

	memcpy(out, line, used);
	out[3] = '-';
	while (at < len) {
		uint32_t end = at + 1;
		bool theirs;

		while (end < len && line[end] != ' ')
			end++;
		theirs = end - at >= 9 && strncasecmp(line + at, " RCPTMAX=", 9) == 0;
		named = named || theirs;
		if (theirs && number_get(line + at + 9, end - at - 9) > max) {
			used += (uint32_t)snprintf(out + used, 24, " RCPTMAX=%u", max);
		} else {
			memcpy(out + used, line + at, end - at);
			used += end - at;
		}
		at = end;
	}
	if (!named)
		used += (uint32_t)snprintf(out + used, 24, " RCPTMAX=%u", max);
	memcpy(out + used, "\r\n", 2);
	return used + 2;
}

// Writes a line with continuation mark, our own limits applied.
static uint32_t
line_put(const char *line, uint32_t len, const struct smtp_limits *limits, char *out)
{
	uint32_t max = limits->message_bytes;

	if (limits->recipients != 0 && keyword_is(line, len, "LIMITS"))
		return limits_put(line, len, limits->recipients, out);
	if (max != 0 && keyword_is(line, len, "SIZE")) {
		uint64_t theirs = len > 9 ? number_get(line + 9, len - 9) : 0;
		uint64_t size = theirs == 0 || theirs > max
					? max
					: theirs; // 0 and none: no fixed limit (RFC 1870 3)

		return (uint32_t)snprintf(out, 40, "250-SIZE %llu\r\n", (unsigned long long)size);
	}
	memcpy(out, line, len);
	out[3] = '-';
	out[len] = '\r';
	out[len + 1] = '\n';
	return len + 2;
}

uint32_t smtp_ehlo_filter(
	const char *in,
	uint32_t len,
	const struct smtp_limits *limits,
	char *out,
	uint32_t out_len,
	uint32_t *ret_caps
)
{
	static const struct smtp_limits none;
	uint32_t used = 0, last = 0, caps = 0;
	bool first = true;

	while (len > 0) {
		const char *end = memchr(in, '\n', len);
		uint32_t whole = end != NULL ? (uint32_t)(end - in) + 1 : len;
		uint32_t text = whole;

		while (text > 0 && (in[text - 1] == '\n' || in[text - 1] == '\r'))
			text--;
		if (used + text + 48 > out_len)
			return 0;
		if (first ||
		    (text > 4 && keyword_take(in + 4, text - 4, limits->starttls, &caps))) {
			last = used;
			if (text == 3) { // "250" alone
				memcpy(out + used, "250-\r\n", 6);
				used += 6;
			} else {
				used += line_put(in, text, first ? &none : limits, out + used);
			}
		}
		first = false;
		in += whole;
		len -= whole;
	}
	if (used > 0 && limits->starttls) {
		last = used;
		memcpy(out + used, "250-STARTTLS\r\n", 14); // there is room for 48
		used += 14;
	}
	if (used > 0)
		out[last + 3] = ' ';
	*ret_caps = caps;
	return used;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

// End of "FROM:<...>" (a quoted local part may hold blanks and '>'), or of a path that lacks its
// brackets, which some servers take: its parameters are looked at all the same.
static uint32_t path_end(const char *args, uint32_t len)
{
	const char *colon = memchr(args, ':', len);
	uint32_t at = colon != NULL ? (uint32_t)(colon - args) + 1 : 0;
	bool quoted = false, bare;

	while (at < len && is_blank(args[at]))
		at++;
	bare = at < len && args[at] != '<';
	for (uint32_t i = at; i < len; i++) {
		if (quoted && args[i] == '\\')
			i++;
		else if (args[i] == '"')
			quoted = !quoted;
		else if (args[i] == '>' && !quoted && !bare)
			return i + 1;
		else if (is_blank(args[i]) && !quoted && bare)
			return i;
	}
	return len;
}

bool smtp_params_check(const char *args, uint32_t len, uint32_t caps, uint64_t *ret_size)
{
	uint32_t i = path_end(args, len);

	*ret_size = 0;
	while (i < len) {
		uint32_t word = i, value;

		while (word < len && is_blank(args[word]))
			word++;
		i = word;
		while (i < len && args[i] != '=' && !is_blank(args[i]))
			i++;
		value = i;
		while (i < len && !is_blank(args[i]))
			i++;
		for (unsigned k = 0; k < sizeof(params_known) / sizeof(params_known[0]); k++) {
			if (!word_is(args + word, value - word, params_known[k].name))
				continue;
			if ((caps & params_known[k].cap) == 0)
				return false;
			if (params_known[k].cap == SMTP_CAP_SIZE && value < i)
				*ret_size = number_get(args + value + 1, i - value - 1);
			if (params_known[k].cap == SMTP_CAP_8BITMIME && i - value == 11 &&
			    strncasecmp(args + value, "=BINARYMIME", 11) == 0 &&
			    (caps & SMTP_CAP_BINARYMIME) == 0)
				return false;
		}
	}
	return true;
}
