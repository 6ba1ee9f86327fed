// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Headers of the PROXY protocol from those who may send them. Nothing is guessed and nothing
// forgiven: what is not exactly a header is none. Pure.

#include <string.h>

#include "dataplane/smtp/haproxy.h"
#include "dataplane/smtp/haproxy_wire.h"

#define PORT_DIGITS 5

static const char begin[] = "PROXY ";
#define BEGIN_LEN 6

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

// The next word up to one blank or, the last one, to the end. NULL: none, or too long.
static const char *word_take(const char *p, const char *end, bool last, char out[IP_ADDR_STRLEN])
{
	const char *blank = memchr(p, ' ', (size_t)(end - p));
	size_t len;

	if ((blank == NULL) != last)
		return NULL;
	len = (size_t)((last ? end : blank) - p);
	if (len == 0 || len >= IP_ADDR_STRLEN || memchr(p, '\0', len) != NULL)
		return NULL;
	memcpy(out, p, len);
	out[len] = '\0';
	return p + len + !last;
}

static bool address_read(const char *text, bool v4, struct ip_addr *ret)
{
	return (strchr(text, ':') == NULL) == v4 && ip_addr_parse(text, ret) == 0;
}

static bool port_read(const char *text, uint16_t *ret)
{
	uint32_t v = 0;
	size_t len = strlen(text);

	if (len > PORT_DIGITS || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		v = v * 10 + (uint32_t)(text[i] - '0');
	}
	*ret = (uint16_t)v;
	return v <= UINT16_MAX;
}

// What stands behind "PROXY ", without the CRLF.
static enum haproxy_result line_read(const char *p, uint32_t len, struct haproxy_header *ret)
{
	char word[4][IP_ADDR_STRLEN];
	const char *end = p + len;
	bool v4;

	if (len >= 7 && memcmp(p, "UNKNOWN", 7) == 0 && (len == 7 || p[7] == ' '))
		return HAPROXY_UNNAMED; // whatever stands behind it
	if (len < 5 || memcmp(p, "TCP", 3) != 0 || (p[3] != '4' && p[3] != '6') || p[4] != ' ')
		return HAPROXY_MALFORMED;
	v4 = p[3] == '4';
	p += 5;
	for (unsigned i = 0; i < 4 && p != NULL; i++)
		p = word_take(p, end, i == 3, word[i]);
	if (p == NULL || !address_read(word[0], v4, &ret->client.addr) ||
	    !address_read(word[1], v4, &ret->local.addr) ||
	    !port_read(word[2], &ret->client.port) || !port_read(word[3], &ret->local.port))
		return HAPROXY_MALFORMED;
	return HAPROXY_NAMED;
}

// Only CRLF ends the line, and neither CR nor LF stands in it.
static enum haproxy_result v1_read(const char *p, uint32_t len, struct haproxy_header *ret)
{
	uint32_t most = least(len, HAPROXY_V1_MAX);

	for (uint32_t i = BEGIN_LEN; i < most; i++) {
		if (p[i] == '\n' || (p[i] == '\r' && i + 1 < len && p[i + 1] != '\n'))
			return HAPROXY_MALFORMED;
		if (p[i] != '\r' || i + 1 >= most)
			continue;
		ret->len = i + 2;
		return line_read(p + BEGIN_LEN, i - BEGIN_LEN, ret);
	}
	return len >= HAPROXY_V1_MAX ? HAPROXY_LONG : HAPROXY_MORE;
}

static uint32_t be_get(const uint8_t *p, unsigned len)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < len; i++)
		v = v << 8 | p[i];
	return v;
}

static bool checksum_is(const uint8_t *data, uint32_t len, uint32_t at)
{
	static const uint8_t zero[4];
	uint32_t crc = haproxy_crc32c(0, data, at);

	crc = haproxy_crc32c(crc, zero, sizeof(zero));
	return haproxy_crc32c(crc, data + at + 4, len - at - 4) == be_get(data + at, 4);
}

// The TLVs from at to the end of the header.
static enum haproxy_result tlvs_read(const uint8_t *data, uint32_t len, uint32_t at)
{
	while (at < len) {
		uint32_t n = len - at >= HAPROXY_TLV_HEAD ? be_get(data + at + 1, 2) : UINT32_MAX;

		if (len - at < HAPROXY_TLV_HEAD || n > len - at - HAPROXY_TLV_HEAD)
			return HAPROXY_MALFORMED;
		at += HAPROXY_TLV_HEAD;
		if (data[at - HAPROXY_TLV_HEAD] == HAPROXY_TLV_CRC32C) {
			if (n != 4)
				return HAPROXY_MALFORMED;
			if (!checksum_is(data, len, at))
				return HAPROXY_CHECKSUM;
		}
		at += n;
	}
	return HAPROXY_NAMED;
}

static uint32_t endpoints_get(
	const uint8_t *p,
	uint32_t size,
	struct ip_endpoint *client,
	struct ip_endpoint *local
)
{
	client->addr = local->addr = ip_addr_from_v4(0); // the begin of every IPv4 address
	memcpy(client->addr.b + 16 - size, p, size);
	memcpy(local->addr.b + 16 - size, p + size, size);
	client->port = (uint16_t)be_get(p + 2 * size, 2);
	local->port = (uint16_t)be_get(p + 2 * size + 2, 2);
	return 2 * size + 4;
}

static enum haproxy_result block_read(const uint8_t *data, uint32_t n, struct haproxy_header *ret)
{
	uint8_t family = data[HAPROXY_SIGNATURE + 1];
	uint32_t size = family == HAPROXY_TCP4 ? 4 : 16;

	if (data[HAPROXY_SIGNATURE] == HAPROXY_LOCAL)
		return HAPROXY_UNNAMED; // and what it holds is skipped
	if (family >> 4 > 3 || (family & 15) > 2)
		return HAPROXY_MALFORMED;
	if (family >> 4 == 0 || (family & 15) == 0)
		return HAPROXY_UNNAMED;
	if (family != HAPROXY_TCP4 && family != HAPROXY_TCP6)
		return HAPROXY_FAMILY;
	if (n - HAPROXY_HEAD < 2 * size + 4)
		return HAPROXY_MALFORMED;
	size = endpoints_get(data + HAPROXY_HEAD, size, &ret->client, &ret->local);
	return tlvs_read(data, n, HAPROXY_HEAD + size);
}

static enum haproxy_result v2_read(const uint8_t *data, uint32_t len, struct haproxy_header *ret)
{
	uint32_t n;

	if (len > HAPROXY_SIGNATURE && data[HAPROXY_SIGNATURE] != HAPROXY_LOCAL &&
	    data[HAPROXY_SIGNATURE] != HAPROXY_PROXY)
		return HAPROXY_MALFORMED;
	if (len < HAPROXY_HEAD)
		return HAPROXY_MORE;
	n = HAPROXY_HEAD + be_get(data + HAPROXY_HEAD - 2, 2);
	if (n > HAPROXY_IN_MAX)
		return HAPROXY_LONG;
	if (len < n)
		return HAPROXY_MORE;
	ret->len = n;
	return block_read(data, n, ret);
}

enum haproxy_result haproxy_read(const uint8_t *data, uint32_t len, struct haproxy_header *ret)
{
	*ret = (struct haproxy_header){.version = 1};
	if (len == 0)
		return HAPROXY_MORE;
	if (memcmp(data, begin, least(len, BEGIN_LEN)) == 0)
		return len > BEGIN_LEN ? v1_read((const char *)data, len, ret) : HAPROXY_MORE;
	ret->version = 2;
	if (memcmp(data, haproxy_signature, least(len, HAPROXY_SIGNATURE)) == 0)
		return v2_read(data, len, ret);
	return HAPROXY_NONE;
}
