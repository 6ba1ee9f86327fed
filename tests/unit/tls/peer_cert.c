// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Certificates made on the spot, by OpenSSL; for the simulator too.

#include "tests/unit/tls/peer.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdlib.h>

static void pem_take(BIO *bio, char *out, size_t size, struct tls_pem *ret)
{
	int n = BIO_read(bio, out, (int)size - 1);

	if (n <= 0)
		abort();
	out[n] = '\0';
	*ret = (struct tls_pem){out, (size_t)n + 1};
	BIO_free(bio);
}

static EVP_PKEY *key_make(enum peer_key kind)
{
	switch (kind) {
	case PEER_EC256:
		return EVP_EC_gen("P-256");
	case PEER_EC384:
		return EVP_EC_gen("P-384");
	case PEER_RSA2048:
		return EVP_RSA_gen(2048);
	default:
		return EVP_RSA_gen(3072);
	}
}

void peer_cert_end(struct peer_cert *cert, long seconds)
{
	BIO *crt = BIO_new(BIO_s_mem());

	X509_gmtime_adj(X509_getm_notAfter(cert->crt), seconds);
	if (X509_sign(cert->crt, cert->key, EVP_sha256()) == 0)
		abort();
	PEM_write_bio_X509(crt, cert->crt);
	pem_take(crt, cert->crt_pem, sizeof(cert->crt_pem), &cert->pair.chain);
}

void peer_cert_make(struct peer_cert *cert, enum peer_key kind, const char *name)
{
	BIO *key = BIO_new(BIO_s_mem());
	X509_NAME *subject;
	X509_EXTENSION *san;
	char text[128];

	cert->key = key_make(kind);
	cert->crt = X509_new();
	X509_set_version(cert->crt, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert->crt), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert->crt), -3600);
	X509_set_pubkey(cert->crt, cert->key);
	subject = X509_get_subject_name(cert->crt);
	X509_NAME_add_entry_by_txt(
		subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0
	);
	X509_set_issuer_name(cert->crt, subject);
	snprintf(text, sizeof(text), "DNS:%s", name);
	san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, text);
	X509_add_ext(cert->crt, san, -1);
	X509_EXTENSION_free(san);
	peer_cert_end(cert, 86400);
	PEM_write_bio_PrivateKey(key, cert->key, NULL, NULL, 0, NULL, NULL);
	pem_take(key, cert->key_pem, sizeof(cert->key_pem), &cert->pair.key);
}

void peer_cert_free(struct peer_cert *cert)
{
	X509_free(cert->crt);
	EVP_PKEY_free(cert->key);
}
