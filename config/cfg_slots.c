// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Stable slot numbers by name. Main thread of whoever compiles generations.

#include "config/cfg_slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_NAME_LEN (2 * MR_NAME_LEN)

struct slot_table {
	unsigned count; // slots 1 .. count - 1
	unsigned next;  // where the search for a free one goes on
	bool *used;     // in the generation being built
	bool *held;     // by sessions of a name that may be gone
	char (*name)[SLOT_NAME_LEN];
};

struct cfg_slots {
	struct slot_table table[2];
};

struct cfg_slots *cfg_slots_new(unsigned backend_slots, unsigned service_slots)
{
	struct cfg_slots *slots = calloc(1, sizeof(*slots));
	const unsigned counts[2] = {backend_slots, service_slots};

	for (unsigned i = 0; slots != NULL && i < 2; i++) {
		slots->table[i].count = counts[i];
		slots->table[i].next = 1;
		slots->table[i].used = calloc(counts[i] + 1, sizeof(bool));
		slots->table[i].held = calloc(counts[i] + 1, sizeof(bool));
		slots->table[i].name = calloc(counts[i] + 1, SLOT_NAME_LEN);
		if (slots->table[i].used == NULL || slots->table[i].held == NULL ||
		    slots->table[i].name == NULL) {
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
	}
	free(slots);
}

void cfg_slots_begin(struct cfg_slots *slots)
{
	for (unsigned i = 0; i < 2; i++)
		memset(slots->table[i].used, 0, slots->table[i].count * sizeof(bool));
}

uint32_t cfg_slots_get(struct cfg_slots *slots, enum cfg_slot_kind kind, const char *name)
{
	struct slot_table *t = &slots->table[kind];

	for (unsigned i = 1; i < t->count; i++) {
		if (strcmp(t->name[i], name) == 0) {
			t->used[i] = true;
			return i;
		}
	}
	// one never named before; only then one whose name is gone
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned k = 1; k < t->count; k++) {
			unsigned i = 1 + (t->next + k - 2) % (t->count - 1);

			if (t->used[i] || t->held[i] || (pass == 0 && t->name[i][0] != '\0'))
				continue;
			snprintf(t->name[i], SLOT_NAME_LEN, "%s", name);
			t->used[i] = true;
			t->next = i + 1 < t->count ? i + 1 : 1;
			return i;
		}
	}
	return 0;
}

static void name_set(struct slot_table *t, uint32_t slot, const char *name)
{
	for (unsigned i = 1; i < t->count; i++)
		if (i != slot && strcmp(t->name[i], name) == 0)
			t->name[i][0] = '\0'; // it has moved
	snprintf(t->name[slot], SLOT_NAME_LEN, "%s", name);
}

void cfg_slots_adopt(struct cfg_slots *slots, const struct blob_header *blob)
{
	const uint8_t *base = (const uint8_t *)blob;
	const struct blob_service *service =
		(const struct blob_service *)(base + blob->services.off);
	const struct blob_backend *backend =
		(const struct blob_backend *)(base + blob->backends.off);
	const struct blob_pool *pool = (const struct blob_pool *)(base + blob->pools.off);

	for (uint32_t i = 0; i < blob->services.count; i++)
		name_set(&slots->table[CFG_SLOT_SERVICE], service[i].slot, service[i].name);
	for (uint32_t i = 0; i < blob->backends.count; i++) {
		char name[SLOT_NAME_LEN];

		snprintf(name, sizeof(name), "%s/%s", pool[backend[i].pool].name, backend[i].name);
		name_set(&slots->table[CFG_SLOT_BACKEND], backend[i].slot, name);
	}
}

void cfg_slots_hold(struct cfg_slots *slots, enum cfg_slot_kind kind, uint32_t slot, bool held)
{
	slots->table[kind].held[slot] = held;
}
