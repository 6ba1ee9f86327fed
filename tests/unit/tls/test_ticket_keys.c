// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Tickets and their keys: rotation, expiry, a secret that boxes share; tickets altered in every
// bit.

#include "tests/unit/tls/visit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void keys_rotate(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct visit v = {.version = versions[i]};
		SSL_SESSION *s;

		keys_make(NULL);
		s = first_visit(&v);
		assert_true(ticket_keys_fresh(&keys, now_ms() / 1000, 12 * HOUR));
		keys_give();
		expect_resumed(&v, s);
		assert_true(ticket_keys_fresh(&keys, now_ms() / 1000, 12 * HOUR));
		keys_give();
		expect_full(&v, s, TLS_TICKET_UNKNOWN_KEY);
		SSL_SESSION_free(s);
	}
}

static void tickets_expire(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct visit v = {.version = versions[i]};
		SSL_SESSION *s = first_visit(&v);

		assert_int_equal(SSL_SESSION_get_ticket_lifetime_hint(s), 12 * HOUR);
		shift_ms = 13LL * HOUR * 1000;
		expect_full(&v, s, TLS_TICKET_EXPIRED);
		shift_ms = -HOUR * 1000LL; // from the future
		expect_full(&v, s, TLS_TICKET_EXPIRED);
		shift_ms = 0;
		expect_resumed(&v, s);
		keys.key[0].until_s = now_ms() / 1000; // the key itself
		keys_give();
		expect_full(&v, s, TLS_TICKET_EXPIRED);
		keys_make(NULL);
		SSL_SESSION_free(s);
	}
}

static void without_keys_there_are_none(void **state)
{
	keys = (struct ticket_keys){0};
	keys_give();
	for (unsigned i = 0; i < 2; i++) {
		struct visit v = {.version = versions[i]};
		struct seen seen = visit(&v, NULL);

		assert_true(seen.good);
		assert_int_equal(seen.info.tickets, 0);
		assert_false(SSL_SESSION_has_ticket(seen.session));
		SSL_SESSION_free(seen.session);
		keys_make(NULL);
		v.no_client_tickets = true; // a client that wants none in 1.2
		seen = visit(&v, NULL);
		assert_true(seen.good);
		assert_int_equal(seen.info.tickets, i);
		SSL_SESSION_free(seen.session);
		keys = (struct ticket_keys){0};
		keys_give();
	}
}

// Two boxes with one secret, whose clocks differ: each takes the other's tickets.
static void keys_of_a_secret(void **state)
{
	const uint8_t secret[TICKET_SECRET] = {1, 2, 3}, wrong[TICKET_SECRET] = {1, 2, 4};
	int64_t now = now_ms() / 1000 / HOUR * HOUR + HOUR - 1; // the last second of a span
	struct ticket_keys a, b, c;

	ticket_keys_derive(&a, secret, now, HOUR);
	ticket_keys_derive(&b, secret, now + 2, HOUR);
	ticket_keys_derive(&c, wrong, now, HOUR);
	assert_memory_equal(a.key[2].name, b.key[0].name, TICKET_NAME); // next there, current here
	assert_memory_equal(a.key[2].key, b.key[0].key, 32);
	assert_memory_equal(a.key[0].key, b.key[1].key, 32);
	assert_int_equal(a.key[0].until_s, b.key[1].until_s);
	assert_int_equal(a.key[0].until_s, now + 1 + HOUR);
	assert_memory_not_equal(a.key[0].key, c.key[0].key, 32);
	assert_memory_not_equal(a.key[0].name, c.key[0].name, TICKET_NAME);
	for (unsigned i = 0; i < 2; i++) {
		struct visit v = {.version = versions[i]};
		SSL_SESSION *s;

		tls_engine_tickets_set(engines[0], &a);
		tls_engine_tickets_set(engines[1], &b);
		s = first_visit(&v);
		v.worker = 1;
		expect_resumed(&v, s);
		SSL_SESSION_free(s);
		s = first_visit(&v);
		v.worker = 0;
		expect_resumed(&v, s);
		tls_engine_tickets_set(engines[0], &c);
		expect_full(&v, s, TLS_TICKET_UNKNOWN_KEY);
		SSL_SESSION_free(s);
	}
}

static uint32_t sealed(uint8_t *out, const struct ticket_facts *facts)
{
	static const uint8_t nonce[12] = {7};
	uint8_t session[TICKET_SESSION];

	for (unsigned i = 0; i < 100; i++)
		session[i] = (uint8_t)i;
	return ticket_seal(engines[0], nonce, facts, session, 100, out);
}

static void altered_in_any_bit_or_length(void **state)
{
	static struct ticket_facts facts, got; // compared as bytes
	uint8_t ticket[TICKET_MAX], session[TICKET_SESSION];
	uint32_t len, n;

	facts.version = TLS_V13;
	facts.suite = 0x1301;
	facts.offers = 0x7fff;
	facts.verify_result = 0xfffffffe;
	facts.issued_ms = now_ms();
	facts.expires_s = now_ms() / 1000 + 60;
	facts.not_after_s = 0xffffffffffff;
	memset(facts.binding, 9, sizeof(facts.binding));
	len = sealed(ticket, &facts);

	assert_in_range(len, 1, TICKET_MAX);
	assert_int_equal(ticket_open(engines[1], ticket, len, &got, session, &n), TLS_TICKET_TAKEN);
	assert_int_equal(n, 100);
	assert_int_equal(session[99], 99);
	assert_memory_equal(&got, &facts, sizeof(got));
	for (uint32_t bit = 0; bit < len * 8; bit++) {
		enum tls_ticket_refusal r;

		ticket[bit / 8] ^= (uint8_t)(1U << bit % 8);
		r = ticket_open(engines[1], ticket, len, &got, session, &n);
		assert_int_equal(
			r, bit < TICKET_NAME * 8 ? TLS_TICKET_UNKNOWN_KEY : TLS_TICKET_MALFORMED
		);
		ticket[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	for (uint32_t cut = 0; cut < len; cut++) {
		uint8_t *exact = malloc(cut + 1);

		memcpy(exact, ticket, cut);
		assert_int_equal(
			ticket_open(engines[1], exact, cut, &got, session, &n), TLS_TICKET_MALFORMED
		);
		free(exact);
	}
	assert_int_equal(
		ticket_open(engines[1], ticket, 0, &got, session, &n), TLS_TICKET_MALFORMED
	);
}

// The same on the way: a client whose ticket was spoilt gets a session all the same.
static void a_spoilt_ticket_is_a_full_handshake(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct visit v = {.version = versions[i], .sni = NAME};
		SSL_SESSION *s = first_visit(&v);
		const unsigned char *ticket;
		size_t len;

		SSL_SESSION_get0_ticket(s, &ticket, &len);
		for (size_t at = 0; at < len; at += 13) {
			unsigned char *p = (unsigned char *)(uintptr_t)ticket + at;

			*p ^= 1;
			expect_full(
				&v,
				s,
				at < TICKET_NAME ? TLS_TICKET_UNKNOWN_KEY : TLS_TICKET_MALFORMED
			);
			*p ^= 1;
		}
		expect_resumed(&v, s);
		SSL_SESSION_free(s);
	}
}

static void nonces_differ(void **state)
{
	struct visit v = {.version = TLS1_2_VERSION};
	uint8_t nonce[20][12];

	for (unsigned i = 0; i < 20; i++) {
		SSL_SESSION *s;
		const unsigned char *ticket;
		size_t len;

		v.version = versions[i % 2];
		s = first_visit(&v);
		SSL_SESSION_get0_ticket(s, &ticket, &len);
		assert_in_range(len, 150, 240); // short: it comes in every ClientHello
		memcpy(nonce[i], ticket + TICKET_NAME, 12);
		for (unsigned k = 0; k < i; k++)
			assert_memory_not_equal(nonce[k], nonce[i], 12);
		SSL_SESSION_free(s);
	}
}

// What tickets are bound to is read of any hello, whole or not, in any order of extensions.
static void hellos_are_read(void **state)
{
	uint8_t hello[2000];
	struct tls_hello h;
	struct peer p;
	uint32_t len;

	peer_new(&p, false, NULL, TLS1_2_VERSION);
	SSL_set_tlsext_host_name(p.ssl, NAME);
	SSL_set_cipher_list(p.ssl, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305");
	SSL_set1_groups_list(p.ssl, "P-256:X25519");
	SSL_do_handshake(p.ssl);
	len = peer_take(&p, hello, sizeof(hello)) - TLS_RECORD_HEADER;
	assert_true(tls_hello_read(hello + TLS_RECORD_HEADER, len, &h));
	assert_int_equal(h.name_len, strlen(NAME));
	assert_memory_equal(h.name, NAME, h.name_len);
	assert_int_equal(
		h.offers,
		1 << tls_suite_index(0xc02b) | 1 << tls_suite_index(0xcca8) | 3 * TLS_OFFERS_GROUP |
			TLS_OFFERS_ECDSA | TLS_OFFERS_RSA | TLS_OFFERS_MASTER_SECRET
	);
	for (uint32_t cut = 0; cut < len; cut++) {
		uint8_t *exact = malloc(cut + 1);

		memcpy(exact, hello + TLS_RECORD_HEADER, cut);
		assert_false(tls_hello_read(exact, cut, &h));
		free(exact);
	}
	peer_free(&p);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(keys_rotate, keys_make),
		cmocka_unit_test_setup(tickets_expire, keys_make),
		cmocka_unit_test_setup(without_keys_there_are_none, keys_make),
		cmocka_unit_test_setup(keys_of_a_secret, keys_make),
		cmocka_unit_test_setup(altered_in_any_bit_or_length, keys_make),
		cmocka_unit_test_setup(a_spoilt_ticket_is_a_full_handshake, keys_make),
		cmocka_unit_test_setup(nonces_differ, keys_make),
		cmocka_unit_test_setup(hellos_are_read, keys_make),
	};
	int failed = visits_begin(argc, argv);

	if (failed != 0)
		return failed;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	visits_end();
	return failed;
}
