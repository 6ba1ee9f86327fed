// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// mailrace-vectors [--only WORDS] FILE...: runs script vectors; each failure with its line.

#include "tests/eal.h"
#include "tests/vectors/vec.h"

#include <stdlib.h>

int main(int argc, char **argv)
{
	struct vec *pools = calloc(1, sizeof(*pools));
	unsigned failed = 0, run = 0;
	const char *only = NULL;
	int i = 1;

	if (i + 1 < argc && strcmp(argv[i], "--only") == 0) {
		only = argv[i + 1];
		i += 2;
	}
	if (i >= argc || pools == NULL) {
		fprintf(stderr, "usage: mailrace-vectors [--only WORDS] FILE...\n");
		return 64;
	}
	if (!eal_start(64))
		return 1;
	pools->pool = rte_pktmbuf_pool_create("in", 2047, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	pools->small_pool =
		rte_pktmbuf_pool_create("small", 2047, 0, 0, RTE_PKTMBUF_HEADROOM + 512, 0);
	pools->ref_pool = rte_pktmbuf_pool_create("ref", 2047, 0, 0, 0, 0);
	if (pools->pool == NULL || pools->small_pool == NULL || pools->ref_pool == NULL)
		return 1;
	for (; i < argc; i++)
		failed += vec_file_run(argv[i], pools, only, &run);
	printf("%u vectors passed, %u failed\n", run - failed, failed);
	free(pools);
	return failed > 0 || run == 0;
}
