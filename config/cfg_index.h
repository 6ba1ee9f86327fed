// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Small numbers found by a key: names of groups, listening endpoints. Open addressing, made for a
// known number of keys; the keys are the operator's own and stay with the caller. Main thread.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CFG_INDEX_NONE UINT32_MAX

struct cfg_index {
	struct cfg_index_entry {
		const void *key; // NULL: free
		uint32_t hash, value;
	} *entry;
	uint32_t mask, left; // left: keys that may still be put
	size_t key_len;      // 0: NUL-terminated texts
};

// For at most so many keys. False: no memory; the index is then empty and takes nothing.
bool cfg_index_init(struct cfg_index *index, uint32_t most, size_t key_len);
void cfg_index_release(struct cfg_index *index);
// The number put under this key, or CFG_INDEX_NONE.
uint32_t cfg_index_get(const struct cfg_index *index, const void *key);
// As cfg_index_get; puts the number when there is none yet.
uint32_t cfg_index_put(struct cfg_index *index, const void *key, uint32_t value);
uint32_t cfg_hash(const void *key, size_t len); // FNV-1a
