// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Private keys of certificates in the forms that the engines want. Main thread, at a change of
// certificates.

#include "tls/pk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include <string.h>

static bool limbs_take(EVP_PKEY *pkey, const char *name, uint64_t *out, unsigned count)
{
	BIGNUM *n = NULL;
	bool good = EVP_PKEY_get_bn_param(pkey, name, &n) == 1 &&
		    BN_bn2lebinpad(n, (uint8_t *)out, (int)count * 8) == (int)count * 8;

	BN_clear_free(n);
	return good;
}

static bool rsa_take(struct pk_key *key)
{
	if (EVP_PKEY_get_bits(key->evp) != 2048)
		return true;
	key->kind = PK_RSA2048;
	return limbs_take(key->evp, OSSL_PKEY_PARAM_RSA_N, key->n, 32) &&
	       limbs_take(key->evp, OSSL_PKEY_PARAM_RSA_FACTOR1, key->p, 16) &&
	       limbs_take(key->evp, OSSL_PKEY_PARAM_RSA_FACTOR2, key->q, 16) &&
	       limbs_take(key->evp, OSSL_PKEY_PARAM_RSA_EXPONENT1, key->dp, 16) &&
	       limbs_take(key->evp, OSSL_PKEY_PARAM_RSA_EXPONENT2, key->dq, 16) &&
	       limbs_take(key->evp, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, key->iq, 16);
}

static bool ec_take(struct pk_key *key)
{
	char group[32] = "";
	size_t len;

	if (EVP_PKEY_get_group_name(key->evp, group, sizeof(group), &len) != 1)
		return false;
	if (strcmp(group, "prime256v1") != 0)
		return true;
	key->kind = PK_P256_SIGN;
	return limbs_take(key->evp, OSSL_PKEY_PARAM_PRIV_KEY, key->d, 4);
}

bool pk_key_from_der(struct pk_key *key, const uint8_t *der, uint32_t len)
{
	bool good = false;

	memset(key, 0, sizeof(*key));
	key->kind = PK_KINDS;
	key->evp = d2i_AutoPrivateKey(NULL, &der, (long)len);
	if (key->evp != NULL && EVP_PKEY_is_a(key->evp, "RSA"))
		good = rsa_take(key);
	else if (key->evp != NULL && EVP_PKEY_is_a(key->evp, "EC"))
		good = ec_take(key);
	if (!good)
		pk_key_release(key);
	return good;
}

void pk_key_release(struct pk_key *key)
{
	EVP_PKEY_free(key->evp); // clears
	explicit_bzero(key, sizeof(*key));
}
