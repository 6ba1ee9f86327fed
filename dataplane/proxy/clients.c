// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a client address has under way at a service: sessions, for sessions_per_client, and TLS
// handshakes with how many began lately (S4, S13). Each worker writes tables of its own and reads
// the others' when something limited begins: no lock, and nothing at all for services without a
// limit. Two workers that admit at the same moment may exceed a limit by one each. Worker thread.

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
	uint32_t begun; // lately, see begun_of; likewise
};
static_assert(sizeof(struct client_count) == 16, "of 64 octets: two cache lines a bucket");

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

// What began in a second and in the one before it: second (its lowest 8 bits), then 12 bits each,
// which end at 4,095.
#define BEGUN_MAX 4095U
static_assert(BLOB_MAX_SHAKES_PER_SECOND <= BEGUN_MAX, "a limit can be reached");

static uint32_t begun_pack(uint32_t second, uint32_t now, uint32_t before)
{
	return (second & 0xff) << 24 | now << 12 | before;
}

// The same as of a later second.
static uint32_t begun_shift(uint32_t begun, uint32_t second)
{
	uint32_t gone = (second - (begun >> 24)) & 0xff, now = begun >> 12 & BEGUN_MAX;

	if (gone == 0)
		return begun;
	return begun_pack(second, 0, gone == 1 ? now : 0);
}

// In the 1,000 ms up to now, what began in the second before taken as evenly spread.
static uint32_t begun_of(uint32_t begun, uint32_t now_ms)
{
	begun = begun_shift(begun, now_ms / 1000);
	return (begun >> 12 & BEGUN_MAX) + (begun & BEGUN_MAX) * (1000 - now_ms % 1000) / 1000;
}

static const struct client_count *entry_find(const struct client_table *t, uint64_t key)
{
	const struct client_count *e = &t->entry[(key & t->mask) * WAYS];

	for (unsigned i = 0; i < WAYS; i++)
		if (__atomic_load_n(&e[i].key, __ATOMIC_RELAXED) == key)
			return &e[i];
	return NULL;
}

static uint32_t count_in(const struct client_table *t, uint64_t key)
{
	const struct client_count *e = entry_find(t, key);

	return e != NULL ? __atomic_load_n(&e->count, __ATOMIC_RELAXED) : 0;
}

static bool is_free(const struct client_count *e, uint32_t now_ms)
{
	return e->count == 0 && (e->begun == 0 || begun_of(e->begun, now_ms) == 0);
}

static struct client_count *entry_of(struct client_table *t, uint64_t key, uint32_t now_ms)
{
	struct client_count *e = &t->entry[(key & t->mask) * WAYS];
	struct client_count *spare = NULL;

	for (unsigned i = 0; i < WAYS; i++) {
		if (e[i].key == key)
			return &e[i];
		if (spare == NULL && is_free(&e[i], now_ms))
			spare = &e[i];
	}
	if (spare != NULL) {
		__atomic_store_n(&spare->begun, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&spare->key, key, __ATOMIC_RELAXED);
	}
	return spare;
}

// The index of the entry that counts one more, 0: no room.
static uint32_t count_up(struct client_table *t, uint64_t key, uint32_t now_ms)
{
	struct client_count *e = entry_of(t, key, now_ms);

	if (e == NULL)
		return 0;
	__atomic_store_n(&e->count, e->count + 1, __ATOMIC_RELAXED);
	return (uint32_t)(e - t->entry) + 1;
}

static void count_down(struct client_table *t, uint32_t *entry)
{
	struct client_count *e;

	if (*entry == 0)
		return;
	e = &t->entry[*entry - 1];
	BUG_ON_HOT(e->count == 0);
	__atomic_store_n(&e->count, e->count - 1, __ATOMIC_RELAXED);
	*entry = 0;
}

bool client_admit(struct relay *r, struct session *s, uint32_t limit, const struct ip_addr *addr)
{
	uint64_t key = key_of(r, s->service_slot, addr);
	uint32_t open = 0;

	for (uint16_t i = 0; i < r->env->count; i++)
		open += r->clients_of[i] != NULL ? count_in(r->clients_of[i], key) : 0;
	if (open >= limit)
		return false;
	s->client_entry = count_up(r->clients, key, env_now_ms(r->env));
	if (s->client_entry == 0)
		stat_inc(r->env, STAT_SESSION_CLIENT_UNCOUNTED);
	return true;
}

void client_leave(struct relay *r, struct session *s)
{
	count_down(r->clients, &s->client_entry);
}

bool shake_may(
	const struct relay *r,
	const struct blob_service *service,
	const struct ip_addr *addr
)
{
	uint64_t key = key_of(r, service->slot, addr);
	uint32_t under_way = 0, begun = 0;

	if (service->shakes_per_client == 0 && service->shakes_per_second == 0)
		return true;
	for (uint16_t i = 0; i < r->env->count; i++) {
		const struct client_count *e =
			r->shakers_of[i] != NULL ? entry_find(r->shakers_of[i], key) : NULL;

		if (e == NULL)
			continue;
		under_way += __atomic_load_n(&e->count, __ATOMIC_RELAXED);
		begun += begun_of(__atomic_load_n(&e->begun, __ATOMIC_RELAXED), env_now_ms(r->env));
	}
	return (service->shakes_per_client == 0 || under_way < service->shakes_per_client) &&
	       (service->shakes_per_second == 0 || begun < service->shakes_per_second);
}

uint32_t
shake_count(struct relay *r, const struct blob_service *service, const struct ip_addr *addr)
{
	uint32_t now_ms = env_now_ms(r->env), entry, begun;
	struct client_count *e;

	if (service->shakes_per_client == 0 && service->shakes_per_second == 0)
		return 0;
	entry = count_up(r->shakers, key_of(r, service->slot, addr), now_ms);
	if (entry == 0) {
		stat_inc(r->env, STAT_TLS_CLIENT_UNCOUNTED);
		return 0;
	}
	e = &r->shakers->entry[entry - 1];
	begun = begun_shift(e->begun, now_ms / 1000);
	if ((begun >> 12 & BEGUN_MAX) < BEGUN_MAX)
		begun += 1U << 12;
	__atomic_store_n(&e->begun, begun, __ATOMIC_RELAXED);
	return entry;
}

void shake_leave(struct relay *r, uint32_t *entry)
{
	count_down(r->shakers, entry);
}
