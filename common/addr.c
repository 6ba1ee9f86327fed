// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Text and classes of addresses. Uses the C library's inet_pton and inet_ntop for the text of an
// address; no state.

#include "common/addr.h"

#include <arpa/inet.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool ip_addr_is_unspecified(const struct ip_addr *a)
{
	static const struct ip_addr any6;

	return ip_addr_eq(a, &any6) || (ip_addr_is_v4(a) && ip_addr_to_v4(a) == 0);
}

bool ip_addr_is_link_local(const struct ip_addr *a)
{
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

bool ip_addr_is_martian_source(const struct ip_addr *a)
{
	static const struct ip_addr loopback6 = {.b = {[15] = 1}};

	if (ip_addr_is_unspecified(a) || ip_addr_eq(a, &loopback6) || a->b[0] == 0xff)
		return true;
	// 0/8, 127/8, 224/4 and above (multicast, reserved, broadcast)
	return ip_addr_is_v4(a) && (a->b[12] == 0 || a->b[12] == 127 || a->b[12] >= 224);
}

bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a)
{
	unsigned whole = p->len / 8;
	unsigned rest = p->len % 8;

	if (memcmp(p->addr.b, a->b, whole) != 0)
		return false;
	return rest == 0 || ((p->addr.b[whole] ^ a->b[whole]) >> (8 - rest)) == 0;
}

int ip_addr_parse(const char *text, struct ip_addr *ret)
{
	uint32_t v4;
	struct ip_addr v6;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		*ret = ip_addr_from_v4(v4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, v6.b) == 1) {
		*ret = v6;
		return 0;
	}
	return -EINVAL;
}

// A decimal number without sign or blanks, at most max.
static int number_parse(const char *text, unsigned long max, unsigned long *ret)
{
	unsigned long v = 0;

	if (*text == '\0')
		return -EINVAL;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		v = v * 10 + (unsigned long)(*text - '0');
		if (v > max)
			return -EINVAL;
	}
	*ret = v;
	return 0;
}

int ip_endpoint_parse(const char *text, struct ip_endpoint *ret)
{
	char host[IP_ADDR_STRLEN];
	const char *colon = strrchr(text, ':');
	struct ip_endpoint out;
	unsigned long port;
	size_t len;

	if (colon == NULL || number_parse(colon + 1, 65535, &port) < 0 || port == 0)
		return -EINVAL;
	len = (size_t)(colon - text);
	if (text[0] == '[') {
		if (len < 2 || colon[-1] != ']')
			return -EINVAL;
		text++;
		len -= 2;
	} else if (memchr(text, ':', len) != NULL) {
		return -EINVAL; // an IPv6 address wants brackets
	}
	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (ip_addr_parse(host, &out.addr) < 0)
		return -EINVAL;
	out.port = (uint16_t)port;
	*ret = out;
	return 0;
}

int ip_prefix_parse(const char *text, struct ip_prefix *ret)
{
	char host[IP_ADDR_STRLEN];
	const char *slash = strchr(text, '/');
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	struct ip_prefix out;
	unsigned long bits;
	bool v4;

	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (ip_addr_parse(host, &out.addr) < 0)
		return -EINVAL;
	v4 = ip_addr_is_v4(&out.addr);
	bits = v4 ? 32 : 128;
	if (slash != NULL && number_parse(slash + 1, bits, &bits) < 0)
		return -EINVAL;
	out.len = (uint8_t)(bits + (v4 ? 96 : 0));
	*ret = out;
	return 0;
}

const char *ip_addr_format(const struct ip_addr *a, char buf[IP_ADDR_STRLEN])
{
	if (ip_addr_is_v4(a))
		inet_ntop(AF_INET, a->b + 12, buf, IP_ADDR_STRLEN);
	else
		inet_ntop(AF_INET6, a->b, buf, IP_ADDR_STRLEN);
	return buf;
}

const char *ip_endpoint_format(const struct ip_addr *a, uint16_t port, char buf[IP_ENDPOINT_STRLEN])
{
	char host[IP_ADDR_STRLEN];

	ip_addr_format(a, host);
	if (ip_addr_is_v4(a))
		snprintf(buf, IP_ENDPOINT_STRLEN, "%s:%u", host, port);
	else
		snprintf(buf, IP_ENDPOINT_STRLEN, "[%s]:%u", host, port);
	return buf;
}
