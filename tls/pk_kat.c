// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Known answers that an engine must give before it is used: RFC 7748 5.2 and 6.1 for X25519, a pair
// of P-256 keys of its own making, a signature that libcrypto accepts; each in every lane. A
// low-order X25519 key must be refused. Main thread, at start.

#include "tls/pk.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>

#include <stdlib.h>
#include <string.h>

// RFC 7748 6.1: private keys of Alice and Bob, public keys, shared secret.
static const uint8_t alice[32] = {0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1,
				  0x72, 0x51, 0xb2, 0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0,
				  0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a};
static const uint8_t bob_pub[32] = {0xde, 0x9e, 0xdb, 0x7d, 0x7b, 0x7d, 0xc1, 0xb4,
				    0xd3, 0x5b, 0x61, 0xc2, 0xec, 0xe4, 0x35, 0x37,
				    0x3f, 0x83, 0x43, 0xc8, 0x5b, 0x78, 0x67, 0x4d,
				    0xad, 0xfc, 0x7e, 0x14, 0x6f, 0x88, 0x2b, 0x4f};
static const uint8_t shared[32] = {0x4a, 0x5d, 0x9d, 0x5b, 0xa4, 0xce, 0x2d, 0xe1, 0x72, 0x8e, 0x3b,
				   0xf4, 0x80, 0x35, 0x0f, 0x25, 0xe0, 0x7e, 0x21, 0xc9, 0x47, 0xd1,
				   0x9e, 0x33, 0x76, 0xf0, 0x9b, 0x3c, 0x1e, 0x16, 0x17, 0x42};

static void
run_all(const struct pk_engine *engine,
	enum pk_kind kind,
	struct pk_op op[PK_LANES],
	struct pk_op *ops[PK_LANES])
{
	for (unsigned i = 0; i < PK_LANES; i++)
		ops[i] = &op[i];
	engine->run(kind, ops, PK_LANES);
}

static bool x25519_passes(const struct pk_engine *engine)
{
	static const uint8_t zero[32];
	struct pk_op op[PK_LANES] = {0}, *ops[PK_LANES];
	uint8_t out[PK_LANES][32];
	uint64_t d[4];

	memcpy(d, alice, sizeof(d));
	for (unsigned i = 0; i < PK_LANES;
	     i++) // every third lane of low order: refused, no other harmed
		op[i] = (struct pk_op){.in = i % 3 == 1 ? zero : bob_pub, .d = d, .out = out[i]};
	run_all(engine, PK_X25519, op, ops);
	for (unsigned i = 0; i < PK_LANES; i++)
		if (op[i].failed != (i % 3 == 1) ||
		    (i % 3 != 1 && memcmp(out[i], shared, sizeof(shared)) != 0))
			return false;
	return true;
}

static bool agree(const struct pk_engine *engine, enum pk_group group, enum pk_kind kind)
{
	struct pk_eph a[PK_LANES], b[PK_LANES];
	struct pk_op op[PK_LANES] = {0}, *ops[PK_LANES];
	uint8_t ab[PK_LANES][32], ba[PK_LANES][32];
	unsigned skip = group == PK_GROUP_P256 ? 1 : 0; // the octet 4 of an uncompressed point

	if (!engine->keys(group, a) || !pk_engine_libcrypto.keys(group, b))
		return false;
	for (unsigned i = 0; i < PK_LANES; i++)
		op[i] = (struct pk_op){.in = b[i].pub + skip, .d = a[i].d, .out = ab[i]};
	run_all(engine, kind, op, ops);
	for (unsigned i = 0; i < PK_LANES; i++) {
		struct pk_op other = {.in = a[i].pub + skip, .d = b[i].d, .out = ba[i]};
		struct pk_op *one = &other;

		pk_engine_libcrypto.run(kind, &one, 1);
		if (op[i].failed || other.failed || memcmp(ab[i], ba[i], 32) != 0)
			return false;
	}
	return true;
}

static bool signature_good(EVP_PKEY *key, const uint8_t digest[32], const uint8_t rs[64])
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	uint8_t *der = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	int len;
	bool good;

	ECDSA_SIG_set0(sig, BN_bin2bn(rs, 32, NULL), BN_bin2bn(rs + 32, 32, NULL));
	len = i2d_ECDSA_SIG(sig, &der);
	good = EVP_PKEY_verify_init(ctx) == 1 &&
	       EVP_PKEY_verify(ctx, der, (size_t)len, digest, 32) == 1;
	OPENSSL_free(der);
	ECDSA_SIG_free(sig);
	EVP_PKEY_CTX_free(ctx);
	return good;
}

// Signs with a fresh key; an RSA key takes too long to make, and each of its results is checked.
static bool signs(const struct pk_engine *engine)
{
	EVP_PKEY *fresh = EVP_EC_gen("P-256");
	struct pk_op op[PK_LANES] = {0}, *ops[PK_LANES];
	uint8_t digest[PK_LANES][32], out[PK_LANES][64], *der = NULL;
	struct pk_key key;
	int len = i2d_PrivateKey(fresh, &der);
	bool good = pk_key_from_der(&key, der, (uint32_t)len);

	for (unsigned i = 0; i < PK_LANES; i++) {
		pk_random(digest[i], 32);
		op[i] = (struct pk_op){.in = digest[i], .key = &key, .out = out[i]};
	}
	if (good)
		run_all(engine, PK_P256_SIGN, op, ops);
	for (unsigned i = 0; good && i < PK_LANES; i++)
		good = !op[i].failed && signature_good(fresh, digest[i], out[i]);
	OPENSSL_clear_free(der, (size_t)len);
	pk_key_release(&key);
	EVP_PKEY_free(fresh);
	return good;
}

bool pk_engine_passes(const struct pk_engine *engine)
{
	return x25519_passes(engine) && agree(engine, PK_GROUP_X25519, PK_X25519) &&
	       agree(engine, PK_GROUP_P256, PK_P256_DH) && signs(engine);
}
