// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The engine on libcrypto: one operation after another, on any processor; also what the others fall
// back to. And random numbers, limbs. Worker thread.

#include "tls/pk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// n of P-256, little-endian limbs (FIPS 186-5, SEC 2).
static const uint64_t order[4] =
	{0xf3b9cac2fc632551U, 0xbce6faada7179e84U, 0xffffffffffffffffU, 0xffffffff00000000U};

void pk_random(uint8_t *out, uint32_t len)
{
	if (RAND_priv_bytes(out, (int)len) != 1)
		abort(); // no random numbers: nothing may go on
}

void limbs_from_be(uint64_t *out, const uint8_t *be, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t v;

		memcpy(&v, be + 8 * (count - 1 - i), 8);
		out[i] = __builtin_bswap64(v);
	}
}

void limbs_to_be(uint8_t *be, const uint64_t *limbs, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t v = __builtin_bswap64(limbs[i]);

		memcpy(be + 8 * (count - 1 - i), &v, 8);
	}
}

// d < order and d != 0, without a branch on its bits.
static bool scalar_fits(const uint64_t d[4])
{
	uint64_t borrow = 0, any = 0;

	for (unsigned i = 0; i < 4; i++) {
		unsigned __int128 diff = (unsigned __int128)d[i] - order[i] - borrow;

		borrow = (uint64_t)(diff >> 64) & 1;
		any |= d[i];
	}
	return borrow != 0 && any != 0;
}

void pk_scalar_p256(uint64_t d[4])
{
	do // 1 try in 2^32 fails
		pk_random((uint8_t *)d, 32);
	while (!scalar_fits(d));
}

// One of the curves of TLS: its number and the octets of a coordinate.
struct curve {
	int nid, octets;
	EC_GROUP *group; // made by the known answers of the first engine, then read by all threads
};
static struct curve p256 = {NID_X9_62_prime256v1, 32, NULL}, p384 = {NID_secp384r1, 48, NULL};

static void groups_make(void)
{
	p256.group = EC_GROUP_new_by_curve_name(p256.nid);
	p384.group = EC_GROUP_new_by_curve_name(p384.nid);
	if (p256.group == NULL || p384.group == NULL)
		abort(); // no memory at start
}

static const EC_GROUP *group_of(const struct curve *c)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, groups_make);
	return c->group;
}

static bool always(void)
{
	return true;
}

// A key to derive with. Its public half is not looked at for that, but would be computed, which
// costs as much again: any will do.
static EVP_PKEY *x25519_own(const uint64_t *d, const uint8_t *any)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "X25519", NULL);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(
			OSSL_PKEY_PARAM_PRIV_KEY, (void *)(uintptr_t)d, 32
		),
		OSSL_PARAM_construct_octet_string(
			OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)any, 32
		),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY *key = NULL;

	if (ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
		EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params); // NULL: failed
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static bool x25519(const struct pk_op *op)
{
	EVP_PKEY *own = x25519_own(op->d, op->in);
	EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, op->in, 32);
	EVP_PKEY_CTX *ctx = own != NULL ? EVP_PKEY_CTX_new(own, NULL) : NULL;
	size_t len = 32;
	bool good = ctx != NULL && peer != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
		    EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
		    EVP_PKEY_derive(ctx, op->out, &len) == 1; // refuses the all-zero secret

	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(own);
	EVP_PKEY_free(peer);
	return good;
}

// d times the peer's uncompressed point, its x.
static bool ec_dh(const struct curve *c, const uint64_t *limbs, const uint8_t *peer, uint8_t *out)
{
	const EC_GROUP *group = group_of(c);
	EC_POINT *point = EC_POINT_new(group);
	BIGNUM *d, *x = BN_new();
	uint8_t be[48];
	bool good;

	limbs_to_be(be, limbs, (unsigned)c->octets / 8);
	d = BN_bin2bn(be, c->octets, NULL);
	BN_set_flags(d, BN_FLG_CONSTTIME);
	good = EC_POINT_oct2point(group, point, peer, 1 + 2 * (size_t)c->octets, NULL) == 1 &&
	       EC_POINT_mul(group, point, NULL, point, d, NULL) == 1 && // it is on the curve
	       EC_POINT_get_affine_coordinates(group, point, x, NULL, NULL) == 1 &&
	       BN_bn2binpad(x, out, c->octets) == c->octets;
	explicit_bzero(be, sizeof(be));
	BN_clear_free(d);
	BN_clear_free(x);
	EC_POINT_clear_free(point);
	return good;
}

static bool p256_dh(const struct pk_op *op)
{
	uint8_t text[PK_PUB_P256] = {4};

	memcpy(text + 1, op->in, 64);
	return ec_dh(&p256, op->d, text, op->out);
}

bool pk_p384_dh(const struct pk_eph *own, const uint8_t peer[PK_PUB_P384], uint8_t out[48])
{
	return ec_dh(&p384, own->d, peer, out);
}

static bool p256_sign(const struct pk_op *op)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(op->key->evp, NULL);
	uint8_t der[80];
	const uint8_t *p = der;
	size_t len = sizeof(der);
	ECDSA_SIG *sig = NULL;
	bool good;

	if (ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 &&
	    EVP_PKEY_sign(ctx, der, &len, op->in, 32) == 1)
		sig = d2i_ECDSA_SIG(NULL, &p, (long)len);
	good = sig != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(sig), op->out, 32) == 32 &&
	       BN_bn2binpad(ECDSA_SIG_get0_s(sig), op->out + 32, 32) == 32;
	ECDSA_SIG_free(sig);
	EVP_PKEY_CTX_free(ctx);
	return good;
}

// The block is padded already.
static bool rsa(const struct pk_op *op)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(op->key->evp, NULL);
	size_t len = 256;
	bool good = ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 &&
		    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1 &&
		    EVP_PKEY_sign(ctx, op->out, &len, op->in, 256) == 1 && len == 256;

	EVP_PKEY_CTX_free(ctx);
	return good;
}

static void crypto_run(enum pk_kind kind, struct pk_op *const ops[], unsigned n)
{
	static bool (*const one[])(const struct pk_op *op) = {
		[PK_X25519] = x25519,
		[PK_P256_DH] = p256_dh,
		[PK_P256_SIGN] = p256_sign,
		[PK_RSA2048] = rsa,
	};

	for (unsigned i = 0; i < n; i++)
		ops[i]->failed = !one[kind](ops[i]);
}

static bool x25519_key(struct pk_eph *e)
{
	uint8_t *d = (uint8_t *)e->d;
	EVP_PKEY *key;
	size_t len = 32;
	bool good;

	pk_random(d, 32);
	d[0] &= 248; // RFC 7748 5
	d[31] = (d[31] & 127) | 64;
	key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, d, 32);
	e->pub_len = 32;
	good = key != NULL && EVP_PKEY_get_raw_public_key(key, e->pub, &len) == 1;
	EVP_PKEY_free(key);
	return good;
}

static bool ec_key(const struct curve *c, struct pk_eph *e)
{
	const EC_GROUP *group = group_of(c);
	EC_POINT *point = EC_POINT_new(group);
	BIGNUM *d = BN_new();
	uint8_t be[48];
	bool good;

	e->pub_len = (uint8_t)(1 + 2 * c->octets);
	good = BN_priv_rand_range(d, EC_GROUP_get0_order(group)) == 1 && !BN_is_zero(d) &&
	       BN_bn2binpad(d, be, c->octets) == c->octets;
	BN_set_flags(d, BN_FLG_CONSTTIME);
	good = good && EC_POINT_mul(group, point, d, NULL, NULL, NULL) == 1 &&
	       EC_POINT_point2oct(
		       group, point, POINT_CONVERSION_UNCOMPRESSED, e->pub, e->pub_len, NULL
	       ) == e->pub_len;
	limbs_from_be(e->d, be, (unsigned)c->octets / 8);
	explicit_bzero(be, sizeof(be));
	BN_clear_free(d);
	EC_POINT_free(point);
	return good;
}

bool pk_p384_key(struct pk_eph *e)
{
	return ec_key(&p384, e);
}

static bool crypto_keys(enum pk_group group, struct pk_eph out[PK_LANES])
{
	for (unsigned i = 0; i < PK_LANES; i++)
		if (!(group == PK_GROUP_X25519 ? x25519_key(&out[i]) : ec_key(&p256, &out[i])))
			return false;
	return true;
}

const struct pk_engine pk_engine_libcrypto = {
	.name = "libcrypto",
	.usable = always,
	.run = crypto_run,
	.keys = crypto_keys,
};
