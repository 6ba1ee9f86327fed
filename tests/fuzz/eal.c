// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Packet buffers, see eal.h: pools as the dataplane has them, frames in external buffers.

#include "tests/eal.h"
#include "tests/fuzz/eal.h"

#include <rte_malloc.h>

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

struct rte_mempool *eal_pool, *eal_small_pool, *eal_ref_pool;

struct block {
	struct rte_mbuf_ext_shared_info info;
	uint8_t *data;
	size_t len;
};

static void block_free(void *addr, void *opaque)
{
	struct block *block = opaque;

	fuzz_free(block->data, block->len);
	free(block);
}

struct rte_mbuf *eal_frame(const void *data, size_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(eal_pool);
	struct block *block = calloc(1, sizeof(*block));

	if (m == NULL || block == NULL)
		abort();
	block->data = fuzz_copy(data, len);
	block->len = len;
	block->info.free_cb = block_free;
	block->info.fcb_opaque = block;
	rte_mbuf_ext_refcnt_set(&block->info, 1);
	rte_pktmbuf_attach_extbuf(m, block->data, RTE_BAD_IOVA, (uint16_t)len, &block->info);
	m->data_off = 0;
	m->data_len = m->pkt_len = (uint16_t)len;
	return m;
}

static struct rte_mempool *pool_new(const char *name, uint16_t room)
{
	struct rte_mempool *pool = rte_pktmbuf_pool_create(name, EAL_POOL_COUNT - 1, 0, 0, room, 0);

	if (pool == NULL)
		abort();
	return pool;
}

void eal_pools_check(void)
{
	FUZZ_CHECK(rte_mempool_in_use_count(eal_pool) == 0);
	FUZZ_CHECK(rte_mempool_in_use_count(eal_small_pool) == 0);
	FUZZ_CHECK(rte_mempool_in_use_count(eal_ref_pool) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (!eal_start(64))
		abort();
	eal_pool = pool_new("fuzz", RTE_MBUF_DEFAULT_BUF_SIZE);
	eal_small_pool = pool_new("small", RTE_PKTMBUF_HEADROOM + 512);
	eal_ref_pool = pool_new("ref", 0);
	return 0;
}
