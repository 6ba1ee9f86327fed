// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Redirections as in pk_hooks.c, of what takes too long for a worker's turn; helpers do it
// (away.c), by libcrypto, else by the library's own code with libcrypto's random numbers.
//
// | symbols | why |
// |---|---|
// | mbedtls_pk_verify, _verify_ext, _verify_restartable | signatures of the peer and of its chain |
// | mbedtls_ecdh_make_public | the key of a TLS 1.2 client |
//
// And the long part of pk_hooks.c: signatures of kinds without batches, the secret of a TLS 1.2
// client. Worker threads, and helpers inside away_*.

#include "tls/long_hooks.h"
#include "tls/pk_hooks.h"
#include "tls/pk_long.h"

#include <mbedtls/ecp.h>
#include <mbedtls/rsa.h>

// The library's own functions.
static struct {
	int (*verify)(
		mbedtls_pk_context *,
		mbedtls_md_type_t,
		const unsigned char *,
		size_t,
		const unsigned char *,
		size_t
	);
	int (*verify_restartable)(mbedtls_pk_context *, mbedtls_md_type_t, const unsigned char *, size_t, const unsigned char *, size_t, mbedtls_pk_restart_ctx *);
	int (*verify_ext)(
		mbedtls_pk_type_t,
		const void *,
		mbedtls_pk_context *,
		mbedtls_md_type_t,
		const unsigned char *,
		size_t,
		const unsigned char *,
		size_t
	);
	int (*make_public)(mbedtls_ecdh_context *, size_t *, unsigned char *, size_t, int (*)(void *, unsigned char *, size_t), void *);
} real;

bool long_hooks_init(void)
{
	static const struct hook_row rows[] = {
#define ROW(symbol, member) {symbol, __builtin_offsetof(typeof(real), member)}
		ROW("mbedtls_pk_verify", verify),
		ROW("mbedtls_pk_verify_restartable", verify_restartable),
		ROW("mbedtls_pk_verify_ext", verify_ext),
		ROW("mbedtls_ecdh_make_public", make_public),
#undef ROW
	};

	return hooks_find(rows, sizeof(rows) / sizeof(rows[0]), &real);
}

static void ready(void)
{
	if (__builtin_expect(real.make_public == NULL, 0))
		long_hooks_init();
}

// In place of a generator that belongs to the worker.
int long_random(void *arg, unsigned char *out, size_t len)
{
	pk_random(out, (uint32_t)len);
	return 0;
}

struct verifying {
	mbedtls_pk_type_t type;
	const void *options;
	mbedtls_pk_context *pk;
	struct pk_long l;
	int err;
};

static void verify_run(void *arg)
{
	struct verifying *v = arg;
	bool ec = mbedtls_pk_can_do(v->pk, MBEDTLS_PK_ECDSA);

	if (v->type != MBEDTLS_PK_NONE && !mbedtls_pk_can_do(v->pk, v->type)) {
		v->err = MBEDTLS_ERR_PK_TYPE_MISMATCH;
		return;
	}
	switch (pk_long_verify(v->pk, &v->l)) {
	case PK_LONG_GOOD:
		v->err = 0;
		break;
	case PK_LONG_BAD:
		v->err = ec ? MBEDTLS_ERR_ECP_VERIFY_FAILED : MBEDTLS_ERR_RSA_VERIFY_FAILED;
		break;
	default:
		v->err = real.verify_ext(
			v->type != MBEDTLS_PK_NONE ? v->type : mbedtls_pk_get_type(v->pk),
			v->options,
			v->pk,
			v->l.md,
			v->l.hash,
			v->l.hash_len,
			v->l.sig,
			v->l.sig_len
		);
		break;
	}
}

int mbedtls_pk_verify(
	mbedtls_pk_context *pk,
	mbedtls_md_type_t md,
	const unsigned char *hash,
	size_t len,
	const unsigned char *sig,
	size_t sig_len
)
{
	struct tls_engine *e = hook_redirects(HOOK_VERIFY);
	struct verifying v = {
		.type = MBEDTLS_PK_NONE,
		.pk = pk,
		.l = {.md = md, .hash = hash, .hash_len = len, .sig_len = sig_len},
	};

	ready();
	if (e == NULL)
		return real.verify(pk, md, hash, len, sig, sig_len);
	v.l.sig = (uint8_t *)(uintptr_t)sig;
	pk_away(tls_engine_queue(e), verify_run, &v);
	return v.err;
}

int mbedtls_pk_verify_restartable(
	mbedtls_pk_context *pk,
	mbedtls_md_type_t md,
	const unsigned char *hash,
	size_t len,
	const unsigned char *sig,
	size_t sig_len,
	mbedtls_pk_restart_ctx *restart // never: MBEDTLS_ECP_RESTARTABLE is not there
)
{
	ready();
	if (hook_redirects(HOOK_VERIFY_RESTARTABLE) == NULL) // the library's _verify calls it
		return real.verify_restartable(pk, md, hash, len, sig, sig_len, restart);
	return mbedtls_pk_verify(pk, md, hash, len, sig, sig_len);
}

int mbedtls_pk_verify_ext(
	mbedtls_pk_type_t type,
	const void *options,
	mbedtls_pk_context *pk,
	mbedtls_md_type_t md,
	const unsigned char *hash,
	size_t len,
	const unsigned char *sig,
	size_t sig_len
)
{
	struct tls_engine *e = hook_redirects(HOOK_VERIFY_EXT);
	const mbedtls_pk_rsassa_pss_options *pss = options;
	struct verifying v = {
		.type = type,
		.options = options,
		.pk = pk,
		.l = {.md = md, .hash = hash, .hash_len = len, .sig_len = sig_len},
	};

	ready();
	if (e == NULL)
		return real.verify_ext(type, options, pk, md, hash, len, sig, sig_len);
	v.l.sig = (uint8_t *)(uintptr_t)sig;
	if (type == MBEDTLS_PK_RSASSA_PSS && pss != NULL) {
		v.l.pss = true;
		v.l.mgf1 = pss->mgf1_hash_id;
		v.l.salt_len = pss->expected_salt_len == MBEDTLS_RSA_SALT_LEN_ANY
				       ? -2
				       : pss->expected_salt_len;
	}
	pk_away(tls_engine_queue(e), verify_run, &v);
	return v.err;
}

static void sign_run(void *arg)
{
	struct long_sign *s = arg;
	struct pk_long l = {
		.md = s->md,
		.hash = s->hash,
		.hash_len = s->len,
		.sig = s->sig,
		.size = s->size,
		.pss = s->type == MBEDTLS_PK_RSASSA_PSS,
		.salt_len = -1,
	};

	switch (s->key != NULL ? pk_long_sign(s->key, &l) : PK_LONG_CANNOT) {
	case PK_LONG_GOOD:
		*s->ret_len = l.sig_len;
		s->err = 0;
		break;
	case PK_LONG_BAD:
		s->err = MBEDTLS_ERR_PK_BAD_INPUT_DATA;
		break;
	default:
		s->err = s->real(s);
		break;
	}
}

int long_sign(struct tls_engine *e, struct long_sign *s)
{
	pk_away(tls_engine_queue(e), sign_run, s);
	return s->err;
}

// Both of a TLS 1.2 client.
static void ecdh_run(void *arg)
{
	struct long_ecdh *x = arg;

	x->err = x->real(x->ctx, x->ret_len, x->buf, x->size, long_random, NULL);
}

int long_ecdh(struct tls_engine *e, struct long_ecdh *x)
{
	pk_away(tls_engine_queue(e), ecdh_run, x);
	return x->err;
}

int mbedtls_ecdh_make_public(
	mbedtls_ecdh_context *ctx,
	size_t *ret_len,
	unsigned char *buf,
	size_t size,
	int (*f_rng)(void *, unsigned char *, size_t),
	void *p_rng
)
{
	struct tls_engine *e = hook_redirects(HOOK_MAKE_PUBLIC);
	struct long_ecdh x = {.ctx = ctx, .ret_len = ret_len, .buf = buf, .size = size};
	struct tls_hs *hs;

	ready();
	if (e == NULL)
		return real.make_public(ctx, ret_len, buf, size, f_rng, p_rng);
	hs = tls_engine_queue(e)->fibers.current->arg;
	hs->info.group = ctx->grp_id == MBEDTLS_ECP_DP_CURVE25519  ? TLS_GROUP_X25519
			 : ctx->grp_id == MBEDTLS_ECP_DP_SECP256R1 ? TLS_GROUP_P256
			 : ctx->grp_id == MBEDTLS_ECP_DP_SECP384R1 ? TLS_GROUP_P384
								   : TLS_GROUP_OTHER;
	x.real = real.make_public;
	return long_ecdh(e, &x);
}
