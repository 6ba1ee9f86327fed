// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// From the secrets of a finished handshake to the keys of records: HKDF-Expand-Label (RFC 8446 7.1,
// 7.2, 7.3), the PRF of TLS 1.2 (RFC 5246 5, 6.3). Worker thread.

#include "tls/ticket.h"

#include <mbedtls/hkdf.h>
#include <mbedtls/md.h>
#include <mbedtls/ssl.h>

#include <string.h>

struct suite {
	uint16_t number, version;
	uint8_t aead, hash_len;
	const char *name; // OpenSSL's, as servers print it
};

// IANA TLS cipher suites: those that are offered.
static const struct suite suites[] = {
	{0x1301, TLS_V13, TLS_AES_128_GCM, 32, "TLS_AES_128_GCM_SHA256"},
	{0x1302, TLS_V13, TLS_AES_256_GCM, 48, "TLS_AES_256_GCM_SHA384"},
	{0x1303, TLS_V13, TLS_CHACHA20_POLY1305, 32, "TLS_CHACHA20_POLY1305_SHA256"},
	{0xc02b, TLS_V12, TLS_AES_128_GCM, 32, "ECDHE-ECDSA-AES128-GCM-SHA256"},
	{0xc02c, TLS_V12, TLS_AES_256_GCM, 48, "ECDHE-ECDSA-AES256-GCM-SHA384"},
	{0xcca9, TLS_V12, TLS_CHACHA20_POLY1305, 32, "ECDHE-ECDSA-CHACHA20-POLY1305"},
	{0xc02f, TLS_V12, TLS_AES_128_GCM, 32, "ECDHE-RSA-AES128-GCM-SHA256"},
	{0xc030, TLS_V12, TLS_AES_256_GCM, 48, "ECDHE-RSA-AES256-GCM-SHA384"},
	{0xcca8, TLS_V12, TLS_CHACHA20_POLY1305, 32, "ECDHE-RSA-CHACHA20-POLY1305"},
};

int tls_suite_index(uint16_t number)
{
	for (unsigned i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (suites[i].number == number)
			return (int)i;
	return -1;
}

const char *tls_suite_name(uint16_t number)
{
	int i = tls_suite_index(number);

	return i >= 0 ? suites[i].name : "";
}

static uint32_t key_len(const struct tls_state *st)
{
	return st->aead == TLS_AES_128_GCM ? 16 : 32;
}

static bool expand_label(
	const struct tls_state *st,
	const uint8_t *secret,
	const char *label,
	uint8_t *out,
	size_t len
)
{
	const mbedtls_md_info_t *md = mbedtls_md_info_from_type(
		st->hash_len == 48 ? MBEDTLS_MD_SHA384 : MBEDTLS_MD_SHA256
	);
	size_t label_len = strlen(label), n = 0;
	uint8_t info[32];

	info[n++] = (uint8_t)(len >> 8);
	info[n++] = (uint8_t)len;
	info[n++] = (uint8_t)(6 + label_len);
	memcpy(info + n, "tls13 ", 6);
	n += 6;
	memcpy(info + n, label, label_len);
	n += label_len;
	info[n++] = 0; // no context
	return mbedtls_hkdf_expand(md, secret, st->hash_len, info, n, out, len) == 0;
}

static bool half_keys(const struct tls_state *st, struct tls_half *half)
{
	half->seq = 0;
	return expand_label(st, half->secret, "key", half->key, key_len(st)) &&
	       expand_label(st, half->secret, "iv", half->iv, sizeof(half->iv));
}

bool tls_half_update(const struct tls_state *st, struct tls_half *half)
{
	uint8_t next[48];
	bool good = expand_label(st, half->secret, "traffic upd", next, st->hash_len);

	memcpy(half->secret, next, st->hash_len);
	explicit_bzero(next, sizeof(next));
	return good && half_keys(st, half);
}

// RFC 5246 6.3: client key, server key, client IV, server IV (no MAC keys with an AEAD).
static bool keys_12(struct tls_state *st, const struct tls_secrets *x)
{
	struct tls_half *client = x->server ? &st->rd : &st->wr;
	struct tls_half *server = x->server ? &st->wr : &st->rd;
	uint32_t key = key_len(st), iv = st->aead == TLS_CHACHA20_POLY1305 ? 12 : 4;
	uint8_t seed[64], block[2 * (32 + 12)];
	const uint8_t *p = block;
	bool good;

	memcpy(seed, x->server_random, 32);
	memcpy(seed + 32, x->client_random, 32);
	good = mbedtls_ssl_tls_prf(
		       st->hash_len == 48 ? MBEDTLS_SSL_TLS_PRF_SHA384 : MBEDTLS_SSL_TLS_PRF_SHA256,
		       x->master,
		       sizeof(x->master),
		       "key expansion",
		       seed,
		       sizeof(seed),
		       block,
		       2 * (key + iv)
	       ) == 0;
	memcpy(client->key, p, key);
	memcpy(server->key, p + key, key);
	memcpy(client->iv, p + 2 * key, iv);
	memcpy(server->iv, p + 2 * key + iv, iv);
	explicit_bzero(block, sizeof(block));
	return good;
}

static bool keys_13(struct tls_state *st, const struct tls_secrets *x)
{
	memcpy(st->rd.secret, x->server ? x->client : x->server_secret, st->hash_len);
	memcpy(st->wr.secret, x->server ? x->server_secret : x->client, st->hash_len);
	return half_keys(st, &st->rd) && half_keys(st, &st->wr);
}

bool tls_state_derive(struct tls_state *st, const struct tls_secrets *x)
{
	bool good = false;

	memset(st, 0, sizeof(*st));
	for (unsigned i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		if (suites[i].number != x->suite || suites[i].version != x->version)
			continue;
		st->version = x->version;
		st->aead = suites[i].aead;
		st->hash_len = suites[i].hash_len;
		good = x->version == TLS_V13 ? keys_13(st, x) : keys_12(st, x);
	}
	st->rd.seq = x->rd_seq;
	st->wr.seq = x->wr_seq;
	return good;
}
