// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Certificates with their keys, and CAs, as parsed: shared by all credentials of one worker that
// name the same texts, those of the generation before included, and wiped with the last of them.
// Parsed and looked up by the main thread; whoever drops the last hold frees, main or the worker.

#include "tls/hs_types.h"

#include <mbedtls/error.h>
#include <mbedtls/sha256.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct place {
	struct tls_chain *chain;
	bool asked; // by the credentials that are being made
};

struct tls_shelf {
	struct place *place;
	unsigned count, size;
	unsigned parsed;
};

bool tls_reason(char ret_reason[128], const char *what, int err)
{
	char text[80];

	mbedtls_strerror(err, text, sizeof(text));
	snprintf(ret_reason, 128, "%.40s: %.79s", what, text);
	return false;
}

static struct tls_chain *hold(struct tls_chain *chain)
{
	atomic_fetch_add_explicit(&chain->holds, 1, memory_order_relaxed);
	return chain;
}

void tls_chain_put(struct tls_chain *chain)
{
	if (chain == NULL || atomic_fetch_sub_explicit(&chain->holds, 1, memory_order_acq_rel) > 1)
		return;
	mbedtls_x509_crt_free(&chain->crt);
	mbedtls_pk_free(&chain->key); // wipes
	pk_key_release(&chain->pk);
	free(chain);
}

static bool shelf_add(struct tls_shelf *s, struct tls_chain *chain, bool asked)
{
	if (s->count == s->size) {
		unsigned size = s->size != 0 ? s->size * 2 : 8;
		struct place *place = realloc(s->place, size * sizeof(*place));

		if (place == NULL)
			return false;
		s->place = place;
		s->size = size;
	}
	s->place[s->count++] = (struct place){hold(chain), asked};
	return true;
}

struct tls_shelf *tls_shelf_new(const struct tls_shelf *before)
{
	struct tls_shelf *s = calloc(1, sizeof(*s));

	for (unsigned i = 0; s != NULL && before != NULL && i < before->count; i++) {
		if (!shelf_add(s, before->place[i].chain, false)) {
			tls_shelf_free(s);
			return NULL;
		}
	}
	return s;
}

void tls_shelf_free(struct tls_shelf *s)
{
	for (unsigned i = 0; s != NULL && i < s->count; i++)
		tls_chain_put(s->place[i].chain);
	if (s != NULL)
		free(s->place);
	free(s);
}

unsigned tls_shelf_close(struct tls_shelf *s)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->count; i++) {
		if (s->place[i].asked)
			s->place[kept++] = s->place[i];
		else
			tls_chain_put(s->place[i].chain);
	}
	s->count = kept;
	return s->parsed;
}

static struct tls_chain *shelf_find(struct tls_shelf *s, const uint8_t digest[32])
{
	for (unsigned i = 0; s != NULL && i < s->count; i++) {
		if (memcmp(s->place[i].chain->digest, digest, 32) != 0)
			continue;
		s->place[i].asked = true;
		return hold(s->place[i].chain);
	}
	return NULL;
}

// Of both texts; the length tells where the one ends.
static void digest_of(const struct tls_pair *pair, uint8_t ret[32])
{
	const uint64_t len = pair->chain.len;
	mbedtls_sha256_context sha;

	mbedtls_sha256_init(&sha);
	mbedtls_sha256_starts(&sha, 0);
	mbedtls_sha256_update(&sha, (const uint8_t *)&len, sizeof(len));
	mbedtls_sha256_update(&sha, (const uint8_t *)pair->chain.data, pair->chain.len);
	if (pair->key.len > 0)
		mbedtls_sha256_update(&sha, (const uint8_t *)pair->key.data, pair->key.len);
	mbedtls_sha256_finish(&sha, ret);
	mbedtls_sha256_free(&sha);
}

// The key once more as the engines want it; other kinds stay with mbedTLS.
static void pair_for_engines(struct tls_chain *chain)
{
	uint8_t der[8192];
	int len = mbedtls_pk_write_key_der(&chain->key, der, sizeof(der)); // at the end of der

	if (len > 0)
		pk_key_from_der(&chain->pk, der + sizeof(der) - len, (uint32_t)len);
	explicit_bzero(der, sizeof(der));
}

static bool
key_parse(struct tls_chain *c, const struct tls_pem *key, mbedtls_ctr_drbg_context *rng, char *why)
{
	int err = mbedtls_pk_parse_key(
		&c->key,
		(const unsigned char *)key->data,
		key->len,
		NULL,
		0,
		mbedtls_ctr_drbg_random,
		rng
	);

	if (err != 0)
		return tls_reason(why, "key", err);
	err = mbedtls_pk_check_pair(&c->crt.pk, &c->key, mbedtls_ctr_drbg_random, rng);
	if (err != 0)
		return tls_reason(why, "key does not belong to the certificate", err);
	pair_for_engines(c);
	return true;
}

static bool
parse(struct tls_chain *c,
      const struct tls_pair *pair,
      mbedtls_ctr_drbg_context *rng,
      char ret_reason[128])
{
	bool is_ca = pair->key.len == 0;
	int err = mbedtls_x509_crt_parse(
		&c->crt, (const unsigned char *)pair->chain.data, pair->chain.len
	);

	if (err != 0) // a positive number: so many of the file were not understood
		return tls_reason(
			ret_reason,
			is_ca ? "ca" : "chain",
			err < 0 ? err : MBEDTLS_ERR_X509_INVALID_FORMAT
		);
	return is_ca || key_parse(c, &pair->key, rng, ret_reason);
}

struct tls_chain *tls_chain_get(
	struct tls_shelf *shelf,
	const struct tls_pair *pair,
	mbedtls_ctr_drbg_context *rng,
	char ret_reason[128]
)
{
	struct tls_chain *c;
	uint8_t digest[32];

	digest_of(pair, digest);
	c = shelf_find(shelf, digest);
	if (c != NULL)
		return c;
	c = calloc(1, sizeof(*c));
	snprintf(ret_reason, 128, "no memory");
	if (c == NULL)
		return NULL;
	atomic_init(&c->holds, 1);
	memcpy(c->digest, digest, sizeof(digest));
	mbedtls_x509_crt_init(&c->crt);
	mbedtls_pk_init(&c->key);
	if (parse(c, pair, rng, ret_reason) && (shelf == NULL || shelf_add(shelf, c, true))) {
		if (shelf != NULL)
			shelf->parsed++;
		return c;
	}
	tls_chain_put(c);
	return NULL;
}
