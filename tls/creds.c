// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Credentials of one worker and generation: chains with their keys and the peer's CA (chain.c), one
// mbedTLS configuration; counted by the handshakes that use them, given up with the last. Made by
// the main thread, used and freed by the worker's.

#include "tls/hs_types.h"

#include <mbedtls/sha256.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// AEAD suites only, AES-128 first: it needs the least, and nobody breaks it.
static const int suites[] = {
	MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
	MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
	MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	0,
};
// TLS 1.3, where mbedTLS takes the client's first: for those that offer AES-128 too. Its hash is
// SHA-256, for which processors have instructions: a quarter of a handshake.
static const int suites_lean[] = {
	MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	0,
};
static const uint16_t groups[] = {
	MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
	MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
	MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1,
	MBEDTLS_SSL_IANA_TLS_GROUP_NONE,
};

// PKCS#1 before PSS: in TLS 1.2 mbedTLS's client does not take PSS, though it must offer it
// for 1.3.
static const uint16_t sig_algs[] = {
	MBEDTLS_TLS1_3_SIG_ECDSA_SECP256R1_SHA256,
	MBEDTLS_TLS1_3_SIG_ECDSA_SECP384R1_SHA384,
	MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA256,
	MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA384,
	MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA512,
	MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA256,
	MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA384,
	MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA512,
	MBEDTLS_TLS1_3_SIG_NONE,
};

// Of peers verified by a pinned key alone. Never written to.
static mbedtls_x509_crt nobody;

static bool pair_load(
	struct tls_creds *c,
	const struct tls_creds_config *config,
	const struct tls_pair *pair,
	char *ret_reason
)
{
	struct tls_chain *chain = NULL;
	int err;

	snprintf(ret_reason, 128, "no key");
	if (pair->key.len > 0)
		chain = tls_chain_get(config->shelf, pair, &c->rng, ret_reason);
	if (chain == NULL)
		return false;
	c->chain[c->chain_count++] = chain;
	err = mbedtls_ssl_conf_own_cert(&c->conf, &chain->crt, &chain->key);
	return err == 0 || tls_reason(ret_reason, "certificate", err);
}

// RFC 6125 6.4: a name or one with a wildcard as its whole first label.
static bool name_matches(const uint8_t *name, size_t len, const char *want, size_t want_len)
{
	const char *dot = memchr(want, '.', want_len);

	if (len > 2 && name[0] == '*' && name[1] == '.') {
		if (dot == NULL)
			return false;
		name++;
		len--;
		want_len -= (size_t)(dot - want);
		want = dot;
	}
	if (len != want_len)
		return false;
	for (size_t i = 0; i < len; i++) {
		uint8_t a = name[i], b = (uint8_t)want[i];

		a = a >= 'A' && a <= 'Z' ? a + 32 : a;
		b = b >= 'A' && b <= 'Z' ? b + 32 : b;
		if (a != b)
			return false;
	}
	return true;
}

static bool chain_has_name(const struct tls_chain *chain, const char *name, size_t len)
{
	const mbedtls_x509_sequence *san = &chain->crt.subject_alt_names;

	for (unsigned i = 0; san != NULL && i < 1000; i++, san = san->next)
		if ((san->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) == MBEDTLS_X509_SAN_DNS_NAME &&
		    name_matches(san->buf.p, san->buf.len, name, len))
			return true;
	return false;
}

// Narrows the choice to the chains of the name that the client wants; with none, all stay.
static int on_sni(void *arg, mbedtls_ssl_context *ssl, const unsigned char *name, size_t len)
{
	struct tls_creds *c = arg;
	struct tls_hs *hs = mbedtls_ssl_get_user_data_p(ssl);

	if (len > TLS_NAME_MAX)
		return -1;
	memcpy(hs->info.sni, name, len);
	hs->info.sni[len] = '\0';
	for (unsigned i = 0; i < c->chain_count; i++) {
		if (!chain_has_name(c->chain[i], (const char *)name, len))
			continue;
		hs->info.known = true;
		if (mbedtls_ssl_set_hs_own_cert(ssl, &c->chain[i]->crt, &c->chain[i]->key) != 0)
			return -1;
	}
	return 0;
}

static int on_verify(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
	const struct tls_creds *c = arg;
	uint8_t got[TLS_PIN_LEN];

	if (c->verify == TLS_VERIFY_CA)
		*flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
	if (c->verify != TLS_VERIFY_PIN)
		return 0;
	*flags = 0; // the pinned key is all that counts
	if (depth == 0) {
		mbedtls_sha256(crt->pk_raw.p, crt->pk_raw.len, got, 0);
		if (!bytes_equal(got, c->pin, sizeof(got)))
			*flags = MBEDTLS_X509_BADCERT_NOT_TRUSTED;
	}
	return 0;
}

static int auth_mode(const struct tls_creds_config *config)
{
	if (!config->server)
		return config->verify == TLS_VERIFY_NONE ? MBEDTLS_SSL_VERIFY_NONE
							 : MBEDTLS_SSL_VERIFY_REQUIRED;
	switch (config->client_auth) {
	case TLS_CLIENT_REQUIRE:
		return MBEDTLS_SSL_VERIFY_REQUIRED;
	case TLS_CLIENT_REQUEST:
		return MBEDTLS_SSL_VERIFY_OPTIONAL;
	default:
		return MBEDTLS_SSL_VERIFY_NONE;
	}
}

static bool conf_make(struct tls_creds *c, const struct tls_creds_config *config, char *ret_reason)
{
	int err = mbedtls_ctr_drbg_seed(&c->rng, mbedtls_entropy_func, &c->entropy, NULL, 0);

	if (err == 0)
		err = mbedtls_ssl_config_defaults(
			&c->conf,
			config->server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
			MBEDTLS_SSL_TRANSPORT_STREAM,
			MBEDTLS_SSL_PRESET_DEFAULT
		);
	if (err != 0)
		return tls_reason(ret_reason, "random numbers, memory", err);
	mbedtls_ssl_conf_rng(&c->conf, mbedtls_ctr_drbg_random, &c->rng);
	mbedtls_ssl_conf_min_tls_version(&c->conf, MBEDTLS_SSL_VERSION_TLS1_2);
	mbedtls_ssl_conf_max_tls_version(&c->conf, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_ciphersuites(&c->conf, suites);
	mbedtls_ssl_conf_groups(&c->conf, groups);
	if (!config->server)
		mbedtls_ssl_conf_sig_algs(&c->conf, sig_algs);
	mbedtls_ssl_conf_authmode(&c->conf, auth_mode(config));
	mbedtls_ssl_conf_session_tickets(
		&c->conf, MBEDTLS_SSL_SESSION_TICKETS_DISABLED
	); // a client's
	if (config->server)
		mbedtls_ssl_conf_sni(&c->conf, on_sni, c);
	else
		mbedtls_ssl_conf_verify(&c->conf, on_verify, c);
	if (config->ca.data != NULL) {
		const struct tls_pair ca = {.chain = config->ca};

		c->ca = tls_chain_get(config->shelf, &ca, &c->rng, ret_reason);
		if (c->ca == NULL)
			return false;
		mbedtls_ssl_conf_ca_chain(&c->conf, &c->ca->crt, NULL);
	} else if (config->verify == TLS_VERIFY_PIN) {
		// an empty one: mbedTLS verifies nothing without any, our callback not called
		mbedtls_ssl_conf_ca_chain(&c->conf, &nobody, NULL);
	}
	return true;
}

struct tls_creds *tls_creds_new(
	struct tls_engine *engine,
	const struct tls_creds_config *config,
	char ret_reason[128]
)
{
	struct tls_creds *c = calloc(1, sizeof(*c));
	bool good;

	if (c == NULL) {
		snprintf(ret_reason, 128, "no memory");
		return NULL;
	}
	c->engine = engine;
	c->server = config->server;
	c->verify = config->verify;
	c->max = config->max_handshakes;
	memcpy(c->pin, config->pin, sizeof(c->pin));
	if (config->name != NULL)
		memcpy(c->name, config->name, strnlen(config->name, TLS_NAME_MAX));
	mbedtls_entropy_init(&c->entropy);
	mbedtls_ctr_drbg_init(&c->rng);
	mbedtls_ssl_config_init(&c->conf);
	good = conf_make(c, config, ret_reason);
	if (good && config->server && config->pair_count == 0) {
		snprintf(ret_reason, 128, "no certificate");
		good = false;
	}
	for (unsigned i = 0; good && i < config->pair_count; i++) {
		good = c->chain_count < TLS_PAIRS_MAX;
		if (!good)
			snprintf(ret_reason, 128, "more than %u certificates", TLS_PAIRS_MAX);
		else
			good = pair_load(c, config, &config->pairs[i], ret_reason);
	}
	if (good) {
		resume_conf(c, config);
		c->conf_lean = c->conf;
		mbedtls_ssl_conf_ciphersuites(&c->conf_lean, suites_lean);
		return c;
	}
	tls_creds_free(c);
	return NULL;
}

unsigned tls_creds_thin(struct tls_creds *c, unsigned most)
{
	unsigned n = 0;

	for (; n < most && c->spare != NULL; n++) {
		struct tls_hs *hs = c->spare;

		c->spare = hs->next;
		c->made--;
		mbedtls_ssl_free(&hs->ssl);
		free(hs);
	}
	return n;
}

void tls_creds_free(struct tls_creds *c)
{
	tls_creds_thin(c, c->made);
	mbedtls_ssl_config_free(&c->conf); // refers to the chains
	for (unsigned i = 0; i < c->chain_count; i++)
		tls_chain_put(c->chain[i]);
	tls_chain_put(c->ca);
	mbedtls_ctr_drbg_free(&c->rng);
	mbedtls_entropy_free(&c->entropy);
	free(c);
}

void tls_creds_put(struct tls_creds *c)
{
	if (c == NULL)
		return;
	c->put = true;
	if (c->used == 0)
		tls_creds_free(c);
}

bool tls_creds_full(const struct tls_creds *c)
{
	return c->used >= c->max;
}

unsigned tls_creds_handshakes(const struct tls_creds *c)
{
	return c->used;
}
