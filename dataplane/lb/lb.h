// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Choice of a backend: pure functions of the current generation and of this worker's view of load
// and health. Pure leaf: no DPDK, no I/O, no time but what is passed in. One worker's thread
// (struct lb is per worker).

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/blob.h"
#include "common/abi/shm_layout.h"
#include "common/rng.h"

// What the choice may see of each backend slot; the worker fills it from shared memory.
struct lb_view {
	const struct blob_header *blob;
	const struct shm_backend_ctl *ctl;     // [slots], written by control: clamp, never trust
	const struct shm_backend_local *local; // [slots] of this worker
	const uint32_t *
		others_active; // [slots]: legs of the other workers as last summed (every 10-20 ms)
	uint32_t slots;
	uint32_t workers;
	uint64_t now_ns;
};

// Connections that all workers together may have open to each backend slot, and have leased. Made
// once by the main thread, shared by the workers (lease.c).
struct lb_leases;
struct lb_leases *lb_leases_new(uint32_t slots); // NULL + errno
void lb_leases_free(struct lb_leases *leases);
uint32_t lb_leases_used(const struct lb_leases *leases, uint32_t slot);

struct lb; // per worker: round robin positions, smooth weights, own connect failures, leases

// NULL + errno; start only. leases NULL: its own, for a worker that is alone.
struct lb *lb_new(uint32_t slots, struct lb_leases *leases, struct rng *rng);
void lb_free(struct lb *lb);
// A new generation: positions of pools start anew, failures and leases of slots stay.
void lb_generation(struct lb *lb, const struct blob_header *blob);

#define LB_MAX_TRIED 3
#define LB_NONE UINT32_MAX
#define LB_FULL (UINT32_MAX - 1)
// Picks from the pool, never one of tried[] (slots), never one that is down, draining, weight 0 or
// over its limit. Weighted round robin, or weighted least connections (two weighted choices). From
// the pool's backup when nothing is up in the pool. Returns the index into the blob's backends,
// with a lease for one connection that the caller uses by raising the slot's `active` or lets
// lapse; LB_FULL when only limits stand against it, LB_NONE when nothing is up: no panic mode.
uint32_t
lb_pick(struct lb *lb,
	const struct lb_view *view,
	uint32_t pool,
	const uint32_t *tried,
	unsigned tried_count);

// Would a pick be one that takes a connection now and did not fail lately? Takes nothing.
bool lb_has(
	const struct lb *lb,
	const struct lb_view *view,
	uint32_t pool,
	const uint32_t *tried,
	unsigned tried_count
);

// Gives back the leases that no connection uses, every 16 ms: to be called each turn.
void lb_leases_settle(struct lb *lb, const struct shm_backend_local *local, uint64_t now_ns);
uint32_t lb_leases_held(const struct lb *lb, uint32_t slot);

// Passive signals the relay reports (only those smtp.md lists): connect refused, time-out, 421
// or 4.3.x at banner. After LB_FAIL_LIMIT in a row the slot is avoided for a growing time (1 s
// doubling to 30 s) while any other is usable; a probe that finds it up again ends that.
void lb_report_failure(struct lb *lb, uint32_t slot, uint64_t now_ns);
void lb_report_success(struct lb *lb, uint32_t slot);
// A connection to the slot has ended, fruitful when a recipient or a message was accepted last.
void lb_report_end(struct lb *lb, uint32_t slot, bool fruitful, uint64_t now_ns);
