// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Neighbors and routes entry by entry, for the operator. Changes nothing. Worker 0 only.

#include "dataplane/net/net_types.h"

static enum ctl_neighbor_state state_of(const struct neigh *e)
{
	switch (e->state) {
	case NEIGH_S_INCOMPLETE:
		return CTL_NEIGHBOR_INCOMPLETE;
	case NEIGH_S_REACHABLE:
		return CTL_NEIGHBOR_REACHABLE;
	case NEIGH_S_STALE:
		return CTL_NEIGHBOR_STALE;
	default:
		return CTL_NEIGHBOR_PROBE;
	}
}

uint32_t net_neighbor_count(const struct net *net, uint32_t *ret_max, uint32_t *ret_bytes)
{
	uint32_t used = 0;

	*ret_bytes = sizeof(struct neigh);
	*ret_max = (net->shared->bucket_mask + 1) * NEIGH_WAYS;
	for (uint32_t i = 0; i < *ret_max; i++)
		used += net->shared->neigh[i].state != NEIGH_S_FREE;
	return used;
}

bool net_neighbor_next(const struct net *net, uint32_t *at, struct ctl_neighbor *ret)
{
	uint32_t count = (net->shared->bucket_mask + 1) * NEIGH_WAYS;

	while (*at < count) {
		const struct neigh *e = &net->shared->neigh[(*at)++];

		if (e->state == NEIGH_S_FREE)
			continue;
		*ret = (struct ctl_neighbor){
			.addr = e->addr,
			.port = e->port,
			.state = (uint8_t)state_of(e),
			.age_ms = (uint32_t)((net->env->now_ns - e->since_ns) / 1000000U),
		};
		if (e->state != NEIGH_S_INCOMPLETE)
			memcpy(ret->mac, e->mac, sizeof(ret->mac));
		return true;
	}
	return false;
}

// In the order of net_route_lookup: what lies on a link of a port, then the gateways.
bool net_route_next(const struct net *net, uint32_t *at, struct ctl_route *ret)
{
	const struct net_shared *shared = net->shared;
	uint32_t i = (*at)++;

	for (unsigned p = 0; p < shared->port_count; p++) {
		const struct net_port *port = &shared->ports[p];

		if (i < port->address_count) {
			*ret = (struct ctl_route){
				.prefix = port->addresses[i].addr,
				.len = port->addresses[i].len,
				.port = (uint8_t)p,
				.source = port->addresses[i].addr,
				.mtu = port->info.mtu,
			};
			return true;
		}
		i -= port->address_count;
	}
	for (unsigned p = 0; p < shared->port_count; p++) {
		const struct net_port *port = &shared->ports[p];

		if (i < port->gateway_count) {
			bool v4 = ip_addr_is_v4(&port->gateways[i]);

			*ret = (struct ctl_route){
				.len = v4 ? 96 : 0,
				.port = (uint8_t)p,
				.next_hop = port->gateways[i],
				.mtu = port->info.mtu,
			};
			if (v4)
				ret->prefix = ip_addr_from_v4(0);
			net_gateway_source(net, (uint8_t)p, &port->gateways[i], &ret->source);
			return true;
		}
		i -= port->gateway_count;
	}
	return false;
}
