// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Neighbor table for ARP and ND: set-associative, fixed size, keyed hash. Worker 0 writes, all read
// under each entry's sequence count. What is believed of whom follows RFC 4861 7.2.3 and 7.2.5, for
// ARP too; reachability RFC 4861 7.3 in small: reachable 30 s, then asked again while in use.

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

// What an entry is worth when a place is wanted: 0 free, 3 not to be taken.
static unsigned entry_worth(const struct neigh *e)
{
	if (e->state == NEIGH_S_FREE)
		return 0;
	if (e->state == NEIGH_S_STALE)
		return e->used != 0 ? 2 : 1;
	return 3;
}

// The entry of a neighbor, or (create) a free one, or the stale one of its bucket that is missed
// least, now its own and incomplete.
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
		if (entry_worth(e) < 3 &&
		    (place == NULL || entry_worth(e) < entry_worth(place) ||
		     (entry_worth(e) == entry_worth(place) && e->since_ns < place->since_ns)))
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
	place->moved_ns = 0;
	entry_write_end(place);
	return place;
}

static void entry_reachable(struct net *net, struct neigh *e, const uint8_t mac[6])
{
	entry_write_begin(e);
	memmove(e->mac, mac, 6);
	e->state = NEIGH_S_REACHABLE;
	e->probes = 0;
	e->used = 0;
	e->since_ns = net->env->now_ns;
	e->next_ns = net->env->now_ns + NEIGH_REACHABLE_NS;
	entry_write_end(e);
}

// Known but not confirmed: asked at the next scan that finds it in use.
static void entry_stale(struct net *net, struct neigh *e, const uint8_t mac[6])
{
	entry_write_begin(e);
	memmove(e->mac, mac, 6);
	e->state = NEIGH_S_STALE;
	e->probes = 0;
	e->since_ns = net->env->now_ns;
	e->next_ns = net->env->now_ns + NEIGH_SCAN_NS;
	entry_write_end(e);
}

// Another link-layer address for a neighbor that has one is taken at once (a server or gateway that
// was replaced announces itself so), but only once a second: of two stations that fight for an
// address, or of one that poisons, we do not follow every frame. What was taken is asked for
// confirmation while it is in use, and forgotten when nobody answers.
static bool entry_may_move(struct net *net, struct neigh *e)
{
	if (e->moved_ns != 0 && net->env->now_ns - e->moved_ns < NEIGH_MOVE_NS) {
		stat_inc(net->env, STAT_NET_NEIGH_FLAPPING);
		return false;
	}
	e->moved_ns = net->env->now_ns;
	stat_inc(net->env, STAT_NET_NEIGH_MOVED);
	return true;
}

void neigh_heard(
	struct net *net,
	uint8_t port,
	const struct ip_addr *addr,
	const uint8_t mac[6],
	bool create
)
{
	struct neigh *e = entry_find(net, port, addr, create);
	bool known = e != NULL && e->state != NEIGH_S_INCOMPLETE;

	if (e == NULL || (known && memcmp(e->mac, mac, 6) == 0))
		return; // says nothing about whether it hears us
	if (!known || entry_may_move(net, e))
		entry_stale(net, e, mac);
}

bool neigh_is_asked(struct net *net, uint8_t port, const struct ip_addr *addr)
{
	const struct neigh *e = entry_find(net, port, addr, false);

	return e != NULL && (e->state == NEIGH_S_INCOMPLETE || e->state == NEIGH_S_PROBE);
}

// RFC 4861 7.2.5, for an entry that has an address.
static void known_advertised(struct net *net, struct neigh *e, const struct neigh_advert *advert)
{
	bool other = advert->mac != NULL && memcmp(e->mac, advert->mac, 6) != 0;

	if (other && !advert->override) {
		if (e->state == NEIGH_S_REACHABLE)
			entry_stale(net, e, e->mac);
		return;
	}
	if (other && !entry_may_move(net, e))
		return;
	if (advert->solicited)
		entry_reachable(net, e, other ? advert->mac : e->mac);
	else if (other)
		entry_stale(net, e, advert->mac);
}

void neigh_advertised(
	struct net *net,
	uint8_t port,
	const struct ip_addr *addr,
	const struct neigh_advert *advert
)
{
	struct neigh *e = entry_find(net, port, addr, false);

	if (e == NULL)
		return; // nobody wants to know
	if (e->state != NEIGH_S_INCOMPLETE)
		known_advertised(net, e, advert);
	else if (advert->mac != NULL && advert->solicited)
		entry_reachable(net, e, advert->mac);
	else if (advert->mac != NULL)
		entry_stale(net, e, advert->mac);
}

// While there is no address of ours to ask from (all are still being probed) it asks later.
static void entry_solicit(struct net *net, struct neigh *e)
{
	const uint8_t *mac = e->state == NEIGH_S_PROBE ? e->mac : NULL;
	bool asked = ip_addr_is_v4(&e->addr) ? arp_request(net, e->port, &e->addr, mac)
					     : nd_solicit(net, e->port, &e->addr, mac);

	e->probes++;
	e->next_ns = net->env->now_ns + NEIGH_RETRANS_NS;
	if (!asked && e->state == NEIGH_S_INCOMPLETE &&
	    net->env->now_ns - e->since_ns < NEIGH_WAIT_NS) {
		e->probes--;
		e->next_ns = net->env->now_ns + NEIGH_SCAN_NS;
	}
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
