// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Is a certificate with its chain and key fit to be shown? By mbedTLS, as the dataplane will see
// it. Main thread.

#include "config/certs_types.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/ecp.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/pk.h>
#include <mbedtls/sha256.h>
#include <mbedtls/x509_crt.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#define CHAIN_MAX 16
#define RSA_MIN_BITS 2048
#define RSA_MAX_BITS 4096
#define SOON_S (14 * 86400)

void certs_digest(const void *data, size_t len, uint8_t ret[32])
{
	mbedtls_sha256(data, len, ret, 0);
}

static int64_t seconds_of(const mbedtls_x509_time *t)
{
	struct tm tm = {
		.tm_year = t->year - 1900,
		.tm_mon = t->mon - 1,
		.tm_mday = t->day,
		.tm_hour = t->hour,
		.tm_min = t->min,
		.tm_sec = t->sec,
	};

	return (int64_t)timegm(&tm);
}

static const char *error_text(int err, char buf[96])
{
	mbedtls_strerror(err, buf, 96);
	return buf;
}

// The host names of a certificate, as far as there is room.
static void names_fill(const mbedtls_x509_crt *crt, char *ret, size_t room)
{
	const mbedtls_x509_sequence *san = &crt->subject_alt_names;
	size_t n = 0;

	for (unsigned i = 0; san != NULL && i < 1000; i++, san = san->next) {
		if ((san->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) != MBEDTLS_X509_SAN_DNS_NAME ||
		    san->buf.len + 2 > room - n)
			continue;
		if (n > 0)
			ret[n++] = ' ';
		for (size_t k = 0; k < san->buf.len; k++, n++)
			ret[n] = san->buf.p[k] > ' ' && san->buf.p[k] < 127 ? (char)san->buf.p[k]
									    : '?';
	}
	ret[n] = '\0';
}

// One of the kinds that handshakes know how to use.
static bool key_kind(const struct certs_place *at, const mbedtls_pk_context *pk, char ret[16])
{
	size_t bits = mbedtls_pk_get_bitlen(pk);

	if (mbedtls_pk_get_type(pk) == MBEDTLS_PK_RSA) {
		snprintf(ret, 16, "RSA %zu", bits);
		if (bits >= RSA_MIN_BITS && bits <= RSA_MAX_BITS)
			return true;
	} else if (mbedtls_pk_get_type(pk) == MBEDTLS_PK_ECKEY) {
		mbedtls_ecp_group_id group = mbedtls_ecp_keypair_get_group_id(mbedtls_pk_ec(*pk));

		snprintf(ret, 16, "ECDSA %zu", bits);
		if (group == MBEDTLS_ECP_DP_SECP256R1 || group == MBEDTLS_ECP_DP_SECP384R1) {
			snprintf(ret, 16, "ECDSA P-%zu", bits);
			return true;
		}
	} else {
		snprintf(ret, 16, "unknown");
	}
	certs_say(
		at,
		false,
		"its key is %s: wanted is ECDSA P-256 or P-384, or RSA of 2048 to 4096 bits",
		ret
	);
	return false;
}

static void info_fill(const mbedtls_x509_crt *crt, struct certs_info *ret)
{
	mbedtls_x509_dn_gets(ret->subject, sizeof(ret->subject), &crt->subject);
	mbedtls_x509_dn_gets(ret->issuer, sizeof(ret->issuer), &crt->issuer);
	names_fill(crt, ret->names, sizeof(ret->names));
	ret->not_before = seconds_of(&crt->valid_from);
	ret->not_after = seconds_of(&crt->valid_to);
	certs_digest(crt->raw.p, crt->raw.len, ret->fingerprint);
	certs_digest(crt->pk_raw.p, crt->pk_raw.len, ret->public_key);
}

static bool time_judge(const struct certs_place *at, const struct certs_info *info)
{
	int64_t now = (int64_t)time(NULL);

	if (info->not_after < info->not_before) {
		certs_say(at, false, "it is never valid: it ends before it begins");
		return false;
	}
	if (now > info->not_after)
		certs_say(at, true, "the certificate HAS EXPIRED: clients that look will not come");
	else if (now > info->not_after - SOON_S)
		certs_say(
			at,
			true,
			"the certificate expires in %lld days",
			(long long)((info->not_after - now) / 86400)
		);
	if (now < info->not_before)
		certs_say(at, true, "the certificate is not valid yet (or the clock is wrong)");
	return true;
}

static bool buf_same(const mbedtls_x509_buf *a, const mbedtls_x509_buf *b)
{
	return a->len == b->len && memcmp(a->p, b->p, a->len) == 0;
}

// Each is issued by the next: names in order, then signatures.
static bool order_judge(const struct certs_place *at, mbedtls_x509_crt *first, unsigned *ret_length)
{
	const mbedtls_x509_crt *c = first;
	mbedtls_x509_crt anchor;
	uint32_t flags = 0;
	unsigned n = 1;
	int err;

	for (; c->next != NULL; c = c->next, n++) {
		if (n == CHAIN_MAX) {
			certs_say(at, false, "more than %d certificates in the chain", CHAIN_MAX);
			return false;
		}
		if (buf_same(&c->issuer_raw, &c->next->subject_raw))
			continue;
		certs_say(
			at,
			false,
			"certificate %u of the chain is not issued by the one behind it: wanted "
			"is the server's own first, then that of its issuer, and so on",
			n
		);
		return false;
	}
	*ret_length = n;
	if (n == 1)
		return true;
	mbedtls_x509_crt_init(&anchor);
	err = mbedtls_x509_crt_parse_der(&anchor, c->raw.p, c->raw.len);
	if (err == 0)
		err = mbedtls_x509_crt_verify(first, &anchor, NULL, NULL, &flags, NULL, NULL);
	mbedtls_x509_crt_free(&anchor);
	if (err == 0 || (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) == 0)
		return true; // of dates it is said elsewhere
	certs_say(at, false, "a certificate of the chain is not signed by the one behind it");
	return false;
}

static bool chain_judge(
	const struct certs_place *at,
	const struct certs_file *file,
	mbedtls_x509_crt *crt,
	struct certs_info *ret
)
{
	int err = mbedtls_x509_crt_parse(crt, file->data, file->len);
	char text[96];

	if (err != 0) {
		certs_say(
			at,
			false,
			err > 0 ? "%.200s: some certificates in it are not readable%s"
				: "%.200s: no certificate (PEM): %s",
			file->path,
			err > 0 ? "" : error_text(err, text)
		);
		return false;
	}
	info_fill(crt, ret);
	if (!key_kind(at, &crt->pk, ret->key) || !time_judge(at, ret) ||
	    !order_judge(at, crt, &ret->chain_length))
		return false;
	if (mbedtls_x509_crt_get_ca_istrue(crt) == 1 && crt->next == NULL &&
	    !buf_same(&crt->issuer_raw, &crt->subject_raw))
		certs_say(at, true, "the certificate is that of a CA, not of a server");
	if (ret->names[0] == '\0')
		certs_say(at, true, "names no host (subjectAltName): clients that look refuse it");
	return true;
}

static bool key_judge(
	const struct certs_place *at,
	const struct certs_file *file,
	mbedtls_x509_crt *crt,
	mbedtls_pk_context *key
)
{
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context rng;
	char text[96];
	int err;

	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&rng);
	err = mbedtls_ctr_drbg_seed(&rng, mbedtls_entropy_func, &entropy, NULL, 0);
	if (err == 0)
		err = mbedtls_pk_parse_key(
			key, file->data, file->len, NULL, 0, mbedtls_ctr_drbg_random, &rng
		);
	if (err == MBEDTLS_ERR_PK_PASSWORD_REQUIRED || err == MBEDTLS_ERR_PK_PASSWORD_MISMATCH)
		certs_say(at, false, "%.200s: keys with a password are not taken", file->path);
	else if (err != 0)
		certs_say(
			at,
			false,
			"%.200s: no private key (PEM): %s",
			file->path,
			error_text(err, text)
		);
	else if ((err = mbedtls_pk_check_pair(&crt->pk, key, mbedtls_ctr_drbg_random, &rng)) != 0)
		certs_say(at, false, "%.200s: is not the key of the first certificate", file->path);
	mbedtls_ctr_drbg_free(&rng);
	mbedtls_entropy_free(&entropy);
	return err == 0;
}

bool certs_judge(
	const struct certs_place *at,
	const struct certs_file *chain,
	const struct certs_file *key,
	struct certs_info *ret
)
{
	mbedtls_x509_crt crt;
	mbedtls_pk_context pk;
	bool good;

	mbedtls_x509_crt_init(&crt);
	mbedtls_pk_init(&pk);
	good = chain_judge(at, chain, &crt, ret) &&
	       (key->data == NULL || key_judge(at, key, &crt, &pk));
	mbedtls_pk_free(&pk); // wipes
	mbedtls_x509_crt_free(&crt);
	return good;
}

bool certs_ca_judge(const struct certs_place *at, const struct certs_file *ca)
{
	mbedtls_x509_crt crt;
	char text[96];
	int err;

	mbedtls_x509_crt_init(&crt);
	err = mbedtls_x509_crt_parse(&crt, ca->data, ca->len);
	mbedtls_x509_crt_free(&crt);
	if (err != 0)
		certs_say(
			at,
			false,
			err > 0 ? "%.200s: some certificates in it are not readable%s"
				: "%.200s: no certificate (PEM): %s",
			ca->path,
			err > 0 ? "" : error_text(err, text)
		);
	return err == 0;
}
