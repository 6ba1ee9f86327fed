// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// One handshake: mbedTLS reads from and writes to the step's buffers, the secrets are taken as it
// exports them, and when it is over nothing of mbedTLS stays. Private members used: the two record
// counters (in_ctr, cur_out_ctr), in_left and out_left, which must be 0, and state, which tells a
// resumed handshake from a full one. Worker thread.

#include "tls/pk_hooks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAGMENT_MAX 4096 // the largest of RFC 6066 4; above it is what mbedTLS itself has room for

static _Thread_local struct tls_hs *unfibered; // runs on the worker's own stack

static int on_send(void *arg, const unsigned char *data, size_t len)
{
	struct tls_hs *hs = arg;
	struct tls_step *step = &hs->step;

	if (len > TLS_FLIGHT_MAX - step->out_len)
		return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
	memcpy(tls_engine_flight(hs->creds->engine, hs->fiber) + step->out_len, data, len);
	step->out_len += (uint32_t)len;
	return (int)len;
}

static int on_recv(void *arg, unsigned char *data, size_t len)
{
	struct tls_step *step = &((struct tls_hs *)arg)->step;
	uint32_t left = step->in_len - step->taken;

	if (left == 0)
		return MBEDTLS_ERR_SSL_WANT_READ;
	if (len > left)
		len = left;
	memcpy(data, step->in + step->taken, len);
	step->taken += (uint32_t)len;
	return (int)len;
}

static void on_secret(
	void *arg,
	mbedtls_ssl_key_export_type type,
	const unsigned char *secret,
	size_t len,
	const unsigned char client_random[32],
	const unsigned char server_random[32],
	mbedtls_tls_prf_types prf
)
{
	struct tls_secrets *x = &((struct tls_hs *)arg)->secrets;

	if (len > sizeof(x->master))
		return;
	switch (type) {
	case MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET:
		memcpy(x->master, secret, len);
		memcpy(x->client_random, client_random, 32);
		memcpy(x->server_random, server_random, 32);
		break;
	case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET:
		memcpy(x->client, secret, len);
		break;
	case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET:
		memcpy(x->server_secret, secret, len);
		break;
	default:
		break;
	}
}

static struct tls_hs *context_make(struct tls_creds *c)
{
	struct tls_hs *hs = calloc(1, sizeof(*hs));

	if (hs == NULL)
		return NULL;
	mbedtls_ssl_init(&hs->ssl);
	if (mbedtls_ssl_setup(&hs->ssl, &c->conf) != 0) {
		mbedtls_ssl_free(&hs->ssl);
		free(hs);
		return NULL;
	}
	hs->creds = c;
	mbedtls_ssl_set_user_data_p(&hs->ssl, hs);
	mbedtls_ssl_set_bio(&hs->ssl, hs, on_send, on_recv, NULL);
	mbedtls_ssl_set_export_keys_cb(&hs->ssl, on_secret, hs);
	c->made++;
	return hs;
}

struct tls_hs *tls_hs_new(struct tls_creds *c, const char *name)
{
	struct tls_hs *hs = c->spare;

	if (c->used >= c->max)
		return NULL;
	if (hs != NULL)
		c->spare = hs->next;
	else
		hs = context_make(c);
	if (hs == NULL)
		return NULL;
	c->used++;
	hs->info = (struct tls_info){0};
	resume_clear(hs);
	if (c->server && name != NULL)
		snprintf(hs->service, sizeof(hs->service), "%s", name);
	if (c->name[0] != '\0')
		name = c->name;
	if (!c->server && name != NULL)
		memcpy(hs->info.sni, name, strnlen(name, TLS_NAME_MAX));
	if (!c->server && mbedtls_ssl_set_hostname(&hs->ssl, name) != 0) {
		tls_hs_free(hs);
		return NULL;
	}
	return hs;
}

void tls_hs_free(struct tls_hs *hs)
{
	struct tls_creds *c;

	if (hs == NULL)
		return;
	if (hs->running) {
		hs->given_up = true;
		return;
	}
	c = hs->creds;
	hs->given_up = hs->begun = hs->due = false;
	tls_current = c->engine; // for keys of ours that the context still has
	explicit_bzero(&hs->secrets, sizeof(hs->secrets));
	c->used--;
	if (!c->put && mbedtls_ssl_session_reset(&hs->ssl) == 0) {
		hs->next = c->spare;
		c->spare = hs;
	} else {
		mbedtls_ssl_free(&hs->ssl);
		free(hs);
		c->made--;
	}
	tls_current = NULL;
	if (c->put && c->used == 0)
		tls_creds_free(c);
}

void tls_hs_user_set(struct tls_hs *hs, uint32_t user)
{
	hs->user = user;
}

uint32_t tls_hs_user(const struct tls_hs *hs)
{
	return hs->user;
}

const struct tls_info *tls_hs_info(const struct tls_hs *hs)
{
	return &hs->info;
}

bool tls_hs_begun(const struct tls_hs *hs)
{
	return hs->begun;
}

const struct tls_creds *tls_hs_creds(const struct tls_hs *hs)
{
	return hs->creds;
}

static uint64_t counter_get(const unsigned char *p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

// What was found of a client's certificate.
static void client_note(struct tls_hs *hs)
{
	const uint32_t none = MBEDTLS_X509_BADCERT_MISSING | MBEDTLS_X509_BADCERT_SKIP_VERIFY;

	if (!hs->creds->server || hs->creds->client_auth == TLS_CLIENT_NONE)
		return;
	if (hs->info.resumed) {
		hs->info.certificate = (hs->facts.verify_result & none) == 0;
		hs->info.verified = hs->facts.verify_result == 0 && hs->facts.not_after_s > 0;
		return;
	}
	hs->info.certificate = mbedtls_ssl_get_peer_cert(&hs->ssl) != NULL;
	hs->info.verified = hs->info.certificate && mbedtls_ssl_get_verify_result(&hs->ssl) == 0;
}

// The keys leave mbedTLS.
static bool detach(struct tls_hs *hs, struct tls_state *ret_state, struct tls_info *ret_info)
{
	const mbedtls_ssl_context *ssl = &hs->ssl;
	struct tls_secrets *x = &hs->secrets;
	int plain;

	if (ssl->in_left != 0 || ssl->out_left != 0 || mbedtls_ssl_get_bytes_avail(ssl) != 0)
		return false;
	x->version = (uint16_t)mbedtls_ssl_get_version_number(ssl);
	x->suite = (uint16_t)mbedtls_ssl_get_ciphersuite_id_from_ssl(ssl);
	x->server = hs->creds->server;
	x->rd_seq = counter_get(ssl->in_ctr);
	x->wr_seq = counter_get(ssl->cur_out_ctr);
	hs->info.version = x->version;
	hs->info.suite = x->suite;
	hs->info.resumed = hs->ticket == TLS_TICKET_TAKEN && !hs->certified;
	hs->info.tickets = hs->tickets;
	hs->info.ticket = hs->ticket;
	if (hs->ticket == TLS_TICKET_TAKEN && hs->certified) // mbedTLS thought it too old
		hs->info.ticket = TLS_TICKET_EXPIRED;
	client_note(hs);
	*ret_info = hs->info;
	if (!tls_state_derive(ret_state, x))
		return false;
	plain = mbedtls_ssl_get_max_out_record_payload(ssl);
	if (plain > 0 && plain <= FRAGMENT_MAX)
		ret_state->fragment = (uint8_t)(31 - __builtin_clz((unsigned)plain));
	return true;
}

// What is wrong with a certificate, the worst first.
static enum tls_failure fault_of(const struct tls_hs *hs)
{
	uint32_t flags = mbedtls_ssl_get_verify_result(&hs->ssl);
	uint32_t when = MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE;

	if (!hs->creds->server && hs->creds->verify == TLS_VERIFY_PIN)
		return TLS_FAIL_VERIFY_PIN;
	if ((flags & ~(when | MBEDTLS_X509_BADCERT_CN_MISMATCH)) != 0)
		return TLS_FAIL_VERIFY;
	if ((flags & when) != 0)
		return TLS_FAIL_VERIFY_TIME;
	return flags != 0 ? TLS_FAIL_VERIFY_NAME : TLS_FAIL_VERIFY;
}

static enum tls_failure failure_of(const struct tls_hs *hs)
{
	switch (hs->err) {
	case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
	case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
		return TLS_FAIL_ALERT;
	case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
		return fault_of(hs);
	case MBEDTLS_ERR_SSL_BAD_CERTIFICATE:
	case MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE:
	case MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED:
		return TLS_FAIL_VERIFY;
	case MBEDTLS_ERR_SSL_ALLOC_FAILED:
	case MBEDTLS_ERR_SSL_INTERNAL_ERROR:
	case MBEDTLS_ERR_SSL_HW_ACCEL_FAILED:
	case MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL:
		return TLS_FAIL_INTERNAL;
	default:
		return TLS_FAIL_PROTOCOL;
	}
}

struct tls_hs *tls_hs_running(struct tls_engine *e)
{
	const struct fiber *fiber = tls_engine_queue(e)->fibers.current;

	return fiber != NULL ? fiber->arg : unfibered;
}

// On a fiber. As mbedtls_ssl_handshake, but looking on.
static void shake(void *arg)
{
	struct tls_hs *hs = arg;

	do {
		hs->certified = hs->certified || hs->ssl.state == MBEDTLS_SSL_SERVER_CERTIFICATE;
		hs->err = mbedtls_ssl_handshake_step(&hs->ssl);
	} while (hs->err == 0 && hs->ssl.state != MBEDTLS_SSL_HANDSHAKE_OVER);
	// a session is good without a ticket
	if (hs->err != 0 && hs->unticketed && mbedtls_ssl_is_handshake_over(&hs->ssl))
		hs->err = 0;
}

// A handshake that waited has gone on as far as it could.
static void shaken(void *arg)
{
	struct tls_hs *hs = arg;
	struct tls_engine *e = hs->creds->engine;

	hs->running = false;
	if (hs->given_up)
		tls_hs_free(hs);
	else if (!hs->stepping)
		tls_engine_finish(e, hs);
	tls_current = e; // still inside the flush
}

void tls_hs_due(struct tls_hs *hs)
{
	struct tls_engine *outer = tls_current;

	hs->running = false;
	hs->due = true;
	if (hs->given_up)
		tls_hs_free(hs);
	else
		tls_engine_finish(hs->creds->engine, hs);
	tls_current = outer;
}

static enum tls_result put_off(struct tls_hs *hs, struct tls_step *step)
{
	hs->fiber = NULL;
	hs->err = MBEDTLS_ERR_SSL_WANT_READ; // once more
	hs->running = true;
	tls_engine_put_off(hs->creds->engine, hs);
	step->taken = step->out_len = 0;
	return TLS_WAIT;
}

static enum tls_result
result(struct tls_hs *hs,
       struct tls_step *step,
       struct tls_state *ret_state,
       struct tls_info *ret_info)
{
	*step = hs->step;
	step->out = tls_engine_flight(hs->creds->engine, hs->fiber);
	step->failure = TLS_FAIL_NONE;
	if (hs->err == MBEDTLS_ERR_SSL_WANT_READ)
		return TLS_WANT_IN;
	if (hs->err == 0 && detach(hs, ret_state, ret_info))
		return TLS_OK;
	step->failure = hs->err != 0 ? failure_of(hs) : TLS_FAIL_INTERNAL;
	return TLS_FATAL;
}

enum tls_result tls_hs_step(
	struct tls_hs *hs,
	struct tls_step *step,
	struct tls_state *ret_state,
	struct tls_info *ret_info
)
{
	struct tls_engine *e = hs->creds->engine;
	struct pk_queue *q = tls_engine_queue(e);
	struct tls_engine *outer = tls_current;

	hs->step = (struct tls_step){.in = step->in, .in_len = step->in_len};
	q->done = shaken;
	tls_current = e;
	if (!tls_engine_admits(e, hs)) {
		tls_current = outer;
		return put_off(hs, step);
	}
	hs->due = false;
	if (!hs->begun)
		hs->ssl.conf = hs->creds->server && tls_hello_leans(step->in, step->in_len)
				       ? &hs->creds->conf_lean
				       : &hs->creds->conf;
	hs->begun = true;
	if (q->engine == NULL) {
		hs->fiber = NULL;
		unfibered = hs;
		shake(hs);
	} else {
		hs->fiber = q->fibers.spare;
		fiber_start(&q->fibers, shake, hs);
		hs->running = !hs->fiber->done;
		hs->stepping = true;
		pk_run_full(q);
		hs->stepping = false;
	}
	tls_current = outer;
	if (!hs->running)
		return result(hs, step, ret_state, ret_info);
	step->taken = hs->step.taken;
	hs->step.in_len = hs->step.taken; // those bytes will not be there when it goes on
	step->out_len = 0;
	return TLS_WAIT;
}

enum tls_result tls_hs_result(
	struct tls_hs *hs,
	struct tls_step *step,
	struct tls_state *ret_state,
	struct tls_info *ret_info
)
{
	enum tls_result r = result(hs, step, ret_state, ret_info);

	step->taken = 0;
	return r;
}
