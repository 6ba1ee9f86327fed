// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Buckets of the latency histograms in shared memory: four an octave from 64 us, and the edges at
// which servers' policies delay (1, 5, 10, 15 ... 60, 600 s), so that a policy's delay never
// straddles two. Any process.

#pragma once

#include <stdint.h>

#include "common/abi/shm_layout.h"

// Names of the verb groups, as labels.
extern const char *const hist_verb_names[SHM_VERB_GROUPS];
// Upper edge of bucket i in microseconds; the last one is UINT64_MAX.
uint64_t hist_edge_us(unsigned i);
// Bucket of a time: the first whose edge is above it.
unsigned hist_bucket(uint64_t us);
void hist_add(struct shm_hist *hist, uint64_t us);
// Adds what one worker counted to a sum of several.
void hist_merge(struct shm_hist *sum, const struct shm_hist *from);
// The time that a part q (0 .. 1) of all stayed below, interpolated within its bucket; 0 when there
// are none. In the open last bucket: its lower edge.
uint64_t hist_quantile_us(const struct shm_hist *hist, double q);
