// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Struct bodies of the choice, for dataplane/lb only. A slot's numbers are of one worker; what all
// workers share is the count of leases alone. Pure leaf; worker thread.

#pragma once

#include "dataplane/lb/lb.h"

struct lb_lease {
	_Alignas(64) uint32_t used; // by all workers: in use, or kept for the next connection
};

struct lb_leases {
	uint32_t slots;
	struct lb_lease slot[];
};

struct lb_slot {
	int64_t current; // smooth round robin's running weight
	uint64_t avoid_until_ns;
	uint32_t failures; // in a row
	uint32_t held;     // leases of this worker, at least its open connections
	uint32_t epoch;    // of the three below, which are halved with each that passes
	uint32_t picks, ends, fruitless;
	uint16_t changes; // of health, as control told last
};

struct lb {
	struct rng *rng;
	struct lb_leases *leases;
	bool leases_own;
	uint32_t slots;
	uint32_t sweep; // next slot whose spare leases are given back
	uint64_t sweep_ns;
	struct lb_slot slot[];
};

// lease.c: a lease for one more connection, without taking it, and taken.
bool lease_is_there(const struct lb *lb, const struct lb_view *view, const struct blob_backend *b);
bool lease_take(struct lb *lb, const struct lb_view *view, const struct blob_backend *b);
