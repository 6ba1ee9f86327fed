// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The edges of the latency histograms: 64 us x 2^(i/4), and 1 % below each policy delay (a reply
// tarpitted by 5 s comes after 5.000-5.02 s and falls into one bucket that begins there). A regular
// edge gives way to one of a policy near it, and all between 15 s and 60 s do.

#include "common/abi/hist.h"

const char *const hist_verb_names[SHM_VERB_GROUPS] =
	{"banner", "ehlo", "mail", "rcpt", "end_of_data", "other"};

static const uint32_t edges[] = {
	64,        76,        91,        108,       128,       152,       181,       215,
	256,       304,       362,       431,       512,       609,       724,       861,
	1024,      1218,      1448,      1722,      2048,      2435,      2896,      3444,
	4096,      4871,      5793,      6889,      8192,      9742,      11585,     13777,
	16384,     19484,     23170,     27554,     32768,     38968,     46341,     55109,
	65536,     77936,     92682,     110218,    131072,    155872,    185364,    220436,
	262144,    311744,    370728,    440872,    524288,    623487,    741455,    881744,
	990000,    1246974,   1482910,   1763488,   2097152,   2493948,   2965821,   3526975,
	4194304,   4950000,   5931642,   7053950,   8388608,   9900000,   11863283,  14850000,
	19800000,  24750000,  29700000,  34650000,  39600000,  44550000,  49500000,  54450000,
	59400000,  67108864,  79806339,  94906266,  112863206, 134217728, 159612677, 189812531,
	225726413, 268435456, 319225354, 379625062, 451452825, 594000000, 759250125,
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
