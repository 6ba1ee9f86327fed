// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a page of metrics costs: bench-metrics [POOLS [BACKENDS A POOL [WORKERS]]]. Fills a segment
// in which every backend has answered every verb, writes the page three times to memory, prints its
// size and the least time.

#include "tools/metrics.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "common/abi/hist.h"

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t
section_add(struct shm_header *h, uint32_t type, uint32_t count, uint64_t stride, uint64_t off)
{
	unsigned i = 0;

	while (h->dir[i].type != 0)
		i++;
	h->dir[i] = (struct shm_dir_entry){type, count, off, stride};
	return off + count * stride;
}

static struct shm_view segment_make(unsigned pools, unsigned each, unsigned workers)
{
	uint32_t slots = 2 * pools * each + 64;
	struct shm_header h = {.workers = workers, .backend_slots = slots, .generation = 1};
	uint64_t local = sizeof(struct shm_backend_local), off = sizeof(h);
	struct shm_view view;
	struct shm_backend *b;

	off = section_add(&h, SHM_SEC_WORKER, workers, sizeof(struct shm_worker), off);
	off = section_add(&h, SHM_SEC_BACKEND_LOCAL, workers, slots * local, off);
	off = section_add(&h, SHM_SEC_BACKEND, 1, slots * sizeof(struct shm_backend), off);
	view.size = off;
	view.base = mmap(NULL, off, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (view.base == MAP_FAILED)
		exit(71);
	view.header = (struct shm_header *)view.base;
	memcpy(view.base, &h, sizeof(h));
	b = shm_view_entry(&view, SHM_SEC_BACKEND, 0, sizeof(*b));
	for (uint32_t i = 0; i < pools * each; i++) {
		struct shm_backend *at = &b[i + 1];

		at->generation = 1;
		snprintf(at->pool, sizeof(at->pool), "pool-of-customer-%u", i / each);
		snprintf(at->name, sizeof(at->name), "mx%u.customer.example", i % each);
		for (unsigned w = 0; w < workers; w++) {
			struct shm_backend_local *l =
				shm_view_entry(&view, SHM_SEC_BACKEND_LOCAL, w, local);

			l[i + 1].messages = 1000000 + i;
			for (unsigned k = 0; k < 30 * SHM_VERB_GROUPS; k++)
				hist_add(
					&l[i + 1].latency[k % SHM_VERB_GROUPS], (1ULL << k / 6) * 3
				);
		}
	}
	return view;
}

int main(int argc, char **argv)
{
	unsigned pools = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
	unsigned each = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 10;
	unsigned workers = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 2;
	struct shm_view view = segment_make(pools, each, workers);
	double least = 1e9;
	size_t len = 0;

	for (unsigned i = 0; i < 3; i++) {
		double start = now();
		char *text = NULL;
		FILE *out = open_memstream(&text, &len);

		if (out == NULL)
			return 71;
		metrics_write(&view, out);
		fclose(out);
		free(text);
		if (now() - start < least)
			least = now() - start;
	}
	printf("%u pools, %u backends, %u workers: %.1f MB in %.0f ms\n",
	       pools,
	       pools * each,
	       workers,
	       (double)len / 1e6,
	       least * 1e3);
	return 0;
}
