// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Takes the place of one function of libconfig, for its own calls too (the dynamic linker prefers
// the program's): config_setting_get_member searches from the first member, twice a letter by
// strchr, and libconfig calls it for each member it adds, so a group of 1,000 pools costs 500,000
// such comparisons, two thirds of the whole reading. Ours finds the same member through a table
// kept in the group's hook once a group is large. Where libconfig were linked so that it calls its
// own, reading would only be slow again (docs/decisions/0010). Main thread; no state outside the
// settings.

#include <stdlib.h>
#include <string.h>

#include "config/cfg_index.h"
#include "config/cfg_read.h"

#define SMALL 16 // members, up to which they are looked at one by one

struct members {
	struct cfg_index index; // of names
	uint32_t taken;         // members in the index, from the first
	uint32_t room;
};

void cfg_members_free(void *hook)
{
	struct members *m = hook;

	cfg_index_release(&m->index);
	free(m);
}

// The table of a group with all its members in it; NULL without memory for it.
static struct members *members_of(config_setting_t *group, const config_list_t *list)
{
	struct members *m = group->hook;
	uint32_t room = m != NULL ? m->room : 4 * SMALL;

	while (room < list->length)
		room *= 2;
	if (m == NULL || m->room < room) {
		struct members *larger = calloc(1, sizeof(*larger));

		if (larger == NULL || !cfg_index_init(&larger->index, room, 0)) {
			free(larger);
			return NULL;
		}
		if (m != NULL)
			cfg_members_free(m);
		larger->room = room;
		group->hook = m = larger;
	}
	for (; m->taken < list->length; m->taken++)
		cfg_index_put(&m->index, list->elements[m->taken]->name, m->taken);
	return m;
}

static size_t name_len(const char *name)
{
	size_t n = 0;

	while (name[n] != '\0' && name[n] != ':' && name[n] != '.' && name[n] != '/')
		n++;
	return n;
}

// As libconfig does it, a name ends where a path goes on: its look-up by path passes the rest.
config_setting_t *config_setting_get_member(const config_setting_t *setting, const char *name)
{
	const config_list_t *list;
	struct members *m = NULL;
	size_t len;

	if (setting->type != CONFIG_TYPE_GROUP || setting->value.list == NULL)
		return NULL; // members of lists have no names
	len = name_len(name);
	list = setting->value.list;
	if (list->length > SMALL && name[len] == '\0' &&
	    setting->config->destructor == cfg_members_free)
		m = members_of((config_setting_t *)(uintptr_t)setting, list);
	if (m != NULL) {
		uint32_t i = cfg_index_get(&m->index, name);

		return i != CFG_INDEX_NONE ? list->elements[i] : NULL;
	}
	for (unsigned i = 0; i < list->length; i++)
		if (strncmp(list->elements[i]->name, name, len) == 0 &&
		    list->elements[i]->name[len] == '\0')
			return list->elements[i];
	return NULL;
}
