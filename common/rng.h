// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Injected random numbers: xoshiro256** seeded once (from the kernel in the product, from the seed
// in the simulator). For jitter, port choice and identifiers that need not resist an attacker who
// sees outputs; secrets come from rng_secret() of the owner's seed material, never from this
// stream. One generator a worker, no locking.

#pragma once

#include <stdint.h>

struct rng {
	uint64_t s[4];
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);
// Uniform in [0, bound); bound > 0.
uint32_t rng_below(struct rng *rng, uint32_t bound);
