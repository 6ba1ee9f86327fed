// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Server names of TLS connections (SNI), each kept once however many connections have it: clients
// ask for few, so an octet a connection is enough to show it. One that finds no place is not shown.
// Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdlib.h>
#include <string.h>

#include "common/hash.h"

#define NAMES 255U // an index is an octet, and 0 is none
#define LOOKS 8U

struct name {
	uint32_t held;
	char text[TLS_NAME_MAX + 1];
};

struct names {
	struct name at[NAMES + 1];
};

struct names *names_new(void)
{
	return calloc(1, sizeof(struct names));
}

void names_free(struct names *names)
{
	free(names);
}

uint8_t name_hold(struct relay *r, const char *text)
{
	size_t len = strlen(text);
	uint64_t hash = hash_siphash13(&r->config.client_key, text, len);
	uint8_t spare = 0;

	if (len == 0 || len > TLS_NAME_MAX)
		return 0;
	for (unsigned i = 0; i < LOOKS; i++) {
		uint8_t at = (uint8_t)(1 + (hash + i) % NAMES);
		struct name *n = &r->names->at[at];

		if (n->held > 0 && strcmp(n->text, text) == 0) {
			n->held++;
			return at;
		}
		if (n->held == 0 && spare == 0)
			spare = at;
	}
	if (spare != 0) {
		r->names->at[spare].held = 1;
		memcpy(r->names->at[spare].text, text, len + 1);
	}
	return spare;
}

void name_put(struct relay *r, uint8_t at)
{
	if (at == 0)
		return;
	BUG_ON_HOT(r->names->at[at].held == 0);
	r->names->at[at].held--;
}

const char *name_get(const struct relay *r, uint8_t at)
{
	return at != 0 ? r->names->at[at].text : "";
}

uint32_t names_held(const struct names *names)
{
	uint32_t n = 0;

	for (unsigned i = 1; i <= NAMES; i++)
		n += names->at[i].held;
	return n;
}
