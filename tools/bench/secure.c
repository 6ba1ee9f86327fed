// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The clients' TLS. One thread; a slot a client is taken at start, OpenSSL takes its own memory.

#include "tools/bench/secure.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/bench/client.h"

#define WAVE_NS 50000000ULL // a wave that does not fill goes after this
#define FLUSH_MAX 16384     // written to the connection at once

struct slot {
	SSL *ssl;
	bool gated; // its hello waits for the wave
	uint32_t have;
	char in[2 * BENCH_LINE_MAX];
};

struct secure {
	SSL_CTX *ctx;
	SSL_SESSION *session; // the last ticket, for all
	struct slot *slot;
	uint32_t *gate; // clients whose hellos wait
	uint32_t gate_len;
	uint64_t gate_ns; // since the first of them
	uint64_t resumed;
};

static int on_ticket(SSL *ssl, SSL_SESSION *session)
{
	struct secure *s = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(s->session);
	s->session = session;
	return 1; // ours now
}

struct secure *secure_new(const struct bench *b)
{
	uint32_t count = b->opt.concurrent + b->opt.hold;
	int version = b->opt.tls == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;
	struct secure *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->slot = calloc(count, sizeof(struct slot));
	s->gate = calloc(count, sizeof(uint32_t));
	s->ctx = SSL_CTX_new(TLS_client_method());
	if (s->slot == NULL || s->gate == NULL || s->ctx == NULL ||
	    SSL_CTX_set_min_proto_version(s->ctx, version) != 1 ||
	    SSL_CTX_set_max_proto_version(s->ctx, version) != 1 ||
	    SSL_CTX_set1_groups_list(s->ctx, "X25519:P-256") != 1) {
		secure_free(s);
		return NULL;
	}
	SSL_CTX_set_app_data(s->ctx, s);
	SSL_CTX_set_mode(s->ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(s->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(s->ctx, on_ticket);
	return s;
}

void secure_free(struct secure *s)
{
	if (s == NULL)
		return;
	SSL_SESSION_free(s->session);
	SSL_CTX_free(s->ctx);
	free(s->slot);
	free(s->gate);
	free(s);
}

// What OpenSSL has to send. False: no buffers; the rest goes with the next call.
static bool flush(struct bench *b, uint32_t idx)
{
	struct slot *slot = &b->secure->slot[idx];
	struct tcp_conn_id conn = b->clients->client[idx].conn;
	char *data;

	while (!slot->gated) {
		BIO *out = SSL_get_wbio(slot->ssl);
		long n = BIO_get_mem_data(out, &data);
		char gone[FLUSH_MAX];

		if (n <= 0)
			return true;
		n = n < FLUSH_MAX ? n : FLUSH_MAX;
		if (!tcp_tx_write(b->tcp, conn, data, (uint32_t)n))
			return false;
		BIO_read(out, gone, (int)n);
	}
	return true;
}

bool secure_begin(struct bench *b, uint32_t idx)
{
	struct secure *s = b->secure;
	struct slot *slot = &s->slot[idx];
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

	*slot = (struct slot){.ssl = SSL_new(s->ctx)};
	if (slot->ssl == NULL || in == NULL || out == NULL) {
		BIO_free(in);
		BIO_free(out);
		secure_end(b, idx);
		return false;
	}
	SSL_set_bio(slot->ssl, in, out);
	SSL_set_connect_state(slot->ssl);
	if (b->opt.resume && s->session != NULL)
		SSL_set_session(slot->ssl, s->session);
	SSL_do_handshake(slot->ssl); // only writes its hello
	if (b->opt.wave > 1 && clients_warm(b)) {
		slot->gated = true;
		if (s->gate_len == 0)
			s->gate_ns = b->env.now_ns;
		s->gate[s->gate_len++] = idx;
	}
	flush(b, idx);
	return true;
}

unsigned secure_turn(struct bench *b)
{
	struct secure *s = b->secure;
	unsigned n = s == NULL ? 0 : s->gate_len;

	if (n == 0 || (n < b->opt.wave && b->env.now_ns - s->gate_ns < WAVE_NS))
		return 0;
	for (unsigned i = 0; i < n; i++) {
		struct slot *slot = &s->slot[s->gate[i]];

		slot->gated = false;
		flush(b, s->gate[i]);
	}
	s->gate_len = 0;
	return n;
}

enum secure_result secure_run(struct bench *b, uint32_t idx)
{
	struct slot *slot = &b->secure->slot[idx];
	struct tcp_conn_id conn = b->clients->client[idx].conn;
	bool was = SSL_is_init_finished(slot->ssl);
	const uint8_t *p;
	uint32_t len;
	int status;

	while (tcp_rx_peek(b->tcp, conn, 0, &p, &len)) {
		if (BIO_write(SSL_get_rbio(slot->ssl), p, (int)len) != (int)len)
			return SECURE_BROKEN;
		tcp_rx_drop(b->tcp, conn, len);
	}
	if (was) {
		flush(b, idx);
		return SECURE_DONE;
	}
	ERR_clear_error();
	status = SSL_do_handshake(slot->ssl);
	flush(b, idx);
	if (status == 1) {
		b->secure->resumed += (uint64_t)SSL_session_reused(slot->ssl);
		return SECURE_DONE;
	}
	return SSL_get_error(slot->ssl, status) == SSL_ERROR_WANT_READ ? SECURE_WAITS
								       : SECURE_BROKEN;
}

bool secure_write(struct bench *b, uint32_t idx, const void *data, uint32_t len)
{
	struct slot *slot = &b->secure->slot[idx];

	if (!flush(b, idx) || SSL_write(slot->ssl, data, (int)len) != (int)len)
		return false;
	flush(b, idx); // what stays goes when bytes are acknowledged
	return true;
}

bool secure_line(struct bench *b, uint32_t idx, const char **ret, unsigned *ret_len)
{
	struct slot *slot = &b->secure->slot[idx];

	*ret = slot->in;
	for (;;) {
		const char *lf = memchr(slot->in, '\n', slot->have);
		int n;

		if (lf != NULL || slot->have >= BENCH_LINE_MAX) {
			*ret_len = lf != NULL ? (unsigned)(lf - slot->in) + 1 : slot->have;
			return true;
		}
		ERR_clear_error();
		n = SSL_read(
			slot->ssl, slot->in + slot->have, (int)(sizeof(slot->in) - slot->have)
		);
		if (n <= 0)
			return false;
		slot->have += (uint32_t)n;
	}
}

void secure_drop(struct bench *b, uint32_t idx, unsigned len)
{
	struct slot *slot = &b->secure->slot[idx];

	slot->have -= len;
	memmove(slot->in, slot->in + len, slot->have);
}

void secure_close(struct bench *b, uint32_t idx)
{
	if (b->secure->slot[idx].ssl == NULL)
		return;
	SSL_shutdown(b->secure->slot[idx].ssl);
	flush(b, idx);
}

void secure_end(struct bench *b, uint32_t idx)
{
	struct secure *s = b->secure;
	struct slot *slot = &s->slot[idx];

	SSL_free(slot->ssl);
	slot->ssl = NULL;
	for (uint32_t i = 0; slot->gated && i < s->gate_len; i++)
		if (s->gate[i] == idx) { // so that nobody stands in it twice
			s->gate[i] = s->gate[--s->gate_len];
			slot->gated = false;
		}
}

uint64_t secure_resumed(const struct secure *s)
{
	return s == NULL ? 0 : s->resumed;
}
