// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What every layer of a worker may see of it: time, identity, random numbers, counters. Set once a
// turn by the owner of the worker (lcore loop or simulator), read by all stages. One worker's
// thread only.

#pragma once

#include <stdint.h>

#include "common/abi/stats.h"
#include "common/rng.h"

struct worker_env {
	uint64_t now_ns; // monotonic, origin arbitrary; the same for a whole turn
	uint16_t id;     // 0 .. count - 1
	uint16_t count;  // workers of this process
	struct rng rng;
	uint64_t *stats; // [STAT_COUNT], one writer: this worker; readers in other processes
};

static inline uint32_t env_now_ms(const struct worker_env *env)
{
	return (uint32_t)(env->now_ns / 1000000U);
}

// Relaxed atomic store: readers in other processes see whole 64-bit values.
static inline void stat_add(struct worker_env *env, enum stat_id stat, uint64_t n)
{
	__atomic_store_n(&env->stats[stat], env->stats[stat] + n, __ATOMIC_RELAXED);
}

static inline void stat_inc(struct worker_env *env, enum stat_id stat)
{
	stat_add(env, stat, 1);
}

static inline void stat_set(struct worker_env *env, enum stat_id stat, uint64_t value)
{
	__atomic_store_n(&env->stats[stat], value, __ATOMIC_RELAXED);
}
