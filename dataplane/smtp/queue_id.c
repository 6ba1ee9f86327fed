// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Ids in replies to an end of data, see queue_id.h. Rules in the order in which they are tried;
// each was written from replies that such servers give.

#include "dataplane/smtp/queue_id.h"

#include <string.h>
#include <strings.h>

#define CODE_LEN 3
#define LOOKED_AT_MAX 512 // RFC 5321 4.5.3.1.5; of a longer one the head
#define ID_MIN 6          // of an id that no rule names
#define DIGITS_MIN 8      // of one that is a number
#define TOP_DOMAIN_MIN 2  // letters at the end of a host name

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static void skip(struct smtp_text *rest, uint32_t n)
{
	rest->at += n;
	rest->len -= n;
}

static void blanks_skip(struct smtp_text *rest)
{
	while (rest->len > 0 && is_space(rest->at[0]))
		skip(rest, 1);
}

// A number of one to three digits and the octet behind it.
static bool number_take(struct smtp_text *rest, char end, uint16_t *ret)
{
	uint32_t n = 0;

	*ret = 0;
	for (; n < rest->len && n < 3 && is_digit(rest->at[n]); n++)
		*ret = (uint16_t)(*ret * 10 + (rest->at[n] - '0'));
	if (n == 0 || (n < rest->len ? rest->at[n] != end : end != ' '))
		return false;
	skip(rest, n < rest->len ? n + 1 : n);
	return true;
}

// "2.6.0 " at the front, when its class is that of the code.
static void enhanced_take(struct smtp_text *rest, char class, uint16_t ret[3])
{
	struct smtp_text r = *rest;

	if (r.len < 2 || r.at[0] != class || r.at[1] != '.' || !number_take(&r, '.', &ret[0]) ||
	    !number_take(&r, '.', &ret[1]) || !number_take(&r, ' ', &ret[2])) {
		memset(ret, 0, 3 * sizeof(ret[0]));
		return;
	}
	*rest = r;
}

// Where word stands, from `from` on; the end: nowhere.
static uint32_t find(const struct smtp_text *in, uint32_t from, const char *word)
{
	uint32_t n = (uint32_t)strlen(word);

	for (uint32_t i = from; i + n <= in->len; i++)
		if (strncasecmp(in->at + i, word, n) == 0)
			return i;
	return in->len;
}

// What stands at `at`, up to a blank, without what closes a sentence or a bracket.
static struct smtp_text token_at(const struct smtp_text *in, uint32_t at)
{
	struct smtp_text t = {in->at + at, 0};

	while (at + t.len < in->len && (unsigned char)t.at[t.len] > ' ' && t.at[t.len] != 0x7f)
		t.len++;
	while (t.len > 0 && strchr("([<\"'", t.at[0]) != NULL)
		skip(&t, 1);
	while (t.len > 0 && strchr(".,;:)]>\"'", t.at[t.len - 1]) != NULL)
		t.len--;
	return t;
}

// An id, never an address: those are told, or not, by the ledger's own switch.
static bool is_id(const struct smtp_text *t)
{
	return t->len > 0 && memchr(t->at, '@', t->len) == NULL;
}

// "... queued as ID", "id=ID", "with id ID": the last one, since a filter hands on what the server
// behind it said.
static struct smtp_text behind_word(const struct smtp_text *in)
{
	static const char *const words[] = {
		"queued as ", "queued with id ", "envelope id ", "queue id ", "InternalId=", "id="
	};
	struct smtp_text found = {0};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]) && found.len == 0; i++) {
		uint32_t n = (uint32_t)strlen(words[i]);

		for (uint32_t at = find(in, 0, words[i]); at < in->len;
		     at = find(in, at + n, words[i])) {
			struct smtp_text t = token_at(in, at + n);

			if ((at == 0 || !is_letter(in->at[at - 1])) && is_id(&t))
				found = t;
		}
	}
	return found;
}

// "ID Message accepted" of Sendmail, OpenSMTPD and others: the word before it, alone.
static struct smtp_text before_accepted(const struct smtp_text *in)
{
	struct smtp_text t = token_at(in, 0);
	struct smtp_text rest = *in;

	skip(&rest, t.len);
	blanks_skip(&rest);
	return is_id(&t) && t.at == in->at && find(&rest, 0, "message accepted") == 0 &&
			       rest.len > 0
		       ? t
		       : (struct smtp_text){0};
}

static bool word_is(const struct smtp_text *in, uint32_t at, const char *word)
{
	return find(in, at, word) == at && at < in->len;
}

// qmail: "ok 1187022337 qp 5302"; IronPort: "ok:  Message 12345 accepted"; Haraka: "Message Queued
// (ID)".
static struct smtp_text in_place(const struct smtp_text *in)
{
	static const char *const words[] = {" qp ", "message queued (", "ok:  message "};
	struct smtp_text t = {0};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]) && t.len == 0; i++) {
		uint32_t at = find(in, 0, words[i]);

		if (word_is(in, at, words[i]))
			t = token_at(in, at + (uint32_t)strlen(words[i]));
		if (!is_id(&t))
			t.len = 0;
	}
	return t;
}

// A host's name ends in a domain of letters.
static bool is_host(const struct smtp_text *t)
{
	uint32_t letters = 0;

	while (letters < t->len && is_letter(t->at[t->len - 1 - letters]))
		letters++;
	return letters >= TOP_DOMAIN_MIN && letters < t->len && t->at[t->len - 1 - letters] == '.';
}

// Nobody's word: long enough, with a digit, of what ids are made of; a number only if it is long.
static bool looks_like_id(const struct smtp_text *t)
{
	uint32_t digits = 0, points = 0;

	if (t->len < ID_MIN || is_host(t))
		return false;
	for (uint32_t i = 0; i < t->len; i++) {
		if (!is_digit(t->at[i]) && !is_letter(t->at[i]) &&
		    strchr("._-/+:", t->at[i]) == NULL)
			return false;
		digits += is_digit(t->at[i]);
		points += t->at[i] == '.' || t->at[i] == ':';
	}
	return digits > 0 && (digits + points < t->len || (points == 0 && digits >= DIGITS_MIN));
}

// The longest word that looks like one.
static struct smtp_text by_looks(const struct smtp_text *in)
{
	struct smtp_text found = {0};

	for (uint32_t at = 0; at < in->len; at++) {
		struct smtp_text t;

		if (is_space(in->at[at]))
			continue;
		t = token_at(in, at);
		if (t.len > found.len && looks_like_id(&t))
			found = t;
		while (at < in->len && !is_space(in->at[at]))
			at++;
	}
	return found;
}

// "<Message-ID>" anywhere.
static struct smtp_text message_id_find(const struct smtp_text *in)
{
	for (uint32_t at = 0; at < in->len; at++) {
		struct smtp_text t = {in->at + at + 1, 0};

		if (in->at[at] != '<')
			continue;
		while (at + 1 + t.len < in->len && t.at[t.len] > ' ' && t.at[t.len] != '<' &&
		       t.at[t.len] != '>' && t.at[t.len] != 0x7f)
			t.len++;
		if (at + 1 + t.len < in->len && t.at[t.len] == '>' &&
		    memchr(t.at, '@', t.len) != NULL)
			return t;
	}
	return (struct smtp_text){0};
}

// Of Exchange, which names the message before anything else; addresses of mailboxes stand
// elsewhere.
static bool is_exchange(const struct smtp_text *in)
{
	return in->len > 0 && in->at[0] == '<' &&
	       (find(in, 0, "queued mail for delivery") < in->len ||
		find(in, 0, "[InternalId=") < in->len);
}

void smtp_receipt_parse(const char *line, uint32_t len, struct smtp_receipt *ret)
{
	struct smtp_text rest = {line, len < LOOKED_AT_MAX ? len : LOOKED_AT_MAX};

	*ret = (struct smtp_receipt){0};
	if (len <= CODE_LEN)
		return;
	skip(&rest, CODE_LEN + 1);
	blanks_skip(&rest);
	enhanced_take(&rest, line[0], ret->enhanced);
	blanks_skip(&rest);
	if (line[0] != '2')
		return;
	if (is_exchange(&rest)) {
		ret->message_id = message_id_find(&rest);
		ret->queue_id = behind_word(&rest);
		return;
	}
	ret->queue_id = behind_word(&rest);
	if (ret->queue_id.len == 0)
		ret->queue_id = before_accepted(&rest);
	if (ret->queue_id.len == 0)
		ret->queue_id = in_place(&rest);
	if (ret->queue_id.len == 0)
		ret->queue_id = by_looks(&rest);
}

// Behind a source route ("@a,@b:user@c", RFC 5321 appendix C): its last colon outside quotes.
static void route_skip(struct smtp_text *t)
{
	const char *colon;

	if (t->len == 0 || t->at[0] != '@')
		return;
	colon = memchr(t->at, ':', t->len);
	if (colon != NULL)
		skip(t, (uint32_t)(colon - t->at) + 1);
}

bool smtp_address_parse(const char *args, uint32_t len, struct smtp_text *ret)
{
	struct smtp_text t = {args, len};
	const char *colon = memchr(args, ':', len);
	bool quoted = false, angle;
	uint32_t n = 0;

	*ret = (struct smtp_text){args, 0};
	if (colon == NULL)
		return false;
	skip(&t, (uint32_t)(colon - args) + 1);
	blanks_skip(&t);
	angle = t.len > 0 && t.at[0] == '<';
	if (angle)
		skip(&t, 1);
	while (n < t.len && (quoted || (t.at[n] != '>' && (angle || !is_space(t.at[n]))))) {
		if (t.at[n] == '\\' && quoted && n + 1 < t.len)
			n++;
		else if (t.at[n] == '"')
			quoted = !quoted;
		n++;
	}
	if (quoted || (angle && n == t.len) || (!angle && n == 0))
		return false;
	t.len = n;
	route_skip(&t);
	*ret = t;
	return true;
}
