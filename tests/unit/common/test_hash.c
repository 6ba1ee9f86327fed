// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of common/hash.c.

#include "common/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// Key and expected values of the verification suite that NIC vendors publish for receive-side
// scaling.
static const uint8_t rss_key[HASH_TOEPLITZ_KEY_LEN] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

static uint32_t toeplitz(const char *src, uint16_t sport, const char *dst, uint16_t dport)
{
	struct ip_addr s, d;

	assert_int_equal(ip_addr_parse(src, &s), 0);
	assert_int_equal(ip_addr_parse(dst, &d), 0);
	return hash_toeplitz_tuple(rss_key, &s, &d, sport, dport);
}

static void toeplitz_matches_the_published_vectors(void **state)
{
	assert_int_equal(toeplitz("66.9.149.187", 2794, "161.142.100.80", 1766), 0x51ccc178);
	assert_int_equal(toeplitz("199.92.111.2", 14230, "65.69.140.83", 4739), 0xc626b0ea);
	assert_int_equal(
		toeplitz("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766), 0x40207d3d
	);
}

// SipHash-1-3 has no vector in its paper: properties instead, over all short lengths.
static void siphash_depends_on_key_length_and_each_bit(void **state)
{
	struct hash_key key = {.k0 = 0x0706050403020100ULL, .k1 = 0x0f0e0d0c0b0a0908ULL};
	struct hash_key other = {.k0 = key.k0, .k1 = key.k1 ^ 1};
	uint8_t data[40] = {0};

	for (size_t len = 0; len <= sizeof(data); len++) {
		uint64_t h = hash_siphash13(&key, data, len);

		assert_true(h == hash_siphash13(&key, data, len));
		assert_true(h != hash_siphash13(&other, data, len));
		if (len > 0)
			assert_true(h != hash_siphash13(&key, data, len - 1));
		for (size_t bit = 0; bit < len * 8; bit++) {
			data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
			assert_true(h != hash_siphash13(&key, data, len));
			data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(toeplitz_matches_the_published_vectors),
		cmocka_unit_test(siphash_depends_on_key_length_and_each_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
