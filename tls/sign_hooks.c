// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Redirections as in pk_hooks.c, of signatures: mbedtls_pk_sign and _sign_ext. With ECDSA P-256 and
// RSA-2048 the queue makes them, with other keys a helper. Worker threads.

#include "tls/long_hooks.h"
#include "tls/pk_hooks.h"

#include <string.h>

#define RANDOM int (*f_rng)(void *, unsigned char *, size_t), void *p_rng

// The library's own functions.
static struct {
	int (*sign)(
		mbedtls_pk_context *,
		mbedtls_md_type_t,
		const unsigned char *,
		size_t,
		unsigned char *,
		size_t,
		size_t *,
		RANDOM
	);
	int (*sign_ext)(
		mbedtls_pk_type_t,
		mbedtls_pk_context *,
		mbedtls_md_type_t,
		const unsigned char *,
		size_t,
		unsigned char *,
		size_t,
		size_t *,
		RANDOM
	);
} real;

bool sign_hooks_init(void)
{
	static const struct hook_row rows[] = {
#define ROW(symbol, member) {symbol, __builtin_offsetof(typeof(real), member)}
		ROW("mbedtls_pk_sign", sign),
		ROW("mbedtls_pk_sign_ext", sign_ext),
#undef ROW
	};

	return hooks_find(rows, sizeof(rows) / sizeof(rows[0]), &real);
}

static void ready(void)
{
	if (__builtin_expect(real.sign_ext == NULL, 0))
		sign_hooks_init();
}

// The engine's form of a private key of the handshake under way; NULL: left to the library.
static const struct pk_key *key_of(struct tls_engine *e, const mbedtls_pk_context *pk)
{
	const struct tls_hs *hs = e != NULL ? tls_engine_queue(e)->fibers.current->arg : NULL;

	for (unsigned i = 0; hs != NULL && i < hs->creds->chain_count; i++)
		if (&hs->creds->chain[i]->key == pk && hs->creds->chain[i]->pk.evp != NULL)
			return &hs->creds->chain[i]->pk;
	return NULL;
}

static bool
ecdsa(const struct pk_key *key, const uint8_t *hash, size_t len, uint8_t *sig, size_t *ret_len)
{
	uint8_t digest[32] = {0}, rs[64];
	struct pk_op op = {.in = digest, .key = key, .out = rs};

	if (len > 32)
		len = 32; // the leftmost bits (FIPS 186-5 6.4.1)
	memcpy(digest + 32 - len, hash, len);
	if (!pk_submit(tls_engine_queue(tls_current), PK_P256_SIGN, &op))
		return false;
	*ret_len = pk_sig_to_der(sig, rs);
	return true;
}

static bool rsa(const struct pk_key *key, const uint8_t block[256], uint8_t *sig, size_t *ret_len)
{
	struct pk_op op = {.in = block, .key = key, .out = sig};

	*ret_len = 256;
	return pk_submit(tls_engine_queue(tls_current), PK_RSA2048, &op);
}

static int real_run(struct long_sign *s)
{
	return s->type == MBEDTLS_PK_NONE ? real.sign(
						    s->pk,
						    s->md,
						    s->hash,
						    s->len,
						    s->sig,
						    s->size,
						    s->ret_len,
						    long_random,
						    NULL
					    )
					  : real.sign_ext(
						    s->type,
						    s->pk,
						    s->md,
						    s->hash,
						    s->len,
						    s->sig,
						    s->size,
						    s->ret_len,
						    long_random,
						    NULL
					    );
}

// On a fiber: by the queue if it does such keys, else by a helper.
static int sign(struct tls_engine *e, struct long_sign *s)
{
	bool pss = s->type == MBEDTLS_PK_RSASSA_PSS;
	uint8_t block[256];

	s->key = key_of(e, s->pk);
	s->real = real_run;
	if (s->key != NULL && s->key->kind == PK_P256_SIGN && s->size >= 72 &&
	    ecdsa(s->key, s->hash, s->len, s->sig, s->ret_len))
		return 0;
	if (s->key == NULL || s->key->kind != PK_RSA2048 || s->md != MBEDTLS_MD_SHA256 ||
	    s->size < 256)
		return long_sign(e, s);
	if (pss)
		pk_pad_pss(block, s->hash);
	else
		pk_pad_pkcs1(block, s->hash);
	return rsa(s->key, block, s->sig, s->ret_len) ? 0 : long_sign(e, s);
}

int mbedtls_pk_sign(
	mbedtls_pk_context *pk,
	mbedtls_md_type_t md,
	const unsigned char *hash,
	size_t len,
	unsigned char *sig,
	size_t size,
	size_t *ret_len,
	RANDOM
)
{
	struct tls_engine *e = hook_redirects(HOOK_SIGN);
	struct long_sign s = {
		.type = MBEDTLS_PK_NONE,
		.pk = pk,
		.md = md,
		.hash = hash,
		.len = len,
		.sig = sig,
		.size = size,
		.ret_len = ret_len,
	};

	ready();
	return e != NULL ? sign(e, &s)
			 : real.sign(pk, md, hash, len, sig, size, ret_len, f_rng, p_rng);
}

int mbedtls_pk_sign_ext(
	mbedtls_pk_type_t type,
	mbedtls_pk_context *pk,
	mbedtls_md_type_t md,
	const unsigned char *hash,
	size_t len,
	unsigned char *sig,
	size_t size,
	size_t *ret_len,
	RANDOM
)
{
	struct tls_engine *e = hook_redirects(HOOK_SIGN_EXT);
	struct long_sign s = {
		.type = type,
		.pk = pk,
		.md = md,
		.hash = hash,
		.len = len,
		.sig = sig,
		.size = size,
		.ret_len = ret_len,
	};

	ready();
	return e != NULL ? sign(e, &s)
			 : real.sign_ext(type, pk, md, hash, len, sig, size, ret_len, f_rng, p_rng);
}
