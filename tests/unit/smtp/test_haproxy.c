// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Headers of the PROXY protocol: octet for octet what its document says, of all sizes.

#include "dataplane/smtp/haproxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/smtp/haproxy_wire.h"

static struct haproxy_facts facts_of(const char *client, const char *local)
{
	struct haproxy_facts f = {.authority = "", .unique_id = "", .version = "", .cipher = ""};

	assert_int_equal(ip_endpoint_parse(client, &f.client), 0);
	assert_int_equal(ip_endpoint_parse(local, &f.local), 0);
	return f;
}

static void line_is(const char *client, const char *local, const char *want)
{
	struct haproxy_facts f = facts_of(client, local);
	char out[HAPROXY_OUT_MAX];
	uint32_t n = haproxy_write_v1(&f, out);

	assert_string_equal(out, want);
	assert_int_equal(n, strlen(want));
	assert_true(n <= HAPROXY_V1_MAX);
}

static void lines_of_version_1(void **state)
{
	line_is("192.0.2.1:40000",
		"198.51.100.25:25",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000 25\r\n");
	line_is("255.255.255.255:65535",
		"255.255.255.255:65535",
		"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n");
	line_is("[2001:db8::1]:1",
		"[2001:db8:25::25]:25",
		"PROXY TCP6 2001:db8::1 2001:db8:25::25 1 25\r\n");
	line_is("[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
		"[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
		"PROXY TCP6 1111:2222:3333:4444:5555:6666:7777:8888 "
		"1111:2222:3333:4444:5555:6666:7777:8888 65535 65535\r\n");
	// a header in front of us may name both families
	line_is("192.0.2.1:4",
		"[2001:db8::25]:25",
		"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::25 4 25\r\n");
}

static void checksums(void **state)
{
	assert_int_equal(haproxy_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(haproxy_crc32c(0, "", 0), 0);
	assert_int_equal(haproxy_crc32c(haproxy_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static uint32_t be(const uint8_t *p, unsigned len)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < len; i++)
		v = v << 8 | p[i];
	return v;
}

// The value of a TLV among those in p; NULL: not there. All of them must end at len.
static const uint8_t *tlv_of(const uint8_t *p, uint32_t len, uint8_t type, uint32_t *ret_len)
{
	const uint8_t *found = NULL;
	uint32_t at = 0;

	while (at < len) {
		uint32_t n = be(p + at + 1, 2);

		assert_true(at + 3 + n <= len);
		if (p[at] == type) {
			assert_null(found);
			found = p + at + 3;
			*ret_len = n;
		}
		at += 3 + n;
	}
	assert_int_equal(at, len);
	return found;
}

static void text_is(const uint8_t *p, uint32_t len, uint8_t type, const char *want)
{
	uint32_t n = 0;
	const uint8_t *value = tlv_of(p, len, type, &n);

	assert_true((value != NULL) == (want[0] != '\0'));
	if (value != NULL) {
		assert_int_equal(n, strlen(want));
		assert_memory_equal(value, want, n);
	}
}

// Writes, checks what all have in common, and returns where the TLVs begin.
static uint32_t written(const struct haproxy_facts *f, uint8_t *out, uint32_t addresses)
{
	uint32_t n = haproxy_write_v2(f, out), crc_len = 0, crc;
	uint8_t copy[HAPROXY_OUT_MAX];
	const uint8_t *at;

	assert_memory_equal(out, "\r\n\r\n\0\r\nQUIT\n", 12);
	assert_int_equal(out[12], 0x21);
	assert_true(n <= HAPROXY_OUT_MAX);
	assert_int_equal(be(out + 14, 2), n - 16);
	at = tlv_of(out + 16 + addresses, n - 16 - addresses, HAPROXY_TLV_CRC32C, &crc_len);
	assert_non_null(at);
	assert_int_equal(crc_len, 4);
	crc = be(at, 4);
	memcpy(copy, out, n);
	memset(copy + (at - out), 0, 4);
	assert_int_equal(haproxy_crc32c(0, copy, n), crc);
	return n;
}

static void version_2_of_ipv4(void **state)
{
	static const uint8_t want[] = {
		0x11, 0, 19, 192, 0, 2, 1, 198, 51, 100, 25, 0x9c, 0x40, 0, 25, 3, 0, 4
	};
	struct haproxy_facts f = facts_of("192.0.2.1:40000", "198.51.100.25:25");
	uint8_t out[HAPROXY_OUT_MAX];

	assert_int_equal(written(&f, out, 12), 16 + 12 + 7);
	assert_memory_equal(out + 13, want, sizeof(want));
}

static void version_2_of_ipv6(void **state)
{
	struct haproxy_facts f = facts_of("[2001:db8::1]:258", "[2001:db8::25]:25");
	uint8_t out[HAPROXY_OUT_MAX];

	assert_int_equal(written(&f, out, 36), 16 + 36 + 7);
	assert_int_equal(out[13], 0x21);
	assert_memory_equal(out + 16, f.client.addr.b, 16);
	assert_memory_equal(out + 32, f.local.addr.b, 16);
	assert_memory_equal(out + 48, "\1\2\0\31", 4);
	f = facts_of("192.0.2.1:4", "[2001:db8::25]:25"); // both
	written(&f, out, 36);
	assert_memory_equal(out + 16, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1", 16);
}

static void tls_is(const struct haproxy_facts *f, uint8_t flags, uint32_t verify)
{
	uint8_t out[HAPROXY_OUT_MAX];
	uint32_t n = written(f, out, 12), len = 0;
	const uint8_t *ssl = tlv_of(out + 28, n - 28, HAPROXY_TLV_SSL, &len);

	assert_non_null(ssl);
	assert_int_equal(ssl[0], flags);
	assert_int_equal(be(ssl + 1, 4), verify);
	text_is(ssl + 5, len - 5, HAPROXY_TLV_SSL_VERSION, f->version);
	text_is(ssl + 5, len - 5, HAPROXY_TLV_SSL_CIPHER, f->cipher);
	text_is(out + 28, n - 28, HAPROXY_TLV_AUTHORITY, f->authority);
	text_is(out + 28, n - 28, HAPROXY_TLV_UNIQUE_ID, f->unique_id);
}

static void what_is_known_of_tls(void **state)
{
	struct haproxy_facts f = facts_of("192.0.2.1:40000", "198.51.100.25:25");
	char name[HAPROXY_NAME_MAX + 1];

	f.tls = true;
	tls_is(&f, HAPROXY_SSL, 1);
	f.version = "TLSv1.3";
	f.cipher = "TLS_AES_128_GCM_SHA256";
	f.authority = "mx.example.com";
	f.unique_id = "18446744073709551615";
	tls_is(&f, HAPROXY_SSL, 1);
	f.certificate = true;
	tls_is(&f, HAPROXY_SSL | HAPROXY_SSL_CERT_CONN | HAPROXY_SSL_CERT_SESS, 1);
	f.verified = true;
	tls_is(&f, HAPROXY_SSL | HAPROXY_SSL_CERT_CONN | HAPROXY_SSL_CERT_SESS, 0);
	f.resumed = true;
	tls_is(&f, HAPROXY_SSL | HAPROXY_SSL_CERT_SESS, 0);
	f.certificate = false; // none is never a good one
	tls_is(&f, HAPROXY_SSL, 1);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	f.authority = name;
	tls_is(&f, HAPROXY_SSL, 1);
}

static void local_names_nobody(void **state)
{
	uint8_t out[HAPROXY_OUT_MAX];

	assert_int_equal(haproxy_write_local(out), 16);
	assert_memory_equal(out, "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_of_version_1),
		cmocka_unit_test(checksums),
		cmocka_unit_test(version_2_of_ipv4),
		cmocka_unit_test(version_2_of_ipv6),
		cmocka_unit_test(what_is_known_of_tls),
		cmocka_unit_test(local_names_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
