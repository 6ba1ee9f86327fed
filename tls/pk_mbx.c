// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The engine on Intel's crypto_mb: eight lanes at once with AVX512-IFMA. Lanes that are not used
// repeat the first and their results are dropped. Its known faults are guarded in pk_queue.c.
// Worker thread.

#include "tls/pk.h"

#include <crypto_mb/cpu_features.h>
#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/rsa.h>
#include <crypto_mb/x25519.h>

#include <string.h>

struct lanes {
	const int8u *in[PK_LANES];
	const int64u *d[PK_LANES];
	int8u *out[PK_LANES];
	int8u rubbish[256];
};

static bool mbx_usable(void)
{
	return mbx_is_crypto_mb_applicable(0) != 0;
}

static void lanes_fill(struct lanes *l, struct pk_op *const ops[], unsigned n)
{
	for (unsigned i = 0; i < PK_LANES; i++) {
		const struct pk_op *op = ops[i < n ? i : 0];

		l->in[i] = op->in;
		l->d[i] = (const int64u *)(op->key != NULL ? op->key->d : op->d);
		l->out[i] = i < n ? op->out : l->rubbish;
	}
}

static mbx_status p256_dh(struct lanes *l)
{
	int64u x[PK_LANES][4], y[PK_LANES][4];
	const int64u *px[PK_LANES], *py[PK_LANES];

	for (unsigned i = 0; i < PK_LANES; i++) {
		limbs_from_be((uint64_t *)x[i], l->in[i], 4);
		limbs_from_be((uint64_t *)y[i], l->in[i] + 32, 4);
		px[i] = x[i];
		py[i] = y[i];
	}
	return mbx_nistp256_ecdh_mb8(l->out, l->d, px, py, NULL, NULL);
}

static mbx_status p256_sign(struct lanes *l)
{
	uint64_t k[PK_LANES][4];
	const int64u *pk[PK_LANES];
	int8u *r[PK_LANES], *s[PK_LANES];
	mbx_status status;

	for (unsigned i = 0; i < PK_LANES; i++) {
		pk_scalar_p256(k[i]);
		pk[i] = (const int64u *)k[i];
		r[i] = l->out[i];
		s[i] = l->out[i] + 32;
	}
	status = mbx_nistp256_ecdsa_sign_mb8(r, s, l->in, pk, l->d, NULL);
	explicit_bzero(k, sizeof(k));
	return status;
}

// With a check by the public exponent: a fault in the computation would tell the key.
static mbx_status rsa(struct lanes *l, struct pk_op *const ops[], unsigned n)
{
	const int64u *p[PK_LANES], *q[PK_LANES], *dp[PK_LANES], *dq[PK_LANES], *iq[PK_LANES],
		*m[PK_LANES];
	int8u back[PK_LANES][256], *pback[PK_LANES];
	const int8u *sig[PK_LANES];
	mbx_status status;

	for (unsigned i = 0; i < PK_LANES; i++) {
		const struct pk_key *key = ops[i < n ? i : 0]->key;

		p[i] = (const int64u *)key->p;
		q[i] = (const int64u *)key->q;
		dp[i] = (const int64u *)key->dp;
		dq[i] = (const int64u *)key->dq;
		iq[i] = (const int64u *)key->iq;
		m[i] = (const int64u *)key->n;
		sig[i] = l->out[i];
		pback[i] = back[i];
	}
	status = mbx_rsa_private_crt_mb8(l->in, l->out, p, q, dp, dq, iq, 2048, NULL, NULL);
	status |= mbx_rsa_public_mb8(sig, pback, m, 2048, NULL, NULL);
	for (unsigned i = 0; i < n; i++)
		if (memcmp(back[i], l->in[i], 256) != 0)
			ops[i]->failed = true;
	return status;
}

static void mbx_run(enum pk_kind kind, struct pk_op *const ops[], unsigned n)
{
	struct lanes l;
	mbx_status status;

	lanes_fill(&l, ops, n);
	switch (kind) {
	case PK_X25519:
		status = mbx_x25519_mb8(l.out, (const int8u *const *)l.d, l.in);
		break;
	case PK_P256_DH:
		status = p256_dh(&l);
		break;
	case PK_P256_SIGN:
		status = p256_sign(&l);
		break;
	default:
		status = rsa(&l, ops, n);
		break;
	}
	for (unsigned i = 0; i < n; i++)
		if (MBX_GET_STS(status, i) != MBX_STATUS_OK)
			ops[i]->failed = true;
}

static bool x25519_keys(struct pk_eph out[PK_LANES])
{
	int8u *pub[PK_LANES];
	const int8u *d[PK_LANES];

	for (unsigned i = 0; i < PK_LANES; i++) {
		uint8_t *own = (uint8_t *)out[i].d;

		pk_random(own, 32);
		own[0] &= 248; // RFC 7748 5
		own[31] = (own[31] & 127) | 64;
		out[i].pub_len = 32;
		pub[i] = out[i].pub;
		d[i] = own;
	}
	return mbx_x25519_public_key_mb8(pub, d) == 0;
}

static bool p256_keys(struct pk_eph out[PK_LANES])
{
	int64u x[PK_LANES][4], y[PK_LANES][4];
	int64u *px[PK_LANES], *py[PK_LANES];
	const int64u *d[PK_LANES];

	for (unsigned i = 0; i < PK_LANES; i++) {
		pk_scalar_p256(out[i].d);
		px[i] = x[i];
		py[i] = y[i];
		d[i] = (const int64u *)out[i].d;
	}
	if (mbx_nistp256_ecpublic_key_mb8(px, py, NULL, d, NULL) != 0)
		return false;
	for (unsigned i = 0; i < PK_LANES; i++) {
		out[i].pub_len = 65;
		out[i].pub[0] = 4;
		limbs_to_be(out[i].pub + 1, (const uint64_t *)x[i], 4);
		limbs_to_be(out[i].pub + 33, (const uint64_t *)y[i], 4);
	}
	return true;
}

static bool mbx_keys(enum pk_group group, struct pk_eph out[PK_LANES])
{
	return group == PK_GROUP_X25519 ? x25519_keys(out) : p256_keys(out);
}

const struct pk_engine pk_engine_mbx = {
	.name = "crypto_mb",
	.usable = mbx_usable,
	.run = mbx_run,
	.keys = mbx_keys,
	// us a batch against one of libcrypto's, Zen 4: 51/34, 117/46, 48/20, 981/233
	.worth = {[PK_X25519] = 2, [PK_P256_DH] = 3, [PK_P256_SIGN] = 3, [PK_RSA2048] = 4},
};
