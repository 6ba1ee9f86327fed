// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What stands around the numbers of a signature: DER of ECDSA, paddings of RSA. Pure but for the
// salt.

#include "tls/pk.h"

#include <mbedtls/sha256.h>

#include <string.h>

// INTEGER of ASN.1 DER; returns its length.
static size_t der_integer(uint8_t *out, const uint8_t v[32])
{
	size_t skip = 0, pad;

	while (skip < 31 && v[skip] == 0)
		skip++;
	pad = v[skip] >> 7;
	out[0] = 2;
	out[1] = (uint8_t)(32 - skip + pad);
	out[2] = 0;
	memcpy(out + 2 + pad, v + skip, 32 - skip);
	return 2 + pad + 32 - skip;
}

size_t pk_sig_to_der(uint8_t out[72], const uint8_t rs[64])
{
	size_t n = 2;

	n += der_integer(out + n, rs);
	n += der_integer(out + n, rs + 32);
	out[0] = 0x30;
	out[1] = (uint8_t)(n - 2);
	return n;
}

// EMSA-PKCS1-v1_5 with SHA-256 (RFC 8017 9.2).
void pk_pad_pkcs1(uint8_t block[256], const uint8_t hash[32])
{
	static const uint8_t info[19] = {
		0x30,
		0x31,
		0x30,
		0x0d,
		0x06,
		0x09,
		0x60,
		0x86,
		0x48,
		0x01,
		0x65,
		0x03,
		0x04,
		0x02,
		0x01,
		0x05,
		0x00,
		0x04,
		0x20
	};

	memset(block, 0xff, 256);
	block[0] = 0;
	block[1] = 1;
	block[256 - 32 - sizeof(info) - 1] = 0;
	memcpy(block + 256 - 32 - sizeof(info), info, sizeof(info));
	memcpy(block + 256 - 32, hash, 32);
}

// EMSA-PSS with SHA-256, MGF1 and a salt of 32 octets for a modulus of 2048 bits (RFC 8017 9.1.1).
void pk_pad_pss(uint8_t block[256], const uint8_t hash[32])
{
	uint8_t m[8 + 32 + 32] = {0}, seed[36], mask[32];
	uint8_t *h = block + 256 - 33;

	memcpy(m + 8, hash, 32);
	pk_random(m + 40, 32);
	mbedtls_sha256(m, sizeof(m), h, 0);
	memset(block, 0, 256 - 33 - 33);
	block[256 - 33 - 33] = 1;
	memcpy(block + 256 - 33 - 32, m + 40, 32);
	block[255] = 0xbc;
	memcpy(seed, h, 32);
	for (uint32_t c = 0; c * 32 < 256 - 33; c++) {
		seed[32] = seed[33] = seed[34] = 0;
		seed[35] = (uint8_t)c;
		mbedtls_sha256(seed, sizeof(seed), mask, 0);
		for (uint32_t i = 0; i < 32 && c * 32 + i < 256 - 33; i++)
			block[c * 32 + i] ^= mask[i];
	}
	block[0] &= 0x7f;
}
