// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TLS of one worker: the handshake by mbedTLS, which is then left (its context goes back to a
// pool), and records of our own on libipsec-mb, in place in the caller's buffers (TLS 1.2 and 1.3,
// RFC 5246, 5288, 7905, 8446; AEAD suites only). One worker's thread; nothing allocates after
// tls_engine_new but libmbedtls inside a handshake. No rte_ header, no clock, no socket.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_RECORD_HEADER 5
#define TLS_PLAIN_MAX 16384              // RFC 8446 5.1
#define TLS_RECORD_MAX (16384 + 256 + 5) // RFC 8446 5.2; 1.2's own limit of 2,048 more is not used
#define TLS_SEAL_OVERHEAD 32             // header, explicit nonce or type, tag: at most
#define TLS_SEGS_MAX 64                  // pieces of one record

enum tls_version { TLS_V12 = 0x0303, TLS_V13 = 0x0304 };
enum tls_aead { TLS_AES_128_GCM, TLS_AES_256_GCM, TLS_CHACHA20_POLY1305 };
enum tls_type { // of a record's content
	TLS_T_CHANGE_CIPHER_SPEC = 20,
	TLS_T_ALERT = 21,
	TLS_T_HANDSHAKE = 22,
	TLS_T_DATA = 23,
};
enum tls_alert { // those we send (RFC 8446 6)
	TLS_ALERT_CLOSE_NOTIFY = 0,
	TLS_ALERT_UNEXPECTED_MESSAGE = 10,
	TLS_ALERT_BAD_RECORD_MAC = 20,
	TLS_ALERT_RECORD_OVERFLOW = 22,
	TLS_ALERT_DECODE_ERROR = 50,
	TLS_ALERT_NO_RENEGOTIATION = 100,
};

enum tls_result {
	TLS_OK,
	TLS_WANT_IN, // more bytes of the peer are needed
	TLS_WAIT,    // for a batch of public-key work
	TLS_CLOSED,  // close_notify: nothing more will come
	TLS_FATAL,   // the alert to send is told
};

// One direction of a session that has left mbedTLS.
struct tls_half {
	uint64_t seq;
	uint8_t key[32];
	uint8_t iv[12];
	uint8_t secret[48];            // 1.3: application traffic secret, for KeyUpdate
} __attribute__((packed, aligned(4))); // 100 octets, not 104

// All that an established leg keeps.
struct tls_state {
	struct tls_half rd, wr;
	uint16_t version;
	uint8_t aead;       // enum tls_aead
	uint8_t hash_len;   // 32 or 48
	uint8_t idle_count; // records without data in a row
	uint8_t key_updates;
	uint8_t fragment : 4; // log2 of max_fragment_length (RFC 6066 4), 0: none was agreed on
	bool rd_closed : 1, wr_closed : 1;
};
static_assert(sizeof(struct tls_state) <= 208, "TLS state of an idle leg (T7)");

// The largest plaintext of a record, both ways.
static inline uint32_t tls_plain_max(const struct tls_state *st)
{
	return st->fragment > 0 ? 1U << st->fragment : TLS_PLAIN_MAX;
}

// Who does the public-key work, in order of preference.
enum pk_engine_id { PK_ENGINE_MBX, PK_ENGINE_LIBCRYPTO, PK_ENGINE_BUILTIN, PK_ENGINES };

struct tls_engine;
// The first engine from `first` on that is usable on this processor and gives the known answers;
// the last is mbedTLS itself. NULL + errno.
struct tls_engine *tls_engine_new(enum pk_engine_id first);
void tls_engine_free(struct tls_engine *engine);
const char *tls_engine_name(const struct tls_engine *engine);
// A better one is usable here but gave wrong answers, or libmbedtls does not call what is
// redirected.
bool tls_engine_degraded(const struct tls_engine *engine);
// Does what waits and goes on with the handshakes that waited for it: end of a turn.
void tls_engine_flush(struct tls_engine *engine);
// A turn begins: handshakes that waited for theirs go on, as many as may in one turn, and those
// whose work a helper has done.
void tls_engine_turn(struct tls_engine *engine);
bool tls_engine_busy(const struct tls_engine *engine); // something waits, for a turn or a helper
// Waits for the helpers, and ends the handshakes that were given up meanwhile: before the end.
void tls_engine_drain(struct tls_engine *engine);
#define TLS_BATCH_MAX 8
// Since its start.
struct tls_engine_counts {
	uint64_t batches[TLS_BATCH_MAX + 1]; // of public-key work, by how many they held
	uint64_t retried;                    // of it, by the next engine
	uint64_t away, inlined;              // long work by helpers, and in a worker's turn
	uint64_t put_off;                    // handshakes, to another turn
};
void tls_engine_counts_get(const struct tls_engine *engine, struct tls_engine_counts *ret);
size_t tls_engine_stack_used(const struct tls_engine *engine); // bytes, the deepest ever

// Threads that do what takes too long for a worker; each serves a share of the engines.
struct tls_helpers;
struct tls_helpers *tls_helpers_new(unsigned threads, unsigned engines); // NULL + errno
void tls_helper_run(struct tls_helpers *helpers, unsigned thread); // a thread's loop, to the stop
void tls_helpers_stop(struct tls_helpers *helpers);
void tls_helpers_free(struct tls_helpers *helpers); // the threads have ended
// Before its first handshake. Without helpers an engine does everything itself.
void tls_engine_helpers_set(
	struct tls_engine *engine,
	struct tls_helpers *helpers,
	unsigned index // of the engine
);

struct tls_seg {
	uint8_t *data;
	uint32_t len;
};

// The length of the whole record whose first five bytes these are, or 0: not a record that may come
// now (*ret_alert). Any state of the read side.
uint32_t tls_record_length(
	const struct tls_state *st,
	const uint8_t header[TLS_RECORD_HEADER],
	enum tls_alert *ret_alert
);

struct tls_opened {
	enum tls_type type;
	uint32_t off, len; // of the plaintext in the record
	enum tls_alert alert;
};
// Decrypts one whole record, in place, over its pieces; they hold rubbish if it fails (TLS_FATAL).
// After TLS_OK the plaintext stands at `off` from the first byte of the first piece.
enum tls_result tls_record_open(
	struct tls_engine *engine,
	struct tls_state *st,
	const struct tls_seg *segs,
	unsigned count,
	struct tls_opened *ret
);

// Makes one record of at most tls_plain_max bytes (gathered from pieces) at out, which has
// TLS_SEAL_OVERHEAD more room. Returns its length, 0 when the write side is closed or used up
// (2^24 records: the caller closes).
uint32_t tls_record_seal(
	struct tls_engine *engine,
	struct tls_state *st,
	enum tls_type type,
	const struct tls_seg *segs,
	unsigned count,
	uint8_t *out
);

// What a record that is no data means (alerts, KeyUpdate, a request to renegotiate). TLS_OK: go on;
// *ret_reply_len > 0: send what stands in reply (TLS_REPLY_MAX bytes) first.
#define TLS_REPLY_MAX 64
struct tls_reply {
	uint8_t data[TLS_REPLY_MAX];
	uint32_t len;
};
enum tls_result tls_post_handle(
	struct tls_engine *engine,
	struct tls_state *st,
	enum tls_type type,
	const uint8_t *data,
	uint32_t len,
	struct tls_reply *ret
);
// A data record of len bytes came: empty ones are counted. False: too many of them.
bool tls_data_budget(struct tls_state *st, uint32_t len);
// The record of an alert of ours; close_notify and fatal ones close the write side.
uint32_t tls_alert_seal(
	struct tls_engine *engine,
	struct tls_state *st,
	enum tls_alert alert,
	uint8_t out[TLS_REPLY_MAX]
);
// Wipes.
void tls_state_clear(struct tls_state *st);

// Keys of a finished handshake. 1.3: secrets of client and server; 1.2: master secret and randoms.
// server: which side we are. False: a hash or cipher that is not ours.
struct tls_secrets {
	uint16_t version;
	uint16_t suite; // IANA number
	bool server;
	uint8_t client[48], server_secret[48]; // 1.3
	uint8_t master[48], client_random[32], server_random[32];
	uint64_t rd_seq, wr_seq;
};
bool tls_state_derive(struct tls_state *st, const struct tls_secrets *secrets);
// The next traffic secret of a direction (RFC 8446 7.2).
bool tls_half_update(const struct tls_state *st, struct tls_half *half);
