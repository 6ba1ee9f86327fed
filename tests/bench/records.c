// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// bench-records [ROUNDS]: CPU time of reading (as from a client) and of writing TLS records, on our
// record layer and on OpenSSL's, on the same keys and bytes. Rounds alternate; the best is given.

#include "tests/unit/tls/peer.h"
#include "tls/pk_hooks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME "mx.lab.example"
#define RECORDS 64 // a round
#define MSS 1448U

static struct tls_engine *engine;
static struct peer_cert cert;
static SSL *client, *server; // OpenSSL's two ends
static SSL *our_client;      // OpenSSL, with our server
static struct tls_state state;
static uint8_t plain[TLS_PLAIN_MAX], out[TLS_PLAIN_MAX + TLS_SEAL_OVERHEAD];
static uint8_t wire[RECORDS * (TLS_PLAIN_MAX + 64)];

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static SSL *in_memory(SSL_CTX *ctx, bool as_server)
{
	SSL *ssl = SSL_new(ctx);

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (as_server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

static uint32_t carry(SSL *from, SSL *to)
{
	int n = BIO_read(SSL_get_wbio(from), wire, sizeof(wire));

	if (n > 0 && BIO_write(SSL_get_rbio(to), wire, n) != n)
		abort();
	return n > 0 ? (uint32_t)n : 0;
}

static SSL_CTX *ctx_new(const SSL_METHOD *method, const char *suite)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_num_tickets(ctx, 0);
	if (SSL_CTX_set_ciphersuites(ctx, suite) != 1)
		abort();
	return ctx;
}

static void openssl_open(const char *suite)
{
	SSL_CTX *sc = ctx_new(TLS_server_method(), suite),
		*cc = ctx_new(TLS_client_method(), suite);

	if (SSL_CTX_use_certificate(sc, cert.crt) != 1 || SSL_CTX_use_PrivateKey(sc, cert.key) != 1)
		abort();
	client = in_memory(cc, false);
	server = in_memory(sc, true);
	our_client = in_memory(cc, false);
	for (unsigned i = 0; i < 5; i++) {
		SSL_do_handshake(client);
		carry(client, server);
		SSL_do_handshake(server);
		carry(server, client);
	}
	SSL_CTX_free(sc);
	SSL_CTX_free(cc);
	if (!SSL_is_init_finished(client) || !SSL_is_init_finished(server))
		abort();
}

static enum tls_result result_of_wait;

static void on_finished(void *up, struct tls_hs *hs)
{
	struct tls_step step;
	struct tls_info info;

	result_of_wait = tls_hs_result(hs, &step, &state, &info);
	if (step.out_len > 0)
		BIO_write(SSL_get_rbio(our_client), step.out, (int)step.out_len);
}

static void ours_open(void)
{
	struct tls_creds_config config = {
		.server = true, .pairs = &cert.pair, .pair_count = 1, .max_handshakes = 1
	};
	char why[128];
	struct tls_creds *creds = tls_creds_new(engine, &config, why);
	struct tls_hs *hs = creds != NULL ? tls_hs_new(creds, NULL) : NULL;
	enum tls_result result = TLS_WANT_IN;

	if (hs == NULL)
		abort();
	tls_engine_finished_set(engine, on_finished, NULL);
	for (unsigned i = 0; i < 5 && result != TLS_OK; i++) {
		struct tls_step step = {.in = wire};
		struct tls_info info;
		int n;

		SSL_do_handshake(our_client);
		n = BIO_read(SSL_get_wbio(our_client), wire, sizeof(wire));
		step.in_len = n > 0 ? (uint32_t)n : 0;
		result = tls_hs_step(hs, &step, &state, &info);
		if (result == TLS_WAIT) {
			tls_engine_flush(engine);
			result = result_of_wait;
		} else if (step.out_len > 0) {
			BIO_write(SSL_get_rbio(our_client), step.out, (int)step.out_len);
		}
	}
	if (result != TLS_OK)
		abort();
	tls_hs_free(hs);
	tls_creds_put(creds);
}

// Nanoseconds of RECORDS records of len bytes each, read.
static uint64_t openssl_read(uint32_t len)
{
	uint64_t start;

	for (unsigned i = 0; i < RECORDS; i++)
		SSL_write(client, plain, (int)len);
	carry(client, server);
	start = cpu_ns();
	for (unsigned i = 0; i < RECORDS; i++)
		if (SSL_read(server, out, (int)len) != (int)len)
			abort();
	return cpu_ns() - start;
}

// In pieces of a segment each, as they come from the wire.
static uint64_t ours_read(uint32_t len)
{
	uint32_t have, at = 0;
	uint64_t start;

	for (unsigned i = 0; i < RECORDS; i++)
		SSL_write(our_client, plain, (int)len);
	have = (uint32_t)BIO_read(SSL_get_wbio(our_client), wire, sizeof(wire));
	start = cpu_ns();
	while (at < have) {
		enum tls_alert alert;
		uint32_t n = tls_record_length(&state, wire + at, &alert);
		struct tls_seg segs[TLS_SEGS_MAX];
		struct tls_opened opened;
		unsigned count = 0;

		for (uint32_t off = 0; off < n; off += MSS)
			segs[count++] =
				(struct tls_seg){wire + at + off, n - off < MSS ? n - off : MSS};
		if (n == 0 || tls_record_open(engine, &state, segs, count, &opened) != TLS_OK ||
		    opened.len != len)
			abort();
		at += n;
	}
	return cpu_ns() - start;
}

static uint64_t openssl_write(uint32_t len)
{
	uint64_t start = cpu_ns(), spent;

	for (unsigned i = 0; i < RECORDS; i++)
		SSL_write(server, plain, (int)len);
	spent = cpu_ns() - start;
	carry(server, client);
	for (unsigned i = 0; i < RECORDS; i++)
		if (SSL_read(client, out, (int)len) != (int)len)
			abort();
	return spent;
}

static uint64_t ours_write(uint32_t len)
{
	const struct tls_seg seg = {plain, len};
	uint64_t start = cpu_ns(), spent;
	uint32_t at = 0;

	for (unsigned i = 0; i < RECORDS; i++)
		at += tls_record_seal(engine, &state, TLS_T_DATA, &seg, 1, wire + at);
	spent = cpu_ns() - start;
	if (BIO_write(SSL_get_rbio(our_client), wire, (int)at) != (int)at)
		abort();
	for (unsigned i = 0; i < RECORDS; i++)
		if (SSL_read(our_client, out, (int)len) != (int)len)
			abort();
	return spent;
}

static void row(const char *suite, uint32_t len, unsigned rounds)
{
	uint64_t (*run[4])(uint32_t) = {openssl_read, ours_read, openssl_write, ours_write};
	uint64_t best[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
	double ns[4];

	for (unsigned i = 0; i < rounds; i++)
		for (unsigned k = 0; k < 4; k++) {
			uint64_t spent = run[k](len);

			if (spent < best[k])
				best[k] = spent;
		}
	for (unsigned k = 0; k < 4; k++)
		ns[k] = (double)best[k] / RECORDS;
	printf("%-30s %6u  %9.0f %9.0f (%4.1f)  %9.0f %9.0f (%4.1f)  %6.2f\n",
	       suite,
	       len,
	       ns[0],
	       ns[1],
	       ns[0] / ns[1],
	       ns[2],
	       ns[3],
	       ns[2] / ns[3],
	       (double)len / ns[1]);
}

int main(int argc, char **argv)
{
	static const char *suites[] = {
		"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"
	};
	static const uint32_t sizes[] = {30, 1400, TLS_PLAIN_MAX};
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 50;

	if (rounds == 0 || rounds > 10000) {
		fprintf(stderr, "usage: bench-records [ROUNDS, 1 to 10000]\n");
		return 64;
	}
	engine = tls_engine_new(PK_ENGINE_LIBCRYPTO);
	if (engine == NULL)
		return 1;
	peer_cert_make(&cert, PEER_EC256, NAME);
	for (unsigned i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)i;
	printf("ns a record, best of %u rounds of %u\n%-30s %6s  %9s %9s %6s  %9s %9s %6s  %6s\n",
	       rounds,
	       RECORDS,
	       "",
	       "bytes",
	       "OpenSSL r",
	       "ours r",
	       "",
	       "OpenSSL w",
	       "ours w",
	       "",
	       "GB/s r");
	for (unsigned i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		openssl_open(suites[i]);
		ours_open();
		for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
			row(suites[i], sizes[k], rounds);
		SSL_free(client);
		SSL_free(server);
		SSL_free(our_client);
	}
	peer_cert_free(&cert);
	tls_engine_free(engine);
	return 0;
}
