// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The one file of redirections: functions of libmbedcrypto that the unmodified shared libmbedtls
// calls and that this executable defines before it (ELF interposition); the library's own are found
// by dlsym. A call that is not made on a fiber of a handshake, or not about a key of ours, goes
// there. Worker threads; each sees the engine of its own turn.
//
// | symbols | instead | why |
// |---|---|---|
// | psa_generate_key, _export_public_key, _get_key_attributes, _raw_key_agreement, _destroy_key | a
// key out of the pool, an id outside PSA's ranges | key share of TLS 1.3 | |
// mbedtls_ecdh_make_params, _read_public, _calc_secret, _free | the same, kept in the context | key
// exchange of a TLS 1.2 server | | mbedtls_pk_sign, _sign_ext | the queue | ECDSA P-256, RSA-2048 |

#include "tls/pk_hooks.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>

#include <mbedtls/ecdh.h>
#include <mbedtls/pk.h>
#include <psa/crypto.h>

#define EPH_ID 0x80000000U // beyond PSA's key identifiers (0x00000001 .. 0x7fffffff)
#define OURS ((mbedtls_ecdh_variant)0x4d52)
#define RANDOM int (*f_rng)(void *, unsigned char *, size_t), void *p_rng

_Thread_local struct tls_engine *tls_current;

// The library's own functions.
static struct {
	psa_status_t (*generate_key)(const psa_key_attributes_t *, mbedtls_svc_key_id_t *);
	psa_status_t (*export_public_key)(mbedtls_svc_key_id_t, uint8_t *, size_t, size_t *);
	psa_status_t (*get_key_attributes)(mbedtls_svc_key_id_t, psa_key_attributes_t *);
	psa_status_t (*raw_key_agreement)(psa_algorithm_t, mbedtls_svc_key_id_t, const uint8_t *, size_t, uint8_t *, size_t, size_t *);
	psa_status_t (*destroy_key)(mbedtls_svc_key_id_t);
	int (*make_params)(mbedtls_ecdh_context *, size_t *, unsigned char *, size_t, RANDOM);
	int (*read_public)(mbedtls_ecdh_context *, const unsigned char *, size_t);
	int (*calc_secret)(mbedtls_ecdh_context *, size_t *, unsigned char *, size_t, RANDOM);
	void (*ecdh_free)(mbedtls_ecdh_context *);
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

bool hooks_find(const struct hook_row *rows, unsigned count, void *ret)
{
	for (unsigned i = 0; i < count; i++) {
		void *own = dlsym(RTLD_NEXT, rows[i].name);

		if (own == NULL)
			return false;
		memcpy((char *)ret + rows[i].off, &own, sizeof(own));
	}
	return true;
}

bool pk_hooks_init(void)
{
	static const struct hook_row rows[] = {
#define ROW(symbol, member) {symbol, __builtin_offsetof(typeof(real), member)}
		ROW("psa_generate_key", generate_key),
		ROW("psa_export_public_key", export_public_key),
		ROW("psa_get_key_attributes", get_key_attributes),
		ROW("psa_raw_key_agreement", raw_key_agreement),
		ROW("psa_destroy_key", destroy_key),
		ROW("mbedtls_ecdh_make_params", make_params),
		ROW("mbedtls_ecdh_read_public", read_public),
		ROW("mbedtls_ecdh_calc_secret", calc_secret),
		ROW("mbedtls_ecdh_free", ecdh_free),
		ROW("mbedtls_pk_sign", sign),
		ROW("mbedtls_pk_sign_ext", sign_ext),
#undef ROW
	};

	return hooks_find(rows, sizeof(rows) / sizeof(rows[0]), &real);
}

// The first call may come before any engine is made (psa_crypto_init and the like).
static void ready(void)
{
	if (__builtin_expect(real.sign_ext == NULL, 0))
		pk_hooks_init();
}

// The engine, when the call is made on a fiber of one of its handshakes.
static struct tls_engine *redirects(enum pk_hook hook)
{
	struct tls_engine *e = tls_current;

	ready();
	if (e == NULL || tls_engine_queue(e)->engine == NULL ||
	    tls_engine_queue(e)->fibers.current == NULL)
		return NULL;
	tls_engine_hooked(e)[hook]++;
	return e;
}

// PK_GROUPS: none of ours.
static enum pk_group group_of(const psa_key_attributes_t *a)
{
	psa_key_type_t type = psa_get_key_type(a);

	if (type == PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_MONTGOMERY) &&
	    psa_get_key_bits(a) == 255)
		return PK_GROUP_X25519;
	if (type == PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1) && psa_get_key_bits(a) == 256)
		return PK_GROUP_P256;
	return PK_GROUPS;
}

// The ephemeral key behind an id of ours, NULL: the library's. Destroyed also off a fiber, when a
// handshake is given up: then tls_current is set without one.
static struct pk_eph *eph_of(mbedtls_svc_key_id_t id)
{
	return (id & EPH_ID) != 0 && tls_current != NULL ? tls_engine_eph(tls_current, id & ~EPH_ID)
							 : NULL;
}

psa_status_t psa_generate_key(const psa_key_attributes_t *a, mbedtls_svc_key_id_t *id)
{
	struct tls_engine *e = redirects(HOOK_GENERATE_KEY);
	enum pk_group group = group_of(a);
	uint32_t index;

	if (e == NULL || group == PK_GROUPS || psa_get_key_usage_flags(a) != PSA_KEY_USAGE_DERIVE)
		return real.generate_key(a, id);
	index = tls_engine_eph_new(e);
	if (index == 0)
		return PSA_ERROR_INSUFFICIENT_MEMORY;
	if (!pk_eph_take(tls_engine_queue(e), group, tls_engine_eph(e, index))) {
		tls_engine_eph_free(e, index);
		return real.generate_key(a, id);
	}
	*id = EPH_ID | index;
	return PSA_SUCCESS;
}

psa_status_t
psa_export_public_key(mbedtls_svc_key_id_t id, uint8_t *data, size_t size, size_t *ret_len)
{
	const struct pk_eph *eph = eph_of(id);

	redirects(HOOK_EXPORT_PUBLIC_KEY);
	if (eph == NULL)
		return real.export_public_key(id, data, size, ret_len);
	if (size < eph->pub_len)
		return PSA_ERROR_BUFFER_TOO_SMALL;
	memcpy(data, eph->pub, eph->pub_len);
	*ret_len = eph->pub_len;
	return PSA_SUCCESS;
}

psa_status_t psa_get_key_attributes(mbedtls_svc_key_id_t id, psa_key_attributes_t *a)
{
	const struct pk_eph *eph = eph_of(id);

	redirects(HOOK_GET_KEY_ATTRIBUTES);
	if (eph == NULL)
		return real.get_key_attributes(id, a);
	psa_set_key_type(
		a,
		PSA_KEY_TYPE_ECC_KEY_PAIR(
			eph->pub_len == 32 ? PSA_ECC_FAMILY_MONTGOMERY : PSA_ECC_FAMILY_SECP_R1
		)
	);
	psa_set_key_bits(a, eph->pub_len == 32 ? 255 : 256);
	return PSA_SUCCESS;
}

// Waits for its batch.
static bool agree(const struct pk_eph *eph, const uint8_t *peer, size_t len, uint8_t out[32])
{
	struct pk_op op = {.in = peer, .d = eph->d, .out = out};
	uint8_t u[32];

	if (eph->pub_len == 32) {
		if (len != 32)
			return false;
		memcpy(u, peer, sizeof(u));
		u[31] &= 0x7f; // RFC 7748 5
		op.in = u;
		return pk_submit(tls_engine_queue(tls_current), PK_X25519, &op);
	}
	if (len != 65 || peer[0] != 4)
		return false;
	op.in = peer + 1;
	return pk_submit(tls_engine_queue(tls_current), PK_P256_DH, &op);
}

psa_status_t psa_raw_key_agreement(
	psa_algorithm_t alg,
	mbedtls_svc_key_id_t id,
	const uint8_t *peer,
	size_t peer_len,
	uint8_t *out,
	size_t size,
	size_t *ret_len
)
{
	const struct pk_eph *eph = eph_of(id);

	redirects(HOOK_RAW_KEY_AGREEMENT);
	if (eph == NULL)
		return real.raw_key_agreement(alg, id, peer, peer_len, out, size, ret_len);
	if (size < 32)
		return PSA_ERROR_BUFFER_TOO_SMALL;
	if (!agree(eph, peer, peer_len, out))
		return PSA_ERROR_INVALID_ARGUMENT;
	*ret_len = 32;
	return PSA_SUCCESS;
}

psa_status_t psa_destroy_key(mbedtls_svc_key_id_t id)
{
	redirects(HOOK_DESTROY_KEY);
	if (hash_key_destroy(id))
		return PSA_SUCCESS;
	if (eph_of(id) == NULL)
		return real.destroy_key(id);
	tls_engine_eph_free(tls_current, id & ~EPH_ID);
	return PSA_SUCCESS;
}

// TLS 1.2: what stands in the context's union while it is ours.
struct ecdh_ours {
	uint32_t eph;
	uint8_t peer_len;
	uint8_t peer[65];
};
static_assert(
	sizeof(struct ecdh_ours) <= sizeof(((mbedtls_ecdh_context *)0)->ctx),
	"fits into the library's context"
);

static struct ecdh_ours *ecdh_ours(mbedtls_ecdh_context *ctx)
{
	return (struct ecdh_ours *)(void *)&ctx->ctx;
}

int mbedtls_ecdh_make_params(
	mbedtls_ecdh_context *ctx,
	size_t *ret_len,
	unsigned char *buf,
	size_t size,
	RANDOM
)
{
	struct tls_engine *e = redirects(HOOK_MAKE_PARAMS);
	mbedtls_ecp_group_id id = ctx->grp_id;
	bool x25519 = id == MBEDTLS_ECP_DP_CURVE25519;
	const struct pk_eph *eph;
	uint32_t index;

	index = e != NULL && (x25519 || id == MBEDTLS_ECP_DP_SECP256R1) ? tls_engine_eph_new(e) : 0;
	if (index != 0 && !pk_eph_take(
				  tls_engine_queue(e),
				  x25519 ? PK_GROUP_X25519 : PK_GROUP_P256,
				  tls_engine_eph(e, index)
			  )) {
		tls_engine_eph_free(e, index);
		index = 0;
	}
	if (index == 0)
		return real.make_params(ctx, ret_len, buf, size, f_rng, p_rng);
	eph = tls_engine_eph(e, index);
	real.ecdh_free(ctx); // what the set-up had made of it
	ctx->grp_id = id;
	ctx->var = OURS;
	*ecdh_ours(ctx) = (struct ecdh_ours){.eph = index};
	if (size < 4U + eph->pub_len)
		return MBEDTLS_ERR_ECP_BUFFER_TOO_SMALL;
	buf[0] = 3; // named_curve (RFC 8422 5.4)
	buf[1] = 0;
	buf[2] = x25519 ? 29 : 23;
	buf[3] = eph->pub_len;
	memcpy(buf + 4, eph->pub, eph->pub_len);
	*ret_len = 4U + eph->pub_len;
	return 0;
}

int mbedtls_ecdh_read_public(mbedtls_ecdh_context *ctx, const unsigned char *buf, size_t len)
{
	struct ecdh_ours *ours = ecdh_ours(ctx);

	redirects(HOOK_READ_PUBLIC);
	if (ctx->var != OURS)
		return real.read_public(ctx, buf, len);
	if (len < 2 || len - 1 > sizeof(ours->peer) || buf[0] != len - 1)
		return MBEDTLS_ERR_ECP_BAD_INPUT_DATA;
	ours->peer_len = buf[0];
	memcpy(ours->peer, buf + 1, ours->peer_len);
	return 0;
}

int mbedtls_ecdh_calc_secret(
	mbedtls_ecdh_context *ctx,
	size_t *ret_len,
	unsigned char *buf,
	size_t size,
	RANDOM
)
{
	const struct ecdh_ours *ours = ecdh_ours(ctx);

	redirects(HOOK_CALC_SECRET);
	if (ctx->var != OURS)
		return real.calc_secret(ctx, ret_len, buf, size, f_rng, p_rng);
	if (size < 32)
		return MBEDTLS_ERR_ECP_BUFFER_TOO_SMALL;
	if (!agree(tls_engine_eph(tls_current, ours->eph), ours->peer, ours->peer_len, buf))
		return MBEDTLS_ERR_ECP_INVALID_KEY;
	*ret_len = 32;
	return 0;
}

void mbedtls_ecdh_free(mbedtls_ecdh_context *ctx)
{
	redirects(HOOK_ECDH_FREE);
	if (ctx == NULL || ctx->var != OURS) {
		real.ecdh_free(ctx);
		return;
	}
	tls_engine_eph_free(tls_current, ecdh_ours(ctx)->eph);
	explicit_bzero(ctx, sizeof(*ctx));
}

// The engine's form of a private key of the handshake under way; NULL: left to the library.
static const struct pk_key *key_of(struct tls_engine *e, const mbedtls_pk_context *pk)
{
	const struct tls_hs *hs = e != NULL ? tls_engine_queue(e)->fibers.current->arg : NULL;

	for (unsigned i = 0; hs != NULL && i < hs->creds->chain_count; i++)
		if (&hs->creds->chain[i].key == pk && hs->creds->chain[i].pk.evp != NULL)
			return &hs->creds->chain[i].pk;
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

struct sig {
	const unsigned char *hash;
	size_t len;
	unsigned char *out;
	size_t size;
	size_t *ret_len;
};

// False: not by the queue, nothing is done. e: NULL, not on a fiber.
static bool
sign(struct tls_engine *e,
     const mbedtls_pk_context *pk,
     bool pss,
     mbedtls_md_type_t md,
     const struct sig *s)
{
	const struct pk_key *key = key_of(e, pk);
	uint8_t block[256];

	if (key != NULL && key->kind == PK_P256_SIGN && s->size >= 72)
		return ecdsa(key, s->hash, s->len, s->out, s->ret_len);
	if (key == NULL || key->kind != PK_RSA2048 || md != MBEDTLS_MD_SHA256 || s->size < 256)
		return false;
	if (pss)
		pk_pad_pss(block, s->hash);
	else
		pk_pad_pkcs1(block, s->hash);
	return rsa(key, block, s->out, s->ret_len);
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
	if (sign(redirects(HOOK_SIGN), pk, false, md, &(struct sig){hash, len, sig, size, ret_len}))
		return 0;
	return real.sign(pk, md, hash, len, sig, size, ret_len, f_rng, p_rng);
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
	bool pss = type == MBEDTLS_PK_RSASSA_PSS;

	if (sign(redirects(HOOK_SIGN_EXT), pk, pss, md, &(struct sig){hash, len, sig, size, ret_len}
	    ))
		return 0;
	return real.sign_ext(type, pk, md, hash, len, sig, size, ret_len, f_rng, p_rng);
}
