// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Struct bodies of handshakes and credentials, for tls/ only. mbedTLS's private members: only those
// named in hs.c.

#pragma once

#define MBEDTLS_ALLOW_PRIVATE_ACCESS

#include "common/idpool.h"
#include "tls/engine.h"
#include "tls/hs.h"
#include "tls/pk.h"
#include "tls/ticket.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#include <stdatomic.h>

#define TLS_PAIRS_MAX 16

struct tls_chain {
	_Atomic unsigned holds; // of credentials, and of main's shelf
	uint8_t digest[32];     // of its texts
	mbedtls_x509_crt crt;
	mbedtls_pk_context key; // of a CA: none
	struct pk_key pk;       // the engines' form; evp NULL: a kind left to mbedTLS
};

struct tls_creds {
	struct tls_engine *engine;
	bool server, put;
	enum tls_verify verify;
	uint8_t pin[TLS_PIN_LEN];
	char name[TLS_NAME_MAX + 1]; // of the servers we want; empty: each handshake's own
	struct tls_chain *chain[TLS_PAIRS_MAX];
	unsigned chain_count;
	struct tls_chain *ca; // of the peer; NULL: none
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context rng;
	mbedtls_ssl_config conf;
	mbedtls_ssl_config conf_lean; // the same but for its suites; owns nothing
	uint8_t identity[32];         // what tickets are bound to of all this
	enum tls_client_auth client_auth;
	struct tls_hs *spare; // contexts for reuse
	unsigned used, made, max;
};

struct tls_hs {
	mbedtls_ssl_context ssl;
	struct tls_creds *creds;
	struct tls_hs *next;
	struct tls_step step; // under way, or its result
	struct fiber *fiber;
	int err;
	uint32_t user;
	bool running;  // waits on a fiber
	bool stepping; // inside its own tls_hs_step: which tells
	bool given_up;
	bool certified;  // a full handshake: the certificate was shown
	bool unticketed; // no ticket could be made
	uint8_t tickets;
	enum tls_ticket_refusal ticket;
	uint16_t offers;           // of the ClientHello
	struct ticket_facts facts; // of the ticket that was taken
	bool begun;                // mbedTLS was called
	bool due;                  // was put off, and is the next
	struct tls_secrets secrets;
	char service[TLS_NAME_MAX + 1];
	struct tls_info info; // its name and group as soon as they are known
};

// hs.c: it was put off, and may go on.
void tls_hs_due(struct tls_hs *hs);

// chain.c
// With a hold of the caller's: from the shelf, or parsed and put there. Without a key: a CA. NULL
// and a reason.
struct tls_chain *tls_chain_get(
	struct tls_shelf *shelf,
	const struct tls_pair *pair,
	mbedtls_ctr_drbg_context *rng,
	char ret_reason[128]
);
void tls_chain_put(struct tls_chain *chain);
bool tls_reason(char ret_reason[128], const char *what, int err); // returns false

// creds.c
void tls_creds_free(struct tls_creds *creds);

// resume.c
void resume_conf(struct tls_creds *creds, const struct tls_creds_config *config);
// Of the handshake's context as it was taken from the pool.
void resume_clear(struct tls_hs *hs);

// hs.c: the handshake that runs now.
struct tls_hs *tls_hs_running(struct tls_engine *engine);

// engine.c: where a handshake's output is collected during one step.
uint8_t *tls_engine_flight(struct tls_engine *engine, const struct fiber *fiber);
struct pk_queue *tls_engine_queue(struct tls_engine *engine);
uint64_t *tls_engine_hooked(struct tls_engine *engine); // [HOOK_COUNT]
uint32_t tls_engine_eph_new(struct tls_engine *engine); // 0: none left
struct pk_eph *tls_engine_eph(struct tls_engine *engine, uint32_t index);
void tls_engine_eph_free(struct tls_engine *engine, uint32_t index);
// Each handshake's step asks, and is put off to another turn when it may not.
bool tls_engine_admits(struct tls_engine *engine, const struct tls_hs *hs);
void tls_engine_put_off(struct tls_engine *engine, struct tls_hs *hs);
void tls_engine_finish(struct tls_engine *engine, struct tls_hs *hs);
