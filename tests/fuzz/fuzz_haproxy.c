// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// PROXY headers from whoever may send them, against a reader of its own. Judged: the same verdict
// and the same addresses; every shorter piece of a good one is waited for, and what stands behind
// changes nothing; one that is refused is never taken when more comes. Input: the octets.

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/smtp/haproxy.h"
#include "tests/fuzz/fuzz.h"

static enum haproxy_result ask(const uint8_t *data, size_t len, struct haproxy_header *ret)
{
	uint8_t *copy = fuzz_copy(data, len);
	enum haproxy_result r = haproxy_read(copy, (uint32_t)len, ret);

	fuzz_free(copy, len);
	return r;
}

// A number as the document wants it.
static bool number(const char *text, unsigned *ret)
{
	char again[16];

	if (strlen(text) == 0 || strlen(text) > 5 || strspn(text, "0123456789") != strlen(text))
		return false;
	*ret = (unsigned)strtoul(text, NULL, 10);
	snprintf(again, sizeof(again), "%u", *ret);
	return strcmp(again, text) == 0 && *ret <= 65535;
}

static bool address(const char *text, bool v4, struct ip_addr *ret)
{
	uint8_t octets[16];

	if (inet_pton(v4 ? AF_INET : AF_INET6, text, octets) != 1)
		return false;
	*ret = ip_addr_from_v4(0);
	memcpy(ret->b + (v4 ? 12 : 0), octets, v4 ? 4 : 16);
	return true;
}

// The text of a line of version 1, its end taken off.
static enum haproxy_result reference_words(char *text, struct haproxy_header *ret)
{
	char *word[6];
	unsigned n = 0, port[2];
	bool v4;

	if (strcmp(text, "PROXY UNKNOWN") == 0 || strncmp(text, "PROXY UNKNOWN ", 14) == 0)
		return HAPROXY_UNNAMED;
	for (char *p = text; n < 6; n++) {
		word[n] = p;
		p = strchr(p, ' ');
		if (p == NULL)
			break;
		*p++ = '\0';
	}
	if (n != 5 || (strcmp(word[1], "TCP4") != 0 && strcmp(word[1], "TCP6") != 0))
		return HAPROXY_MALFORMED;
	v4 = word[1][3] == '4';
	if (!address(word[2], v4, &ret->client.addr) || !address(word[3], v4, &ret->local.addr) ||
	    !number(word[4], &port[0]) || !number(word[5], &port[1]))
		return HAPROXY_MALFORMED;
	ret->client.port = (uint16_t)port[0];
	ret->local.port = (uint16_t)port[1];
	return HAPROXY_NAMED;
}

static enum haproxy_result
reference_line(const uint8_t *data, size_t len, struct haproxy_header *ret)
{
	char text[HAPROXY_V1_MAX + 1] = "";
	size_t most = len < HAPROXY_V1_MAX ? len : HAPROXY_V1_MAX, end = 0;

	while (end + 1 < most && memcmp(data + end, "\r\n", 2) != 0)
		end++;
	for (size_t i = 0; i < (end + 1 < most ? end : most); i++) {
		bool cr_alone = data[i] == '\r' && i + 1 < len && data[i + 1] != '\n';

		if (data[i] == '\n' || cr_alone)
			return HAPROXY_MALFORMED;
	}
	if (end + 1 >= most)
		return len >= HAPROXY_V1_MAX ? HAPROXY_LONG : HAPROXY_MORE;
	memcpy(text, data, end);
	ret->len = (uint32_t)end + 2;
	if (strlen(text) != end && strncmp(text, "PROXY UNKNOWN", 13) != 0)
		return HAPROXY_MALFORMED; // a NUL
	if (strlen(text) == 13 && end > 13)
		return HAPROXY_MALFORMED;
	return reference_words(text, ret);
}

static uint32_t reference_crc(const uint8_t *data, size_t len, size_t zeroed)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= i >= zeroed && i < zeroed + 4 ? 0 : data[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static enum haproxy_result reference_tlvs(const uint8_t *data, size_t at, size_t n)
{
	for (; at < n; at += 3 + (size_t)data[at + 1] * 256 + data[at + 2]) {
		uint32_t want;
		size_t size;

		if (n - at < 3)
			return HAPROXY_MALFORMED;
		size = (size_t)data[at + 1] * 256 + data[at + 2];
		if (at + 3 + size > n || (data[at] == 3 && size != 4))
			return HAPROXY_MALFORMED;
		if (data[at] != 3)
			continue;
		memcpy(&want, data + at + 3, 4);
		if (ntohl(want) != reference_crc(data, n, at + 3))
			return HAPROXY_CHECKSUM;
	}
	return HAPROXY_NAMED;
}

static enum haproxy_result
reference_block(const uint8_t *data, size_t len, struct haproxy_header *ret)
{
	static const char allowed[] = "\x11\x12\x21\x22\x31\x32";
	size_t n, size;

	if (len > 12 && data[12] != 0x20 && data[12] != 0x21)
		return HAPROXY_MALFORMED;
	if (len < 16)
		return HAPROXY_MORE;
	n = 16 + (size_t)data[14] * 256 + data[15];
	if (n > 4096)
		return HAPROXY_LONG;
	if (len < n)
		return HAPROXY_MORE;
	ret->len = (uint32_t)n;
	if (data[12] == 0x20)
		return HAPROXY_UNNAMED;
	if (data[13] / 16 <= 3 && data[13] % 16 <= 2 && (data[13] / 16 == 0 || data[13] % 16 == 0))
		return HAPROXY_UNNAMED;
	if (data[13] == 0 || strchr(allowed, data[13]) == NULL)
		return HAPROXY_MALFORMED;
	if (data[13] != 0x11 && data[13] != 0x21)
		return HAPROXY_FAMILY;
	size = data[13] == 0x11 ? 4 : 16;
	if (n < 16 + 2 * size + 4)
		return HAPROXY_MALFORMED;
	ret->client.addr = ret->local.addr = ip_addr_from_v4(0);
	memcpy(ret->client.addr.b + 16 - size, data + 16, size);
	memcpy(ret->local.addr.b + 16 - size, data + 16 + size, size);
	ret->client.port = (uint16_t)(data[16 + 2 * size] * 256 + data[17 + 2 * size]);
	ret->local.port = (uint16_t)(data[18 + 2 * size] * 256 + data[19 + 2 * size]);
	return reference_tlvs(data, 16 + 2 * size + 4, n);
}

static enum haproxy_result reference(const uint8_t *data, size_t len, struct haproxy_header *ret)
{
	static const char v1[] = "PROXY ", v2[] = "\r\n\r\n\0\r\nQUIT\n";

	memset(ret, 0, sizeof(*ret));
	if (len == 0)
		return HAPROXY_MORE;
	if (memcmp(data, v1, len < 6 ? len : 6) == 0)
		return len < 6 ? HAPROXY_MORE : reference_line(data, len, ret);
	if (memcmp(data, v2, len < 12 ? len : 12) == 0)
		return len < 12 ? HAPROXY_MORE : reference_block(data, len, ret);
	return HAPROXY_NONE;
}

static void prefixes(const uint8_t *data, size_t len, enum haproxy_result whole, uint32_t header)
{
	bool refused = false;

	for (size_t n = 0; n <= len && n <= 300; n++) {
		struct haproxy_header h;
		enum haproxy_result r = ask(data, n, &h);

		if (whole <= HAPROXY_UNNAMED && whole != HAPROXY_MORE)
			FUZZ_CHECK(r == (n < header ? HAPROXY_MORE : whole));
		if (whole == HAPROXY_MORE)
			FUZZ_CHECK(r == HAPROXY_MORE);
		FUZZ_CHECK(!refused || r > HAPROXY_UNNAMED);
		refused = refused || r > HAPROXY_UNNAMED;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct haproxy_header got, want;
	enum haproxy_result r = ask(data, size, &got);

	FUZZ_CHECK(r == reference(data, size, &want));
	if (r == HAPROXY_NAMED) {
		FUZZ_CHECK(got.len == want.len && got.len <= size);
		FUZZ_CHECK(memcmp(&got.client, &want.client, sizeof(got.client)) == 0);
		FUZZ_CHECK(memcmp(&got.local, &want.local, sizeof(got.local)) == 0);
		FUZZ_CHECK(got.version == (data[0] == 'P' ? 1 : 2));
	} else if (r == HAPROXY_UNNAMED) {
		FUZZ_CHECK(got.len == want.len && got.len <= size);
	}
	prefixes(data, size, r, got.len);
	return 0;
}
