// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Handshakes by mbedTLS, as server and as client, without sockets: bytes are handed in, bytes to
// send are handed out, and at the end the keys (tls_state) while the context goes back to its pool.
// Credentials belong to one worker and one generation of certificates. One worker's thread;
// tls_creds are made by the main thread while no worker uses them yet.

#pragma once

#include "tls/tls.h"

#define TLS_HELLO_MAX 16384  // largest ClientHello that is collected (S4)
#define TLS_FLIGHT_MAX 32768 // largest answer of ours in one step
#define TLS_NAME_MAX 255
#define TLS_PIN_LEN 32

enum tls_client_auth { TLS_CLIENT_NONE, TLS_CLIENT_REQUEST, TLS_CLIENT_REQUIRE };
enum tls_verify { TLS_VERIFY_NONE, TLS_VERIFY_CA, TLS_VERIFY_NAME, TLS_VERIFY_PIN };

struct tls_pem {
	const char *data; // PEM with its final NUL
	size_t len;       // that NUL counted
};

struct tls_pair {
	struct tls_pem chain, key;
};

// What credentials of one worker have in common: parsed chains with their keys, and CAs. Main
// thread.
struct tls_shelf;
// before: of the credentials in force, whose texts need not be parsed again; NULL: there are none.
struct tls_shelf *tls_shelf_new(const struct tls_shelf *before); // NULL: no memory
// All credentials are made: what only those before needed goes. Returns how many texts were parsed.
unsigned tls_shelf_close(struct tls_shelf *shelf);
void tls_shelf_free(struct tls_shelf *shelf); // credentials keep what they use

struct tls_creds_config {
	struct tls_shelf *shelf; // NULL: nothing is shared
	bool server;
	const struct tls_pair *pairs; // server: at least one; client: none or one
	unsigned pair_count;
	struct tls_pem ca; // of the peer; data NULL: none
	enum tls_client_auth client_auth;
	enum tls_verify verify;   // client role
	const char *name;         // client role: of all servers; NULL or empty: as tls_hs_new says
	uint8_t pin[TLS_PIN_LEN]; // SHA-256 of the peer's SubjectPublicKeyInfo
	uint32_t max_handshakes;  // at once; contexts are kept for reuse
	bool tickets;             // server role: sessions may be resumed
};

struct tls_creds;
// NULL and a text of at most 120 characters in ret_reason.
struct tls_creds *tls_creds_new(
	struct tls_engine *engine,
	const struct tls_creds_config *config,
	char ret_reason[128]
);
// Frees at most so many of the contexts that wait for reuse; returns how many. The owner's thread.
unsigned tls_creds_thin(struct tls_creds *creds, unsigned most);
// Drops the owner's hold; freed, and its keys wiped, when no handshake uses it any more.
void tls_creds_put(struct tls_creds *creds);
unsigned tls_creds_handshakes(const struct tls_creds *creds); // under way
bool tls_creds_full(const struct tls_creds *creds);           // no context is free

// The credentials of one worker in one generation of the configuration, at the indices the blob
// names. Made by the main thread; the worker that takes the generation gives the old set back.
struct tls_set {
	unsigned server_count, client_count;
	struct tls_creds **server, **client;
};

// Why a handshake failed, for counters.
enum tls_failure {
	TLS_FAIL_NONE,
	TLS_FAIL_NO_CONTEXT,  // max_handshakes reached
	TLS_FAIL_PROTOCOL,    // malformed or unexpected, no version, suite or group in common
	TLS_FAIL_ALERT,       // the peer's
	TLS_FAIL_VERIFY,      // the peer's certificate: none, or by nobody we trust
	TLS_FAIL_INTERNAL,    // memory, or an engine
	TLS_FAIL_VERIFY_TIME, // it has expired, or is not valid yet
	TLS_FAIL_VERIFY_NAME, // it is another's
	TLS_FAIL_VERIFY_PIN,  // its key is not the pinned one
};

// What became of the ticket that a client showed.
enum tls_ticket_refusal {
	TLS_TICKET_NONE, // it showed none
	TLS_TICKET_TAKEN,
	TLS_TICKET_UNKNOWN_KEY, // of another box, or of a key that is gone
	TLS_TICKET_EXPIRED,
	TLS_TICKET_BOUND,     // to another service, name, certificate rule, version or suite
	TLS_TICKET_MALFORMED, // none of ours, or altered
};

enum tls_group { TLS_GROUP_OTHER, TLS_GROUP_X25519, TLS_GROUP_P256, TLS_GROUP_P384 };

struct tls_info {
	uint16_t version, suite;
	bool resumed;
	uint8_t tickets; // given to the client
	enum tls_ticket_refusal ticket;
	uint8_t group;              // enum tls_group; OTHER also when mbedTLS did it all itself
	bool known;                 // as server: a certificate of ours has the name
	bool certificate, verified; // as server: the client's, in this handshake or in the resumed
	char sni[TLS_NAME_MAX + 1]; // empty: none
};

struct tls_hs;
// name: of the server that a client wants (SNI and verification) unless its credentials say
// another; of servers: of the service, whose tickets no other takes. NULL: no context.
struct tls_hs *tls_hs_new(struct tls_creds *creds, const char *name);
// Gives the context back, whatever its state; one that waits goes when its batch is done, unheard.
void tls_hs_free(struct tls_hs *hs);

// A word of the caller's, for `finished`.
void tls_hs_user_set(struct tls_hs *hs, uint32_t user);
uint32_t tls_hs_user(const struct tls_hs *hs);
// OpenSSL's name of a suite that we offer; of others empty.
const char *tls_suite_name(uint16_t number);
// Of a handshake that has ended well.
const struct tls_info *tls_hs_info(const struct tls_hs *hs);
bool tls_hs_begun(const struct tls_hs *hs); // false: even the first step was put off
const struct tls_creds *tls_hs_creds(const struct tls_hs *hs);

struct tls_step {
	const uint8_t *in; // from the peer, not looked at yet
	uint32_t in_len;
	uint32_t taken;     // of it
	const uint8_t *out; // to send, valid until the next call for this engine
	uint32_t out_len;
	enum tls_failure failure;
};
// As far as the bytes reach. TLS_OK: the handshake is over, *ret_state and *ret_info are set, bytes
// not taken are records; TLS_FATAL: send what is in out, then close. TLS_WAIT: step->taken holds
// (nothing is taken by one that is put off to another turn; it ends in TLS_WANT_IN and begins
// anew), the rest comes by the engine's `finished` once it has gone on: then call tls_hs_result,
// inside it, and nothing else of handshakes.
enum tls_result tls_hs_step(
	struct tls_hs *hs,
	struct tls_step *step,
	struct tls_state *ret_state,
	struct tls_info *ret_info
);
// The same results but TLS_WAIT; step->taken is 0.
enum tls_result tls_hs_result(
	struct tls_hs *hs,
	struct tls_step *step,
	struct tls_state *ret_state,
	struct tls_info *ret_info
);
// Called from tls_engine_flush, and from tls_hs_step for other handshakes.
void tls_engine_finished_set(
	struct tls_engine *engine,
	void (*finished)(void *up, struct tls_hs *hs),
	void *up
);

// Is a whole ClientHello there (it may span records)? TLS_OK, TLS_WANT_IN, or TLS_FATAL: it never
// will be one.
enum tls_result tls_hello_check(const uint8_t *data, uint32_t len);
