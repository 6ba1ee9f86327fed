// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Books of messages and failures. One thread; memory is taken at start.

#include "tools/bench/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ledger_init(struct ledger *l, uint64_t size)
{
	uint64_t words = size / 64 + 1;

	*l = (struct ledger){.size = size};
	l->accepted = calloc(words, sizeof(uint64_t));
	l->stored = calloc(words, sizeof(uint64_t));
	return l->accepted != NULL && l->stored != NULL;
}

void ledger_fini(struct ledger *l)
{
	free(l->accepted);
	free(l->stored);
}

uint64_t ledger_issue(struct ledger *l)
{
	return l->issued < l->size ? l->issued++ : UINT64_MAX;
}

static bool bit_set(uint64_t *bits, uint64_t id)
{
	uint64_t bit = 1ULL << (id % 64);

	if ((bits[id / 64] & bit) != 0)
		return false;
	bits[id / 64] |= bit;
	return true;
}

bool ledger_store(struct ledger *l, uint64_t id)
{
	if (id >= l->issued || !bit_set(l->stored, id))
		return false;
	l->stored_count++;
	return true;
}

bool ledger_accept(struct ledger *l, uint64_t id)
{
	if (id >= l->issued || !bit_set(l->accepted, id))
		return false;
	l->accepted_count++;
	return true;
}

void ledger_fail(struct ledger *l, const char *what, const char *where, unsigned code)
{
	char name[sizeof(l->failure[0].name)];
	unsigned i;

	if (code != 0)
		snprintf(name, sizeof(name), "%s:%s:%u", what, where, code);
	else
		snprintf(name, sizeof(name), "%s:%s", what, where);
	l->failures++;
	for (i = 0; i < l->failure_count; i++)
		if (strcmp(l->failure[i].name, name) == 0)
			break;
	if (i == LEDGER_FAILURES)
		return; // counted in the sum
	if (i == l->failure_count)
		memcpy(l->failure[l->failure_count++].name, name, sizeof(name));
	l->failure[i].count++;
}

void ledger_compare(const struct ledger *l, uint64_t *ret_lost, uint64_t *ret_unconfirmed)
{
	*ret_lost = *ret_unconfirmed = 0;
	for (uint64_t i = 0; i <= l->issued / 64; i++) {
		*ret_lost += (uint64_t)__builtin_popcountll(l->accepted[i] & ~l->stored[i]);
		*ret_unconfirmed += (uint64_t)__builtin_popcountll(l->stored[i] & ~l->accepted[i]);
	}
}
