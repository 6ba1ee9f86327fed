// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See visit.h.

#include "tests/unit/tls/visit.h"

#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct tls_engine *engines[2];
struct peer_cert certs[PEER_KEYS], other, client, stranger;
int64_t shift_ms;
struct ticket_keys keys;
const int versions[2] = {TLS1_2_VERSION, TLS1_3_VERSION};

int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + shift_ms;
}

void keys_give(void)
{
	tls_engine_tickets_set(engines[0], &keys);
	tls_engine_tickets_set(engines[1], &keys);
}

int keys_make(void **state)
{
	shift_ms = 0;
	keys = (struct ticket_keys){0};
	assert_true(ticket_keys_fresh(&keys, now_ms() / 1000, 12 * HOUR));
	keys_give();
	return 0;
}

static struct tls_creds *creds_of(const struct visit *v)
{
	struct tls_pair pairs[2] = {v->cert != NULL ? v->cert->pair : certs[PEER_EC256].pair};
	struct tls_creds_config config = {
		.server = true,
		.pairs = pairs,
		.pair_count = 1,
		.max_handshakes = 1,
		.client_auth = v->auth,
		.tickets = !v->no_tickets,
	};
	char why[128];
	struct tls_creds *c;

	if (v->ca != NULL)
		config.ca = v->ca->pair.chain;
	c = tls_creds_new(engines[v->worker], &config, why);
	assert_non_null(c);
	return c;
}

static void client_set(struct peer *p, const struct visit *v, SSL_SESSION *session)
{
	if (v->no_client_tickets)
		SSL_set_options(p->ssl, SSL_OP_NO_TICKET);
	if (v->no_ems)
		SSL_set_options(p->ssl, SSL_OP_NO_EXTENDED_MASTER_SECRET);
	if (v->fragments)
		SSL_set_max_send_fragment(p->ssl, 512);
	if (v->sni != NULL)
		SSL_set_tlsext_host_name(p->ssl, v->sni);
	if (v->groups != NULL)
		assert_int_equal(SSL_set1_groups_list(p->ssl, v->groups), 1);
	if (v->suites != NULL && v->version == TLS1_3_VERSION)
		assert_int_equal(SSL_set_ciphersuites(p->ssl, v->suites), 1);
	else if (v->suites != NULL)
		assert_int_equal(SSL_set_cipher_list(p->ssl, v->suites), 1);
	if (session != NULL)
		assert_int_equal(SSL_set_session(p->ssl, session), 1);
}

struct seen visit(const struct visit *v, SSL_SESSION *session)
{
	static struct side s;
	struct seen seen = {0};
	struct peer p;
	char text[16];

	s = (struct side){.creds = creds_of(v)};
	peer_new(&p, false, v->shows, v->version);
	client_set(&p, v, session);
	s.hs = tls_hs_new(s.creds, v->service != NULL ? v->service : "inbound");
	assert_non_null(s.hs);
	seen.good = sides_shake(engines[v->worker], &s, &p, v->piece != 0 ? v->piece : 100000);
	seen.info = s.info;
	seen.failure = s.failure;
	if (seen.good) {
		// its first read takes a 1.3 ticket in; records go on behind it
		side_write(engines[v->worker], &s, &p, "220 hello\r\n");
		assert_int_equal(SSL_read(p.ssl, text, sizeof(text)), 11);
		seen.reused = SSL_session_reused(p.ssl) == 1;
		seen.session = SSL_get1_session(p.ssl);
		sides_talk(engines[v->worker], &s, &p);
	}
	peer_free(&p);
	tls_creds_put(s.creds);
	return seen;
}

// A full handshake that leaves a ticket.
SSL_SESSION *first_visit(const struct visit *v)
{
	struct seen seen = visit(v, NULL);

	assert_true(seen.good);
	assert_false(seen.reused);
	assert_int_equal(seen.info.ticket, TLS_TICKET_NONE);
	assert_int_equal(seen.info.tickets, 1);
	assert_true(SSL_SESSION_has_ticket(seen.session));
	return seen.session;
}

void expect_resumed(const struct visit *v, SSL_SESSION *session)
{
	struct seen seen = visit(v, session);

	assert_true(seen.good);
	assert_true(seen.reused);
	assert_true(seen.info.resumed);
	assert_int_equal(seen.info.ticket, TLS_TICKET_TAKEN);
	SSL_SESSION_free(seen.session);
}

void expect_full(const struct visit *v, SSL_SESSION *session, enum tls_ticket_refusal why)
{
	struct seen seen = visit(v, session);

	assert_true(seen.good);
	assert_false(seen.reused);
	assert_false(seen.info.resumed);
	assert_int_equal(seen.info.ticket, why);
	SSL_SESSION_free(seen.session);
}

int visits_begin(int argc, char **argv)
{
	if (argc != 2)
		return 64;
	for (unsigned i = 0; i < 2; i++) {
		engines[i] = tls_engine_new((enum pk_engine_id)(argv[1][0] - '0'));
		if (engines[i] == NULL)
			return 1;
		tls_engine_clock_set(engines[i], now_ms);
	}
	for (unsigned i = 0; i < PEER_KEYS; i++)
		peer_cert_make(&certs[i], (enum peer_key)i, NAME);
	peer_cert_make(&other, PEER_EC256, "other.example");
	peer_cert_make(&client, PEER_EC256, "client.example");
	peer_cert_make(&stranger, PEER_EC256, "stranger.example");
	return 0;
}

void visits_end(void)
{
	for (unsigned i = 0; i < PEER_KEYS; i++)
		peer_cert_free(&certs[i]);
	peer_cert_free(&other);
	peer_cert_free(&client);
	peer_cert_free(&stranger);
	tls_engine_free(engines[0]);
	tls_engine_free(engines[1]);
}
