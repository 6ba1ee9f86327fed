// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Stable slot numbers by name. Main thread of whoever compiles generations.

#include "config/cfg_slots.h"

#include <stdlib.h>
#include <string.h>

#include "config/cfg_index.h"

struct slot_table {
	unsigned count; // slots 1 .. count - 1
	unsigned next;  // where the search for a free one goes on
	bool all_named; // as far as is known in the generation being built
	bool *used;     // in the generation being built
	bool *held;     // by sessions of a name that may be gone
	char (*name)[CFG_SLOT_NAME_LEN];
	uint32_t *index; // slots by the hash of their names, open addressing; an entry whose slot
			 // has another name now is passed over
	uint32_t mask;
};

struct cfg_slots {
	struct slot_table table[2];
};

static bool table_init(struct slot_table *t, unsigned count)
{
	uint32_t size = 16;

	while (size < 4 * count)
		size *= 2;
	*t = (struct slot_table){.count = count, .next = 1, .mask = size - 1};
	t->used = calloc(count + 1, sizeof(bool));
	t->held = calloc(count + 1, sizeof(bool));
	t->name = calloc(count + 1, CFG_SLOT_NAME_LEN);
	t->index = calloc(size, sizeof(uint32_t));
	return t->used != NULL && t->held != NULL && t->name != NULL && t->index != NULL;
}

struct cfg_slots *cfg_slots_new(unsigned backend_slots, unsigned service_slots)
{
	struct cfg_slots *slots = calloc(1, sizeof(*slots));
	const unsigned counts[2] = {backend_slots, service_slots};

	for (unsigned i = 0; slots != NULL && i < 2; i++) {
		if (!table_init(&slots->table[i], counts[i])) {
			cfg_slots_free(slots);
			return NULL;
		}
	}
	return slots;
}

void cfg_slots_free(struct cfg_slots *slots)
{
	for (unsigned i = 0; slots != NULL && i < 2; i++) {
		free(slots->table[i].used);
		free(slots->table[i].held);
		free(slots->table[i].name);
		free(slots->table[i].index);
	}
	free(slots);
}

static uint32_t hash_of(const char *name)
{
	return cfg_hash(name, strlen(name)); // the names are the operator's own
}

char *cfg_slot_name(const char *pool, const char *backend, char ret[CFG_SLOT_NAME_LEN])
{
	size_t n = strnlen(pool, MR_NAME_LEN - 1), m = strnlen(backend, MR_NAME_LEN - 1);

	memcpy(ret, pool, n);
	ret[n] = '/';
	memcpy(ret + n + 1, backend, m);
	ret[n + 1 + m] = '\0';
	return ret;
}

static void index_add(struct slot_table *t, uint32_t slot)
{
	uint32_t i = hash_of(t->name[slot]) & t->mask;

	while (t->index[i] != 0)
		i = (i + 1) & t->mask;
	t->index[i] = slot;
}

// Without what names of old have left behind.
static void index_build(struct slot_table *t)
{
	memset(t->index, 0, (t->mask + 1ULL) * sizeof(uint32_t));
	for (unsigned i = 1; i < t->count; i++)
		if (t->name[i][0] != '\0')
			index_add(t, i);
}

static uint32_t slot_of(const struct slot_table *t, const char *name)
{
	for (uint32_t i = hash_of(name) & t->mask; t->index[i] != 0; i = (i + 1) & t->mask)
		if (strcmp(t->name[t->index[i]], name) == 0)
			return t->index[i];
	return 0;
}

void cfg_slots_begin(struct cfg_slots *slots)
{
	for (unsigned i = 0; i < 2; i++) {
		memset(slots->table[i].used, 0, slots->table[i].count * sizeof(bool));
		slots->table[i].all_named = false;
		index_build(&slots->table[i]);
	}
}

void cfg_slots_keep(struct cfg_slots *slots, enum cfg_slot_kind kind, const char *name)
{
	slots->table[kind].used[slot_of(&slots->table[kind], name)] = true;
}

static void name_copy(char to[CFG_SLOT_NAME_LEN], const char *name)
{
	size_t n = strnlen(name, CFG_SLOT_NAME_LEN - 1);

	memcpy(to, name, n);
	to[n] = '\0';
}

uint32_t cfg_slots_get(struct cfg_slots *slots, enum cfg_slot_kind kind, const char *name)
{
	struct slot_table *t = &slots->table[kind];
	uint32_t known = slot_of(t, name);

	if (known != 0) {
		t->used[known] = true;
		return known;
	}
	// one never named before; only then one whose name is gone
	for (unsigned pass = t->all_named ? 1 : 0; pass < 2; pass++) {
		for (unsigned k = 1; k < t->count; k++) {
			unsigned i = 1 + (t->next + k - 2) % (t->count - 1);

			if (t->used[i] || t->held[i] || (pass == 0 && t->name[i][0] != '\0'))
				continue;
			name_copy(t->name[i], name);
			index_add(t, i);
			t->used[i] = true;
			t->next = i + 1 < t->count ? i + 1 : 1;
			return i;
		}
		t->all_named = true;
	}
	return 0;
}

static void name_set(struct slot_table *t, uint32_t slot, const char *name)
{
	uint32_t old = slot_of(t, name);

	if (old == slot)
		return;
	if (old != 0)
		t->name[old][0] = '\0'; // it has moved
	name_copy(t->name[slot], name);
	index_add(t, slot);
}

void cfg_slots_adopt(struct cfg_slots *slots, const struct blob_header *blob)
{
	const uint8_t *base = (const uint8_t *)blob;
	const struct blob_service *service =
		(const struct blob_service *)(base + blob->services.off);
	const struct blob_backend *backend =
		(const struct blob_backend *)(base + blob->backends.off);
	const struct blob_pool *pool = (const struct blob_pool *)(base + blob->pools.off);

	cfg_slots_begin(slots);
	for (uint32_t i = 0; i < blob->services.count; i++)
		name_set(&slots->table[CFG_SLOT_SERVICE], service[i].slot, service[i].name);
	for (uint32_t i = 0; i < blob->backends.count; i++) {
		char name[CFG_SLOT_NAME_LEN];

		cfg_slot_name(pool[backend[i].pool].name, backend[i].name, name);
		name_set(&slots->table[CFG_SLOT_BACKEND], backend[i].slot, name);
	}
}

void cfg_slots_hold(struct cfg_slots *slots, enum cfg_slot_kind kind, uint32_t slot, bool held)
{
	slots->table[kind].held[slot] = held;
}
