// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Buckets of the latency histograms in shared memory: three an octave from 64 us, and the edges at
// which servers' policies delay (1, 5, 10, 15 ... 60, 600 s), so that a policy's delay never
// straddles two. Any process.

#pragma once

#include <stdint.h>

#include "common/abi/shm_layout.h"

// Upper edge of bucket i in microseconds; the last one is UINT64_MAX.
uint64_t hist_edge_us(unsigned i);
// Bucket of a time: the first whose edge is above it.
unsigned hist_bucket(uint64_t us);
void hist_add(struct shm_hist *hist, uint64_t us);
