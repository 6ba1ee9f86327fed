// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Session tickets (RFC 5077, RFC 8446 4.6.1): the keys that all workers share, the form of a
// ticket, and what it is bound to. See docs/decisions/0014. For tls/, its tests, and whoever makes
// the keys.

#pragma once

#include "tls/hs.h"

#define TICKET_NAME 16
#define TICKET_KEYS_MAX 3
#define TICKET_MAX 512                // longest ticket of ours
#define TICKET_SESSION 256            // of the session in it, as mbedTLS writes it
#define TICKET_LIFETIME_MAX_S 604800U // RFC 8446 4.6.1: seven days
#define TICKET_SECRET 32

struct ticket_key {
	uint8_t name[TICKET_NAME]; // stands in front of the tickets it sealed
	uint8_t key[32];           // AES-256-GCM
	int64_t until_s;           // its tickets are taken so long, since 1970
};

// The first one seals, all open. Secret: wiped by whoever has a copy.
struct ticket_keys {
	uint32_t count;      // 0: none, no tickets
	uint32_t lifetime_s; // of a new ticket, at most
	struct ticket_key key[TICKET_KEYS_MAX];
};

// A new key of the system's random numbers takes the place of the first, which goes on to open.
// False: no random numbers, nothing has changed.
bool ticket_keys_fresh(struct ticket_keys *keys, int64_t now_s, uint32_t rotation_s);
// Those of a secret that several boxes share: a key for each span of rotation_s since 1970, of now,
// the one before and the one after (their clocks differ).
void ticket_keys_derive(
	struct ticket_keys *keys,
	const uint8_t secret[TICKET_SECRET],
	int64_t now_s,
	uint32_t rotation_s
);
// Copied into the engine of a worker, wiped with it. Its thread, or before that runs.
void tls_engine_tickets_set(struct tls_engine *engine, const struct ticket_keys *keys);
const struct ticket_keys *tls_engine_tickets(const struct tls_engine *engine);
// The time that tickets go by, milliseconds since 1970; another clock for tests (NULL: the
// system's).
int64_t tls_engine_now_ms(const struct tls_engine *engine);
void tls_engine_clock_set(struct tls_engine *engine, int64_t (*now_ms)(void));

// What a ticket says besides the session.
struct ticket_facts {
	uint16_t version, suite;
	uint16_t offers;        // 1.2: of the ClientHello it comes from
	uint32_t verify_result; // of the client's certificate, mbedTLS's flags
	int64_t issued_ms;      // since 1970
	int64_t expires_s;      // no later than the client's certificate
	int64_t not_after_s;    // of that certificate; 0: none was verified
	uint8_t binding[32];    // SHA-256 of what it is for
};

// Seals into out (TICKET_MAX bytes). The length; 0: there is no key, or the session is too long.
uint32_t ticket_seal(
	struct tls_engine *engine,
	const uint8_t nonce[12],
	const struct ticket_facts *facts,
	const uint8_t *session,
	uint32_t session_len,
	uint8_t *out
);
// Opens one: what it says, and the session's bytes in session (TICKET_SESSION), *ret_len of them.
// Whether it may be used here is another matter.
enum tls_ticket_refusal ticket_open(
	struct tls_engine *engine,
	const uint8_t *ticket,
	uint32_t len,
	struct ticket_facts *facts,
	uint8_t *session,
	uint32_t *ret_len
);

// Of a ClientHello: what decides which suite it gets, as bits; GREASE and the unknown left out.
enum {
	TLS_OFFERS_SUITES = 0x1ff, // 1 << tls_suite_index
	TLS_OFFERS_GROUP = 1 << 9, // three bits
	TLS_OFFERS_ECDSA = 1 << 12,
	TLS_OFFERS_RSA = 1 << 13,
	TLS_OFFERS_MASTER_SECRET = 1 << 14, // the extended one, RFC 7627
};
struct tls_hello {
	uint16_t offers;
	uint16_t first_suite; // of ours, by its number
	bool psk;             // shows a ticket of TLS 1.3
	uint8_t name_len;     // 0: no server_name
	uint8_t name[TLS_NAME_MAX];
};
// A handshake message with its header. False: malformed; what came before that is told.
bool tls_hello_read(const uint8_t *message, uint32_t len, struct tls_hello *ret);
// Of the records of a ClientHello: its client takes AES-128-GCM, and does not want ChaCha20 most. A
// ticket has a suite already.
bool tls_hello_leans(const uint8_t *data, uint32_t len);
int tls_suite_index(uint16_t number); // -1: none of ours
