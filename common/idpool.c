// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Index free list: a singly linked stack through an array of next indices. One worker's thread;
// never allocates.

#include "common/idpool.h"

#include <assert.h>

#define IDPOOL_IN_USE UINT32_MAX

void idpool_init(struct idpool *pool, uint32_t *mem, uint32_t count)
{
	pool->next = mem;
	pool->count = count;
	pool->used = 0;
	pool->head = count > 1 ? 1 : 0;
	if (count > 0)
		mem[0] = IDPOOL_IN_USE;
	for (uint32_t i = 1; i < count; i++)
		mem[i] = i + 1 < count ? i + 1 : 0;
}

uint32_t idpool_get(struct idpool *pool)
{
	uint32_t idx = pool->head;

	if (idx == 0)
		return 0;
	pool->head = pool->next[idx];
	pool->next[idx] = IDPOOL_IN_USE;
	pool->used++;
	return idx;
}

void idpool_put(struct idpool *pool, uint32_t idx)
{
	assert(idx > 0 && idx < pool->count && pool->next[idx] == IDPOOL_IN_USE);
	pool->next[idx] = pool->head;
	pool->head = idx;
	pool->used--;
}
