// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Stable slot numbers by name, kept in a small text file ("backend 3 pool/name"). Main thread.

#include "config/cfg_slots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_NAME_LEN (2 * MR_NAME_LEN)

struct slot_table {
	unsigned count; // slots 1 .. count - 1
	unsigned next;  // where the search for a free one goes on
	bool *used;     // in the generation being built
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
		slots->table[i].name = calloc(counts[i] + 1, SLOT_NAME_LEN);
		if (slots->table[i].used == NULL || slots->table[i].name == NULL) {
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

			if (t->used[i] || (pass == 0 && t->name[i][0] != '\0'))
				continue;
			snprintf(t->name[i], SLOT_NAME_LEN, "%s", name);
			t->used[i] = true;
			t->next = i + 1 < t->count ? i + 1 : 1;
			return i;
		}
	}
	return 0;
}

int cfg_slots_load(struct cfg_slots *slots, const char *path)
{
	FILE *f = fopen(path, "re");
	char kind[16], name[SLOT_NAME_LEN];
	unsigned slot;

	if (f == NULL)
		return errno == ENOENT ? 0 : -errno;
	while (fscanf(f, "%15s %u %127s", kind, &slot, name) == 3) {
		struct slot_table *t = &slots->table[strcmp(kind, "service") == 0];

		if (slot > 0 && slot < t->count)
			snprintf(t->name[slot], SLOT_NAME_LEN, "%s", name);
	}
	fclose(f);
	return 0;
}

int cfg_slots_save(const struct cfg_slots *slots, const char *path)
{
	static const char *const kinds[2] = {"backend", "service"};
	char tmp[300];
	FILE *f;
	int err = 0;

	snprintf(tmp, sizeof(tmp), "%.280s.new", path);
	f = fopen(tmp, "we");
	if (f == NULL)
		return -errno;
	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = 1; i < slots->table[k].count; i++)
			if (slots->table[k].name[i][0] != '\0')
				fprintf(f, "%s %u %s\n", kinds[k], i, slots->table[k].name[i]);
	if (fflush(f) != 0)
		err = -errno;
	fclose(f);
	if (err == 0 && rename(tmp, path) != 0)
		err = -errno;
	return err;
}
