// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A handshake of each version with ourselves, when an engine is made: both must end well, and every
// redirection must have been reached. Another libmbedtls may call other functions than the one we
// were tested with; then nothing is redirected. Main thread, at start.

#include "tls/pk_hooks.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 20
#define ROOM (2 * TLS_FLIGHT_MAX)

struct end {
	struct tls_creds *creds;
	struct tls_hs *hs;
	uint8_t in[ROOM]; // from the other end
	uint32_t in_len;
	struct tls_state state;
	enum tls_result result;
};

struct test {
	struct end end[2]; // client, server
	char chain[2048], key[512];
	struct tls_pair pair;
};

static bool pem_take(BIO *bio, char *out, size_t size, struct tls_pem *ret)
{
	int n = BIO_read(bio, out, (int)size - 1);

	if (n <= 0)
		return false;
	out[n] = '\0';
	*ret = (struct tls_pem){out, (size_t)n + 1};
	return true;
}

// A key and its own certificate, for these few milliseconds.
static bool pair_make(struct test *t)
{
	BIO *chain = BIO_new(BIO_s_mem()), *secret = BIO_new(BIO_s_mem());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *crt = X509_new();
	bool good = chain != NULL && secret != NULL && key != NULL && crt != NULL &&
		    X509_set_version(crt, X509_VERSION_3) == 1 &&
		    ASN1_INTEGER_set(X509_get_serialNumber(crt), 1) == 1 &&
		    X509_gmtime_adj(X509_getm_notBefore(crt), -86400) != NULL &&
		    X509_gmtime_adj(X509_getm_notAfter(crt), 86400) != NULL &&
		    X509_NAME_add_entry_by_txt(
			    X509_get_subject_name(crt),
			    "CN",
			    MBSTRING_ASC,
			    (const unsigned char *)"self-test",
			    -1,
			    -1,
			    0
		    ) == 1 &&
		    X509_set_issuer_name(crt, X509_get_subject_name(crt)) == 1 &&
		    X509_set_pubkey(crt, key) == 1 && X509_sign(crt, key, EVP_sha256()) > 0 &&
		    PEM_write_bio_X509(chain, crt) == 1 &&
		    PEM_write_bio_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) == 1 &&
		    pem_take(chain, t->chain, sizeof(t->chain), &t->pair.chain) &&
		    pem_take(secret, t->key, sizeof(t->key), &t->pair.key);

	X509_free(crt);
	EVP_PKEY_free(key);
	BIO_free(chain);
	BIO_free(secret);
	return good;
}

static void give(struct test *t, struct tls_hs *hs, const struct tls_step *step)
{
	struct end *to = &t->end[hs == t->end[0].hs];

	if (step->out_len > sizeof(to->in) - to->in_len)
		return; // it then fails for want of them
	memcpy(to->in + to->in_len, step->out, step->out_len);
	to->in_len += step->out_len;
}

static void finished(void *up, struct tls_hs *hs)
{
	struct test *t = up;
	struct end *end = &t->end[hs == t->end[1].hs];
	struct tls_info info;
	struct tls_step step;

	end->result = tls_hs_result(hs, &step, &end->state, &info);
	give(t, hs, &step);
}

static void end_step(struct tls_engine *e, struct test *t, struct end *end)
{
	struct tls_step step = {.in = end->in, .in_len = end->in_len};
	struct tls_info info;

	end->result = tls_hs_step(end->hs, &step, &end->state, &info);
	end->in_len -= step.taken;
	memmove(end->in, end->in + step.taken, end->in_len);
	if (end->result == TLS_WAIT)
		tls_engine_flush(e);
	else
		give(t, end->hs, &step);
}

static bool shake(struct tls_engine *e, struct test *t, mbedtls_ssl_protocol_version version)
{
	bool good = true;

	for (unsigned i = 0; i < 2; i++) {
		struct tls_creds_config config = {
			.server = i == 1,
			.pairs = &t->pair,
			.pair_count = 1,
			.ca = t->pair.chain,
			.client_auth = TLS_CLIENT_REQUIRE,
			.verify = TLS_VERIFY_CA,
			.max_handshakes = 1,
		};
		char why[128];

		t->end[i] = (struct end){.creds = tls_creds_new(e, &config, why),
					 .result = TLS_WANT_IN};
		if (t->end[i].creds != NULL) {
			mbedtls_ssl_conf_max_tls_version(&t->end[i].creds->conf, version);
			t->end[i].hs = tls_hs_new(t->end[i].creds, "self-test");
		}
		good = good && t->end[i].hs != NULL;
	}
	tls_engine_finished_set(e, finished, t);
	for (unsigned i = 0; good && i < STEPS_MAX; i++)
		if (t->end[i % 2].result != TLS_OK)
			end_step(e, t, &t->end[i % 2]);
	good = good && t->end[0].result == TLS_OK && t->end[1].result == TLS_OK &&
	       t->end[0].state.version == (uint16_t)version;
	for (unsigned i = 0; i < 2; i++) {
		tls_hs_free(t->end[i].hs);
		tls_creds_put(t->end[i].creds);
	}
	tls_engine_finished_set(e, NULL, NULL);
	return good;
}

bool tls_selftest(struct tls_engine *e)
{
	struct test *t = calloc(1, sizeof(*t));
	const uint64_t *hooked = tls_engine_hooked(e);
	bool good = t != NULL && pair_make(t) && shake(e, t, MBEDTLS_SSL_VERSION_TLS1_2) &&
		    shake(e, t, MBEDTLS_SSL_VERSION_TLS1_3);

	for (unsigned i = 0; good && tls_engine_queue(e)->engine != NULL && i < HOOK_COUNT; i++)
		good = hooked[i] > 0;
	if (t != NULL)
		explicit_bzero(t, sizeof(*t));
	free(t);
	return good;
}
