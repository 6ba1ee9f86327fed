// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Session tickets with OpenSSL as the client: resumed where they may be, by another worker too, and
// a full handshake (never an error) everywhere else.

#include "tests/unit/tls/visit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void resumed_on_either_worker(void **state)
{
	static const char *const suites[2][3] = {
		{"ECDHE-ECDSA-AES128-GCM-SHA256",
		 "ECDHE-ECDSA-AES256-GCM-SHA384",
		 "ECDHE-ECDSA-CHACHA20-POLY1305"},
		{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"
		},
	};

	for (unsigned i = 0; i < 12; i++) {
		struct visit v = {
			.version = versions[i % 2],
			.sni = NAME,
			.suites = suites[i % 2][i / 2 % 3],
			.piece = i < 6 ? 0 : 7 + i, // ClientHellos in pieces
			.fragments = i % 4 > 1,
		};
		SSL_SESSION *s = first_visit(&v);

		expect_resumed(&v, s);
		v.worker = 1;
		expect_resumed(&v, s);
		SSL_SESSION_free(s);
	}
}

// A hello that is answered by HelloRetryRequest comes twice, its ticket too.
static void resumed_after_a_second_hello(void **state)
{
	struct visit v = {.version = TLS1_3_VERSION, .sni = NAME};
	SSL_SESSION *s = first_visit(&v);

	v.groups = "P-521:P-384";
	expect_resumed(&v, s);
	SSL_SESSION_free(s);
}

static void a_new_ticket_in_each_session_of_13(void **state)
{
	struct visit v = {.version = TLS1_3_VERSION, .sni = NAME};
	SSL_SESSION *s = first_visit(&v);

	for (unsigned i = 0; i < 5; i++) {
		struct seen seen = visit(&v, s);

		assert_true(seen.reused);
		assert_int_equal(seen.info.tickets, 1);
		SSL_SESSION_free(s);
		s = seen.session;
	}
	SSL_SESSION_free(s);
}

static void each_binding(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct visit good = {
			.version = versions[i], .service = "inbound", .sni = NAME, .ca = &other
		};
		SSL_SESSION *s = first_visit(&good);
		struct visit v = good;

		v.service = "submission";
		expect_full(&v, s, TLS_TICKET_BOUND);
		v = good;
		v.sni = "other.example";
		expect_full(&v, s, TLS_TICKET_BOUND);
		v.sni = NULL;
		expect_full(&v, s, TLS_TICKET_BOUND);
		v.sni = "MX.lab.EXAMPLE"; // the same name
		expect_resumed(&v, s);
		v = good;
		v.cert = &certs[PEER_EC384];
		expect_full(&v, s, TLS_TICKET_BOUND);
		v = good;
		v.auth = TLS_CLIENT_REQUEST;
		expect_full(&v, s, TLS_TICKET_BOUND);
		v = good;
		v.ca = &stranger;
		expect_full(&v, s, TLS_TICKET_BOUND);
		v = good;
		v.no_tickets = true; // not even looked at
		expect_full(&v, s, TLS_TICKET_NONE);
		expect_resumed(&good, s);
		SSL_SESSION_free(s);
	}
}

// The client's list decides the suite in 1.2: another list, no resumption, and no error either.
static void suites_that_do_not_fit(void **state)
{
	struct visit v = {.version = TLS1_2_VERSION, .suites = "ECDHE-ECDSA-AES256-GCM-SHA384"};
	SSL_SESSION *s = first_visit(&v);

	v.suites = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384";
	expect_full(&v, s, TLS_TICKET_BOUND);
	SSL_SESSION_free(s);
	v.suites = NULL;
	s = first_visit(&v);
	v.no_ems = true; // RFC 7627 5.3
	expect_full(&v, s, TLS_TICKET_BOUND);
	SSL_SESSION_free(s);
	v = (struct visit){.version = TLS1_3_VERSION, .suites = "TLS_AES_256_GCM_SHA384"};
	s = first_visit(&v);
	v.suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
	expect_resumed(&v, s);
	SSL_SESSION_free(s);
}

// A ticket of one version shown in another: by hand, as no client would.
static void versions_that_do_not_fit(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct visit v = {.version = versions[i], .sni = NAME};
		SSL_SESSION *from = first_visit(&v), *to;
		const unsigned char *ticket;
		unsigned char der[4096], *p = der;
		const unsigned char *q = der;
		size_t len;
		int n;

		SSL_SESSION_get0_ticket(from, &ticket, &len);
		v.version = versions[1 - i];
		to = first_visit(&v);
		// its own ticket, in its encoding, gives way to the other: of one length, as it
		// happens
		n = i2d_SSL_SESSION(to, &p);
		assert_true(n > 0);
		{
			const unsigned char *own;
			size_t own_len, at = 0;

			SSL_SESSION_get0_ticket(to, &own, &own_len);
			while (memcmp(der + at, own, own_len) != 0)
				at++;
			memset(der + at, 0, own_len);
			memcpy(der + at, ticket, len < own_len ? len : own_len);
			SSL_SESSION_free(to);
			to = d2i_SSL_SESSION(NULL, &q, n);
			assert_non_null(to);
			expect_full(
				&v, to, len == own_len ? TLS_TICKET_BOUND : TLS_TICKET_MALFORMED
			);
		}
		SSL_SESSION_free(from);
		SSL_SESSION_free(to);
	}
}

static void client_certificates_are_carried(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct visit v = {
			.version = versions[i],
			.auth = TLS_CLIENT_REQUIRE,
			.ca = &client,
			.shows = &client,
		};
		SSL_SESSION *s = first_visit(&v);
		struct seen seen;

		expect_resumed(&v, s);
		v.shows = NULL; // not asked for again
		expect_resumed(&v, s);
		seen = visit(&v, NULL);
		assert_int_equal(seen.failure, TLS_FAIL_VERIFY);
		v.ca = &stranger; // other CAs: the client must show one of theirs
		seen = visit(&v, s);
		assert_false(seen.good);
		assert_int_equal(seen.failure, TLS_FAIL_VERIFY);
		// asked for only: what came of it there opens nothing that wants one
		v.ca = &client;
		v.auth = TLS_CLIENT_REQUEST;
		SSL_SESSION_free(s);
		s = first_visit(&v);
		expect_resumed(&v, s);
		v.auth = TLS_CLIENT_REQUIRE;
		seen = visit(&v, s);
		assert_int_equal(seen.failure, TLS_FAIL_VERIFY);
		SSL_SESSION_free(s);
	}
}

static void certificate_is(const struct visit *v, SSL_SESSION *session, bool seen, bool good)
{
	struct seen now = visit(v, session);

	assert_true(now.good);
	assert_int_equal(now.reused, session != NULL);
	assert_int_equal(now.info.certificate, seen);
	assert_int_equal(now.info.verified, good);
	SSL_SESSION_free(now.session);
}

// What servers are told of a client: the certificate it showed, here or where the session began.
static void client_certificates_are_told(void **state)
{
	static const struct {
		enum tls_client_auth auth;
		const struct peer_cert *shows;
		bool seen, good;
	} cases[] = {
		{TLS_CLIENT_NONE, &client, false, false}, // not asked for
		{TLS_CLIENT_REQUEST, NULL, false, false},
		{TLS_CLIENT_REQUEST, &stranger, true, false},
		{TLS_CLIENT_REQUEST, &client, true, true},
		{TLS_CLIENT_REQUIRE, &client, true, true},
	};

	for (unsigned i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		struct visit v = {
			.version = versions[i % 2],
			.auth = cases[i / 2].auth,
			.ca = &client,
			.shows = cases[i / 2].shows,
		};
		SSL_SESSION *s = first_visit(&v);

		certificate_is(&v, NULL, cases[i / 2].seen, cases[i / 2].good);
		certificate_is(&v, s, cases[i / 2].seen, cases[i / 2].good);
		SSL_SESSION_free(s);
	}
}

static void suites_have_openssls_names(void **state)
{
	static const char *const names[] = {
		"ECDHE-ECDSA-AES128-GCM-SHA256",
		"ECDHE-ECDSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-CHACHA20-POLY1305",
		"ECDHE-RSA-AES128-GCM-SHA256",
		"ECDHE-RSA-AES256-GCM-SHA384",
		"ECDHE-RSA-CHACHA20-POLY1305",
		"TLS_AES_128_GCM_SHA256",
		"TLS_AES_256_GCM_SHA384",
		"TLS_CHACHA20_POLY1305_SHA256",
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct visit v = {
			.version = i < 6 ? TLS1_2_VERSION : TLS1_3_VERSION,
			.suites = names[i],
			.cert = i >= 3 && i < 6 ? &certs[PEER_RSA2048] : NULL,
		};
		struct seen seen = visit(&v, NULL);

		assert_true(seen.good);
		assert_string_equal(tls_suite_name(seen.info.suite), names[i]);
		SSL_SESSION_free(seen.session);
	}
	assert_string_equal(tls_suite_name(0), "");
}

// peer_cert_make's live a day: a ticket no longer.
static void no_longer_than_the_clients_certificate(void **state)
{
	keys = (struct ticket_keys){0};
	assert_true(ticket_keys_fresh(&keys, now_ms() / 1000, 7 * 24 * HOUR));
	keys_give();
	for (unsigned i = 0; i < 2; i++) {
		struct visit v = {
			.version = versions[i],
			.auth = TLS_CLIENT_REQUIRE,
			.ca = &client,
			.shows = &client,
		};
		SSL_SESSION *s = first_visit(&v);
		unsigned long hint = SSL_SESSION_get_ticket_lifetime_hint(s);
		struct seen seen;

		assert_in_range(hint, 1, 24 * HOUR);
		if (i == 1) { // nor does one of a resumed session
			seen = visit(&v, s);
			assert_true(seen.reused);
			assert_in_range(
				SSL_SESSION_get_ticket_lifetime_hint(seen.session), 1, 24 * HOUR
			);
			SSL_SESSION_free(seen.session);
		}
		shift_ms = 25LL * HOUR * 1000;
		seen = visit(&v, s);
		assert_false(seen.reused);
		SSL_SESSION_free(seen.session);
		shift_ms = 0;
		SSL_SESSION_free(s);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(resumed_on_either_worker, keys_make),
		cmocka_unit_test_setup(resumed_after_a_second_hello, keys_make),
		cmocka_unit_test_setup(a_new_ticket_in_each_session_of_13, keys_make),
		cmocka_unit_test_setup(each_binding, keys_make),
		cmocka_unit_test_setup(suites_that_do_not_fit, keys_make),
		cmocka_unit_test_setup(versions_that_do_not_fit, keys_make),
		cmocka_unit_test_setup(client_certificates_are_carried, keys_make),
		cmocka_unit_test_setup(client_certificates_are_told, keys_make),
		cmocka_unit_test_setup(suites_have_openssls_names, keys_make),
		cmocka_unit_test_setup(no_longer_than_the_clients_certificate, keys_make),
	};
	int failed = visits_begin(argc, argv);

	if (failed != 0)
		return failed;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	visits_end();
	return failed;
}
