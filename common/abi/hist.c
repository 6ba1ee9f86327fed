// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The edges of the latency histograms: 64 us x 2^(i/3), and 1 % below each policy delay (a reply
// tarpitted by 5 s comes after 5.000-5.02 s and falls into one bucket that begins there).

#include "common/abi/hist.h"

const char *const hist_verb_names[SHM_VERB_GROUPS] =
	{"banner", "ehlo", "mail", "rcpt", "end_of_data", "other"};

static const uint32_t edges[] = {
	64,        81,        102,       128,       161,       203,       256,       323,
	406,       512,       645,       813,       1024,      1290,      1625,      2048,
	2580,      3251,      4096,      5161,      6502,      8192,      10321,     13004,
	16384,     20643,     26008,     32768,     41285,     52016,     65536,     82570,
	104032,    131072,    165140,    208064,    262144,    330281,    416128,    524288,
	660561,    832255,    990000,    1321123,   1664511,   2097152,   2642246,   3329021,
	4194304,   4950000,   6658043,   8388608,   9900000,   13316085,  14850000,  16777216,
	19800000,  24750000,  29700000,  34650000,  39600000,  44550000,  49500000,  54450000,
	59400000,  67108864,  84551870,  106528681, 134217728, 169103741, 213057363, 268435456,
	338207482, 426114725, 536870912, 594000000, 676414963, 852229450,
};
#define EDGES (sizeof(edges) / sizeof(edges[0]))
static_assert(EDGES < SHM_HIST_BUCKETS, "the last bucket is open");

uint64_t hist_edge_us(unsigned i)
{
	return i < EDGES ? edges[i] : UINT64_MAX;
}

unsigned hist_bucket(uint64_t us)
{
	unsigned low = 0, high = EDGES;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (edges[mid] > us)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

void hist_add(struct shm_hist *hist, uint64_t us)
{
	unsigned b = hist_bucket(us);

	__atomic_store_n(&hist->bucket[b], hist->bucket[b] + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&hist->sum_us, hist->sum_us + us, __ATOMIC_RELAXED);
	__atomic_store_n(&hist->count, hist->count + 1, __ATOMIC_RELAXED);
}

void hist_merge(struct shm_hist *sum, const struct shm_hist *from)
{
	for (unsigned i = 0; i < SHM_HIST_BUCKETS; i++)
		sum->bucket[i] += __atomic_load_n(&from->bucket[i], __ATOMIC_RELAXED);
	sum->sum_us += __atomic_load_n(&from->sum_us, __ATOMIC_RELAXED);
	sum->count += __atomic_load_n(&from->count, __ATOMIC_RELAXED);
}

uint64_t hist_quantile_us(const struct shm_hist *hist, double q)
{
	uint64_t total = 0;
	double want, below = 0;

	for (unsigned i = 0; i < SHM_HIST_BUCKETS; i++)
		total += hist->bucket[i];
	want = q * (double)total;
	for (unsigned i = 0; total > 0 && i <= EDGES; i++) {
		double n = hist->bucket[i];
		uint64_t low = i > 0 ? edges[i - 1] : 0;

		if (n > 0 && below + n >= want)
			return i == EDGES ? low
					  : low + (uint64_t)((double)(edges[i] - low) *
							     ((want - below) / n));
		below += n;
	}
	return 0;
}
