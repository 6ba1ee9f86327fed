// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Command lines, envelope parameters, reply lines and EHLO replies, each against a reference.
// Input: which of them, its arguments, the text.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dataplane/smtp/reply.h"
#include "dataplane/smtp/verb.h"
#include "tests/fuzz/fuzz.h"

#define OUT_MAX 16384

static bool same_word(const char *text, size_t len, const char *word)
{
	return len == strlen(word) && strncasecmp(text, word, len) == 0;
}

static enum smtp_verb reference_verb(const char *text, size_t len)
{
	static const char *const names[] = {
		[SMTP_V_EHLO] = "EHLO",
		[SMTP_V_HELO] = "HELO",
		[SMTP_V_MAIL] = "MAIL",
		[SMTP_V_RCPT] = "RCPT",
		[SMTP_V_DATA] = "DATA",
		[SMTP_V_BDAT] = "BDAT",
		[SMTP_V_RSET] = "RSET",
		[SMTP_V_NOOP] = "NOOP",
		[SMTP_V_VRFY] = "VRFY",
		[SMTP_V_EXPN] = "EXPN",
		[SMTP_V_HELP] = "HELP",
		[SMTP_V_ETRN] = "ETRN",
		[SMTP_V_AUTH] = "AUTH",
		[SMTP_V_STARTTLS] = "STARTTLS",
		[SMTP_V_QUIT] = "QUIT",
	};
	static const char *const never[] = {
		"XCLIENT", "XFORWARD", "PROXY", "X-ANONYMOUSTLS", "X-EXPS", "XEXCH50", "XSHADOW"
	};

	for (unsigned i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		if (same_word(text, len, never[i]))
			return SMTP_V_FORBIDDEN;
	for (unsigned i = 1; i < sizeof(names) / sizeof(names[0]); i++)
		if (same_word(text, len, names[i]))
			return (enum smtp_verb)i;
	return SMTP_V_UNKNOWN;
}

// "BDAT n [LAST]": digits, then nothing, or a blank and LAST.
static bool reference_bdat(const char *args, size_t len, uint64_t *octets, bool *last)
{
	char text[64], word[64] = "";
	int end = 0;

	*last = false;
	if (len == 0 || len >= sizeof(text) || args[0] < '0' || args[0] > '9')
		return false;
	memcpy(text, args, len);
	text[len] = '\0';
	if (strlen(text) != len || strspn(text, "0123456789") > 18)
		return false;
	*octets = strtoull(text, NULL, 10);
	end = (int)strspn(text, "0123456789");
	if (text[end] != '\0' && text[end] != ' ')
		return false;
	memcpy(word, text + end, len - (size_t)end);
	*last = strlen(word) > 0 && strcasecmp(word + strspn(word, " "), "LAST") == 0;
	return *last || word[strspn(word, " ")] == '\0';
}

static void command(const char *line, uint32_t len)
{
	struct smtp_command cmd;
	size_t word = 0;
	uint64_t octets = 0, want_octets = 0;
	bool last = false, want_last = false, good;

	while (word < len && line[word] != ' ' && line[word] != '\t')
		word++;
	smtp_command_parse(line, len, &cmd);
	FUZZ_CHECK(cmd.verb == reference_verb(line, word));
	FUZZ_CHECK(cmd.args + cmd.args_len == line + len && cmd.args >= line + word);
	FUZZ_CHECK(cmd.args_len == 0 || (cmd.args[0] != ' ' && cmd.args[0] != '\t'));
	for (const char *p = line + word; p < cmd.args; p++)
		FUZZ_CHECK(*p == ' ' || *p == '\t');
	good = smtp_bdat_parse(&cmd, &octets, &last);
	if (cmd.args_len >= 64)
		return;
	FUZZ_CHECK(good == reference_bdat(cmd.args, cmd.args_len, &want_octets, &want_last));
	FUZZ_CHECK(!good || (octets == want_octets && last == want_last));
}

static void params(struct fuzz_in *in)
{
	uint32_t caps = fuzz_u16(in), more = fuzz_u16(in);
	uint32_t len = (uint32_t)in->left;
	uint8_t *text = fuzz_copy(in->at, len);
	uint64_t size, other;
	bool good = smtp_params_check((const char *)text, len, caps, &size);

	// what an extension allows is never taken back by another one; with all of them all is
	// allowed
	FUZZ_CHECK(smtp_params_check((const char *)text, len, UINT32_MAX, &other));
	if (good)
		FUZZ_CHECK(smtp_params_check((const char *)text, len, caps | more, &size));
	FUZZ_CHECK(!good || size == other || (caps & SMTP_CAP_SIZE) == 0);
	FUZZ_CHECK(size < 1000000000000000000ULL);
	fuzz_free(text, len);
}

static unsigned reference_code(const char *line, size_t len, bool *more)
{
	unsigned code = 0;

	for (size_t i = 0; i < 3; i++) {
		if (i >= len || line[i] < '0' || line[i] > '9')
			return 0;
		code = code * 10 + (unsigned)(line[i] - '0');
	}
	*more = len > 3 && line[3] == '-';
	if (len > 3 && line[3] != '-' && line[3] != ' ')
		return 0;
	return code >= 200 && code < 600 ? code : 0;
}

static void reply_line(const char *line, uint32_t len)
{
	bool more = false, want_more = false;
	unsigned code = smtp_reply_code(line, len, &more);

	FUZZ_CHECK(code == reference_code(line, len, &want_more));
	FUZZ_CHECK(code == 0 || more == want_more);
}

// Length of the whole EHLO reply at the front, as the relay would hand it over; 0: none.
static uint32_t whole_reply(const char *text, uint32_t len)
{
	uint32_t line = 0;

	while (line < len) {
		const char *lf = memchr(text + line, '\n', len - line);
		uint32_t end = lf != NULL ? (uint32_t)(lf - text) + 1 : 0;
		bool more;

		if (lf == NULL || end - line < 5 || lf[-1] != '\r' ||
		    reference_code(text + line, end - line - 2, &more) != 250)
			return 0;
		if (!more)
			return end;
		line = end;
	}
	return 0;
}

static bool is_hidden(const char *text, size_t len)
{
	static const char *const words[] = {
		"STARTTLS",
		"XCLIENT",
		"XFORWARD",
		"X-ANONYMOUSTLS",
		"X-EXPS",
		"XEXCH50",
		"X-LINK2STATE",
		"REQUIRETLS",
		"XSHADOW",
	};
	size_t word = 0;

	while (word < len && text[word] != ' ' && text[word] != '=' && text[word] != '\r')
		word++;
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (same_word(text, word, words[i]))
			return true;
	return false;
}

static bool keyword(const char *line, size_t len, const char *word)
{
	size_t n = strlen(word);

	return len >= 4 + n && strncasecmp(line + 4, word, n) == 0 &&
	       (len == 4 + n || line[4 + n] == ' ');
}

static void size_check(const char *line, size_t len, uint32_t max)
{
	char text[32] = "";

	FUZZ_CHECK(len > 9 && len - 9 < sizeof(text));
	memcpy(text, line + 9, len - 9);
	FUZZ_CHECK(strspn(text, "0123456789") == len - 9);
	FUZZ_CHECK(strtoull(text, NULL, 10) <= max && strtoull(text, NULL, 10) > 0);
}

// Some RCPTMAX, none of them above ours.
static void limits_check(const char *line, size_t len, uint32_t max)
{
	unsigned named = 0;

	for (size_t i = 10; i + 9 <= len; i++) {
		unsigned long long n;
		char text[24] = "";

		if (strncasecmp(line + i, " RCPTMAX=", 9) != 0)
			continue;
		named++;
		memcpy(text, line + i + 9, len - i - 9 < 18 ? len - i - 9 : 18);
		n = text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : 0;
		FUZZ_CHECK(n <= max);
	}
	FUZZ_CHECK(named > 0);
}

// One line that was kept, as it went out.
static void
kept_check(const char *in, size_t len, const char *out, size_t out_len, const uint32_t max[2])
{
	FUZZ_CHECK(memcmp(out, "250", 3) == 0);
	if (max[0] != 0 && keyword(in, len, "SIZE"))
		size_check(out, out_len, max[0]);
	else if (max[1] != 0 && keyword(in, len, "LIMITS"))
		limits_check(out, out_len, max[1]);
	else if (len == 3)
		FUZZ_CHECK(out_len == 4);
	else
		FUZZ_CHECK(out_len == len && memcmp(in + 4, out + 4, len - 4) == 0);
}

// Every line of the reply in its turn: left out, or at the front of what is left of the output.
static void
lines_check(const char *in, uint32_t len, const char *out, uint32_t out_len, const uint32_t max[2])
{
	static const uint32_t none[2];
	bool first = true;

	while (len > 0) {
		uint32_t whole = (uint32_t)((const char *)memchr(in, '\n', len) - in) + 1;
		uint32_t text = whole;
		const char *lf;

		while (text > 0 && (in[text - 1] == '\r' || in[text - 1] == '\n'))
			text--;
		if (first || (text > 4 && !is_hidden(in + 4, text - 4))) {
			lf = memchr(out, '\n', out_len);
			FUZZ_CHECK(lf != NULL && lf - out >= 5 && lf[-1] == '\r');
			kept_check(in, text, out, (size_t)(lf - out) - 1, first ? none : max);
			out_len -= (uint32_t)(lf - out) + 1;
			FUZZ_CHECK(out[3] == (out_len == 0 ? ' ' : '-'));
			out = lf + 1;
		}
		first = false;
		in += whole;
		len -= whole;
	}
	FUZZ_CHECK(out_len == 0);
}

static void ehlo(struct fuzz_in *in)
{
	const uint32_t max[2] = {
		fuzz_u8(in) * 1000U * (fuzz_u8(in) & 1 ? 4000 : 1), fuzz_u16(in) % 2000U
	};
	const struct smtp_limits limits = {max[0], max[1], false};
	uint32_t room = fuzz_u8(in) & 1 ? OUT_MAX : fuzz_u8(in) * 4U;
	uint32_t len = (uint32_t)in->left, whole, n, caps = 0, again, caps_again = 0;
	char *text = (char *)fuzz_copy(in->at, len);
	char *out = malloc(room + 1), *twice = malloc(OUT_MAX);

	if (out == NULL || twice == NULL)
		abort();
	n = smtp_ehlo_filter(text, len, &limits, out, room, &caps); // whatever it is
	FUZZ_CHECK(n <= room);
	whole = whole_reply(text, len);
	if (whole != 0) {
		n = smtp_ehlo_filter(text, whole, &limits, out, room, &caps);
		FUZZ_CHECK(n <= room && (n > 0 || room < whole + 48U * whole));
		if (n > 0) {
			lines_check(text, whole, out, n, max);
			FUZZ_CHECK(whole_reply(out, n) == n);
			// what went out is not changed by another relay of the same limits
			again = smtp_ehlo_filter(out, n, &limits, twice, OUT_MAX, &caps_again);
			FUZZ_CHECK(again == n && memcmp(out, twice, n) == 0 && caps == caps_again);
		}
	}
	free(out);
	free(twice);
	fuzz_free((uint8_t *)text, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t what = fuzz_u8(&in) % 4;
	uint32_t len = (uint32_t)in.left;
	uint8_t *text;

	if (what == 2) {
		params(&in);
	} else if (what == 3) {
		ehlo(&in);
	} else {
		text = fuzz_copy(in.at, len);
		if (what == 0)
			command((const char *)text, len);
		else
			reply_line((const char *)text, len);
		fuzz_free(text, len);
	}
	return 0;
}
