// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// bench-handshakes [ROUNDS]: CPU time of the server a handshake, many in flight, in memory: our
// engines beside OpenSSL as the server, OpenSSL always the client (its time is not counted). Rounds
// of all columns alternate, so that what disturbs one disturbs all; the best round of each is
// given.

#include "tests/unit/tls/peer.h"
#include "tls/pk_hooks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FLIGHT 128
#define TURNS 50
#define COLUMNS 4 // OpenSSL, then our engines
#define NAME "mx.lab.example"

struct mix {
	const char *what;
	int version;
	enum peer_key key;
	const char *group;
	bool resumed;
};
static const struct mix mixes[] = {
	{"TLS 1.3 X25519, ECDSA P-256", TLS1_3_VERSION, PEER_EC256, "X25519", false},
	{"TLS 1.3 P-256, ECDSA P-256", TLS1_3_VERSION, PEER_EC256, "P-256", false},
	{"TLS 1.3 X25519, RSA-2048", TLS1_3_VERSION, PEER_RSA2048, "X25519", false},
	{"TLS 1.2 X25519, ECDSA P-256", TLS1_2_VERSION, PEER_EC256, "X25519:P-256", false},
	{"TLS 1.2 P-256, RSA-2048", TLS1_2_VERSION, PEER_RSA2048, "P-256", false},
	{"TLS 1.3 X25519, resumed", TLS1_3_VERSION, PEER_EC256, "X25519", true},
	{"TLS 1.2, resumed", TLS1_2_VERSION, PEER_EC256, "X25519:P-256", true},
};
#define MIXES (sizeof(mixes) / sizeof(mixes[0]))

struct seat {
	SSL *client, *server; // server: OpenSSL's column only
	struct tls_hs *hs;
	struct tls_state state;
	struct tls_info info;
	uint8_t in[20000];
	uint32_t in_len;
	bool client_done, server_done;
};

static struct seat seats[FLIGHT];
static struct tls_engine *engines[COLUMNS]; // [0]: none
static struct peer_cert certs[PEER_KEYS];
static SSL_CTX *client_ctx;
static SSL_SESSION *last; // of the client, for resumption
static uint64_t spent_ns;

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); // two calls a turn of all
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION_free(last);
	last = session;
	return 1;
}

static SSL *in_memory(SSL_CTX *ctx, bool server)
{
	SSL *ssl = SSL_new(ctx);

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

static void carry(SSL *from, SSL *to)
{
	uint8_t data[20000];
	int n = BIO_read(SSL_get_wbio(from), data, sizeof(data));

	if (n > 0 && BIO_write(SSL_get_rbio(to), data, n) != n)
		abort();
}

static void give(struct seat *s, enum tls_result result, const struct tls_step *step)
{
	if (step->out_len > 0 &&
	    BIO_write(SSL_get_rbio(s->client), step->out, (int)step->out_len) < 0)
		abort();
	s->server_done = result == TLS_OK;
	if (result == TLS_FATAL) {
		fprintf(stderr, "a handshake failed\n");
		exit(1);
	}
}

static void on_finished(void *up, struct tls_hs *hs)
{
	struct seat *s = &seats[tls_hs_user(hs)];
	struct tls_step step;

	give(s, tls_hs_result(hs, &step, &s->state, &s->info), &step);
}

static void ours_step(struct seat *s)
{
	struct tls_step step = {.in = s->in, .in_len = s->in_len};
	enum tls_result result = tls_hs_step(s->hs, &step, &s->state, &s->info);

	memmove(s->in, s->in + step.taken, s->in_len - step.taken);
	s->in_len -= step.taken;
	if (result != TLS_WAIT)
		give(s, result, &step);
}

static void clients_step(bool ours)
{
	for (unsigned i = 0; i < FLIGHT; i++) {
		struct seat *s = &seats[i];
		char byte;

		if (s->client_done) // a ticket may still come
			SSL_read(s->client, &byte, 1);
		else
			s->client_done = SSL_do_handshake(s->client) == 1;
		if (!ours) {
			carry(s->client, s->server);
		} else {
			int n = BIO_read(
				SSL_get_wbio(s->client),
				s->in + s->in_len,
				(int)(sizeof(s->in) - s->in_len)
			);

			s->in_len += n > 0 ? (uint32_t)n : 0;
		}
	}
}

// One turn of the server: whatever has come, of everyone.
static unsigned servers_step(struct tls_engine *engine)
{
	uint64_t start = cpu_ns();
	unsigned done = 0;

	for (unsigned i = 0; i < FLIGHT; i++) {
		struct seat *s = &seats[i];

		if (s->server_done)
			continue;
		if (engine == NULL)
			s->server_done = SSL_do_handshake(s->server) == 1;
		else if (s->in_len > 0)
			ours_step(s);
	}
	if (engine != NULL)
		tls_engine_flush(engine);
	spent_ns += cpu_ns() - start;
	for (unsigned i = 0; i < FLIGHT; i++) {
		if (engine == NULL)
			carry(seats[i].server, seats[i].client);
		done += seats[i].server_done && seats[i].client_done;
	}
	return done;
}

// One round: FLIGHT handshakes. Returns microseconds of the server for each, or 0: not resumed.
static double round_run(
	const struct mix *mix,
	struct tls_engine *engine,
	SSL_CTX *server_ctx,
	struct tls_creds *creds
)
{
	unsigned done = 0, reused = 0;
	uint64_t start;

	spent_ns = 0;
	for (unsigned i = 0; i < FLIGHT; i++) {
		seats[i] = (struct seat){.client = in_memory(client_ctx, false)};
		SSL_set_tlsext_host_name(seats[i].client, NAME);
		if (mix->resumed && last != NULL)
			SSL_set_session(seats[i].client, last);
	}
	start = cpu_ns();
	for (unsigned i = 0; i < FLIGHT; i++) {
		struct seat *s = &seats[i];

		if (engine == NULL) {
			s->server = in_memory(server_ctx, true);
		} else {
			s->hs = tls_hs_new(creds, NULL);
			tls_hs_user_set(s->hs, i);
		}
	}
	spent_ns += cpu_ns() - start;
	for (unsigned turn = 0; turn < TURNS && done < FLIGHT; turn++) {
		clients_step(engine != NULL);
		done = servers_step(engine);
	}
	clients_step(engine != NULL);
	if (done < FLIGHT) {
		fprintf(stderr, "%u of %u handshakes did not end\n", FLIGHT - done, FLIGHT);
		exit(1);
	}
	start = cpu_ns();
	for (unsigned i = 0; i < FLIGHT; i++) {
		SSL_free(seats[i].server);
		tls_hs_free(seats[i].hs);
	}
	spent_ns += cpu_ns() - start;
	for (unsigned i = 0; i < FLIGHT; i++) {
		reused += SSL_session_reused(seats[i].client) == 1;
		// else its session would be thought broken off, and not be resumed
		SSL_set_shutdown(seats[i].client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		SSL_free(seats[i].client);
	}
	return reused == (mix->resumed ? FLIGHT : 0) ? (double)spent_ns / 1000 / FLIGHT : 0;
}

static void ctx_limit(SSL_CTX *ctx, const struct mix *mix)
{
	SSL_CTX_set_min_proto_version(ctx, mix->version);
	SSL_CTX_set_max_proto_version(ctx, mix->version);
	if (SSL_CTX_set1_groups_list(ctx, mix->group) != 1)
		abort();
}

struct column {
	SSL_CTX *ctx;
	struct tls_creds *creds;
	SSL_SESSION *session;
	double best;
};

static void column_open(struct column *c, struct tls_engine *engine, const struct mix *mix)
{
	const struct peer_cert *cert = &certs[mix->key];
	struct tls_creds_config config = {
		.server = true,
		.pairs = &cert->pair,
		.pair_count = 1,
		.max_handshakes = FLIGHT,
		.tickets = true,
	};
	char why[128];

	*c = (struct column){0};
	if (engine != NULL) {
		c->creds = tls_creds_new(engine, &config, why);
		if (c->creds == NULL)
			abort();
		return;
	}
	c->ctx = SSL_CTX_new(TLS_server_method());
	ctx_limit(c->ctx, mix);
	if (SSL_CTX_use_certificate(c->ctx, cert->crt) != 1 ||
	    SSL_CTX_use_PrivateKey(c->ctx, cert->key) != 1)
		abort();
}

static void column_close(struct column *c)
{
	SSL_CTX_free(c->ctx);
	if (c->creds != NULL)
		tls_creds_put(c->creds);
	SSL_SESSION_free(c->session);
}

static void mix_run(const struct mix *mix, unsigned rounds)
{
	struct column columns[COLUMNS];

	client_ctx = SSL_CTX_new(TLS_client_method());
	ctx_limit(client_ctx, mix);
	SSL_CTX_set_session_cache_mode(
		client_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
	);
	SSL_CTX_sess_set_new_cb(client_ctx, on_session);
	for (unsigned k = 0; k < COLUMNS; k++)
		if (k == 0 || engines[k] != NULL)
			column_open(&columns[k], engines[k], mix);
	for (unsigned i = 0; i <= rounds; i++) // the first one warms up, and brings the ticket
		for (unsigned k = 0; k < COLUMNS; k++) {
			struct column *c = &columns[k];
			double us;

			if (k > 0 && engines[k] == NULL)
				continue;
			last = c->session;
			us = round_run(mix, engines[k], c->ctx, c->creds);
			c->session = last;
			last = NULL;
			if (i > 0 && us > 0 && (c->best == 0 || us < c->best))
				c->best = us;
		}
	printf("%-30s", mix->what);
	for (unsigned k = 0; k < COLUMNS; k++) {
		if ((k > 0 && engines[k] == NULL) || columns[k].best == 0)
			printf(" %15s", "-");
		else if (k == 0)
			printf(" %15.1f", columns[k].best);
		else
			printf(" %7.1f (1/%4.2f)",
			       columns[k].best,
			       columns[0].best / columns[k].best);
		if (k == 0 || engines[k] != NULL)
			column_close(&columns[k]);
	}
	printf("\n");
	SSL_CTX_free(client_ctx);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct ticket_keys tickets = {0};
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10;

	if (rounds == 0 || rounds > 10000) {
		fprintf(stderr, "usage: bench-handshakes [ROUNDS, 1 to 10000]\n");
		return 64;
	}
	for (unsigned k = 1; k < COLUMNS; k++) {
		struct tls_engine *e = tls_engine_new((enum pk_engine_id)(k - 1));

		if (e == NULL)
			return 1;
		if (k == 1 && strcmp(tls_engine_name(e), "crypto_mb") != 0) {
			tls_engine_free(e); // not on this processor: the next column has it
			continue;
		}
		if (!ticket_keys_fresh(&tickets, time(NULL), 43200))
			return 1;
		tls_engine_tickets_set(e, &tickets);
		tls_engine_finished_set(e, on_finished, NULL);
		engines[k] = e;
	}
	for (unsigned k = 0; k < PEER_KEYS; k++)
		peer_cert_make(&certs[k], (enum peer_key)k, NAME);
	printf("us of the server a handshake, %u in flight, best of %u rounds (and its part of "
	       "OpenSSL's)\n"
	       "%-30s %15s %15s %15s %15s\n",
	       FLIGHT,
	       rounds,
	       "",
	       "OpenSSL",
	       "crypto_mb",
	       "libcrypto",
	       "mbedTLS unhooked");
	for (unsigned i = 0; i < MIXES; i++)
		mix_run(&mixes[i], rounds);
	for (unsigned k = 0; k < COLUMNS; k++)
		tls_engine_free(engines[k]);
	for (unsigned k = 0; k < PEER_KEYS; k++)
		peer_cert_free(&certs[k]);
	return 0;
}
