// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// ClientHellos: has a whole one come, so that a context is taken only for one (S4); and what
// tickets are bound to of it. Pure.

#include "tls/ticket.h"

#include <string.h>

#define HS_CLIENT_HELLO 1
#define HS_HEADER 4

// Byte `at` of the handshake messages inside the records; false: not there yet.
static bool hello_byte(const uint8_t *data, uint32_t len, uint32_t at, uint8_t *ret)
{
	while (len > TLS_RECORD_HEADER) {
		uint32_t size = (uint32_t)data[3] << 8 | data[4], have = len - TLS_RECORD_HEADER;

		if (at < size) {
			if (at >= have)
				return false;
			*ret = data[TLS_RECORD_HEADER + at];
			return true;
		}
		if (have < size)
			return false;
		at -= size;
		data += TLS_RECORD_HEADER + size;
		len -= TLS_RECORD_HEADER + size;
	}
	return false;
}

// Each record begun must be a handshake record of a sensible size.
static bool records_sane(const uint8_t *data, uint32_t len, uint32_t want)
{
	uint32_t sum = 0;

	while (len > 0 && sum < want) {
		uint32_t size;

		if (data[0] != TLS_T_HANDSHAKE || (len > 1 && data[1] != 3))
			return false;
		if (len < TLS_RECORD_HEADER)
			return true;
		size = (uint32_t)data[3] << 8 | data[4];
		if (size == 0 || size > TLS_PLAIN_MAX)
			return false;
		sum += size;
		if (len < TLS_RECORD_HEADER + size)
			return true;
		data += TLS_RECORD_HEADER + size;
		len -= TLS_RECORD_HEADER + size;
	}
	return true;
}

enum tls_result tls_hello_check(const uint8_t *data, uint32_t len)
{
	uint8_t head[HS_HEADER], last;
	uint32_t size;

	if (!records_sane(data, len, HS_HEADER))
		return TLS_FATAL;
	for (uint32_t i = 0; i < HS_HEADER; i++) {
		if (!hello_byte(data, len, i, &head[i]))
			return TLS_WANT_IN;
		if (i == 0 && head[0] != HS_CLIENT_HELLO)
			return TLS_FATAL;
	}
	size = (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
	if (size < 34 || size > TLS_HELLO_MAX || !records_sane(data, len, HS_HEADER + size))
		return TLS_FATAL;
	return hello_byte(data, len, HS_HEADER + size - 1, &last) ? TLS_OK : TLS_WANT_IN;
}

// RFC 8446 4.2, RFC 6066 3, RFC 7627 5.1.
enum {
	EXT_SERVER_NAME = 0,
	EXT_GROUPS = 10,
	EXT_SIGNATURES = 13,
	EXT_MASTER_SECRET = 23,
	EXT_PSK = 41, // RFC 8446
};

struct part {
	const uint8_t *p;
	uint32_t len;
};

// Takes n bytes off the front of `from`.
static bool part_take(struct part *from, uint32_t n, struct part *ret)
{
	if (from->len < n)
		return false;
	*ret = (struct part){from->p, n};
	from->p += n;
	from->len -= n;
	return true;
}

// A vector with its length in so many bytes in front.
static bool vector_take(struct part *from, unsigned width, struct part *ret)
{
	struct part head;
	uint32_t n = 0;

	if (!part_take(from, width, &head))
		return false;
	for (unsigned i = 0; i < width; i++)
		n = n << 8 | head.p[i];
	return part_take(from, n, ret);
}

static uint16_t be16_at(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint16_t groups_of(struct part ext)
{
	static const uint16_t ours[] = {0x001d, 0x0017, 0x0018}; // X25519, P-256, P-384
	uint16_t bits = 0;
	struct part list;

	if (!vector_take(&ext, 2, &list))
		return 0;
	for (uint32_t i = 0; i + 2 <= list.len; i += 2)
		for (unsigned k = 0; k < 3; k++)
			if (be16_at(list.p + i) == ours[k])
				bits |= (uint16_t)(TLS_OFFERS_GROUP << k);
	return bits;
}

static uint16_t signatures_of(struct part ext)
{
	uint16_t bits = 0;
	struct part list;

	if (!vector_take(&ext, 2, &list))
		return 0;
	for (uint32_t i = 0; i + 2 <= list.len; i += 2)
		bits |= list.p[i + 1] == 3 ? TLS_OFFERS_ECDSA : TLS_OFFERS_RSA;
	return bits;
}

static void suites_note(struct part list, struct tls_hello *ret)
{
	for (uint32_t i = 0; i + 2 <= list.len; i += 2) {
		uint16_t number = be16_at(list.p + i);
		int n = tls_suite_index(number);

		if (n < 0)
			continue;
		if (ret->offers == 0)
			ret->first_suite = number;
		ret->offers |= (uint16_t)(1U << n);
	}
}

static void name_of(struct part ext, struct tls_hello *ret)
{
	struct part list, type, name;

	if (!vector_take(&ext, 2, &list) || !part_take(&list, 1, &type) || type.p[0] != 0 ||
	    !vector_take(&list, 2, &name) || name.len > TLS_NAME_MAX)
		return;
	memcpy(ret->name, name.p, name.len);
	ret->name_len = (uint8_t)name.len;
}

static void extension_note(unsigned type, struct part ext, struct tls_hello *ret)
{
	switch (type) {
	case EXT_SERVER_NAME:
		name_of(ext, ret);
		break;
	case EXT_GROUPS:
		ret->offers |= groups_of(ext);
		break;
	case EXT_SIGNATURES:
		ret->offers |= signatures_of(ext);
		break;
	case EXT_MASTER_SECRET:
		ret->offers |= TLS_OFFERS_MASTER_SECRET;
		break;
	case EXT_PSK:
		ret->psk = true;
		break;
	default:
		break;
	}
}

bool tls_hello_read(const uint8_t *message, uint32_t len, struct tls_hello *ret)
{
	struct part all = {message, len}, head, body, skip, suites, exts;

	*ret = (struct tls_hello){0};
	if (!part_take(&all, 1, &head) || head.p[0] != HS_CLIENT_HELLO ||
	    !vector_take(&all, 3, &body))
		return false;
	// version and random, session, suites, compression
	if (!part_take(&body, 34, &skip) || !vector_take(&body, 1, &skip) ||
	    !vector_take(&body, 2, &suites) || !vector_take(&body, 1, &skip))
		return false;
	suites_note(suites, ret);
	if (body.len == 0)
		return true;
	if (!vector_take(&body, 2, &exts))
		return false;
	while (exts.len > 0) {
		struct part type, ext;

		if (!part_take(&exts, 2, &type) || !vector_take(&exts, 2, &ext))
			return false;
		extension_note(be16_at(type.p), ext, ret);
	}
	return true;
}

#define AES_128_GCM_SHA256 0x1301
#define CHACHA20_POLY1305_SHA256 0x1303 // first: of a client without instructions for AES

bool tls_hello_leans(const uint8_t *data, uint32_t len)
{
	uint32_t size = len > TLS_RECORD_HEADER ? (uint32_t)data[3] << 8 | data[4] : 0;
	struct tls_hello hello;

	if (size == 0 || len - TLS_RECORD_HEADER < size ||
	    !tls_hello_read(data + TLS_RECORD_HEADER, size, &hello))
		return false;
	return !hello.psk && (hello.offers & 1U << tls_suite_index(AES_128_GCM_SHA256)) != 0 &&
	       hello.first_suite != CHACHA20_POLY1305_SHA256;
}
