// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// OpenSSL in memory as the other end.

#include "tests/unit/tls/peer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void peer_new(struct peer *p, bool server, const struct peer_cert *cert, int version)
{
	p->ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	SSL_CTX_set_min_proto_version(p->ctx, version);
	SSL_CTX_set_max_proto_version(p->ctx, version);
	if (cert != NULL && (SSL_CTX_use_certificate(p->ctx, cert->crt) != 1 ||
			     SSL_CTX_use_PrivateKey(p->ctx, cert->key) != 1))
		abort();
	p->ssl = SSL_new(p->ctx);
	SSL_set_bio(p->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (server)
		SSL_set_accept_state(p->ssl);
	else
		SSL_set_connect_state(p->ssl);
}

void peer_free(struct peer *p)
{
	SSL_free(p->ssl);
	SSL_CTX_free(p->ctx);
}

uint32_t peer_take(struct peer *p, uint8_t *out, uint32_t size)
{
	int n = BIO_read(SSL_get_wbio(p->ssl), out, (int)size);

	return n > 0 ? (uint32_t)n : 0;
}

void peer_give(struct peer *p, const uint8_t *data, uint32_t len)
{
	if (len > 0 && BIO_write(SSL_get_rbio(p->ssl), data, (int)len) != (int)len)
		abort();
}

static void in_used(struct side *s, uint32_t n)
{
	memmove(s->in, s->in + n, s->in_len - n);
	s->in_len -= n;
}

static void in_fill(struct side *s, struct peer *p)
{
	s->in_len += peer_take(p, s->in + s->in_len, (uint32_t)sizeof(s->in) - s->in_len);
}

static pthread_t helper;

static void *help(void *helpers)
{
	tls_helper_run(helpers, 0);
	return NULL;
}

struct tls_helpers *helped_new(void)
{
	struct tls_helpers *helpers = tls_helpers_new(1, 1);

	assert_non_null(helpers);
	assert_int_equal(pthread_create(&helper, NULL, help, helpers), 0);
	return helpers;
}

void helped_free(struct tls_helpers *helpers)
{
	tls_helpers_stop(helpers);
	pthread_join(helper, NULL);
	tls_helpers_free(helpers);
}

static struct {
	struct side *side;
	struct peer *peer;
	enum tls_result result;
} waiting;

static void on_finished(void *up, struct tls_hs *hs)
{
	struct side *s = waiting.side;
	struct tls_step step;

	waiting.result = tls_hs_result(hs, &step, &s->state, &s->info);
	peer_give(waiting.peer, step.out, step.out_len);
	s->failure = step.failure;
}

bool sides_shake(struct tls_engine *e, struct side *s, struct peer *p, uint32_t piece)
{
	uint32_t shown = 0; // of what has come: how far we are shown it
	bool peer_done = false;

	for (unsigned i = 0; i < 100000 && !(s->done && peer_done); i++) {
		struct tls_step step;
		enum tls_result result;

		peer_done = SSL_do_handshake(p->ssl) == 1 || peer_done;
		in_fill(s, p);
		if (s->done)
			continue;
		shown = shown + piece < s->in_len ? shown + piece : s->in_len;
		step = (struct tls_step){.in = s->in, .in_len = shown};
		result = tls_hs_step(s->hs, &step, &s->state, &s->info);
		in_used(s, step.taken);
		shown -= step.taken;
		if (result == TLS_WAIT) {
			waiting.side = s;
			waiting.peer = p;
			tls_engine_finished_set(e, on_finished, NULL);
			waiting.result = TLS_WAIT;
			tls_engine_flush(e);
			for (unsigned n = 0; waiting.result == TLS_WAIT && n < 1000000; n++) {
				tls_engine_turn(e); // a helper has it
				tls_engine_flush(e);
				usleep(10);
			}
			result = waiting.result;
		} else {
			peer_give(p, step.out, step.out_len);
			s->failure = step.failure;
		}
		s->done = result == TLS_OK;
		if (result == TLS_FATAL)
			break;
	}
	tls_hs_free(s->hs);
	s->hs = NULL;
	return s->done && peer_done;
}

enum tls_result side_read(
	struct tls_engine *e,
	struct side *s,
	struct peer *p,
	uint8_t *out,
	struct tls_opened *ret
)
{
	enum tls_alert alert;
	enum tls_result result;
	struct tls_seg segs[2];
	uint32_t len;

	in_fill(s, p);
	if (s->in_len < TLS_RECORD_HEADER)
		return TLS_WANT_IN;
	len = tls_record_length(&s->state, s->in, &alert);
	if (len == 0)
		return TLS_FATAL;
	if (s->in_len < len)
		return TLS_WANT_IN;
	segs[0] = (struct tls_seg){s->in, len / 3};
	segs[1] = (struct tls_seg){s->in + len / 3, len - len / 3};
	result = tls_record_open(e, &s->state, segs, 2, ret);
	if (result == TLS_OK)
		memcpy(out, s->in + ret->off, ret->len);
	in_used(s, len);
	return result;
}

void side_write(struct tls_engine *e, struct side *s, struct peer *p, const char *text)
{
	uint8_t copy[512], record[1024];
	const struct tls_seg seg = {copy, (uint32_t)strlen(text)};

	memcpy(copy, text, seg.len);
	peer_give(p, record, tls_record_seal(e, &s->state, TLS_T_DATA, &seg, 1, record));
}

// Data both ways, KeyUpdate both ways (1.3), close_notify both ways.
void sides_talk(struct tls_engine *engine, struct side *s, struct peer *p)
{
	uint8_t out[TLS_PLAIN_MAX], record[TLS_REPLY_MAX];
	struct tls_opened opened;
	struct tls_reply reply;
	char text[64];

	assert_int_equal(SSL_write(p->ssl, "EHLO me\r\n", 9), 9);
	do { // tickets of an OpenSSL server come first
		assert_int_equal(side_read(engine, s, p, out, &opened), TLS_OK);
		if (opened.type != TLS_T_DATA)
			assert_int_equal(
				tls_post_handle(
					engine, &s->state, opened.type, out, opened.len, &reply
				),
				TLS_OK
			);
	} while (opened.type != TLS_T_DATA);
	assert_int_equal(opened.len, 9);
	assert_memory_equal(out, "EHLO me\r\n", 9);
	side_write(engine, s, p, "250 hello\r\n");
	assert_int_equal(SSL_read(p->ssl, text, sizeof(text)), 11);
	assert_memory_equal(text, "250 hello\r\n", 11);
	if (s->state.version == TLS_V13) {
		assert_int_equal(SSL_key_update(p->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_write(p->ssl, "NOOP\r\n", 6), 6);
		assert_int_equal(side_read(engine, s, p, out, &opened), TLS_OK);
		assert_int_equal(opened.type, TLS_T_HANDSHAKE);
		assert_int_equal(
			tls_post_handle(engine, &s->state, opened.type, out, opened.len, &reply),
			TLS_OK
		);
		peer_give(p, reply.data, reply.len);
		assert_int_equal(side_read(engine, s, p, out, &opened), TLS_OK);
		assert_memory_equal(out, "NOOP\r\n", 6);
		side_write(engine, s, p, "250 ok\r\n");
		assert_int_equal(SSL_read(p->ssl, text, sizeof(text)), 8);
	}
	peer_give(p, record, tls_alert_seal(engine, &s->state, TLS_ALERT_CLOSE_NOTIFY, record));
	assert_int_equal(SSL_read(p->ssl, text, sizeof(text)), 0);
	assert_int_equal(SSL_get_error(p->ssl, 0), SSL_ERROR_ZERO_RETURN);
	SSL_shutdown(p->ssl);
	assert_int_equal(side_read(engine, s, p, out, &opened), TLS_OK);
	assert_int_equal(
		tls_post_handle(engine, &s->state, opened.type, out, opened.len, &reply), TLS_CLOSED
	);
}
