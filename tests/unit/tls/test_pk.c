// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Public-key engines against libcrypto with random and edge inputs, lanes that fail beside lanes
// that must not, and the queue under fibers.

#include "tls/pk.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 60

static const struct pk_engine *const engines[] = {&pk_engine_mbx, &pk_engine_libcrypto};

static bool
dh_by_libcrypto(enum pk_kind kind, const uint8_t *in, const uint64_t *d, uint8_t out[32])
{
	struct pk_op op = {.in = in, .d = d, .out = out}, *one = &op;

	pk_engine_libcrypto.run(kind, &one, 1);
	return !op.failed;
}

static void the_engines_pass(void **state)
{
	for (unsigned e = 0; e < 2; e++)
		if (engines[e]->usable())
			assert_true(pk_engine_passes(engines[e]));
	if (!pk_engine_mbx.usable())
		printf("crypto_mb is not applicable on this processor\n");
}

// Random peers; every fifth lane is given something that must fail, the others must not notice.
static void agreements_equal_libcrypto(void **state)
{
	for (unsigned r = 0; r < ROUNDS; r++) {
		enum pk_group group = r % 2 == 0 ? PK_GROUP_X25519 : PK_GROUP_P256;
		enum pk_kind kind = r % 2 == 0 ? PK_X25519 : PK_P256_DH;
		struct pk_eph own[PK_LANES], peer[PK_LANES];
		struct pk_op op[PK_LANES], *ops[PK_LANES];
		uint8_t out[PK_LANES][32], want[32];
		unsigned n = 1 + r % PK_LANES;

		assert_true(pk_engine_libcrypto.keys(group, own));
		assert_true(pk_engine_libcrypto.keys(group, peer));
		for (unsigned i = 0; i < n; i++) {
			uint8_t *in = peer[i].pub + (group == PK_GROUP_P256 ? 1 : 0);

			if ((r + i) % 5 == 4)
				memset(in, 0, group == PK_GROUP_P256 ? 64 : 32);
			op[i] = (struct pk_op){.in = in, .d = own[i].d, .out = out[i]};
			ops[i] = &op[i];
		}
		for (unsigned e = 0; e < 2; e++) {
			if (!engines[e]->usable())
				continue;
			for (unsigned i = 0; i < n; i++)
				op[i].failed = false;
			engines[e]->run(kind, ops, n);
			for (unsigned i = 0; i < n; i++) {
				bool good = dh_by_libcrypto(kind, op[i].in, op[i].d, want);

				assert_int_equal(op[i].failed, !good);
				assert_int_equal(op[i].failed, (r + i) % 5 == 4);
				if (good)
					assert_memory_equal(out[i], want, 32);
			}
		}
	}
}

static void points_off_the_curve_are_refused(void **state)
{
	struct pk_eph own[PK_LANES], peer[PK_LANES];

	assert_true(pk_engine_libcrypto.keys(PK_GROUP_P256, own));
	assert_true(pk_engine_libcrypto.keys(PK_GROUP_P256, peer));
	for (unsigned e = 0; e < 2; e++) {
		for (unsigned i = 0; engines[e]->usable() && i < PK_LANES; i++) {
			uint8_t in[64], out[32];
			struct pk_op op = {.in = in, .d = own[i].d, .out = out}, *one = &op;

			memcpy(in, peer[i].pub + 1, 64);
			in[63 - i] ^= 1;
			engines[e]->run(PK_P256_DH, &one, 1);
			assert_true(op.failed);
			memset(in, 0xff, 64); // coordinates beyond the field
			op.failed = false;
			engines[e]->run(PK_P256_DH, &one, 1);
			assert_true(op.failed);
		}
	}
}

// Keys near the edge of the field, where crypto_mb 1.0.14 is wrong: the queue must be right.
static void edge_keys_of_x25519(void **state)
{
	struct pk_queue q;
	struct pk_eph own[PK_LANES];

	assert_true(pk_queue_init(&q, PK_ENGINE_MBX));
	assert_true(pk_engine_libcrypto.keys(PK_GROUP_X25519, own));
	for (unsigned i = 0; i < 1200; i++) {
		uint8_t in[32], out[32], want[32];
		struct pk_op op = {.in = in, .d = own[i % PK_LANES].d, .out = out};
		bool good;

		memset(in, i < 600 ? 0xff : 0, 32); // from 2^255 - 1 down; from 0 up
		in[31] &= 0x7f;
		in[0] = (uint8_t)(in[0] - (i < 600 ? i : 0U - i));
		in[1] = (uint8_t)(in[1] - (i < 600 ? i >> 8 : 0));
		good = dh_by_libcrypto(PK_X25519, in, op.d, want);
		assert_int_equal(pk_submit(&q, PK_X25519, &op), good);
		if (good)
			assert_memory_equal(out, want, 32);
	}
	pk_queue_release(&q);
}

static bool signature_good(const struct pk_key *key, const uint8_t digest[32], const uint8_t rs[64])
{
	uint8_t der[80];
	unsigned n = 2;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->evp, NULL);
	bool good;

	for (unsigned half = 0; half < 2; half++) {
		const uint8_t *v = rs + 32 * half;
		unsigned skip = 0, pad;

		while (skip < 31 && v[skip] == 0)
			skip++;
		pad = v[skip] >> 7;
		der[n++] = 2;
		der[n++] = (uint8_t)(32 - skip + pad);
		if (pad)
			der[n++] = 0;
		memcpy(der + n, v + skip, 32 - skip);
		n += 32 - skip;
	}
	der[0] = 0x30;
	der[1] = (uint8_t)(n - 2);
	good = EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_verify(ctx, der, n, digest, 32) == 1;
	EVP_PKEY_CTX_free(ctx);
	return good;
}

static void key_make(struct pk_key *key, EVP_PKEY *pkey)
{
	uint8_t *der = NULL;
	int len = i2d_PrivateKey(pkey, &der);

	assert_true(pk_key_from_der(key, der, (uint32_t)len));
	OPENSSL_clear_free(der, (size_t)len);
	EVP_PKEY_free(pkey);
}

static void signatures_are_accepted(void **state)
{
	struct pk_queue q;
	struct pk_key key;

	key_make(&key, EVP_EC_gen("P-256"));
	assert_int_equal(key.kind, PK_P256_SIGN);
	for (enum pk_engine_id id = PK_ENGINE_MBX; id <= PK_ENGINE_LIBCRYPTO; id++) {
		assert_true(pk_queue_init(&q, id));
		for (unsigned i = 0; i < 200; i++) {
			uint8_t digest[32], rs[64];
			struct pk_op op = {.in = digest, .key = &key, .out = rs};

			pk_random(digest, 32);
			if (i == 0)
				memset(digest, 0, 32
				); // crypto_mb refuses 0 and what is not below n
			if (i == 1)
				memset(digest, 0xff, 32);
			assert_true(pk_submit(&q, PK_P256_SIGN, &op));
			assert_true(signature_good(&key, digest, rs));
		}
		pk_queue_release(&q);
	}
	pk_key_release(&key);
}

static void rsa_equals_libcrypto(void **state)
{
	struct pk_key key;
	struct pk_op op[PK_LANES], *ops[PK_LANES];
	uint8_t in[PK_LANES][256], out[2][PK_LANES][256];

	key_make(&key, EVP_RSA_gen(2048));
	assert_int_equal(key.kind, PK_RSA2048);
	for (unsigned e = 0; e < 2; e++) {
		if (!engines[e]->usable()) {
			pk_key_release(&key);
			return;
		}
		for (unsigned i = 0; i < PK_LANES; i++) {
			if (e == 0) {
				pk_random(in[i], 256);
				in[i][0] = 0;
			}
			op[i] = (struct pk_op){.in = in[i], .key = &key, .out = out[e][i]};
			ops[i] = &op[i];
		}
		engines[e]->run(PK_RSA2048, ops, PK_LANES);
		for (unsigned i = 0; i < PK_LANES; i++)
			assert_false(op[i].failed);
	}
	for (unsigned i = 0; i < PK_LANES; i++)
		assert_memory_equal(out[0][i], out[1][i], 256);
	pk_key_release(&key);
}

static void other_keys_have_no_batches(void **state)
{
	EVP_PKEY *others[] = {
		EVP_EC_gen("P-384"), EVP_RSA_gen(3072), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
	};

	for (unsigned i = 0; i < 3; i++) {
		uint8_t *der = NULL;
		int len = i2d_PrivateKey(others[i], &der);
		struct pk_key key;

		assert_int_equal(pk_key_from_der(&key, der, (uint32_t)len), i < 2);
		assert_int_equal(key.evp != NULL, i < 2);
		assert_int_equal(i < 2 ? key.kind : PK_KINDS, PK_KINDS);
		pk_key_release(&key);
		OPENSSL_clear_free(der, (size_t)len);
		EVP_PKEY_free(others[i]);
	}
}

// A fiber that makes a key agreement with itself a few times.
struct walker {
	struct pk_queue *q;
	unsigned left, done;
	bool good;
};

static void walk(void *arg)
{
	struct walker *w = arg;

	for (; w->left > 0; w->left--) {
		struct pk_eph a, b;
		uint8_t ab[32], ba[32];
		enum pk_group group = w->left % 3 == 0 ? PK_GROUP_P256 : PK_GROUP_X25519;
		enum pk_kind kind = group == PK_GROUP_P256 ? PK_P256_DH : PK_X25519;
		unsigned skip = group == PK_GROUP_P256;
		struct pk_op x = {.out = ab}, y = {.out = ba};

		w->good = w->good && pk_eph_take(w->q, group, &a) && pk_eph_take(w->q, group, &b);
		x.in = b.pub + skip;
		x.d = a.d;
		y.in = a.pub + skip;
		y.d = b.d;
		w->good = w->good && pk_submit(w->q, kind, &x) && pk_submit(w->q, kind, &y) &&
			  memcmp(ab, ba, 32) == 0;
		w->done++;
	}
}

static void fibers_wait_for_their_batch(void **state)
{
	for (enum pk_engine_id id = PK_ENGINE_MBX; id <= PK_ENGINE_LIBCRYPTO; id++) {
		struct walker w[FIBER_COUNT + 4];
		struct pk_queue q;
		unsigned started = 0;

		assert_true(pk_queue_init(&q, id));
		for (unsigned i = 0; i < FIBER_COUNT + 4; i++) {
			w[i] = (struct walker){.q = &q, .left = 1 + i % 6, .good = true};
			while (fiber_start(&q.fibers, walk, &w[i]) == NULL)
				pk_flush(&q); // all stacks wait
			pk_run_full(&q);
			started++;
		}
		pk_flush(&q);
		for (unsigned i = 0; i < started; i++) {
			assert_true(w[i].good);
			assert_int_equal(w[i].done, 1 + i % 6);
		}
		assert_true(q.counts.fill[PK_LANES] > 0);
		assert_true(fibers_high_water(&q.fibers) < FIBER_STACK * 3 / 4);
		pk_queue_release(&q);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_engines_pass),
		cmocka_unit_test(agreements_equal_libcrypto),
		cmocka_unit_test(points_off_the_curve_are_refused),
		cmocka_unit_test(edge_keys_of_x25519),
		cmocka_unit_test(signatures_are_accepted),
		cmocka_unit_test(rsa_equals_libcrypto),
		cmocka_unit_test(other_keys_have_no_batches),
		cmocka_unit_test(fibers_wait_for_their_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
