// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Free list of 32-bit indices into a flat array that the owner keeps (no pointers, 4 bytes an
// object). Index 0 is never handed out: it means "none" everywhere. One worker's thread only.

#pragma once

#include <stdint.h>

struct idpool {
	uint32_t *next; // [count], memory given by the owner at start
	uint32_t head;
	uint32_t count; // indices 1 .. count - 1 exist
	uint32_t used;
};

// mem holds count uint32_t. Indices come out in ascending order at first, most recently freed first
// later.
void idpool_init(struct idpool *pool, uint32_t *mem, uint32_t count);
// 0 when exhausted.
uint32_t idpool_get(struct idpool *pool);
// idx must be in use; a double free is a broken invariant and aborts in debug builds.
void idpool_put(struct idpool *pool, uint32_t idx);
