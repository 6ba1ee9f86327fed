// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What helpers do by libcrypto: signatures of the kinds that have no batches, and every
// verification. What libcrypto cannot is told, for mbedTLS. Helper threads; without one a worker's.

#include "tls/pk_long.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <mbedtls/pk.h>

#define PUBLIC_MAX 2400 // of an RSA key of 8,192 bits, and more

static const EVP_MD *hash_of(mbedtls_md_type_t md)
{
	switch (md) {
	case MBEDTLS_MD_SHA1: // of certificates that mbedTLS's profile lets through
		return EVP_sha1();
	case MBEDTLS_MD_SHA224:
		return EVP_sha224();
	case MBEDTLS_MD_SHA256:
		return EVP_sha256();
	case MBEDTLS_MD_SHA384:
		return EVP_sha384();
	case MBEDTLS_MD_SHA512:
		return EVP_sha512();
	default:
		return NULL;
	}
}

// Padding and hash, for a context whose operation is begun.
static bool context_set(EVP_PKEY_CTX *ctx, const struct pk_long *l, bool rsa)
{
	const EVP_MD *md = hash_of(l->md);

	if (!rsa)
		return true;
	if (md == NULL || EVP_PKEY_CTX_set_signature_md(ctx, md) != 1 ||
	    EVP_PKEY_CTX_set_rsa_padding(ctx, l->pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) !=
		    1)
		return false;
	if (!l->pss)
		return true;
	return EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, l->salt_len) == 1 &&
	       EVP_PKEY_CTX_set_rsa_mgf1_md(
		       ctx, l->mgf1 != MBEDTLS_MD_NONE ? hash_of(l->mgf1) : md
	       ) == 1;
}

static size_t hash_len(const struct pk_long *l)
{
	const EVP_MD *md = hash_of(l->md);

	return l->hash_len != 0 || md == NULL ? l->hash_len : (size_t)EVP_MD_get_size(md);
}

enum pk_long_result pk_long_sign(const struct pk_key *key, struct pk_long *l)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->evp, NULL);
	enum pk_long_result result = PK_LONG_CANNOT;
	size_t len = l->size;

	if (ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 &&
	    context_set(ctx, l, EVP_PKEY_is_a(key->evp, "RSA")))
		result = EVP_PKEY_sign(ctx, l->sig, &len, l->hash, hash_len(l)) == 1 ? PK_LONG_GOOD
										     : PK_LONG_BAD;
	l->sig_len = len;
	EVP_PKEY_CTX_free(ctx);
	return result;
}

static EVP_PKEY *key_take(const mbedtls_pk_context *pk)
{
	uint8_t der[PUBLIC_MAX];
	int len = mbedtls_pk_write_pubkey_der(pk, der, sizeof(der)); // at the end of der
	const uint8_t *p = der + sizeof(der) - (len > 0 ? len : 0);

	return len > 0 ? d2i_PUBKEY(NULL, &p, len) : NULL;
}

enum pk_long_result pk_long_verify(const mbedtls_pk_context *pk, const struct pk_long *l)
{
	EVP_PKEY *key = key_take(pk);
	EVP_PKEY_CTX *ctx = key != NULL ? EVP_PKEY_CTX_new(key, NULL) : NULL;
	enum pk_long_result result = PK_LONG_CANNOT;

	if (ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 &&
	    context_set(ctx, l, EVP_PKEY_is_a(key, "RSA")))
		result = EVP_PKEY_verify(ctx, l->sig, l->sig_len, l->hash, hash_len(l)) == 1
				 ? PK_LONG_GOOD
				 : PK_LONG_BAD;
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
	return result;
}
