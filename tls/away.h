// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Work that takes too long for a turn of a worker (RSA of more than 2,048 bits, P-384, every
// verification): done by helper threads, while the fiber that wants it waits. Between an engine and
// its helper are two rings with one producer and one consumer each, and no lock. For tls/ and its
// tests only.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tls/fiber.h"

#define AWAY_SLOTS 64U // power of two
static_assert(AWAY_SLOTS >= FIBER_COUNT, "a fiber waits for one job at most: no ring is ever full");

struct away_job { // on the stack of the fiber that waits
	void (*run)(void *arg);
	void *arg;
	struct fiber *fiber;
};

struct away;
struct tls_helpers;
// The rings of the n-th engine.
struct away *tls_helpers_away(struct tls_helpers *helpers, unsigned engine);
// The worker's side. False: no room.
bool away_put(struct away *away, struct away_job *job);
// A job that is done, NULL: none.
struct away_job *away_get(struct away *away);
