// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The beginning of a connection that should be a ClientHello: is one there, and what does it say.
// Judged: the answer never changes its mind as more octets come, an incomplete one is never taken,
// what stands in other records reads the same, nothing beyond the end is read. Input: the size of
// records, then the octets, taken as a handshake message and as records.

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tls/ticket.h"

static enum tls_result check(const uint8_t *data, size_t len)
{
	uint8_t *copy = fuzz_copy(data, len);
	enum tls_result r = tls_hello_check(copy, (uint32_t)len);

	FUZZ_CHECK(r == TLS_OK || r == TLS_WANT_IN || r == TLS_FATAL);
	fuzz_free(copy, len);
	return r;
}

// More and more of it.
static void prefixes(const uint8_t *data, size_t size)
{
	enum tls_result before = TLS_WANT_IN;
	size_t step = size / 64 + 1;

	for (size_t n = 0; n <= size; n += step) {
		enum tls_result now = check(data, n);

		FUZZ_CHECK(before == TLS_WANT_IN || now == before);
		before = now;
	}
}

// The message in records of so many octets: whole it is one ClientHello, without its last octet
// it is to be waited for.
static void in_records(const uint8_t *message, size_t len, size_t size)
{
	size_t room = len + (len / size + 1) * TLS_RECORD_HEADER, n = 0;
	uint8_t *wire = malloc(room + 1);
	enum tls_result r;

	if (wire == NULL)
		abort();
	for (size_t at = 0; at < len; at += size) {
		size_t part = len - at < size ? len - at : size;
		const uint8_t head[] = {22, 3, 1, (uint8_t)(part >> 8), (uint8_t)part};

		memcpy(wire + n, head, sizeof(head));
		memcpy(wire + n + sizeof(head), message + at, part);
		n += sizeof(head) + part;
	}
	r = check(wire, n);
	if (r == TLS_OK) {
		uint32_t told = (uint32_t)message[1] << 16 | (uint32_t)message[2] << 8 | message[3];

		FUZZ_CHECK(message[0] == 1 && told + 4 <= len && told <= TLS_HELLO_MAX);
	}
	if (r == TLS_OK && len == 4U + (uint32_t)(message[2] << 8 | message[3]))
		FUZZ_CHECK(check(wire, n - 1) == TLS_WANT_IN);
	free(wire);
}

static void said(const uint8_t *message, size_t len)
{
	uint8_t *copy = fuzz_copy(message, len), *longer = fuzz_copy(message, len);
	struct tls_hello one, two;
	bool good = tls_hello_read(copy, (uint32_t)len, &one);

	FUZZ_CHECK((one.offers & 0x8000) == 0);
	FUZZ_CHECK(len > 4 || !good);
	if (one.name_len > 0) // the name stands there as it is told
		FUZZ_CHECK(memmem(copy, len, one.name, one.name_len) != NULL);
	longer = realloc(len > 0 ? longer : longer - 1, len + 10);
	if (longer == NULL)
		abort();
	memset(longer + len, 0, 10);
	if (good) { // its own length ends it
		FUZZ_CHECK(tls_hello_read(longer, (uint32_t)len + 10, &two));
		FUZZ_CHECK(one.offers == two.offers && one.name_len == two.name_len);
	}
	free(longer);
	fuzz_free(copy, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	size_t record = fuzz_u8(&in) * 8U + 1U;

	prefixes(in.at, in.left);
	in_records(in.at, in.left, record);
	said(in.at, in.left);
	return 0;
}
