// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Sessions a client address has open at a service, for sessions_per_client. Each worker writes a
// table of its own and reads the others' when a limited service accepts: no lock, and nothing at
// all for services without a limit. Two workers that accept at the same moment may exceed a limit
// by one each. Worker thread.

#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "dataplane/proxy/relay_inner_types.h"

#define WAYS 8 // entries of a bucket: two cache lines
#define SESSIONS_AN_ENTRY 8
#define ENTRIES_MIN 1024U

struct client_count {
	uint64_t key;   // 0: never used
	uint32_t count; // 0: free, the owner may give it to another key
	uint32_t reserved;
};

struct client_table {
	uint32_t mask; // of the bucket
	struct client_count entry[];
};

static uint32_t entries_for(uint32_t sessions)
{
	uint32_t n = ENTRIES_MIN;

	while (n < sessions / SESSIONS_AN_ENTRY)
		n *= 2;
	return n;
}

struct client_table *client_table_new(uint32_t sessions)
{
	uint32_t n = entries_for(sessions);
	struct client_table *t = calloc(1, sizeof(*t) + n * sizeof(struct client_count));

	if (t != NULL)
		t->mask = n / WAYS - 1;
	return t;
}

void client_table_free(struct client_table *t)
{
	free(t);
}

size_t client_table_bytes(uint32_t sessions)
{
	return entries_for(sessions) * sizeof(struct client_count);
}

uint32_t client_table_sum(const struct client_table *t)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < (t->mask + 1) * WAYS; i++)
		sum += t->entry[i].count;
	return sum;
}

// One client: an IPv4 address or an IPv6 /64, at one service.
static uint64_t key_of(const struct relay *r, uint32_t slot, const struct ip_addr *addr)
{
	uint8_t data[sizeof(*addr) + sizeof(slot)] = {0};
	uint64_t key;

	memcpy(data, addr, ip_addr_is_v4(addr) ? sizeof(*addr) : 8);
	memcpy(data + sizeof(*addr), &slot, sizeof(slot));
	key = hash_siphash13(&r->config.client_key, data, sizeof(data));
	return key != 0 ? key : 1;
}

static uint32_t count_in(const struct client_table *t, uint64_t key)
{
	const struct client_count *e = &t->entry[(key & t->mask) * WAYS];

	for (unsigned i = 0; i < WAYS; i++)
		if (__atomic_load_n(&e[i].key, __ATOMIC_RELAXED) == key)
			return __atomic_load_n(&e[i].count, __ATOMIC_RELAXED);
	return 0;
}

static struct client_count *entry_of(struct client_table *t, uint64_t key)
{
	struct client_count *e = &t->entry[(key & t->mask) * WAYS];
	struct client_count *spare = NULL;

	for (unsigned i = 0; i < WAYS; i++) {
		if (e[i].key == key)
			return &e[i];
		if (e[i].count == 0 && spare == NULL)
			spare = &e[i];
	}
	if (spare != NULL)
		__atomic_store_n(&spare->key, key, __ATOMIC_RELAXED);
	return spare;
}

bool client_admit(struct relay *r, struct session *s, uint32_t limit, const struct ip_addr *addr)
{
	uint64_t key = key_of(r, s->service_slot, addr);
	uint32_t open = 0;
	struct client_count *e;

	for (uint16_t i = 0; i < r->env->count; i++)
		open += r->clients_of[i] != NULL ? count_in(r->clients_of[i], key) : 0;
	if (open >= limit)
		return false;
	e = entry_of(r->clients, key);
	if (e == NULL) {
		stat_inc(r->env, STAT_SESSION_CLIENT_UNCOUNTED);
		return true;
	}
	__atomic_store_n(&e->count, e->count + 1, __ATOMIC_RELAXED);
	s->client_entry = (uint32_t)(e - r->clients->entry) + 1;
	return true;
}

void client_leave(struct relay *r, struct session *s)
{
	struct client_count *e;

	if (s->client_entry == 0)
		return;
	e = &r->clients->entry[s->client_entry - 1];
	BUG_ON_HOT(e->count == 0);
	__atomic_store_n(&e->count, e->count - 1, __ATOMIC_RELAXED);
	s->client_entry = 0;
}
