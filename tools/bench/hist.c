// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Log-linear histogram. One thread.

#include "tools/bench/hist.h"

static unsigned bucket_of(uint64_t ns)
{
	unsigned octave;

	if (ns < HIST_SUB)
		return (unsigned)ns;
	octave = 63U - (unsigned)__builtin_clzll(ns) - 4; // 32 .. 63 ns: octave 1
	if (octave >= HIST_OCTAVES)
		return HIST_OCTAVES * HIST_SUB - 1;
	return octave * HIST_SUB + (unsigned)((ns >> (octave - 1)) & (HIST_SUB - 1));
}

static uint64_t bucket_end(unsigned i)
{
	unsigned octave = i / HIST_SUB;

	if (octave == 0)
		return i + 1;
	return (uint64_t)(HIST_SUB + i % HIST_SUB + 1) << (octave - 1);
}

void hist_note(struct hist *h, uint64_t ns)
{
	h->count++;
	h->sum_ns += (double)ns;
	h->max_ns = ns > h->max_ns ? ns : h->max_ns;
	h->bucket[bucket_of(ns)]++;
}

uint64_t hist_quantile_ns(const struct hist *h, double q)
{
	uint64_t below = 0;

	for (unsigned i = 0; i < HIST_OCTAVES * HIST_SUB && h->count > 0; i++) {
		below += h->bucket[i];
		if ((double)below >= q * (double)h->count)
			return bucket_end(i) < h->max_ns ? bucket_end(i) : h->max_ns;
	}
	return h->max_ns;
}
