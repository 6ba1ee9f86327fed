// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a simulated worker tells the ledger, checked: see records.c.

#pragma once

#include "common/abi/capture.h"
#include "tests/sim/sim.h"

struct records {
	struct capture_ring *ring;
	struct capture_reader reader;
	uint64_t seq, bodies_ok, bodies_refused;
};

void records_init(struct records *r, struct capture_ring *ring);
// After a turn of the worker whose counters these are. on: its generation has the ledger.
void records_check(struct sim *sim, struct records *r, const uint64_t *stats, bool on);
