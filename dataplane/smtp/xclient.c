// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The XCLIENT command and what is said of it. Pure.

#include "dataplane/smtp/xclient.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *name;
	uint32_t bit;
} attributes[] = {
	{"NAME", SMTP_XCLIENT_NAME},
	{"ADDR", SMTP_XCLIENT_ADDR},
	{"PORT", SMTP_XCLIENT_PORT},
	{"PROTO", SMTP_XCLIENT_PROTO},
	{"HELO", SMTP_XCLIENT_HELO},
	{"DESTADDR", SMTP_XCLIENT_DESTADDR},
	{"DESTPORT", SMTP_XCLIENT_DESTPORT},
};

// The word at *at, which moves behind it and the blanks that follow.
static uint32_t word_take(const char *line, uint32_t len, uint32_t *at, const char **ret)
{
	uint32_t begin = *at;

	while (*at < len && line[*at] != ' ' && line[*at] != '\r' && line[*at] != '\n')
		(*at)++;
	*ret = line + begin;
	begin = *at - begin;
	while (*at < len && line[*at] == ' ')
		(*at)++;
	return begin;
}

static uint32_t attribute_of(const char *word, uint32_t len)
{
	for (unsigned i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
		if (strlen(attributes[i].name) == len &&
		    strncasecmp(word, attributes[i].name, len) == 0)
			return attributes[i].bit;
	return 0;
}

uint32_t smtp_xclient_offer(const char *line, uint32_t len)
{
	uint32_t at = 4, offered = 0, n;
	const char *word;

	if (len < at || word_take(line, len, &at, &word) != 7 ||
	    strncasecmp(word, "XCLIENT", 7) != 0)
		return 0;
	while ((n = word_take(line, len, &at, &word)) > 0)
		offered |= attribute_of(word, n);
	return offered;
}

struct text {
	char *at;
	uint32_t len, room;
};

static void put(struct text *t, const char *what)
{
	uint32_t n = (uint32_t)strlen(what);

	if (n > t->room - t->len)
		n = t->room - t->len;
	memcpy(t->at + t->len, what, n);
	t->len += n;
}

static void number_put(struct text *t, const char *name, unsigned number)
{
	char one[32];

	snprintf(one, sizeof(one), " %s=%u", name, number);
	put(t, one);
}

static void address_put(struct text *t, const char *name, const struct ip_addr *a)
{
	char one[32 + IP_ADDR_STRLEN], address[IP_ADDR_STRLEN];

	ip_addr_format(a, address);
	snprintf(one, sizeof(one), " %s=%s%s", name, ip_addr_is_v4(a) ? "" : "IPV6:", address);
	put(t, one);
}

// RFC 1891 5: printable octets but '+' and '=' as they are.
static void xtext_put(struct text *t, const char *from, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)from[i];
		char one[4] = {(char)c};

		if (c < '!' || c > '~' || c == '+' || c == '=')
			snprintf(one, sizeof(one), "+%02X", c);
		put(t, one);
	}
}

uint32_t
smtp_xclient_line(uint32_t offered, const struct smtp_xclient_client *c, char out[SMTP_XCLIENT_MAX])
{
	char behind[200], name[SMTP_XCLIENT_MAX];
	struct text all = {out, 0, SMTP_XCLIENT_MAX}, end = {behind, 0, sizeof(behind)};
	struct text helo = {name, 0, sizeof(name)};

	if ((offered & SMTP_XCLIENT_DESTADDR) != 0)
		address_put(&end, "DESTADDR", &c->local.addr);
	if ((offered & SMTP_XCLIENT_DESTPORT) != 0)
		number_put(&end, "DESTPORT", c->local.port);
	if ((offered & SMTP_XCLIENT_ADDR) != 0)
		address_put(&end, "ADDR", &c->client.addr);
	put(&end, "\r\n");
	put(&all, "XCLIENT");
	if ((offered & SMTP_XCLIENT_NAME) != 0)
		put(&all, " NAME=[UNAVAILABLE]");
	if ((offered & SMTP_XCLIENT_PORT) != 0)
		number_put(&all, "PORT", c->client.port);
	if ((offered & SMTP_XCLIENT_PROTO) != 0 && c->helo != NULL)
		put(&all, c->esmtp ? " PROTO=ESMTP" : " PROTO=SMTP");
	if ((offered & SMTP_XCLIENT_HELO) != 0 && c->helo != NULL && c->helo_len > 0) {
		put(&helo, " HELO=");
		xtext_put(&helo, c->helo, c->helo_len);
	}
	if (helo.len < helo.room && all.len + helo.len + end.len <= all.room) {
		memcpy(out + all.len, name, helo.len);
		all.len += helo.len;
	}
	memcpy(out + all.len, behind, end.len);
	return all.len + end.len;
}

bool smtp_xclient_fault(unsigned code, const char *line, uint32_t len)
{
	if (code >= 500 && code <= 504)
		return true;
	// Postfix: "550 5.7.0 Error: insufficient authorization"; others name a client by 5.7.1
	return code == 550 && (len < 9 || line[4] != '5' || memcmp(line + 4, "5.7.0", 5) == 0);
}
