// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Certificates of OpenSSL's side that are taken or refused, as server's and as client's, and which
// fault is told.

#include "tests/unit/tls/peer.h"
#include "tls/pk_hooks.h"

#include <openssl/sha.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NAME "mx.lab.example"

static struct tls_engine *engine;
static struct peer_cert good, rsa, other, late;

// Our client against a server it should not take; *ret_state as sides_shake leaves it.
static enum tls_failure client_of(
	const struct tls_creds_config *config,
	const char *name,
	const struct peer_cert *cert,
	int version
)
{
	static struct side s;
	struct peer p;
	char why[128];
	bool ok;

	s = (struct side){.creds = tls_creds_new(engine, config, why)};
	assert_non_null(s.creds);
	peer_new(&p, true, cert, version);
	s.hs = tls_hs_new(s.creds, name);
	ok = sides_shake(engine, &s, &p, 5000);
	assert_int_equal(ok, s.failure == TLS_FAIL_NONE);
	peer_free(&p);
	tls_creds_put(s.creds);
	return s.failure;
}

static enum tls_failure client_against(const struct tls_creds_config *config, const char *name)
{
	return client_of(config, name, &good, TLS1_3_VERSION);
}

static void servers_are_verified(void **state)
{
	struct tls_creds_config config = {
		.ca = good.pair.chain, .verify = TLS_VERIFY_NAME, .max_handshakes = 1
	};
	uint8_t *der = NULL;
	int len;

	assert_int_equal(client_against(&config, NAME), TLS_FAIL_NONE);
	assert_int_equal(client_against(&config, "other.example"), TLS_FAIL_VERIFY_NAME);
	config.name = NAME; // holds for all servers
	assert_int_equal(client_against(&config, "other.example"), TLS_FAIL_NONE);
	config.name = "other.example";
	assert_int_equal(client_against(&config, NAME), TLS_FAIL_VERIFY_NAME);
	config.name = "";
	config.verify = TLS_VERIFY_CA;
	assert_int_equal(client_against(&config, "other.example"), TLS_FAIL_NONE);
	config.ca = other.pair.chain;
	assert_int_equal(client_against(&config, NAME), TLS_FAIL_VERIFY);
	config.verify = TLS_VERIFY_NONE;
	assert_int_equal(client_against(&config, NAME), TLS_FAIL_NONE);
	config.verify = TLS_VERIFY_PIN;
	assert_int_equal(client_against(&config, NAME), TLS_FAIL_VERIFY_PIN);
	len = i2d_PUBKEY(good.key, &der);
	SHA256(der, (size_t)len, config.pin);
	OPENSSL_free(der);
	assert_int_equal(client_against(&config, "whatever.example"), TLS_FAIL_NONE);
	config.ca = (struct tls_pem){0}; // a pin needs no CA
	assert_int_equal(client_against(&config, "whatever.example"), TLS_FAIL_NONE);
	config.pin[0] ^= 1;
	assert_int_equal(client_against(&config, "whatever.example"), TLS_FAIL_VERIFY_PIN);
}

// Which of several faults is told: who signed it, then its time, then its name.
static void the_worst_fault_is_told(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct tls_creds_config config = {
		.ca = late.pair.chain, .verify = TLS_VERIFY_NAME, .max_handshakes = 1
	};

	for (unsigned i = 0; i < 2; i++) {
		config.ca = late.pair.chain;
		assert_int_equal(
			client_of(&config, NAME, &late, versions[i]), TLS_FAIL_VERIFY_TIME
		);
		assert_int_equal(
			client_of(&config, "other.example", &late, versions[i]),
			TLS_FAIL_VERIFY_TIME
		);
		config.ca = other.pair.chain;
		assert_int_equal(client_of(&config, NAME, &late, versions[i]), TLS_FAIL_VERIFY);
		assert_int_equal(
			client_of(&config, "other.example", &rsa, versions[i]), TLS_FAIL_VERIFY
		);
	}
}

static enum tls_failure
server_with_client_cert(enum tls_client_auth auth, const struct peer_cert *cert, int version)
{
	static struct side s;
	struct tls_creds_config config = {
		.server = true,
		.pairs = &good.pair,
		.pair_count = 1,
		.ca = other.pair.chain,
		.client_auth = auth,
		.max_handshakes = 1,
	};
	struct peer p;
	char why[128];

	s = (struct side){.creds = tls_creds_new(engine, &config, why)};
	assert_non_null(s.creds);
	peer_new(&p, false, cert, version);
	s.hs = tls_hs_new(s.creds, NULL);
	sides_shake(engine, &s, &p, 5000);
	peer_free(&p);
	tls_creds_put(s.creds);
	return s.failure;
}

static void clients_are_verified(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	for (unsigned i = 0; i < 2; i++) {
		int v = versions[i];

		assert_int_equal(server_with_client_cert(TLS_CLIENT_NONE, NULL, v), TLS_FAIL_NONE);
		assert_int_equal(
			server_with_client_cert(TLS_CLIENT_REQUEST, NULL, v), TLS_FAIL_NONE
		);
		assert_int_equal(
			server_with_client_cert(TLS_CLIENT_REQUIRE, NULL, v), TLS_FAIL_VERIFY
		);
		assert_int_equal(
			server_with_client_cert(TLS_CLIENT_REQUIRE, &other, v), TLS_FAIL_NONE
		);
		assert_int_equal(
			server_with_client_cert(TLS_CLIENT_REQUIRE, &rsa, v), TLS_FAIL_VERIFY
		);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(servers_are_verified),
		cmocka_unit_test(the_worst_fault_is_told),
		cmocka_unit_test(clients_are_verified),
	};
	int failed;

	if (argc != 2)
		return 64;
	engine = tls_engine_new((enum pk_engine_id)(argv[1][0] - '0'));
	if (engine == NULL)
		return 1;
	peer_cert_make(&good, PEER_EC256, NAME);
	peer_cert_make(&rsa, PEER_RSA2048, NAME);
	peer_cert_make(&other, PEER_EC256, "*.wild.example");
	peer_cert_make(&late, PEER_EC256, NAME);
	peer_cert_end(&late, -60);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	peer_cert_free(&good);
	peer_cert_free(&rsa);
	peer_cert_free(&other);
	peer_cert_free(&late);
	tls_engine_free(engine);
	return failed;
}
