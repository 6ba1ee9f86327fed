// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Numbers by key, see cfg_index.h. Main thread.

#include "config/cfg_index.h"

#include <stdlib.h>
#include <string.h>

uint32_t cfg_hash(const void *key, size_t len)
{
	const uint8_t *b = key;
	uint32_t h = 2166136261U;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 16777619U;
	return h;
}

bool cfg_index_init(struct cfg_index *index, uint32_t most, size_t key_len)
{
	uint32_t size = 16;

	while (size < 2ULL * most)
		size *= 2;
	*index = (struct cfg_index){.mask = size - 1, .left = most, .key_len = key_len};
	index->entry = calloc(size, sizeof(*index->entry));
	if (index->entry == NULL)
		*index = (struct cfg_index){0};
	return index->entry != NULL;
}

void cfg_index_release(struct cfg_index *index)
{
	free(index->entry);
	*index = (struct cfg_index){0};
}

static bool is_key(const struct cfg_index *index, const struct cfg_index_entry *e, const void *key)
{
	return index->key_len > 0 ? memcmp(e->key, key, index->key_len) == 0
				  : strcmp(e->key, key) == 0;
}

static uint32_t hash_of(const struct cfg_index *index, const void *key)
{
	return cfg_hash(key, index->key_len > 0 ? index->key_len : strlen(key));
}

// Its entry, or the free one where it would stand.
static struct cfg_index_entry *
entry_of(const struct cfg_index *index, const void *key, uint32_t hash)
{
	uint32_t i = hash & index->mask;

	while (index->entry[i].key != NULL &&
	       (index->entry[i].hash != hash || !is_key(index, &index->entry[i], key)))
		i = (i + 1) & index->mask;
	return &index->entry[i];
}

uint32_t cfg_index_get(const struct cfg_index *index, const void *key)
{
	const struct cfg_index_entry *e;

	if (index->entry == NULL)
		return CFG_INDEX_NONE;
	e = entry_of(index, key, hash_of(index, key));
	return e->key != NULL ? e->value : CFG_INDEX_NONE;
}

uint32_t cfg_index_put(struct cfg_index *index, const void *key, uint32_t value)
{
	struct cfg_index_entry *e;
	uint32_t hash;

	if (index->entry == NULL)
		return CFG_INDEX_NONE;
	hash = hash_of(index, key);
	e = entry_of(index, key, hash);
	if (e->key != NULL)
		return e->value;
	if (index->left > 0) {
		index->left--;
		*e = (struct cfg_index_entry){.key = key, .hash = hash, .value = value};
	}
	return CFG_INDEX_NONE;
}
