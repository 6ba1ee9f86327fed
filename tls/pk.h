// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Public-key work of handshakes: collected from the fibers that wait for it, done eight at a time
// by the first engine of the machine that passes its known answers. For tls/ and its tests only.
// One worker's thread; a queue belongs to one tls_engine.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tls/away.h"
#include "tls/tls.h"

#define PK_LANES 8

enum pk_kind { PK_X25519, PK_P256_DH, PK_P256_SIGN, PK_RSA2048, PK_KINDS };
enum pk_group { PK_GROUP_X25519, PK_GROUP_P256, PK_GROUP_P384, PK_GROUPS };
#define PK_POOLS PK_GROUP_P384 // the groups before it: keys made beforehand

// A private key of ours for signatures; made at start, read-only, wiped by pk_key_release.
struct pk_key {
	enum pk_kind kind; // PK_P256_SIGN or PK_RSA2048; PK_KINDS: another, by its evp alone
	uint64_t d[4];     // little-endian limbs
	uint64_t n[32], p[16], q[16], dp[16], dq[16], iq[16];
	void *evp; // EVP_PKEY
};

// An ephemeral key of ours: single use.
struct pk_eph {
	uint64_t d[6];   // little-endian limbs; X25519: its 32 bytes, clamped
	uint8_t pub[97]; // X25519: 32 bytes; P-256 and P-384: uncompressed
	uint8_t pub_len;
};

#define PK_PUB_X25519 32
#define PK_PUB_P256 65
#define PK_PUB_P384 97

struct pk_op { // on the stack of the fiber that waits
	struct pk_op *next;
	struct fiber *fiber;
	const uint8_t
		*in; // peer's X25519 key (32), P-256 x and y (64), digest (32), padded block (256)
	const uint64_t *d; // ephemeral scalar
	const struct pk_key *key;
	uint8_t *out; // shared secret (32), r and s (64), signature (256)
	struct away_job job;
	bool failed;
};

struct pk_engine {
	const char *name;
	bool (*usable)(void); // on this processor
	// n operations (1 to PK_LANES) of a kind; sets `failed` of each that did not succeed.
	void (*run)(enum pk_kind kind, struct pk_op *const ops[], unsigned n);
	// PK_LANES new keys at once.
	bool (*keys)(enum pk_group group, struct pk_eph out[PK_LANES]);
	// From so many waiting on it is cheaper than libcrypto, by kind.
	uint8_t worth[PK_KINDS];
};
extern const struct pk_engine pk_engine_mbx, pk_engine_libcrypto;

struct pk_counts {
	uint64_t ops[PK_KINDS], batches[PK_KINDS];
	uint64_t fill[PK_LANES + 1]; // batches by how many they held
	uint64_t retried;            // on the next engine
	uint64_t away;               // by helpers
	uint64_t inlined;            // of what helpers are for, in a worker's turn
	uint64_t put_off;            // handshakes, to another turn
};

struct pk_queue {
	const struct pk_engine *engine; // NULL: mbedTLS does it all itself
	bool degraded;                  // a better one is usable here, and failed
	struct fibers fibers;
	struct pk_op *waiting[PK_KINDS][PK_LANES];
	unsigned count[PK_KINDS];
	struct fiber *ready, *ready_tail;
	struct pk_eph pool[PK_POOLS][PK_LANES];
	unsigned pool_count[PK_POOLS];
	struct away *away; // NULL: no helper
	unsigned away_count;
	unsigned rsa_left; // batches of RSA that this turn may still do
	struct pk_counts counts;
	void (*done)(void *arg); // a fiber that was resumed has ended: its argument
};

// Chooses the first engine from `first` on that is usable here and passes.
bool pk_queue_init(struct pk_queue *q, enum pk_engine_id first); // false: no memory for stacks
void pk_queue_release(struct pk_queue *q);
// False: failed (a bad key of the peer). On a fiber it waits for its batch, else at once.
bool pk_submit(struct pk_queue *q, enum pk_kind kind, struct pk_op *op);
// A fresh key out of the pool. False: no engine.
bool pk_eph_take(struct pk_queue *q, enum pk_group group, struct pk_eph *ret);
// Something waits for a batch, though its handshake may have been given up meanwhile.
bool pk_waits(const struct pk_queue *q);
// What waits is done, whatever its number, until nothing waits: end of a turn.
void pk_flush(struct pk_queue *q);
// Runs a function of its own data, which may take long, with tls_current unset: on a fiber by a
// helper, while the fiber waits.
void pk_away(struct pk_queue *q, void (*run)(void *arg), void *arg);
// A turn begins. Fibers whose jobs are done become ready.
void pk_turn(struct pk_queue *q);
// Only full batches, and the fibers they wake: after each fiber_start.
void pk_run_full(struct pk_queue *q);

// pk_key.c. False: no key, or of a kind that is left to mbedTLS.
bool pk_key_from_der(struct pk_key *key, const uint8_t *der, uint32_t len);
void pk_key_release(struct pk_key *key);

// pk_crypto.c: P-384, once.
bool pk_p384_key(struct pk_eph *e);
bool pk_p384_dh(const struct pk_eph *own, const uint8_t peer[PK_PUB_P384], uint8_t out[48]);

// pk_pad.c
size_t pk_sig_to_der(uint8_t out[72], const uint8_t rs[64]); // returns its length
void pk_pad_pkcs1(uint8_t block[256], const uint8_t hash[32]);
void pk_pad_pss(uint8_t block[256], const uint8_t hash[32]);

// pk_kat.c: known answers.
bool pk_engine_passes(const struct pk_engine *engine);

// Numbers in limbs, both ways.
void limbs_from_be(uint64_t *out, const uint8_t *be, unsigned count);
void limbs_to_be(uint8_t *be, const uint64_t *limbs, unsigned count);
void pk_random(uint8_t *out, uint32_t len);
void pk_scalar_p256(uint64_t d[4]); // 1 .. n - 1
