// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Routes: the ports' own subnets, the most specific first, then the first port with a gateway of
// the address's family. Static after start; any worker.

#include "dataplane/net/net_types.h"

// An address of the port of like's family that is not off, preferring one whose subnet holds near.
static bool source_pick(
	const struct net *net,
	const struct net_port *port,
	const struct ip_addr *like,
	const struct ip_addr *near,
	struct ip_addr *ret
)
{
	bool found = false;

	for (unsigned i = 0; i < port->address_count; i++) {
		const struct ip_prefix *own = &port->addresses[i];

		if (ip_addr_is_v4(&own->addr) != ip_addr_is_v4(like) ||
		    net_addr_is_off(net, &own->addr))
			continue;
		if (!found || ip_prefix_contains(own, near))
			*ret = own->addr;
		found = true;
		if (ip_prefix_contains(own, near))
			break;
	}
	return found;
}

bool net_gateway_source(
	const struct net *net,
	uint8_t port,
	const struct ip_addr *gateway,
	struct ip_addr *ret
)
{
	return source_pick(net, &net->shared->ports[port], gateway, gateway, ret);
}

static bool
on_link_lookup(const struct net_shared *shared, const struct ip_addr *dst, struct net_route *ret)
{
	const struct ip_prefix *best = NULL;

	for (unsigned p = 0; p < shared->port_count; p++) {
		const struct net_port *port = &shared->ports[p];

		for (unsigned i = 0; i < port->address_count; i++) {
			const struct ip_prefix *own = &port->addresses[i];

			if ((best != NULL && own->len <= best->len) ||
			    !ip_prefix_contains(own, dst))
				continue;
			best = own;
			*ret = (struct net_route){
				.port = (uint8_t)p,
				.on_link = true,
				.mtu = port->info.mtu,
				.next_hop = *dst,
				.source = own->addr,
			};
		}
	}
	return best != NULL;
}

bool net_route_lookup(const struct net *net, const struct ip_addr *dst, struct net_route *ret)
{
	const struct net_shared *shared = net->shared;

	if (ip_addr_is_link_local(dst))
		return false; // of which port?
	if (on_link_lookup(shared, dst, ret))
		return true;
	for (unsigned p = 0; p < shared->port_count; p++) {
		const struct net_port *port = &shared->ports[p];

		for (unsigned i = 0; i < port->gateway_count; i++) {
			const struct ip_addr *gateway = &port->gateways[i];

			if (ip_addr_is_v4(gateway) != ip_addr_is_v4(dst))
				continue;
			*ret = (struct net_route){
				.port = (uint8_t)p,
				.mtu = port->info.mtu,
				.next_hop = *gateway,
			};
			return source_pick(net, port, dst, gateway, &ret->source);
		}
	}
	return false;
}
