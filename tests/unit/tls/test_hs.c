// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Handshakes with OpenSSL, as server and as client: every version, suite, group and kind of
// certificate, then records on keys that have left mbedTLS; refusals; contexts that come back.

#include "tests/unit/tls/peer.h"
#include "tls/pk_hooks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME "mx.lab.example"

static struct tls_engine *engine;
static struct tls_helpers *helpers; // NULL: the engine does all itself
static struct peer_cert certs[PEER_KEYS], other;

static struct tls_creds *server_creds(const struct peer_cert *cert, const struct peer_cert *more)
{
	struct tls_pair pairs[2] = {cert->pair};
	struct tls_creds_config config = {
		.server = true, .pairs = pairs, .pair_count = 1, .max_handshakes = 4
	};
	char why[128] = "";
	struct tls_creds *c;

	if (more != NULL)
		pairs[config.pair_count++] = more->pair;
	c = tls_creds_new(engine, &config, why);
	if (c == NULL)
		fail_msg("%s", why);
	return c;
}

struct mix {
	int version;
	const char *suite, *group;
	uint16_t number;
	bool rsa;
};
static const struct mix mixes[] = {
	{TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", "X25519", 0x1301, false},
	{TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", "P-256", 0x1302, true},
	{TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", "P-384", 0x1303, false},
	{TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", "P-384", 0x1301, true},
	{TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", "X25519", 0xc02b, false},
	{TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", "P-256", 0xc02c, false},
	{TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", "P-384", 0xcca9, false},
	{TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256", "P-256", 0xc02f, true},
	{TLS1_2_VERSION, "ECDHE-RSA-AES256-GCM-SHA384", "X25519", 0xc030, true},
	{TLS1_2_VERSION, "ECDHE-RSA-CHACHA20-POLY1305", "X25519", 0xcca8, true},
};
#define MIXES (sizeof(mixes) / sizeof(mixes[0]))

static void peer_limit(struct peer *p, const struct mix *mix)
{
	char groups[64];

	if (mix->version == TLS1_3_VERSION)
		assert_int_equal(SSL_set_ciphersuites(p->ssl, mix->suite), 1);
	else
		assert_int_equal(SSL_set_cipher_list(p->ssl, mix->suite), 1);
	// in 1.2 the list bounds the curves of ECDSA certificates too
	snprintf(
		groups,
		sizeof(groups),
		"%s%s",
		mix->group,
		mix->version == TLS1_2_VERSION && !mix->rsa ? ":P-256:P-384" : ""
	);
	assert_int_equal(SSL_set1_groups_list(p->ssl, groups), 1);
}

static enum tls_group group_of(const struct mix *mix)
{
	if (tls_engine_queue(engine)->engine == NULL)
		return TLS_GROUP_OTHER;
	if (strcmp(mix->group, "X25519") == 0)
		return TLS_GROUP_X25519;
	return strcmp(mix->group, "P-256") == 0 || (mix->version == TLS1_2_VERSION && !mix->rsa)
		       ? TLS_GROUP_P256 // which we prefer, and peer_limit lets in for certificates
		       : TLS_GROUP_P384;
}

static void as_server(void **state)
{
	static struct side s;

	for (unsigned i = 0; i < MIXES * 2; i++) {
		const struct mix *mix = &mixes[i / 2];
		const struct peer_cert *cert =
			mix->rsa ? &certs[i % 2 == 0 ? PEER_RSA2048 : PEER_RSA3072]
				 : &certs[i % 2 == 0 ? PEER_EC256 : PEER_EC384];
		struct peer p;

		s = (struct side){.creds = server_creds(cert, NULL)};
		peer_new(&p, false, NULL, mix->version);
		peer_limit(&p, mix);
		SSL_set_tlsext_host_name(p.ssl, NAME);
		s.hs = tls_hs_new(s.creds, NULL);
		assert_non_null(s.hs);
		assert_true(sides_shake(engine, &s, &p, i % 2 == 0 ? 100000 : 1 + i));
		assert_int_equal(s.info.suite, mix->number);
		assert_string_equal(s.info.sni, NAME);
		assert_true(s.info.known);
		assert_int_equal(s.info.group, group_of(mix));
		assert_int_equal(tls_creds_handshakes(s.creds), 0);
		sides_talk(engine, &s, &p);
		peer_free(&p);
		tls_creds_put(s.creds);
	}
}

static void as_client(void **state)
{
	static struct side s;

	for (unsigned i = 0; i < MIXES; i++) {
		const struct mix *mix = &mixes[i];
		const struct peer_cert *cert = &certs[mix->rsa ? PEER_RSA2048 : PEER_EC256];
		struct tls_creds_config config = {
			.ca = cert->pair.chain, .verify = TLS_VERIFY_NAME, .max_handshakes = 1
		};
		char why[128];
		struct peer p;

		s = (struct side){.creds = tls_creds_new(engine, &config, why)};
		assert_non_null(s.creds);
		peer_new(&p, true, cert, mix->version);
		peer_limit(&p, mix);
		s.hs = tls_hs_new(s.creds, NAME);
		assert_non_null(s.hs);
		assert_null(tls_hs_new(s.creds, NAME)); // one at once
		assert_true(sides_shake(engine, &s, &p, 1000));
		assert_int_equal(s.info.suite, mix->number);
		assert_int_equal(s.info.group, group_of(mix));
		assert_string_equal(s.info.sni, NAME);
		sides_talk(engine, &s, &p);
		peer_free(&p);
		tls_creds_put(s.creds);
	}
}

// AES-128-GCM for those that offer it, whatever their order; but not for those without AES.
static void aes_128_is_preferred(void **state)
{
	static const struct {
		int version;
		const char *offered;
		uint16_t taken;
	} rows[] = {
		{TLS1_3_VERSION,
		 "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
		 0x1301},
		{TLS1_3_VERSION,
		 "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
		 0x1303},
		{TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", 0x1302},
		{TLS1_2_VERSION,
		 "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256",
		 0xc02b},
		{TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", 0xc02c},
	};
	static struct side s;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer p;

		s = (struct side){.creds = server_creds(&certs[PEER_EC256], NULL)};
		for (unsigned again = 0; again < 2; again++) { // the context comes back
			peer_new(&p, false, NULL, rows[i].version);
			assert_int_equal(
				rows[i].version == TLS1_3_VERSION
					? SSL_set_ciphersuites(p.ssl, rows[i].offered)
					: SSL_set_cipher_list(p.ssl, rows[i].offered),
				1
			);
			s.hs = tls_hs_new(s.creds, NULL);
			s.done = false;
			assert_true(sides_shake(engine, &s, &p, 100000));
			assert_int_equal(s.info.suite, rows[i].taken);
			sides_talk(engine, &s, &p);
			peer_free(&p);
		}
		tls_creds_put(s.creds);
	}
}

// RFC 6066 4: no record is longer than what was agreed on, either way.
static void a_smaller_fragment_is_kept_to(void **state)
{
	static struct side s;
	static uint8_t text[600], out[TLS_RECORD_MAX];

	for (unsigned v = 0; v < 2; v++) {
		struct tls_opened opened;
		struct tls_seg seg = {text, 513};
		uint8_t agreed;
		struct peer p;

		s = (struct side){.creds = server_creds(&certs[PEER_EC256], NULL)};
		peer_new(&p, false, NULL, v == 0 ? TLS1_2_VERSION : TLS1_3_VERSION);
		assert_int_equal(
			SSL_set_tlsext_max_fragment_length(p.ssl, TLSEXT_max_fragment_length_512), 1
		);
		s.hs = tls_hs_new(s.creds, NULL);
		assert_true(sides_shake(engine, &s, &p, 100000));
		agreed = SSL_SESSION_get_max_fragment_length(SSL_get_session(p.ssl));
		assert_int_equal(agreed, v == 0 ? TLSEXT_max_fragment_length_512 : agreed);
		assert_int_equal(s.state.fragment, agreed > 0 ? 8 + agreed : 0);
		s.state.fragment = 9; // 1.3: as if it had been
		assert_int_equal(tls_record_seal(engine, &s.state, TLS_T_DATA, &seg, 1, out), 0);
		sides_talk(engine, &s, &p);
		peer_free(&p);
		tls_creds_put(s.creds);

		s = (struct side){.creds = server_creds(&certs[PEER_EC256], NULL)};
		peer_new(&p, false, NULL, v == 0 ? TLS1_2_VERSION : TLS1_3_VERSION);
		s.hs = tls_hs_new(s.creds, NULL);
		assert_true(sides_shake(engine, &s, &p, 100000));
		assert_int_equal(s.state.fragment, 0);
		s.state.fragment = 9;
		assert_int_equal(SSL_write(p.ssl, text, 512), 512);
		assert_int_equal(side_read(engine, &s, &p, out, &opened), TLS_OK);
		assert_int_equal(SSL_write(p.ssl, text, 513), 513);
		assert_int_equal(side_read(engine, &s, &p, out, &opened), TLS_FATAL);
		assert_int_equal(opened.alert, TLS_ALERT_RECORD_OVERFLOW);
		peer_free(&p);
		tls_creds_put(s.creds);
	}
}

static struct {
	struct side *side;
	struct peer *peer;
	enum tls_result result;
} one;

static void one_finished(void *up, struct tls_hs *hs)
{
	struct tls_step step;

	one.result = tls_hs_result(hs, &step, &one.side->state, &one.side->info);
	peer_give(one.peer, step.out, step.out_len);
}

static enum tls_result step_and_wait(struct side *s, struct peer *p, struct tls_step *step)
{
	one.side = s;
	one.peer = p;
	one.result = tls_hs_step(s->hs, step, &s->state, &s->info);
	if (one.result != TLS_WAIT) {
		peer_give(p, step->out, step->out_len);
		return one.result;
	}
	tls_engine_finished_set(engine, one_finished, NULL);
	for (unsigned i = 0; one.result == TLS_WAIT && i < 1000000; i++) {
		tls_engine_turn(engine);
		tls_engine_flush(engine);
		usleep(10); // a helper may have it, and its core be busy
	}
	return one.result;
}

static void data_right_behind_the_finished_is_left_alone(void **state)
{
	static struct side s;
	uint8_t out[100];
	struct tls_opened opened;
	struct peer p;

	s = (struct side){.creds = server_creds(&certs[PEER_EC256], NULL)};
	s.hs = tls_hs_new(s.creds, NULL);
	peer_new(&p, false, NULL, TLS1_3_VERSION);
	for (unsigned i = 0; i < 10 && !s.done; i++) {
		struct tls_step step;

		if (SSL_do_handshake(p.ssl) == 1)
			assert_int_equal(SSL_write(p.ssl, "EHLO early\r\n", 12), 12);
		s.in_len += peer_take(&p, s.in + s.in_len, sizeof(s.in) - s.in_len);
		step = (struct tls_step){.in = s.in, .in_len = s.in_len};
		s.done = step_and_wait(&s, &p, &step) == TLS_OK;
		memmove(s.in, s.in + step.taken, s.in_len - step.taken);
		s.in_len -= step.taken;
	}
	assert_true(s.done);
	tls_hs_free(s.hs);
	assert_int_equal(side_read(engine, &s, &p, out, &opened), TLS_OK);
	assert_memory_equal(out, "EHLO early\r\n", 12);
	peer_free(&p);
	tls_creds_put(s.creds);
}

static void names_choose_the_certificate(void **state)
{
	static const struct {
		const char *want, *get;
	} cases[] = {
		{NAME, NAME},
		{"a.wild.example", "*.wild.example"},
		{"A.WILD.example", "*.wild.example"},
		{"a.b.wild.example", NAME}, // a wildcard is one label; none fits: the first serves
		{"unknown.example", NAME},
	};
	static struct side s;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer p;
		X509 *got;
		char name[100] = "";

		s = (struct side){.creds = server_creds(&certs[PEER_EC256], &other)};
		s.hs = tls_hs_new(s.creds, NULL);
		peer_new(&p, false, NULL, i % 2 == 0 ? TLS1_3_VERSION : TLS1_2_VERSION);
		SSL_set_tlsext_host_name(p.ssl, cases[i].want);
		assert_true(sides_shake(engine, &s, &p, 5000));
		got = SSL_get1_peer_certificate(p.ssl);
		X509_NAME_get_text_by_NID(
			X509_get_subject_name(got), NID_commonName, name, sizeof(name)
		);
		assert_string_equal(name, cases[i].get);
		assert_int_equal(s.info.known, i < 3);
		X509_free(got);
		peer_free(&p);
		tls_creds_put(s.creds);
	}
}

static void nothing_in_common_and_rubbish(void **state)
{
	static struct side s;
	static const uint8_t smtp[] = "EHLO this is no TLS at all, but long enough\r\n";
	struct tls_step step = {.in = smtp, .in_len = sizeof(smtp) - 1};
	struct peer p;

	s = (struct side){.creds = server_creds(&certs[PEER_EC256], NULL)};
	s.hs = tls_hs_new(s.creds, NULL);
	peer_new(&p, false, NULL, TLS1_2_VERSION);
	assert_int_equal(SSL_set_cipher_list(p.ssl, "ECDHE-ECDSA-AES128-SHA"), 1); // CBC
	assert_false(sides_shake(engine, &s, &p, 5000));
	assert_int_equal(s.failure, TLS_FAIL_PROTOCOL);
	peer_free(&p);
	s.hs = tls_hs_new(s.creds, NULL);
	assert_int_equal(tls_hs_step(s.hs, &step, &s.state, &s.info), TLS_FATAL);
	assert_int_equal(step.failure, TLS_FAIL_PROTOCOL);
	tls_hs_free(s.hs);
	assert_int_equal(tls_creds_handshakes(s.creds), 0);
	tls_creds_put(s.creds);
}

static void credentials_live_as_long_as_their_handshakes(void **state)
{
	static struct side s;
	struct peer p;

	s = (struct side){.creds = server_creds(&certs[PEER_EC256], NULL)};
	s.hs = tls_hs_new(s.creds, NULL);
	tls_creds_put(s.creds); // a reload in the middle
	peer_new(&p, false, NULL, TLS1_3_VERSION);
	assert_true(sides_shake(engine, &s, &p, 5000)
	); // frees them at its end: the sanitizer watches
	sides_talk(engine, &s, &p);
	peer_free(&p);
}

static void bad_credentials_are_refused_in_words(void **state)
{
	struct tls_pair wrong = {certs[PEER_EC256].pair.chain, certs[PEER_EC384].pair.key};
	static const char rubbish[] =
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
	struct tls_creds_config config = {.server = true, .pairs = &wrong, .pair_count = 1};
	char why[128] = "";

	assert_null(tls_creds_new(engine, &config, why));
	assert_non_null(strstr(why, "key does not belong"));
	wrong.key = wrong.chain;
	assert_null(tls_creds_new(engine, &config, why));
	wrong.chain = (struct tls_pem){rubbish, sizeof(rubbish)};
	assert_null(tls_creds_new(engine, &config, why));
	config.pair_count = 0;
	assert_null(tls_creds_new(engine, &config, why));
	assert_string_equal(why, "no certificate");
}

static void hellos_are_told_from_their_beginnings(void **state)
{
	uint8_t hello[2000], split[2100];
	uint32_t len, n = 0;
	struct peer p;

	peer_new(&p, false, NULL, TLS1_3_VERSION);
	SSL_do_handshake(p.ssl);
	len = peer_take(&p, hello, sizeof(hello));
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(tls_hello_check(hello, i), TLS_WANT_IN);
	assert_int_equal(tls_hello_check(hello, len), TLS_OK);
	for (uint32_t at = 5; at < len; at += 100) { // the same in records of 100
		uint32_t part = len - at < 100 ? len - at : 100;
		const uint8_t head[5] = {22, 3, 1, 0, (uint8_t)part};

		memcpy(split + n, head, 5);
		memcpy(split + n + 5, hello + at, part);
		n += 5 + part;
	}
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(tls_hello_check(split, i), TLS_WANT_IN);
	assert_int_equal(tls_hello_check(split, n), TLS_OK);
	assert_int_equal(tls_hello_check((const uint8_t *)"EHLO", 4), TLS_FATAL);
	hello[5] = 2;
	assert_int_equal(tls_hello_check(hello, len), TLS_FATAL);
	hello[5] = 1;
	hello[6] = 1; // of 64 KiB and more
	assert_int_equal(tls_hello_check(hello, len), TLS_FATAL);
	peer_free(&p);
}

// Of the engine's hooks, all that the version uses were reached.
static void the_hooks_are_reached(void **state)
{
	static const char *const names[] = {
		"psa_generate_key",
		"psa_export_public_key",
		"psa_get_key_attributes",
		"psa_raw_key_agreement",
		"psa_destroy_key",
		"mbedtls_ecdh_make_params",
		"mbedtls_ecdh_read_public",
		"mbedtls_ecdh_calc_secret",
		"mbedtls_ecdh_free",
		"mbedtls_pk_sign",
		"mbedtls_pk_sign_ext",
		"mbedtls_pk_verify",
		"mbedtls_pk_verify_ext",
		"mbedtls_pk_verify_restartable",
		"mbedtls_ecdh_make_public",
	};
	static_assert(sizeof(names) / sizeof(names[0]) == HOOK_COUNT, "all");

	for (unsigned i = 0; i < HOOK_COUNT; i++)
		if (tls_engine_queue(engine)->engine != NULL && tls_engine_hooked(engine)[i] == 0)
			fail_msg("%s is not reached", names[i]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_server),
		cmocka_unit_test(as_client),
		cmocka_unit_test(aes_128_is_preferred),
		cmocka_unit_test(a_smaller_fragment_is_kept_to),
		cmocka_unit_test(data_right_behind_the_finished_is_left_alone),
		cmocka_unit_test(names_choose_the_certificate),
		cmocka_unit_test(nothing_in_common_and_rubbish),
		cmocka_unit_test(credentials_live_as_long_as_their_handshakes),
		cmocka_unit_test(bad_credentials_are_refused_in_words),
		cmocka_unit_test(hellos_are_told_from_their_beginnings),
		cmocka_unit_test(the_hooks_are_reached),
	};
	int failed;

	if (argc != 2)
		return 64;
	helpers = argv[1][1] == 'h' ? helped_new() : NULL;
	engine = tls_engine_new((enum pk_engine_id)(argv[1][0] - '0'));
	if (engine == NULL || tls_engine_degraded(engine)) // its self-test failed
		return 1;
	if (helpers != NULL)
		tls_engine_helpers_set(engine, helpers, 0);
	printf("engine %s\n", tls_engine_name(engine));
	for (unsigned i = 0; i < PEER_KEYS; i++)
		peer_cert_make(&certs[i], (enum peer_key)i, NAME);
	peer_cert_make(&other, PEER_EC256, "*.wild.example");
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	printf("stacks used to %zu bytes\n", tls_engine_stack_used(engine));
	for (unsigned i = 0; i < PEER_KEYS; i++)
		peer_cert_free(&certs[i]);
	peer_cert_free(&other);
	if (helpers != NULL)
		helped_free(helpers);
	tls_engine_free(engine);
	return failed;
}
