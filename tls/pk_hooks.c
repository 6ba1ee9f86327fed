// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Redirections: functions of libmbedcrypto that the unmodified shared libmbedtls
// calls and that this executable defines before it (ELF interposition); the library's own are found
// by dlsym. A call that is not made on a fiber of a handshake, or not about a key of ours, goes
// there. Worker threads; each sees the engine of its own turn.
//
// | symbols | instead | why |
// |---|---|---|
// | psa_generate_key, _export_public_key, _get_key_attributes, _raw_key_agreement, _destroy_key | a
// key out of the pool, an id outside PSA's ranges | key share of TLS 1.3 | |
// mbedtls_ecdh_make_params, _read_public, _calc_secret, _free | the same, kept in the context | key
// exchange of a TLS 1.2 server |
//
// Signatures: sign_hooks.c. What takes long: long_hooks.c. Hashes: hash_hooks.c.

#include "tls/pk_hooks.h"
#include "tls/long_hooks.h"

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
#undef ROW
	};

	return hooks_find(rows, sizeof(rows) / sizeof(rows[0]), &real);
}

// The first call may come before any engine is made (psa_crypto_init and the like).
static void ready(void)
{
	if (__builtin_expect(real.ecdh_free == NULL, 0))
		pk_hooks_init();
}

struct tls_engine *hook_redirects(enum pk_hook hook)
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
	if (type != PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1))
		return PK_GROUPS;
	return psa_get_key_bits(a) == 256   ? PK_GROUP_P256
	       : psa_get_key_bits(a) == 384 ? PK_GROUP_P384
					    : PK_GROUPS;
}

// The ephemeral key behind an id of ours, NULL: the library's. Destroyed also off a fiber, when a
// handshake is given up: then tls_current is set without one.
static struct pk_eph *eph_of(mbedtls_svc_key_id_t id)
{
	return (id & EPH_ID) != 0 && tls_current != NULL ? tls_engine_eph(tls_current, id & ~EPH_ID)
							 : NULL;
}

// The handshake that this fiber is of.
static struct tls_hs *hs_of(struct tls_engine *e)
{
	return tls_engine_queue(e)->fibers.current->arg;
}

static uint8_t group_told(enum pk_group group)
{
	return group == PK_GROUP_X25519 ? TLS_GROUP_X25519
	       : group == PK_GROUP_P256 ? TLS_GROUP_P256
					: TLS_GROUP_P384;
}

psa_status_t psa_generate_key(const psa_key_attributes_t *a, mbedtls_svc_key_id_t *id)
{
	struct tls_engine *e = hook_redirects(HOOK_GENERATE_KEY);
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
	hs_of(e)->info.group = group_told(group); // the last one: after a HelloRetryRequest another
	*id = EPH_ID | index;
	return PSA_SUCCESS;
}

psa_status_t
psa_export_public_key(mbedtls_svc_key_id_t id, uint8_t *data, size_t size, size_t *ret_len)
{
	const struct pk_eph *eph = eph_of(id);

	hook_redirects(HOOK_EXPORT_PUBLIC_KEY);
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

	hook_redirects(HOOK_GET_KEY_ATTRIBUTES);
	if (eph == NULL)
		return real.get_key_attributes(id, a);
	psa_set_key_type(
		a,
		PSA_KEY_TYPE_ECC_KEY_PAIR(
			eph->pub_len == PK_PUB_X25519 ? PSA_ECC_FAMILY_MONTGOMERY
						      : PSA_ECC_FAMILY_SECP_R1
		)
	);
	psa_set_key_bits(
		a,
		eph->pub_len == PK_PUB_X25519 ? 255
		: eph->pub_len == PK_PUB_P256 ? 256
					      : 384
	);
	return PSA_SUCCESS;
}

struct p384 {
	const struct pk_eph *eph;
	const uint8_t *peer;
	uint8_t *out;
	bool good;
};

static void p384_run(void *arg)
{
	struct p384 *p = arg;

	p->good = pk_p384_dh(p->eph, p->peer, p->out);
}

static size_t secret_len(const struct pk_eph *eph)
{
	return eph->pub_len == PK_PUB_P384 ? 48 : 32;
}

// Waits for its batch, or a helper.
static bool agree(const struct pk_eph *eph, const uint8_t *peer, size_t len, uint8_t *out)
{
	struct p384 p384 = {eph, peer, out, false};
	struct pk_op op = {.in = peer, .d = eph->d, .out = out};
	uint8_t u[32];

	if (eph->pub_len == PK_PUB_X25519) {
		if (len != 32)
			return false;
		memcpy(u, peer, sizeof(u));
		u[31] &= 0x7f; // RFC 7748 5
		op.in = u;
		return pk_submit(tls_engine_queue(tls_current), PK_X25519, &op);
	}
	if (len != eph->pub_len || peer[0] != 4)
		return false;
	if (len == PK_PUB_P384) {
		pk_away(tls_engine_queue(tls_current), p384_run, &p384);
		return p384.good;
	}
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

	hook_redirects(HOOK_RAW_KEY_AGREEMENT);
	if (eph == NULL)
		return real.raw_key_agreement(alg, id, peer, peer_len, out, size, ret_len);
	if (size < secret_len(eph))
		return PSA_ERROR_BUFFER_TOO_SMALL;
	if (!agree(eph, peer, peer_len, out))
		return PSA_ERROR_INVALID_ARGUMENT;
	*ret_len = secret_len(eph);
	return PSA_SUCCESS;
}

psa_status_t psa_destroy_key(mbedtls_svc_key_id_t id)
{
	hook_redirects(HOOK_DESTROY_KEY);
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
	uint8_t peer[PK_PUB_P384];
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
	struct tls_engine *e = hook_redirects(HOOK_MAKE_PARAMS);
	mbedtls_ecp_group_id id = ctx->grp_id;
	enum pk_group group = id == MBEDTLS_ECP_DP_CURVE25519  ? PK_GROUP_X25519
			      : id == MBEDTLS_ECP_DP_SECP256R1 ? PK_GROUP_P256
			      : id == MBEDTLS_ECP_DP_SECP384R1 ? PK_GROUP_P384
							       : PK_GROUPS;
	static const uint8_t number[] = {29, 23, 24};
	const struct pk_eph *eph;
	uint32_t index;

	index = e != NULL && group != PK_GROUPS ? tls_engine_eph_new(e) : 0;
	if (index != 0 && !pk_eph_take(tls_engine_queue(e), group, tls_engine_eph(e, index))) {
		tls_engine_eph_free(e, index);
		index = 0;
	}
	if (index == 0)
		return real.make_params(ctx, ret_len, buf, size, f_rng, p_rng);
	hs_of(e)->info.group = group_told(group);
	eph = tls_engine_eph(e, index);
	real.ecdh_free(ctx); // what the set-up had made of it
	ctx->grp_id = id;
	ctx->var = OURS;
	*ecdh_ours(ctx) = (struct ecdh_ours){.eph = index};
	if (size < 4U + eph->pub_len)
		return MBEDTLS_ERR_ECP_BUFFER_TOO_SMALL;
	buf[0] = 3; // named_curve (RFC 8422 5.4)
	buf[1] = 0;
	buf[2] = number[group];
	buf[3] = eph->pub_len;
	memcpy(buf + 4, eph->pub, eph->pub_len);
	*ret_len = 4U + eph->pub_len;
	return 0;
}

int mbedtls_ecdh_read_public(mbedtls_ecdh_context *ctx, const unsigned char *buf, size_t len)
{
	struct ecdh_ours *ours = ecdh_ours(ctx);

	hook_redirects(HOOK_READ_PUBLIC);
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
	struct tls_engine *e = hook_redirects(HOOK_CALC_SECRET);
	struct long_ecdh x = {ctx, ret_len, buf, size, real.calc_secret, 0};
	const struct pk_eph *eph;

	if (ctx->var != OURS)
		return e != NULL ? long_ecdh(e, &x)
				 : real.calc_secret(ctx, ret_len, buf, size, f_rng, p_rng);
	eph = tls_engine_eph(tls_current, ours->eph);
	if (size < secret_len(eph))
		return MBEDTLS_ERR_ECP_BUFFER_TOO_SMALL;
	if (!agree(eph, ours->peer, ours->peer_len, buf))
		return MBEDTLS_ERR_ECP_INVALID_KEY;
	*ret_len = secret_len(eph);
	return 0;
}

void mbedtls_ecdh_free(mbedtls_ecdh_context *ctx)
{
	hook_redirects(HOOK_ECDH_FREE);
	if (ctx == NULL || ctx->var != OURS) {
		real.ecdh_free(ctx);
		return;
	}
	tls_engine_eph_free(tls_current, ecdh_ours(ctx)->eph);
	explicit_bzero(ctx, sizeof(*ctx));
}
