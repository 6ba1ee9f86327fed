// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The network layer's life and its two ends: bursts of frames in, TCP segments out. Worker threads;
// never allocates after start, never blocks.

#include "dataplane/net/net_types.h"

#include <errno.h>
#include <stdlib.h>

struct net_shared *net_shared_new(const struct net_shared_config *config)
{
	struct net_shared *shared;

	if (config->port_count == 0 || config->port_count > PORT_MAX || config->workers == 0) {
		errno = EINVAL;
		return NULL;
	}
	shared = calloc(1, sizeof(*shared));
	if (shared == NULL)
		return NULL;
	shared->port_count = config->port_count;
	shared->workers = config->workers;
	memcpy(shared->rss_key, config->rss_key, sizeof(shared->rss_key));
	shared->hash_key = config->hash_key;
	for (unsigned i = 0; i < SHARE_RETA_SIZE; i++)
		shared->reta[i] = share_slot_owner(i, config->workers);
	for (unsigned i = 0; i < config->port_count; i++) {
		const struct net_port_config *from = &config->ports[i];
		struct net_port *port = &shared->ports[i];

		port->info = from->info;
		for (unsigned k = 0; k < from->address_count && k < 64; k++)
			port->addresses[port->address_count++] = from->addresses[k];
		for (unsigned k = 0; k < from->gateway_count && k < 2; k++)
			port->gateways[port->gateway_count++] = from->gateways[k];
		// RFC 4291 appendix A: modified EUI-64
		port->link_local = (struct ip_addr){.b = {0xfe, 0x80, [11] = 0xff, [12] = 0xfe}};
		memcpy(port->link_local.b + 8, from->info.mac, 3);
		memcpy(port->link_local.b + 13, from->info.mac + 3, 3);
		port->link_local.b[8] ^= 0x02;
		for (unsigned k = 0; k < port->address_count; k++)
			port->has_ip6 |= !ip_addr_is_v4(&port->addresses[k].addr);
	}
	shared->neigh = neigh_table_new(
		config->max_neighbors ? config->max_neighbors : 4096, &shared->bucket_mask
	);
	if (shared->neigh == NULL) {
		free(shared);
		return NULL;
	}
	return shared;
}

void net_shared_free(struct net_shared *shared)
{
	if (shared == NULL)
		return;
	free(shared->neigh);
	free(shared);
}

struct net *net_new(const struct net_config *config)
{
	struct net *net = calloc(1, sizeof(*net));

	if (net == NULL)
		return NULL;
	net->env = config->env;
	net->shared = config->shared;
	net->pool = config->pool;
	net->port_ops = config->port_ops;
	net->port_dev = config->port_dev;
	net->ops = config->ops;
	net->up = config->up;
	net->conflicts = config->conflicts;
	if (config->env->id != 0)
		return net;
	net->own = own_new(config->shared);
	if (net->own == NULL) {
		net_free(net);
		return NULL;
	}
	return net;
}

void net_free(struct net *net)
{
	if (net == NULL)
		return;
	for (unsigned i = 0; i < net->pending_count; i++)
		rte_pktmbuf_free(net->pending[i].m);
	for (unsigned p = 0; p < net->shared->port_count; p++)
		for (unsigned i = 0; i < net->txq[p].count; i++)
			rte_pktmbuf_free(net->txq[p].m[i]);
	own_free(net->own);
	free(net);
}

uint16_t net_owner(
	const struct net_shared *shared,
	const struct ip_addr *src,
	const struct ip_addr *dst,
	uint16_t sport,
	uint16_t dport
)
{
	uint32_t hash;

	if (shared->workers == 1)
		return 0;
	hash = hash_toeplitz_tuple(shared->rss_key, src, dst, sport, dport);
	return shared->reta[hash % SHARE_RETA_SIZE];
}

bool net_addr_is_off(const struct net *net, const struct ip_addr *addr)
{
	const struct net_off *off = &net->shared->off;
	uint32_t seq = __atomic_load_n(&off->seq, __ATOMIC_ACQUIRE);
	uint32_t count = __atomic_load_n(&off->count, __ATOMIC_RELAXED);
	bool found = false;

	if (count == 0 || (seq & 1) != 0) // as good as always
		return false;
	for (uint32_t i = 0; i < count && i < NET_OFF_MAX; i++)
		found |= ip_addr_eq(&off->addr[i], addr);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return found && __atomic_load_n(&off->seq, __ATOMIC_RELAXED) == seq;
}

static bool port_has_addr(const struct net_port *port, const struct ip_addr *addr)
{
	if (port->has_ip6 && ip_addr_eq(addr, &port->link_local))
		return true;
	for (unsigned i = 0; i < port->address_count; i++)
		if (ip_addr_eq(addr, &port->addresses[i].addr))
			return true;
	return false;
}

bool net_addr_is_local(const struct net *net, const struct ip_addr *addr)
{
	bool found = net->ops->is_local(net->up, addr);

	for (unsigned p = 0; p < net->shared->port_count && !found; p++)
		found = port_has_addr(&net->shared->ports[p], addr);
	return found && !net_addr_is_off(net, addr);
}

bool net_steer_to(
	struct net *net,
	uint16_t worker,
	uint8_t port,
	enum net_steer what,
	struct rte_mbuf *m
)
{
	if (what == NET_STEER_FRAME)
		rte_pktmbuf_prepend(m, (uint16_t)m->l2_len); // what eth_input cut off
	if (net->ops->steer(net->up, worker, port, (uint8_t)what, m)) {
		stat_inc(net->env, STAT_WORKER_STEERED_OUT);
		return true;
	}
	net_drop(net, m, STAT_WORKER_STEER_FULL);
	return false;
}

void net_input_burst(
	struct net *net,
	uint8_t port,
	struct rte_mbuf **frames,
	unsigned n,
	bool steered
)
{
	struct net_pkt pkts[NET_BURST];
	unsigned count = 0;

	stat_add(net->env, steered ? STAT_WORKER_STEERED_IN : STAT_NET_RX_PACKETS, n);
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(frames[i], void *));
	for (unsigned i = 0; i < n; i++) {
		if (eth_input(net, port, frames[i], steered, &pkts[count]) == NET_TCP)
			count++;
		if (count == NET_BURST) {
			net->ops->tcp_input(net->up, pkts, count);
			count = 0;
		}
	}
	if (count > 0)
		net->ops->tcp_input(net->up, pkts, count);
}

void net_resolve_request(struct net *net, uint8_t port, struct rte_mbuf *m)
{
	struct ip_addr addr;

	stat_inc(net->env, STAT_WORKER_STEERED_IN);
	memcpy(&addr, rte_pktmbuf_mtod(m, void *), sizeof(addr));
	rte_pktmbuf_free(m);
	neigh_resolve(net, port, &addr);
}

void net_output(struct net *net, const struct net_tx *tx, struct rte_mbuf *m)
{
	const struct net_port *port = &net->shared->ports[tx->port];
	struct ip_out out = {
		.src = tx->src,
		.dst = tx->dst,
		.proto = 6,
		.hop_limit = tx->ttl != 0 ? tx->ttl : NET_TTL,
		.tos = tx->tos,
		.l4_offload = (port->info.flags & PORT_F_TX_TCP_CKSUM) != 0,
	};

	if (net_addr_is_off(net, tx->src)) {
		net_drop(net, m, STAT_NET_ADDRESS_OFF);
		return;
	}
	if (ip_addr_is_v4(tx->dst))
		ip4_output_header(&out, m);
	else
		ip6_output_header(&out, m);
	ip_transmit(net, tx->port, tx->next_hop, tx->neigh, m);
}

// Sends what its neighbor has become known for, drops what waited too long.
static void pending_run(struct net *net)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < net->pending_count; i++) {
		struct net_pending *p = &net->pending[i];
		uint8_t mac[6];
		uint16_t type =
			ip_addr_is_v4(&p->next_hop) ? RTE_ETHER_TYPE_IPV4 : RTE_ETHER_TYPE_IPV6;

		if (neigh_lookup(net->shared, p->port, &p->next_hop, NULL, mac))
			eth_output(net, p->port, mac, type, p->m);
		else if (net->env->now_ns >= p->deadline_ns)
			net_drop(net, p->m, STAT_NET_NEIGH_FAILED);
		else
			net->pending[kept++] = *p;
	}
	net->pending_count = kept;
}

void net_timers(struct net *net)
{
	if (net->pending_count > 0)
		pending_run(net);
	if (net->own != NULL)
		own_run(net);
	if (net->pings > 0)
		ping_timers(net);
	if (net->env->id == 0 && net->env->now_ns >= net->neigh_scan_ns) {
		net->neigh_scan_ns = net->env->now_ns + NEIGH_SCAN_NS;
		neigh_scan(net);
	}
}

static void earlier(uint64_t *due_ns, uint64_t at_ns)
{
	if (at_ns < *due_ns)
		*due_ns = at_ns;
}

uint32_t net_next_timer_ms(const struct net *net, uint32_t limit_ms)
{
	uint64_t now = net->env->now_ns, due = now + limit_ms * 1000000ULL;

	for (unsigned i = 0; i < net->pending_count; i++)
		earlier(&due, net->pending[i].deadline_ns);
	for (unsigned i = 0; net->pings > 0 && i < NET_PINGS_MAX; i++)
		if (net->ping[i].used)
			earlier(&due, net->ping[i].deadline_ns);
	if (net->own != NULL)
		earlier(&due, net->own->due_ns);
	if (net->pending_count > 0) // worker 0 asks again
		earlier(&due, net->env->id == 0 ? net->neigh_scan_ns : now + NEIGH_SCAN_NS);
	return due > now ? (uint32_t)((due - now) / 1000000U) : 0;
}

void net_port_set(struct net *net, const struct port_ops *ops, void *dev)
{
	net->port_ops = ops;
	net->port_dev = dev;
}

void net_flush(struct net *net)
{
	eth_flush(net);
}

// Makes room for a packet to a neighbor: of those that wait for it the latest stay (RFC
// 4861 7.2.2). False: too many wait for others. *ret_asked: somebody has asked for the neighbor
// already.
static bool
pending_room(struct net *net, uint8_t port, const struct ip_addr *next_hop, bool *ret_asked)
{
	unsigned same = 0, oldest = 0;

	for (unsigned i = net->pending_count; i-- > 0;) {
		if (net->pending[i].port != port ||
		    !ip_addr_eq(&net->pending[i].next_hop, next_hop))
			continue;
		oldest = i;
		same++;
	}
	*ret_asked = same > 0;
	if (same < NET_PENDING_NEIGHBOR)
		return net->pending_count < NET_PENDING_MAX;
	net_drop(net, net->pending[oldest].m, STAT_NET_NEIGH_QUEUE_FULL);
	net->pending_count--;
	memmove(&net->pending[oldest],
		&net->pending[oldest + 1],
		(net->pending_count - oldest) * sizeof(net->pending[0]));
	return true;
}

static void
pending_add(struct net *net, uint8_t port, const struct ip_addr *next_hop, struct rte_mbuf *m)
{
	bool asked;

	if (!pending_room(net, port, next_hop, &asked)) {
		net_drop(net, m, STAT_NET_NEIGH_QUEUE_FULL);
		return;
	}
	net->pending[net->pending_count++] = (struct net_pending){
		.m = m,
		.next_hop = *next_hop,
		.deadline_ns = net->env->now_ns + NET_PENDING_NS,
		.port = port,
	};
	if (asked)
		return;
	if (net->env->id == 0) {
		neigh_resolve(net, port, next_hop);
	} else {
		struct rte_mbuf *ask = rte_pktmbuf_alloc(net->pool);

		if (ask == NULL) {
			stat_inc(net->env, STAT_NET_NO_BUFFER);
			return;
		}
		memcpy(rte_pktmbuf_append(ask, sizeof(*next_hop)), next_hop, sizeof(*next_hop));
		net_steer_to(net, 0, port, NET_STEER_RESOLVE, ask);
	}
}

void ip_transmit(
	struct net *net,
	uint8_t port,
	const struct ip_addr *next_hop,
	uint32_t *hint,
	struct rte_mbuf *m
)
{
	uint8_t mac[6];

	if (!neigh_lookup(net->shared, port, next_hop, hint, mac))
		pending_add(net, port, next_hop, m);
	else
		eth_output(
			net,
			port,
			mac,
			ip_addr_is_v4(next_hop) ? RTE_ETHER_TYPE_IPV4 : RTE_ETHER_TYPE_IPV6,
			m
		);
}
