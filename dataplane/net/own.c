// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Our addresses on each link: the ports' own, and those that come with a generation. Each is probed
// (IPv6: RFC 4862 5.4; IPv4: RFC 5227 2.1, in short), in use from the start but asserted against
// nobody until then (RFC 4429), then announced, so that neighbors who knew it elsewhere move. One
// that another station has stays off and is probed again; a claim against a valid one is answered
// with one announcement in 10 s (RFC 5227 2.4). Worker 0 only; no memory after start.

#include "dataplane/net/net_types.h"

#include <stdlib.h>

static uint32_t hash_of(uint8_t port, const struct ip_addr *addr)
{
	uint64_t a, b;

	memcpy(&a, addr->b, sizeof(a));
	memcpy(&b, addr->b + 8, sizeof(b));
	a = (a ^ port) * 0x9e3779b97f4a7c15ULL; // the addresses are the operator's own: no key
	b = (b ^ (a >> 29)) * 0xbf58476d1ce4e5b9ULL;
	return (uint32_t)(b >> 32);
}

static uint16_t *index_at(const struct own_table *t, uint8_t port, const struct ip_addr *addr)
{
	uint32_t i = hash_of(port, addr);

	for (;; i++) { // half empty
		const uint16_t *at = &t->index[i % (2 * OWN_MAX)];

		if (*at == 0 ||
		    (t->e[*at - 1].port == port && ip_addr_eq(&t->e[*at - 1].addr, addr)))
			return (uint16_t *)at;
	}
}

struct own *own_find(const struct net *net, uint8_t port, const struct ip_addr *addr)
{
	uint16_t n = net->own != NULL ? *index_at(net->own, port, addr) : 0;

	return n != 0 ? &net->own->e[n - 1] : NULL;
}

void own_due(struct own_table *t, uint64_t at_ns)
{
	if (at_ns < t->due_ns)
		t->due_ns = at_ns;
}

// Length of the most specific subnet of the port that holds addr; 0: none.
static uint8_t subnet_of(const struct net_port *port, const struct ip_addr *addr)
{
	uint8_t best = 0;

	for (unsigned i = 0; i < port->address_count; i++)
		if (port->addresses[i].len > best && ip_prefix_contains(&port->addresses[i], addr))
			best = port->addresses[i].len;
	return best;
}

static bool port_speaks(const struct net_port *port, const struct ip_addr *like)
{
	for (unsigned i = 0; i < port->address_count; i++)
		if (ip_addr_is_v4(&port->addresses[i].addr) == ip_addr_is_v4(like))
			return true;
	return false;
}

// Does an address of a generation belong on this port? On that of its subnet; one that is of no
// subnet (routed to us) on all.
static bool
port_has_place(const struct net_shared *shared, uint8_t port, const struct ip_addr *addr)
{
	uint8_t best = 0;

	for (unsigned p = 0; p < shared->port_count; p++) {
		uint8_t len = subnet_of(&shared->ports[p], addr);

		best = len > best ? len : best;
	}
	if (best > 0)
		return subnet_of(&shared->ports[port], addr) == best;
	return port_speaks(&shared->ports[port], addr);
}

static struct own *
entry_add(struct own_table *t, uint8_t port, const struct ip_addr *addr, bool probed)
{
	uint16_t *at = index_at(t, port, addr);
	struct own *e;

	if (*at != 0)
		return &t->e[*at - 1];
	if (t->count == OWN_MAX)
		return NULL;
	e = &t->e[t->count++];
	*at = (uint16_t)t->count;
	*e = (struct own){
		.addr = *addr,
		.port = port,
		.state = probed ? OWN_S_OPTIMISTIC : OWN_S_VALID,
		.left = OWN_ANNOUNCEMENTS,
		.probed = probed,
	};
	if (probed)
		e->left = ip_addr_is_v4(addr) ? OWN_PROBES4 : OWN_PROBES6;
	mld_join(e, 0);
	t->due_ns = 0;
	return e;
}

struct own_table *own_new(const struct net_shared *shared)
{
	struct own_table *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	for (uint8_t p = 0; p < shared->port_count; p++) {
		const struct net_port *port = &shared->ports[p];

		for (unsigned i = 0; i < port->address_count; i++)
			entry_add(t, p, &port->addresses[i].addr, true);
		if (port->has_ip6)
			entry_add(t, p, &port->link_local, true);
	}
	return t;
}

void own_free(struct own_table *t)
{
	free(t);
}

bool own_answers(const struct net *net, uint8_t port, const struct ip_addr *addr)
{
	const struct own *e = own_find(net, port, addr);

	if (e != NULL)
		return e->state != OWN_S_OFF;
	// not in the table: no room was left, or the generation has not come yet
	return net->ops->is_local(net->up, addr) && port_has_place(net->shared, port, addr);
}

bool own_is_sure(const struct net *net, uint8_t port, const struct ip_addr *addr)
{
	const struct own *e = own_find(net, port, addr);

	return e == NULL || e->state == OWN_S_VALID;
}

bool own_source(
	const struct net *net,
	uint8_t port,
	const struct ip_addr *target,
	struct ip_addr *ret
)
{
	const struct net_port *p = &net->shared->ports[port];
	bool found = false;

	if (ip_addr_is_link_local(target)) {
		*ret = p->link_local;
		return own_is_sure(net, port, ret);
	}
	for (unsigned i = 0; i < p->address_count; i++) {
		const struct ip_prefix *a = &p->addresses[i];

		if (ip_addr_is_v4(&a->addr) != ip_addr_is_v4(target) ||
		    !own_is_sure(net, port, &a->addr))
			continue;
		if (!found || ip_prefix_contains(a, target))
			*ret = a->addr;
		found = true;
		if (ip_prefix_contains(a, target))
			break;
	}
	return found;
}

// Tells all workers which addresses are off: those that no port has.
static void off_publish(struct net *net)
{
	struct own_table *t = net->own;
	struct net_off *off = &net->shared->off;
	uint32_t count = 0;
	uint64_t entries = 0;

	__atomic_store_n(&off->seq, off->seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	for (unsigned i = 0; i < t->count; i++) {
		bool elsewhere = false;

		if (t->e[i].state != OWN_S_OFF)
			continue;
		entries++;
		for (uint8_t p = 0; p < net->shared->port_count; p++) {
			const struct own *e = own_find(net, p, &t->e[i].addr);

			elsewhere |= e != NULL && e->state != OWN_S_OFF;
		}
		if (!elsewhere && count < NET_OFF_MAX)
			off->addr[count++] = t->e[i].addr;
	}
	__atomic_store_n(&off->count, count, __ATOMIC_RELAXED);
	__atomic_store_n(&off->seq, off->seq + 1, __ATOMIC_RELEASE);
	stat_set(net->env, STAT_NET_ADDRESSES_OFF, entries);
}

// Keeps a conflict where operators see it. mac NULL: it is over.
static void conflict_note(struct net *net, const struct own *e, const uint8_t *mac)
{
	struct shm_conflict *place = NULL;

	for (unsigned i = 0; net->conflicts != NULL && i < SHM_CONFLICTS; i++) {
		struct shm_conflict *c = &net->conflicts[i];

		if (c->state != SHM_CONFLICT_NONE && c->port == e->port &&
		    ip_addr_eq(&c->addr, &e->addr)) {
			place = c;
			break;
		}
		if (place == NULL && c->state == SHM_CONFLICT_NONE)
			place = c;
	}
	if (place == NULL || (mac == NULL && place->state == SHM_CONFLICT_NONE))
		return;
	place->addr = e->addr;
	place->port = e->port;
	place->last_ns = net->env->now_ns;
	if (mac != NULL) {
		memcpy(place->mac, mac, 6);
		place->times++;
	}
	__atomic_store_n(
		&place->state,
		mac == NULL               ? SHM_CONFLICT_OVER
		: e->state == OWN_S_VALID ? SHM_CONFLICT_DEFENDED
					  : SHM_CONFLICT_OFF,
		__ATOMIC_RELEASE
	);
}

static void announce(struct net *net, const struct own *e)
{
	stat_inc(net->env, STAT_NET_ADDRESS_ANNOUNCEMENTS);
	if (ip_addr_is_v4(&e->addr))
		arp_announce(net, e->port, &e->addr);
	else
		nd_advertise(net, e->port, &e->addr, NULL, NULL);
}

static void probe(struct net *net, const struct own *e)
{
	stat_inc(net->env, STAT_NET_ADDRESS_PROBES);
	if (ip_addr_is_v4(&e->addr))
		arp_probe(net, e->port, &e->addr);
	else
		nd_probe(net, e->port, &e->addr);
}

static bool mac_is_any_of_ours(const struct net *net, const uint8_t mac[6])
{
	for (unsigned p = 0; p < net->shared->port_count; p++)
		if (memcmp(mac, net->shared->ports[p].info.mac, 6) == 0)
			return true;
	return false;
}

static void conflict(struct net *net, struct own *e, const uint8_t mac[6])
{
	uint64_t now = net->env->now_ns;

	if (e->state == OWN_S_VALID) {
		conflict_note(net, e, mac);
		if (e->defended_ns != 0 && now - e->defended_ns < OWN_DEFEND_NS)
			return;
		e->defended_ns = now;
		stat_inc(net->env, STAT_NET_ADDRESS_DEFENDED);
		announce(net, e);
		return;
	}
	e->left = ip_addr_is_v4(&e->addr) ? OWN_PROBES4 : OWN_PROBES6;
	e->next_ns =
		now + OWN_RETRY_NS + rng_below(&net->env->rng, OWN_RETRY_JITTER_MS) * 1000000ULL;
	own_due(net->own, e->next_ns);
	if (e->state != OWN_S_OFF) {
		e->state = OWN_S_OFF;
		stat_inc(net->env, STAT_NET_ADDRESS_TAKEN);
		off_publish(net);
	}
	conflict_note(net, e, mac);
}

bool own_claimed(struct net *net, uint8_t port, const struct ip_addr *addr, const uint8_t mac[6])
{
	struct own *e = own_find(net, port, addr);

	if (e == NULL && !net_addr_is_local(net, addr))
		return false;
	if (mac_is_any_of_ours(net, mac))
		return true; // two ports on one link, or a frame that came back
	stat_inc(net->env, ip_addr_is_v4(addr) ? STAT_NET_ARP_CONFLICT : STAT_NET_ND_CONFLICT);
	if (e != NULL)
		conflict(net, e, mac);
	return true;
}

bool own_probed(struct net *net, uint8_t port, const struct ip_addr *addr, const uint8_t mac[6])
{
	struct own *e = own_find(net, port, addr);

	if (mac_is_any_of_ours(net, mac))
		return true;
	if (e == NULL || e->state == OWN_S_VALID)
		return false;
	stat_inc(net->env, ip_addr_is_v4(addr) ? STAT_NET_ARP_CONFLICT : STAT_NET_ND_CONFLICT);
	conflict(net, e, mac); // both want it: neither has it
	return true;
}

static void entry_valid(struct net *net, struct own *e)
{
	bool was_off = e->state == OWN_S_OFF;

	e->state = OWN_S_VALID;
	e->left = OWN_ANNOUNCEMENTS;
	if (was_off) {
		off_publish(net);
		conflict_note(net, e, NULL);
	}
	if (!ip_addr_is_link_local(&e->addr))
		return;
	for (unsigned i = 0; i < net->own->count; i++) // reports have a source now (RFC 3590)
		if (net->own->e[i].port == e->port)
			mld_join(&net->own->e[i], net->env->now_ns);
}

static void entry_timer(struct net *net, struct own *e)
{
	bool v4 = ip_addr_is_v4(&e->addr);
	uint64_t now = net->env->now_ns;

	if (e->state != OWN_S_VALID && e->left > 0) {
		probe(net, e);
		e->left--;
		e->next_ns = now + (v4 ? OWN_PROBE4_NS : OWN_PROBE6_NS);
		return;
	}
	if (e->state != OWN_S_VALID)
		entry_valid(net, e);
	announce(net, e);
	e->left--;
	e->next_ns = now + (v4 ? OWN_ANNOUNCE4_NS : OWN_ANNOUNCE6_NS);
	if (e->left == 0)
		e->next_ns = UINT64_MAX;
}

void own_run(struct net *net)
{
	struct own_table *t = net->own;
	uint64_t now = net->env->now_ns;
	unsigned done = 0;

	if (now < t->due_ns)
		return;
	t->due_ns = mld_run(net); // who listens to a group says so before it asks there
	for (unsigned i = 0; i < t->count; i++) {
		if (t->e[i].next_ns <= now && done++ < OWN_BURST)
			entry_timer(net, &t->e[i]);
		own_due(t, t->e[i].next_ns <= now ? now + OWN_PAUSE_NS : t->e[i].next_ns);
	}
	if (net->own->due_ns <= now)
		t->due_ns = now + OWN_PAUSE_NS;
}

void net_link_up(struct net *net, uint8_t port)
{
	for (unsigned i = 0; i < net->own->count; i++) {
		struct own *e = &net->own->e[i];

		if (e->port != port)
			continue;
		mld_join(e, net->env->now_ns);
		if (e->state != OWN_S_OFF) {
			e->state = e->probed ? OWN_S_OPTIMISTIC : OWN_S_VALID;
			e->left = OWN_ANNOUNCEMENTS;
		}
		if (e->probed)
			e->left = ip_addr_is_v4(&e->addr) ? OWN_PROBES4 : OWN_PROBES6;
		e->next_ns = net->env->now_ns;
	}
	net->own->due_ns = 0;
}

void net_announce_begin(struct net *net)
{
	for (unsigned i = 0; i < net->own->count; i++)
		net->own->e[i].kept = false;
}

void net_announce(struct net *net, const struct ip_addr *addr)
{
	for (uint8_t p = 0; p < net->shared->port_count; p++) {
		struct own *e;

		if (!port_has_place(net->shared, p, addr))
			continue;
		e = own_find(net, p, addr);
		if (e == NULL) {
			e = entry_add(
				net->own, p, addr, subnet_of(&net->shared->ports[p], addr) > 0
			);
			if (e != NULL)
				e->from_generation = true;
			else
				stat_inc(net->env, STAT_NET_ADDRESS_TABLE_FULL);
		}
		if (e != NULL)
			e->kept = true;
	}
}

void net_announce_end(struct net *net)
{
	struct own_table *t = net->own;
	unsigned kept = 0, left = 0;

	for (unsigned i = 0; i < t->count; i++) {
		if (!t->e[i].from_generation || t->e[i].kept)
			t->e[kept++] = t->e[i];
		else if (left++ < OWN_LEAVES)
			mld_leave(net, &t->e[i]);
	}
	if (kept == t->count)
		return;
	t->count = kept;
	memset(t->index, 0, sizeof(t->index));
	for (unsigned i = 0; i < kept; i++)
		*index_at(t, t->e[i].port, &t->e[i].addr) = (uint16_t)(i + 1);
	off_publish(net);
}
