// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Linked so that libmbedtls does not find our functions: the self-test must notice, and handshakes
// go on without them.

#include "tests/unit/tls/peer.h"
#include "tls/pk_hooks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void mbedtls_does_it_alone(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct tls_engine *engine = tls_engine_new(PK_ENGINE_MBX);
	static struct side s;
	struct peer_cert cert;

	assert_non_null(engine);
	assert_true(tls_engine_degraded(engine));
	assert_string_equal(tls_engine_name(engine), "builtin");
	peer_cert_make(&cert, PEER_EC256, "mx.lab.example");
	for (unsigned i = 0; i < 4; i++) {
		struct tls_creds_config config = {
			.server = i < 2,
			.pairs = &cert.pair,
			.pair_count = i < 2,
			.ca = cert.pair.chain,
			.verify = TLS_VERIFY_NAME,
			.max_handshakes = 1,
		};
		char why[128];
		struct peer p;

		s = (struct side){.creds = tls_creds_new(engine, &config, why)};
		assert_non_null(s.creds);
		peer_new(&p, i >= 2, i >= 2 ? &cert : NULL, versions[i % 2]);
		s.hs = tls_hs_new(s.creds, "mx.lab.example");
		assert_true(sides_shake(engine, &s, &p, 5000));
		sides_talk(engine, &s, &p);
		peer_free(&p);
		tls_creds_put(s.creds);
	}
	for (unsigned i = 0; i < HOOK_COUNT; i++)
		assert_int_equal(tls_engine_hooked(engine)[i], 0);
	peer_cert_free(&cert);
	tls_engine_free(engine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(mbedtls_does_it_alone)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
