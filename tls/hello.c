// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Tells whether a whole ClientHello has come, so that a context is taken only for one (S4). Pure.

#include "tls/hs.h"

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
