// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What takes long: signatures and verifications by libcrypto against mbedTLS's own, and the rings
// to a helper thread that sleeps in between.

#include "tests/unit/tls/peer.h"
#include "tls/pk_hooks.h"
#include "tls/pk_long.h"

#include <mbedtls/rsa.h>
#include <openssl/evp.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int rng(void *arg, unsigned char *out, size_t len)
{
	pk_random(out, (uint32_t)len);
	return 0;
}

struct both {
	struct pk_key ours;
	mbedtls_pk_context theirs;
};

static void both_make(struct both *b, const struct peer_cert *cert)
{
	uint8_t *der = NULL;
	int len = i2d_PrivateKey(cert->key, &der);

	assert_true(pk_key_from_der(&b->ours, der, (uint32_t)len));
	mbedtls_pk_init(&b->theirs);
	assert_int_equal(mbedtls_pk_parse_key(&b->theirs, der, (size_t)len, NULL, 0, rng, NULL), 0);
	OPENSSL_clear_free(der, (size_t)len);
}

static void both_free(struct both *b)
{
	pk_key_release(&b->ours);
	mbedtls_pk_free(&b->theirs);
}

// mbedTLS's own: off a fiber nothing is redirected.
static int theirs_verify(struct both *b, const struct pk_long *l)
{
	const mbedtls_pk_rsassa_pss_options pss = {
		.mgf1_hash_id = l->md, .expected_salt_len = MBEDTLS_RSA_SALT_LEN_ANY
	};

	return mbedtls_pk_verify_ext(
		l->pss ? MBEDTLS_PK_RSASSA_PSS : mbedtls_pk_get_type(&b->theirs),
		l->pss ? &pss : NULL,
		&b->theirs,
		l->md,
		l->hash,
		l->hash_len,
		l->sig,
		l->sig_len
	);
}

static void judged_alike(struct both *b, struct pk_long *l, bool good)
{
	l->salt_len = -2;
	assert_int_equal(pk_long_verify(&b->theirs, l), good ? PK_LONG_GOOD : PK_LONG_BAD);
	assert_int_equal(theirs_verify(b, l) == 0, good);
}

static void signatures_as_mbedtls(void **state)
{
	static const mbedtls_md_type_t mds[] = {
		MBEDTLS_MD_SHA256, MBEDTLS_MD_SHA384, MBEDTLS_MD_SHA512
	};
	uint8_t hash[64], sig[MBEDTLS_PK_SIGNATURE_MAX_SIZE];

	for (unsigned k = 0; k < PEER_KEYS; k++) {
		struct peer_cert cert;
		struct both b;

		peer_cert_make(&cert, (enum peer_key)k, "x.example");
		both_make(&b, &cert);
		for (unsigned i = 0; i < 6; i++) {
			struct pk_long l = {
				.md = mds[i % 3],
				.hash = hash,
				.hash_len = 32 + 16 * (i % 3),
				.sig = sig,
				.size = sizeof(sig),
				.pss = i >= 3,
				.salt_len = -1,
			};

			if (l.pss && !mbedtls_pk_can_do(&b.theirs, MBEDTLS_PK_RSA))
				continue;
			pk_random(hash, sizeof(hash));
			assert_int_equal(pk_long_sign(&b.ours, &l), PK_LONG_GOOD);
			judged_alike(&b, &l, true);
			for (unsigned n = 0; n < l.sig_len; n += 37) {
				sig[n] ^= 1;
				judged_alike(&b, &l, false);
				sig[n] ^= 1;
			}
			hash[5] ^= 0x80;
			judged_alike(&b, &l, false);
			hash[5] ^= 0x80;
			l.sig_len--;
			judged_alike(&b, &l, false);
		}
		both_free(&b);
		peer_cert_free(&cert);
	}
}

static void what_libcrypto_cannot_is_told(void **state)
{
	uint8_t hash[32] = {0}, sig[600] = {0};
	struct pk_long l = {
		.md = MBEDTLS_MD_MD5,
		.hash = hash,
		.hash_len = 16,
		.sig = sig,
		.sig_len = 256,
		.size = sizeof(sig)
	};
	struct peer_cert cert;
	struct both b;

	peer_cert_make(&cert, PEER_RSA2048, "x.example");
	both_make(&b, &cert);
	assert_int_equal(pk_long_sign(&b.ours, &l), PK_LONG_CANNOT);
	assert_int_equal(pk_long_verify(&b.theirs, &l), PK_LONG_CANNOT);
	both_free(&b);
	mbedtls_pk_init(&b.theirs); // no key at all
	l.md = MBEDTLS_MD_SHA256;
	assert_int_equal(pk_long_verify(&b.theirs, &l), PK_LONG_CANNOT);
	peer_cert_free(&cert);
}

static void p384_agrees_with_itself(void **state)
{
	struct pk_eph a, b;
	uint8_t ab[48], ba[48], bad[PK_PUB_P384];

	for (unsigned i = 0; i < 20; i++) {
		assert_true(pk_p384_key(&a) && pk_p384_key(&b));
		assert_int_equal(a.pub_len, PK_PUB_P384);
		assert_true(pk_p384_dh(&a, b.pub, ab) && pk_p384_dh(&b, a.pub, ba));
		assert_memory_equal(ab, ba, 48);
		memcpy(bad, b.pub, sizeof(bad));
		bad[1 + i] ^= 1; // not on the curve
		assert_false(pk_p384_dh(&a, bad, ab));
	}
}

// A fiber that has jobs done, some of them after the helper has fallen asleep.
struct asker {
	struct pk_queue *q;
	pthread_t worker;
	unsigned left, done, elsewhere;
};

static void job(void *arg)
{
	struct asker *a = arg;

	a->done++;
	a->elsewhere += !pthread_equal(pthread_self(), a->worker);
}

static void ask(void *arg)
{
	struct asker *a = arg;

	for (; a->left > 0; a->left--)
		pk_away(a->q, job, a);
}

static void jobs_go_to_the_helper(void **state)
{
	static struct pk_queue q;
	struct tls_helpers *helpers = helped_new();
	struct asker askers[FIBER_COUNT];

	assert_true(pk_queue_init(&q, PK_ENGINE_LIBCRYPTO));
	for (unsigned round = 0; round < 3; round++) {
		q.away = round < 2 ? tls_helpers_away(helpers, 0) : NULL;
		for (unsigned i = 0; i < FIBER_COUNT;
		     i++) { // as many as there can be: all find room
			askers[i] = (struct asker){.q = &q, .worker = pthread_self(), .left = 100};
			fiber_start(&q.fibers, ask, &askers[i]);
		}
		if (round == 0)
			usleep(20000); // it sleeps by now
		// Up to a minute: the helper's core may be busy with something else.
		for (unsigned n = 0; n < 1200000 && (q.away_count > 0 || q.ready != NULL); n++) {
			pk_turn(&q);
			pk_flush(&q);
			if (q.ready == NULL)
				usleep(50);
		}
		for (unsigned i = 0; i < FIBER_COUNT; i++) {
			assert_int_equal(askers[i].done, 100);
			assert_int_equal(askers[i].elsewhere, round < 2 ? 100 : 0);
		}
		assert_int_equal(q.counts.inlined, round < 2 ? 0 : FIBER_COUNT * 100);
	}
	pk_away(&q, job, &askers[0]); // off a fiber: at once
	assert_int_equal(askers[0].done, 101);
	pk_queue_release(&q);
	helped_free(helpers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signatures_as_mbedtls),
		cmocka_unit_test(what_libcrypto_cannot_is_told),
		cmocka_unit_test(p384_agrees_with_itself),
		cmocka_unit_test(jobs_go_to_the_helper),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
