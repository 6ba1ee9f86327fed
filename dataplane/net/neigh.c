// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Neighbor table for ARP and ND: set-associative, fixed size, keyed hash. Worker 0 writes, all read
// under each entry's sequence count. Reachability follows RFC 4861 7.3 in small: reachable 30 s,
// then asked again while in use.

#include "dataplane/net/net_types.h"

#include <stdlib.h>

struct neigh *neigh_table_new(uint32_t max, uint32_t *ret_bucket_mask)
{
	uint32_t buckets = 1;

	while (buckets * NEIGH_WAYS < max)
		buckets *= 2;
	*ret_bucket_mask = buckets - 1;
	return calloc((size_t)buckets * NEIGH_WAYS, sizeof(struct neigh));
}

static uint32_t bucket_of(const struct net_shared *shared, uint8_t port, const struct ip_addr *addr)
{
	uint8_t key[17];

	memcpy(key, addr->b, 16);
	key[16] = port;
	return (uint32_t)hash_siphash13(&shared->hash_key, key, sizeof(key)) & shared->bucket_mask;
}

// Reads one entry; false when it is not this neighbor, has no address yet, or is being written.
static bool entry_read(struct neigh *e, uint8_t port, const struct ip_addr *addr, uint8_t mac[6])
{
	uint32_t seq = __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE);
	bool match = e->state >= NEIGH_S_REACHABLE && e->port == port && ip_addr_eq(&e->addr, addr);

	if (!match || (seq & 1) != 0)
		return false;
	memcpy(mac, e->mac, 6);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&e->seq, __ATOMIC_RELAXED) != seq)
		return false;
	if (e->used == 0)
		__atomic_store_n(&e->used, 1, __ATOMIC_RELAXED);
	return true;
}

bool neigh_lookup(
	struct net_shared *shared,
	uint8_t port,
	const struct ip_addr *addr,
	uint32_t *hint,
	uint8_t mac[6]
)
{
	uint32_t first;

	if (hint != NULL && *hint != 0 && entry_read(&shared->neigh[*hint - 1], port, addr, mac))
		return true;
	first = bucket_of(shared, port, addr) * NEIGH_WAYS;
	for (uint32_t i = first; i < first + NEIGH_WAYS; i++) {
		if (entry_read(&shared->neigh[i], port, addr, mac)) {
			if (hint != NULL)
				*hint = i + 1;
			return true;
		}
	}
	return false;
}

static void entry_write_begin(struct neigh *e)
{
	__atomic_store_n(&e->seq, e->seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void entry_write_end(struct neigh *e)
{
	__atomic_store_n(&e->seq, e->seq + 1, __ATOMIC_RELEASE);
}

// The entry of a neighbor, or (create) a free one, or the oldest stale one of its bucket, now its
// own and incomplete.
static struct neigh *
entry_find(struct net *net, uint8_t port, const struct ip_addr *addr, bool create)
{
	struct net_shared *shared = net->shared;
	struct neigh *bucket = &shared->neigh[bucket_of(shared, port, addr) * NEIGH_WAYS];
	struct neigh *place = NULL;

	for (unsigned i = 0; i < NEIGH_WAYS; i++) {
		struct neigh *e = &bucket[i];

		if (e->state != NEIGH_S_FREE && e->port == port && ip_addr_eq(&e->addr, addr))
			return e;
		if (e->state == NEIGH_S_FREE)
			place = place != NULL && place->state == NEIGH_S_FREE ? place : e;
		else if (e->state == NEIGH_S_STALE &&
			 (place == NULL ||
			  (place->state == NEIGH_S_STALE && e->since_ns < place->since_ns)))
			place = e;
	}
	if (!create)
		return NULL;
	if (place == NULL) {
		stat_inc(net->env, STAT_NET_NEIGH_FULL);
		return NULL;
	}
	entry_write_begin(place);
	place->state = NEIGH_S_INCOMPLETE;
	place->port = port;
	place->addr = *addr;
	place->probes = 0;
	place->used = 0;
	place->since_ns = net->env->now_ns;
	place->next_ns = net->env->now_ns;
	entry_write_end(place);
	return place;
}

void neigh_learn(
	struct net *net,
	uint8_t port,
	const struct ip_addr *addr,
	const uint8_t mac[6],
	bool create
)
{
	struct neigh *e = entry_find(net, port, addr, create);

	if (e == NULL)
		return;
	entry_write_begin(e);
	memcpy(e->mac, mac, 6);
	e->state = NEIGH_S_REACHABLE;
	e->probes = 0;
	e->used = 0;
	e->since_ns = net->env->now_ns;
	e->next_ns = net->env->now_ns + NEIGH_REACHABLE_NS;
	entry_write_end(e);
}

static void entry_solicit(struct net *net, struct neigh *e)
{
	const uint8_t *mac = e->state == NEIGH_S_PROBE ? e->mac : NULL;

	e->probes++;
	e->next_ns = net->env->now_ns + NEIGH_RETRANS_NS;
	if (ip_addr_is_v4(&e->addr))
		arp_request(net, e->port, &e->addr, mac);
	else
		nd_solicit(net, e->port, &e->addr, mac);
}

void neigh_resolve(struct net *net, uint8_t port, const struct ip_addr *addr)
{
	struct neigh *e = entry_find(net, port, addr, true);

	if (e != NULL && e->state == NEIGH_S_INCOMPLETE && e->probes == 0)
		entry_solicit(net, e);
}

static void entry_state_set(struct neigh *e, enum neigh_state state)
{
	entry_write_begin(e);
	e->state = (uint8_t)state;
	e->probes = 0;
	entry_write_end(e);
}

// One entry whose time has come.
static void entry_timer(struct net *net, struct neigh *e)
{
	switch (e->state) {
	case NEIGH_S_INCOMPLETE:
	case NEIGH_S_PROBE:
		if (e->probes < NEIGH_PROBES)
			entry_solicit(net, e);
		else
			entry_state_set(e, NEIGH_S_FREE);
		break;
	case NEIGH_S_REACHABLE:
	case NEIGH_S_STALE:
		if (e->used != 0) {
			e->used = 0;
			entry_state_set(e, NEIGH_S_PROBE);
			entry_solicit(net, e);
		} else if (net->env->now_ns - e->since_ns > NEIGH_GONE_NS) {
			entry_state_set(e, NEIGH_S_FREE);
		} else {
			entry_state_set(e, NEIGH_S_STALE);
			e->next_ns = net->env->now_ns + NEIGH_RETRANS_NS;
		}
		break;
	default:
		break;
	}
}

void neigh_scan(struct net *net)
{
	struct net_shared *shared = net->shared;
	uint32_t count = (shared->bucket_mask + 1) * NEIGH_WAYS;

	for (uint32_t i = 0; i < count; i++) {
		struct neigh *e = &shared->neigh[i];

		if (e->state != NEIGH_S_FREE && net->env->now_ns >= e->next_ns)
			entry_timer(net, e);
	}
}
