// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Headers of the PROXY protocol that come: good ones, those that break a rule, each good one cut
// at every octet and with each octet altered.

#include "dataplane/smtp/haproxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/smtp/haproxy_wire.h"

#define SIX "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

static struct haproxy_header got;

static enum haproxy_result read_exact(const void *data, uint32_t len)
{
	uint8_t *exact = malloc(len + 1); // a read behind it is seen by the sanitizer
	enum haproxy_result result;

	assert_non_null(exact);
	memcpy(exact + 1, data, len);
	result = haproxy_read(exact + 1, len, &got);
	free(exact);
	return result;
}

static enum haproxy_result line(const char *text)
{
	return read_exact(text, (uint32_t)strlen(text));
}

static void names(const char *text, const char *client, const char *local)
{
	char one[IP_ENDPOINT_STRLEN], other[IP_ENDPOINT_STRLEN];
	char more[300];

	assert_int_equal(line(text), HAPROXY_NAMED);
	assert_int_equal(got.version, 1);
	assert_int_equal(got.len, strlen(text));
	ip_endpoint_format(&got.client.addr, got.client.port, one);
	ip_endpoint_format(&got.local.addr, got.local.port, other);
	assert_string_equal(one, client);
	assert_string_equal(other, local);
	for (uint32_t n = 0; n < strlen(text); n++)
		assert_int_equal(read_exact(text, n), HAPROXY_MORE);
	snprintf(more, sizeof(more), "%sEHLO x\r\n", text);
	assert_int_equal(line(more), HAPROXY_NAMED);
	assert_int_equal(got.len, strlen(text));
}

static void good_lines(void **state)
{
	names("PROXY TCP4 192.0.2.1 198.51.100.25 40000 25\r\n",
	      "192.0.2.1:40000",
	      "198.51.100.25:25");
	names("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
	      "255.255.255.255:65535",
	      "255.255.255.255:65535");
	names("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0", "0.0.0.0:0");
	names("PROXY TCP6 2001:db8::1 2001:DB8:25::25 1 25\r\n",
	      "[2001:db8::1]:1",
	      "[2001:db8:25::25]:25");
	names("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::25 1 25\r\n",
	      "192.0.2.1:1",
	      "[2001:db8::25]:25");
	names("PROXY TCP6 " SIX " " SIX " 65535 65535\r\n", "[" SIX "]:65535", "[" SIX "]:65535");
}

static void lines_of_nobody(void **state)
{
	static const char *const lines[] = {
		"PROXY UNKNOWN\r\n",
		"PROXY UNKNOWN " SIX " " SIX " 65535 65535\r\n",
		"PROXY UNKNOWN whatever \1\2\3\r\n",
	};

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		assert_int_equal(line(lines[i]), HAPROXY_UNNAMED);
		assert_int_equal(got.len, strlen(lines[i]));
	}
}

static void bad_lines(void **state)
{
	static const char *const lines[] = {
		"PROXY \r\n",
		"PROXY TCP4\r\n",
		"PROXY TCP5 192.0.2.1 198.51.100.25 40000 25\r\n",
		"PROXY UDP4 192.0.2.1 198.51.100.25 40000 25\r\n",
		"PROXY UNKNOWNS\r\n",
		"PROXY tcp4 192.0.2.1 198.51.100.25 40000 25\r\n",
		"PROXY  TCP4 192.0.2.1 198.51.100.25 40000 25\r\n",
		"PROXY TCP4  192.0.2.1 198.51.100.25 40000 25\r\n",
		"PROXY TCP4 192.0.2.1  198.51.100.25 40000 25\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000  25\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000 25 \r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000 25 1\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000 65536\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 99999 25\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 040000 25\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000 025\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000 +25\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000 -5\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 4e 25\r\n",
		"PROXY TCP4 192.0.2 198.51.100.25 40000 25\r\n",
		"PROXY TCP4 192.0.2.256 198.51.100.25 40000 25\r\n",
		"PROXY TCP4 192.0.2.01 198.51.100.25 40000 25\r\n",
		"PROXY TCP4 2001:db8::1 2001:db8::25 40000 25\r\n",
		"PROXY TCP6 192.0.2.1 198.51.100.25 40000 25\r\n",
		"PROXY TCP6 2001:db8::1 198.51.100.25 40000 25\r\n",
		"PROXY TCP6 2001:db8::1%1 2001:db8::25 40000 25\r\n",
		"PROXY TCP6 2001:db8:::1 2001:db8::25 40000 25\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000 25\n",
		"PROXY TCP4 192.0.2.1 198.51.100.25 40000 25\r",
		"PROXY TCP4 192.0.2.1 198.51.100.25\r40000 25\r\n",
		"PROXY UNKNOWN a\rb\r\n",
		"PROXY UNKNOWN a\nb\r\n",
	};
	char text[] = "PROXY TCP4 192.0.2.1 198.51.100.25 40000 25\r\n";

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		size_t len = strlen(lines[i]);

		if (lines[i][len - 1] == '\r') { // its end is still to come
			assert_int_equal(line(lines[i]), HAPROXY_MORE);
			continue;
		}
		if (line(lines[i]) != HAPROXY_MALFORMED)
			fail_msg("taken: %s", lines[i]);
	}
	text[21] = '\0'; // in the middle of an address
	assert_int_equal(read_exact(text, sizeof(text) - 1), HAPROXY_MALFORMED);
}

static void lines_without_an_end(void **state)
{
	char text[200];

	memset(text, 'x', sizeof(text));
	memcpy(text, "PROXY UNKNOWN ", 14);
	assert_int_equal(read_exact(text, 106), HAPROXY_MORE);
	assert_int_equal(read_exact(text, 107), HAPROXY_LONG);
	assert_int_equal(read_exact(text, 200), HAPROXY_LONG);
	memcpy(text + 105, "\r\n", 2);
	assert_int_equal(read_exact(text, 200), HAPROXY_UNNAMED);
	assert_int_equal(got.len, 107);
	memcpy(text + 105, "x\r\n", 3);
	assert_int_equal(read_exact(text, 107), HAPROXY_LONG);
	assert_int_equal(read_exact(text, 108), HAPROXY_LONG);
}

// Known as soon as they are: nobody waits for the time-out.
static void what_is_no_header(void **state)
{
	static const char *const texts[] = {
		"E",
		"EHLO x\r\n",
		"\n",
		"PR0",
		"PROXYTCP4",
		"proxy TCP4",
		"\r\n\r\n\r\n",
		"\x16\3\1\2",
		" PROXY",
	};

	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(line(texts[i]), HAPROXY_NONE);
	assert_int_equal(line(""), HAPROXY_MORE);
	assert_int_equal(line("PROX"), HAPROXY_MORE);
	assert_int_equal(line("\r\n\r\n"), HAPROXY_MORE);
}

static uint32_t
block(uint8_t *out,
      uint8_t command,
      uint8_t family,
      uint32_t addresses,
      const void *tlvs,
      uint32_t tlvs_len)
{
	uint32_t n = addresses + tlvs_len;

	memcpy(out, haproxy_signature, HAPROXY_SIGNATURE);
	out[12] = command;
	out[13] = family;
	out[14] = (uint8_t)(n >> 8);
	out[15] = (uint8_t)n;
	for (uint32_t i = 0; i < addresses; i++)
		out[16 + i] = (uint8_t)(i + 1);
	memcpy(out + 16 + addresses, tlvs, tlvs_len);
	return 16 + n;
}

static void good_blocks(void **state)
{
	static const uint8_t zero[HAPROXY_IN_MAX];
	static uint8_t out[HAPROXY_IN_MAX + 100];
	char text[IP_ENDPOINT_STRLEN];
	uint32_t n = block(out, 0x21, 0x11, 12, "", 0);

	assert_int_equal(read_exact(out, n), HAPROXY_NAMED);
	assert_int_equal(got.len, 28);
	assert_int_equal(got.version, 2);
	ip_endpoint_format(&got.client.addr, got.client.port, text);
	assert_string_equal(text, "1.2.3.4:2314");
	ip_endpoint_format(&got.local.addr, got.local.port, text);
	assert_string_equal(text, "5.6.7.8:2828");
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(read_exact(out, i), HAPROXY_MORE);
	n = block(out, 0x21, 0x21, 36, "\4\0\2xy\xe0\0\0", 8);
	assert_int_equal(read_exact(out, n + 10), HAPROXY_NAMED);
	assert_int_equal(got.len, n);
	ip_endpoint_format(&got.client.addr, got.client.port, text);
	assert_string_equal(text, "[102:304:506:708:90a:b0c:d0e:f10]:8482");
	n = block(out, 0x21, 0x11, 12, zero, HAPROXY_IN_MAX - 28);
	out[28] = 4; // one TLV as long as can be
	out[29] = (uint8_t)((n - 31) >> 8);
	out[30] = (uint8_t)(n - 31);
	assert_int_equal(n, HAPROXY_IN_MAX);
	assert_int_equal(read_exact(out, n), HAPROXY_NAMED);
	assert_int_equal(read_exact(out, n - 1), HAPROXY_MORE);
}

static void blocks_of_nobody(void **state)
{
	uint8_t out[300];

	assert_int_equal(read_exact(out, block(out, 0x20, 0x00, 0, "", 0)), HAPROXY_UNNAMED);
	assert_int_equal(got.len, 16);
	assert_int_equal(read_exact(out, block(out, 0x20, 0x99, 0, "junk", 4)), HAPROXY_UNNAMED);
	assert_int_equal(got.len, 20);
	assert_int_equal(read_exact(out, block(out, 0x20, 0x11, 12, "", 0)), HAPROXY_UNNAMED);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x00, 0, "", 0)), HAPROXY_UNNAMED);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x10, 12, "", 0)), HAPROXY_UNNAMED);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x01, 0, "", 0)), HAPROXY_UNNAMED);
}

static void bad_blocks(void **state)
{
	uint8_t out[300];
	uint32_t n;

	assert_int_equal(read_exact(out, block(out, 0x22, 0x11, 12, "", 0)), HAPROXY_MALFORMED);
	assert_int_equal(read_exact(out, block(out, 0x11, 0x11, 12, "", 0)), HAPROXY_MALFORMED);
	assert_int_equal(read_exact(out, 13), HAPROXY_MALFORMED); // before the rest is there
	assert_int_equal(read_exact(out, block(out, 0x21, 0x41, 12, "", 0)), HAPROXY_MALFORMED);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x13, 12, "", 0)), HAPROXY_MALFORMED);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x12, 12, "", 0)), HAPROXY_FAMILY);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x22, 36, "", 0)), HAPROXY_FAMILY);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x31, 216, "", 0)), HAPROXY_FAMILY);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x11, 11, "", 0)), HAPROXY_MALFORMED);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x21, 35, "", 0)), HAPROXY_MALFORMED);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x11, 0, "", 0)), HAPROXY_MALFORMED);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x11, 12, "x", 1)), HAPROXY_MALFORMED);
	assert_int_equal(read_exact(out, block(out, 0x21, 0x11, 12, "\4\0", 2)), HAPROXY_MALFORMED);
	n = block(out, 0x21, 0x11, 12, "\4\0\2x", 4);
	assert_int_equal(read_exact(out, n), HAPROXY_MALFORMED);
	n = block(out, 0x21, 0x11, 12, "\3\0\3xyz", 6);
	assert_int_equal(read_exact(out, n), HAPROXY_MALFORMED);
	n = block(out, 0x21, 0x11, 12, "\3\0\4xyzw", 7);
	assert_int_equal(read_exact(out, n), HAPROXY_CHECKSUM);
	block(out, 0x21, 0x11, 12, "", 0);
	out[14] = (uint8_t)((HAPROXY_IN_MAX - 15) >> 8);
	out[15] = (uint8_t)((HAPROXY_IN_MAX - 15) & 0xff);
	assert_int_equal(read_exact(out, 16), HAPROXY_LONG);
}

// What we write is read as it was meant; with any bit of it altered it is not taken for another,
// but where the bit makes the checksum a TLV of another type.
static void our_own_are_read(void **state)
{
	static const char *const ends[][2] = {
		{"192.0.2.1:40000", "198.51.100.25:25"},
		{"[2001:db8::1]:258", "[2001:db8::25]:25"},
		{"192.0.2.1:4", "[2001:db8::25]:25"},
	};

	for (unsigned i = 0; i < 3; i++) {
		struct haproxy_facts f = {
			.authority = "mx.example",
			.unique_id = "7",
			.tls = true,
			.version = "TLSv1.3",
			.cipher = "TLS_AES_128_GCM_SHA256",
		};
		uint8_t out[HAPROXY_OUT_MAX];
		uint32_t n;

		assert_int_equal(ip_endpoint_parse(ends[i][0], &f.client), 0);
		assert_int_equal(ip_endpoint_parse(ends[i][1], &f.local), 0);
		for (unsigned version = 1; version <= 2; version++) {
			n = version == 1 ? haproxy_write_v1(&f, (char *)out)
					 : haproxy_write_v2(&f, out);
			assert_int_equal(read_exact(out, n), HAPROXY_NAMED);
			assert_int_equal(got.len, n);
			assert_memory_equal(&got.client, &f.client, sizeof(f.client));
			assert_memory_equal(&got.local, &f.local, sizeof(f.local));
		}
		for (uint32_t bit = 0; bit < 8 * n; bit++) {
			uint32_t checksum = 16 + (i == 0 ? 12 : 36);
			enum haproxy_result r;

			out[bit / 8] ^= (uint8_t)(1U << bit % 8);
			r = read_exact(out, n);
			assert_true(r != HAPROXY_NAMED || bit / 8 == checksum);
			out[bit / 8] ^= (uint8_t)(1U << bit % 8);
		}
		assert_int_equal(read_exact(out, haproxy_write_local(out)), HAPROXY_UNNAMED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_lines),
		cmocka_unit_test(lines_of_nobody),
		cmocka_unit_test(bad_lines),
		cmocka_unit_test(lines_without_an_end),
		cmocka_unit_test(what_is_no_header),
		cmocka_unit_test(good_blocks),
		cmocka_unit_test(blocks_of_nobody),
		cmocka_unit_test(bad_blocks),
		cmocka_unit_test(our_own_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
