// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Latency histogram with 32 buckets an octave of nanoseconds (3 % wide), up to 2^40 ns. One
// thread.

#pragma once

#include <stdint.h>

#define HIST_SUB 32
#define HIST_OCTAVES 36 // the first holds 0 .. 31 ns one by one

struct hist {
	uint64_t count, max_ns;
	double sum_ns;
	uint64_t bucket[HIST_OCTAVES * HIST_SUB];
};

void hist_note(struct hist *h, uint64_t ns);
// Upper edge of the bucket in which the quantile lies, never above the maximum; 0 when empty.
uint64_t hist_quantile_ns(const struct hist *h, double q);
