// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Sessions of clients resumed by tickets: mbedTLS asks for them here. A ticket opens only what it
// was given for: the same service, certificates, name, rule about client certificates, version and
// suite; everything else is a full handshake, never an error (docs/decisions/0014). Private members
// used: the ClientHello in in_msg, and of a session tls_version, ciphersuite, mfl_code, peer_cert,
// verify_result, ticket_creation_time. No lock, no wait. Worker thread.

#include "tls/hs_types.h"

#include <mbedtls/sha256.h>

#include <ctype.h>
#include <string.h>
#include <time.h>

#define EARLY_MS 60000 // that another box's clock may be ahead
#define NONCE 12

void resume_clear(struct tls_hs *hs)
{
	hs->certified = hs->unticketed = false;
	hs->tickets = 0;
	hs->ticket = TLS_TICKET_NONE;
	hs->offers = 0;
	hs->facts = (struct ticket_facts){0};
	hs->service[0] = '\0';
}

static void text_add(mbedtls_sha256_context *sha, const uint8_t *text, size_t len)
{
	const uint8_t head[2] = {(uint8_t)(len >> 8), (uint8_t)len};

	mbedtls_sha256_update(sha, head, sizeof(head));
	mbedtls_sha256_update(sha, text, len);
}

// SHA-256 of service and name, and of the credentials.
static void binding_of(const struct tls_hs *hs, const uint8_t *name, size_t len, uint8_t ret[32])
{
	uint8_t lower[TLS_NAME_MAX];
	mbedtls_sha256_context sha;

	for (size_t i = 0; i < len; i++)
		lower[i] = (uint8_t)tolower(name[i]);
	mbedtls_sha256_init(&sha);
	mbedtls_sha256_starts(&sha, 0);
	mbedtls_sha256_update(&sha, hs->creds->identity, sizeof(hs->creds->identity));
	text_add(&sha, (const uint8_t *)hs->service, strlen(hs->service));
	text_add(&sha, lower, len);
	mbedtls_sha256_finish(&sha, ret);
	mbedtls_sha256_free(&sha);
}

static int64_t time_of(const mbedtls_x509_time *t)
{
	struct tm tm = {
		.tm_year = t->year - 1900,
		.tm_mon = t->mon - 1,
		.tm_mday = t->day,
		.tm_hour = t->hour,
		.tm_min = t->min,
		.tm_sec = t->sec,
	};

	return timegm(&tm);
}

// When the first of a chain ends; 0: there is none.
static int64_t chain_ends(const mbedtls_x509_crt *crt)
{
	int64_t ends = 0;

	for (unsigned i = 0; crt != NULL && i < MBEDTLS_X509_MAX_INTERMEDIATE_CA + 1; i++) {
		int64_t at = time_of(&crt->valid_to);

		ends = ends == 0 || at < ends ? at : ends;
		crt = crt->next;
	}
	return ends;
}

// What was found of the client's certificate, in this handshake or in the one before. False: there
// must be one and is none.
static bool
client_note(const struct tls_hs *hs, const mbedtls_ssl_session *session, struct ticket_facts *f)
{
	enum tls_client_auth auth = hs->creds->client_auth;

	if (auth == TLS_CLIENT_NONE)
		return true;
	if (hs->ticket == TLS_TICKET_TAKEN && !hs->certified) {
		f->verify_result = hs->facts.verify_result;
		f->not_after_s = hs->facts.not_after_s;
	} else {
		f->verify_result = session->verify_result;
		if (f->verify_result == 0)
			f->not_after_s = chain_ends(session->peer_cert);
	}
	return auth != TLS_CLIENT_REQUIRE || (f->verify_result == 0 && f->not_after_s > 0);
}

// The session's bytes, without the certificate of the client: what was found is among the facts.
static bool session_write(const mbedtls_ssl_session *session, uint8_t *out, uint32_t *ret_len)
{
	mbedtls_ssl_session copy = *session;
	size_t len = 0;
	int err;

	copy.peer_cert = NULL;
	err = mbedtls_ssl_session_save(&copy, out, TICKET_SESSION, &len);
	explicit_bzero(&copy, sizeof(copy));
	*ret_len = (uint32_t)len;
	return err == 0;
}

static uint32_t ticket_make(
	struct tls_hs *hs,
	const mbedtls_ssl_session *session,
	uint8_t *out,
	uint32_t *ret_lifetime
)
{
	struct tls_creds *c = hs->creds;
	const struct ticket_keys *keys = tls_engine_tickets(c->engine);
	int64_t now_ms = tls_engine_now_ms(c->engine), lifetime = keys->lifetime_s;
	struct ticket_facts f = {
		.version = (uint16_t)session->tls_version,
		.suite = (uint16_t)session->ciphersuite,
		.offers = hs->offers,
		.issued_ms = now_ms,
	};
	uint8_t bytes[TICKET_SESSION], nonce[NONCE];
	uint32_t len;

	// a smaller fragment was agreed on: so rare that it is not bound
	if (session->mfl_code != 0 || !client_note(hs, session, &f))
		return 0;
	if (f.not_after_s > 0 && f.not_after_s - now_ms / 1000 < lifetime)
		lifetime = f.not_after_s - now_ms / 1000;
	if (lifetime <= 0 || lifetime > TICKET_LIFETIME_MAX_S ||
	    mbedtls_ctr_drbg_random(&c->rng, nonce, sizeof(nonce)) != 0 ||
	    !session_write(session, bytes, &len))
		return 0;
	f.expires_s = now_ms / 1000 + lifetime;
	binding_of(hs, (const uint8_t *)hs->info.sni, strlen(hs->info.sni), f.binding);
	len = ticket_seal(c->engine, nonce, &f, bytes, len, out);
	explicit_bzero(bytes, sizeof(bytes));
	*ret_lifetime = (uint32_t)lifetime;
	return len;
}

static int on_write(
	void *arg,
	const mbedtls_ssl_session *session,
	unsigned char *start,
	const unsigned char *end,
	size_t *ret_len,
	uint32_t *ret_lifetime
)
{
	const struct tls_creds *c = arg;
	struct tls_hs *hs = tls_hs_running(c->engine);

	*ret_len = 0;
	*ret_lifetime = 0;
	if (end - start >= TICKET_MAX)
		*ret_len = ticket_make(hs, session, start, ret_lifetime);
	hs->tickets += *ret_len > 0;
	hs->unticketed = *ret_len == 0;
	return *ret_len > 0 ? 0 : MBEDTLS_ERR_SSL_FEATURE_UNAVAILABLE;
}

// In TLS 1.2 mbedTLS chooses a suite as if the session were new: only what decides it being as it
// was makes sure that it is the session's. In TLS 1.3 it takes the session's.
static bool suite_fits(const struct ticket_facts *f, uint16_t offers)
{
	int n = tls_suite_index(f->suite);

	return f->version == TLS_V12 ? f->offers == offers
				     : n >= 0 && (offers & TLS_OFFERS_SUITES & 1U << n) != 0;
}

static enum tls_ticket_refusal judge(const struct tls_hs *hs, const struct ticket_facts *f)
{
	const mbedtls_ssl_context *ssl = &hs->ssl;
	struct tls_hello hello;
	uint8_t binding[32];
	bool verified = f->verify_result == 0 && f->not_after_s > 0;

	if (!tls_hello_read(ssl->in_msg, (uint32_t)ssl->in_hslen, &hello))
		return TLS_TICKET_MALFORMED;
	binding_of(hs, hello.name, hello.name_len, binding);
	if (memcmp(binding, f->binding, sizeof(binding)) != 0 ||
	    f->version != (uint16_t)mbedtls_ssl_get_version_number(ssl) ||
	    !suite_fits(f, hello.offers) ||
	    (hs->creds->client_auth == TLS_CLIENT_REQUIRE && !verified))
		return TLS_TICKET_BOUND;
	return f->issued_ms - tls_engine_now_ms(hs->creds->engine) > EARLY_MS ? TLS_TICKET_EXPIRED
									      : TLS_TICKET_TAKEN;
}

static enum tls_ticket_refusal
ticket_take(struct tls_hs *hs, const uint8_t *ticket, size_t len, mbedtls_ssl_session *session)
{
	struct tls_engine *e = hs->creds->engine;
	uint8_t bytes[TICKET_SESSION];
	struct ticket_facts f;
	enum tls_ticket_refusal r;
	uint32_t n = 0;

	r = ticket_open(e, ticket, len <= TICKET_MAX ? (uint32_t)len : 0, &f, bytes, &n);
	if (r == TLS_TICKET_TAKEN)
		r = judge(hs, &f);
	if (r == TLS_TICKET_TAKEN && mbedtls_ssl_session_load(session, bytes, n) != 0)
		r = TLS_TICKET_MALFORMED; // as another release of the library writes it
	explicit_bzero(bytes, sizeof(bytes));
	if (r != TLS_TICKET_TAKEN)
		return r;
	// mbedTLS's own clock counts from this box's boot
	session->ticket_creation_time = mbedtls_ms_time() - (tls_engine_now_ms(e) - f.issued_ms);
	session->verify_result = f.verify_result;
	hs->facts = f;
	return r;
}

static int on_parse(void *arg, mbedtls_ssl_session *session, unsigned char *ticket, size_t len)
{
	const struct tls_creds *c = arg;
	struct tls_hs *hs = tls_hs_running(c->engine);

	if (hs->ticket == TLS_TICKET_TAKEN && !hs->certified && hs->facts.version == TLS_V12)
		return MBEDTLS_ERR_SSL_INVALID_MAC; // one is enough
	hs->ticket = ticket_take(hs, ticket, len, session);
	switch (hs->ticket) {
	case TLS_TICKET_TAKEN:
		return 0;
	case TLS_TICKET_EXPIRED:
		return MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED;
	default:
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	}
}

// The whole ClientHello has been read.
static int on_hello(mbedtls_ssl_context *ssl)
{
	struct tls_hs *hs = mbedtls_ssl_get_user_data_p(ssl);
	struct tls_hello hello;

	tls_hello_read(ssl->in_msg, (uint32_t)ssl->in_hslen, &hello);
	hs->offers = hello.offers;
	return 0;
}

// Certificates, CA and what is asked of clients.
static void identity_set(struct tls_creds *c, const struct tls_creds_config *config)
{
	const uint8_t head[2] = {1, (uint8_t)config->client_auth};
	const mbedtls_x509_crt *ca = c->ca != NULL ? &c->ca->crt : NULL;
	mbedtls_sha256_context sha;
	uint8_t digest[32];

	mbedtls_sha256_init(&sha);
	mbedtls_sha256_starts(&sha, 0);
	mbedtls_sha256_update(&sha, head, sizeof(head));
	for (unsigned i = 0; i < c->chain_count; i++) {
		mbedtls_sha256(c->chain[i]->crt.raw.p, c->chain[i]->crt.raw.len, digest, 0);
		text_add(&sha, digest, sizeof(digest));
	}
	for (; ca != NULL; ca = ca->next) {
		mbedtls_sha256(ca->raw.p, ca->raw.len, digest, 0);
		text_add(&sha, digest, sizeof(digest));
	}
	mbedtls_sha256_finish(&sha, c->identity);
	mbedtls_sha256_free(&sha);
}

void resume_conf(struct tls_creds *c, const struct tls_creds_config *config)
{
	int modes = MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL;

	c->client_auth = config->client_auth;
	if (config->server && config->tickets) {
		identity_set(c, config);
		modes |= MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL; // never without DH
		mbedtls_ssl_conf_session_tickets_cb(&c->conf, on_write, on_parse, c);
		mbedtls_ssl_conf_new_session_tickets(&c->conf, 1);
		mbedtls_ssl_conf_cert_cb(&c->conf, on_hello);
	}
	mbedtls_ssl_conf_tls13_key_exchange_modes(&c->conf, modes);
}
