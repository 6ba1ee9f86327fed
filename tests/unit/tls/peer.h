// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The other end of the TLS tests: OpenSSL in memory, with certificates made on the spot.

#pragma once

#include <openssl/ssl.h>

#include "tls/hs.h"

// A helper thread for one engine.
struct tls_helpers *helped_new(void);
void helped_free(struct tls_helpers *helpers);

enum peer_key { PEER_EC256, PEER_EC384, PEER_RSA2048, PEER_RSA3072, PEER_KEYS };

struct peer_cert {
	X509 *crt;
	EVP_PKEY *key;
	char crt_pem[4096], key_pem[4096];
	struct tls_pair pair;
};

// Self-signed for a DNS name.
void peer_cert_make(struct peer_cert *cert, enum peer_key kind, const char *name);
// Signed anew, valid until so many seconds from now.
void peer_cert_end(struct peer_cert *cert, long seconds);
void peer_cert_free(struct peer_cert *cert);

struct peer {
	SSL_CTX *ctx;
	SSL *ssl;
};
// server: OpenSSL is the server, with this certificate; else a client (cert: its own, or NULL).
void peer_new(struct peer *p, bool server, const struct peer_cert *cert, int version);
void peer_free(struct peer *p);
// What it has to send, at most size bytes.
uint32_t peer_take(struct peer *p, uint8_t *out, uint32_t size);
void peer_give(struct peer *p, const uint8_t *data, uint32_t len);

// Our side of a connection with it.
struct side {
	struct tls_creds *creds;
	struct tls_hs *hs;
	struct tls_state state;
	struct tls_info info;
	enum tls_failure failure;
	uint8_t in[70000]; // from the peer, not used yet
	uint32_t in_len;
	bool done;
};
// Runs the handshake, bytes in pieces of at most `piece`. True: both are through.
bool sides_shake(struct tls_engine *e, struct side *s, struct peer *p, uint32_t piece);
// One record of the peer: its plaintext in out.
enum tls_result side_read(
	struct tls_engine *e,
	struct side *s,
	struct peer *p,
	uint8_t *out,
	struct tls_opened *ret
);
void side_write(struct tls_engine *e, struct side *s, struct peer *p, const char *text);
// Data both ways, KeyUpdate both ways (1.3), close_notify both ways: cmocka's assertions.
void sides_talk(struct tls_engine *engine, struct side *s, struct peer *p);
