// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// ARP (RFC 826, 5227): answers for our addresses, learns who asks us, asks for next hops. What
// others say of our own addresses is own.c's. Worker 0 only.

#include "dataplane/net/net_types.h"

#include <rte_arp.h>

static const uint8_t mac_broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct arp_msg {
	uint16_t opcode;
	struct ip_addr sender, target;
	const uint8_t *target_mac; // in the packet
	const uint8_t *to;         // of the frame
};

static void arp_send(struct net *net, uint8_t port, const struct arp_msg *msg)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(net->pool);
	struct rte_arp_hdr *arp;

	if (m == NULL) {
		stat_inc(net->env, STAT_NET_NO_BUFFER);
		return;
	}
	arp = (struct rte_arp_hdr *)rte_pktmbuf_append(m, sizeof(*arp));
	arp->arp_hardware = rte_cpu_to_be_16(RTE_ARP_HRD_ETHER);
	arp->arp_protocol = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
	arp->arp_hlen = 6;
	arp->arp_plen = 4;
	arp->arp_opcode = rte_cpu_to_be_16(msg->opcode);
	memcpy(arp->arp_data.arp_sha.addr_bytes, net->shared->ports[port].info.mac, 6);
	arp->arp_data.arp_sip = ip_addr_to_v4(&msg->sender);
	memcpy(arp->arp_data.arp_tha.addr_bytes, msg->target_mac, 6);
	arp->arp_data.arp_tip = ip_addr_to_v4(&msg->target);
	eth_output(net, port, msg->to, RTE_ETHER_TYPE_ARP, m);
}

bool arp_request(
	struct net *net,
	uint8_t port,
	const struct ip_addr *target,
	const uint8_t *unicast_mac
)
{
	static const uint8_t unknown[6];
	struct arp_msg msg = {
		.opcode = RTE_ARP_OP_REQUEST,
		.target = *target,
		.target_mac = unknown,
		.to = unicast_mac != NULL ? unicast_mac : mac_broadcast,
	};

	if (!own_source(net, port, target, &msg.sender))
		return false;
	stat_inc(net->env, STAT_NET_ARP_REQUESTS);
	arp_send(net, port, &msg);
	return true;
}

void arp_probe(struct net *net, uint8_t port, const struct ip_addr *addr)
{
	static const uint8_t unknown[6];
	const struct arp_msg msg = {
		.opcode = RTE_ARP_OP_REQUEST, // RFC 5227 2.1.1
		.sender = ip_addr_from_v4(0),
		.target = *addr,
		.target_mac = unknown,
		.to = mac_broadcast,
	};

	arp_send(net, port, &msg);
}

void arp_announce(struct net *net, uint8_t port, const struct ip_addr *addr)
{
	static const uint8_t unknown[6];
	const struct arp_msg msg = {
		.opcode = RTE_ARP_OP_REQUEST, // RFC 5227 2.3
		.sender = *addr,
		.target = *addr,
		.target_mac = unknown,
		.to = mac_broadcast,
	};

	arp_send(net, port, &msg);
}

// ARP knows no flags: a reply that comes to us alone and that we have asked for confirms, anything
// else is hearsay (as Linux has it), and takes the place of what was known only as neigh_heard lets
// it.
static void sender_learn(
	struct net *net,
	uint8_t port,
	const struct rte_mbuf *m,
	const struct ip_addr *sender,
	bool for_us
)
{
	const struct rte_arp_hdr *arp = rte_pktmbuf_mtod(m, const struct rte_arp_hdr *);
	const struct neigh_advert advert = {
		.mac = arp->arp_data.arp_sha.addr_bytes,
		.solicited = true,
		.override = true,
	};

	if (for_us && arp->arp_opcode == rte_cpu_to_be_16(RTE_ARP_OP_REPLY) && !frame_is_group(m) &&
	    neigh_is_asked(net, port, sender))
		neigh_advertised(net, port, sender, &advert);
	else
		neigh_heard(net, port, sender, advert.mac, for_us);
}

void arp_input(struct net *net, uint8_t port, struct rte_mbuf *m)
{
	const struct rte_arp_hdr *arp = rte_pktmbuf_mtod(m, const struct rte_arp_hdr *);
	struct ip_addr sender, target;
	const uint8_t *mac = arp->arp_data.arp_sha.addr_bytes;
	uint16_t opcode;
	bool for_us, probe;

	if (m->data_len < sizeof(*arp) ||
	    arp->arp_hardware != rte_cpu_to_be_16(RTE_ARP_HRD_ETHER) ||
	    arp->arp_protocol != rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4) || arp->arp_hlen != 6 ||
	    arp->arp_plen != 4 || !mac_is_station(mac)) {
		net_drop(net, m, STAT_NET_ARP_MALFORMED);
		return;
	}
	opcode = rte_be_to_cpu_16(arp->arp_opcode);
	sender = ip_addr_from_v4(arp->arp_data.arp_sip);
	target = ip_addr_from_v4(arp->arp_data.arp_tip);
	probe = opcode == RTE_ARP_OP_REQUEST && ip_addr_is_unspecified(&sender); // RFC 5227 1.1
	if (own_claimed(net, port, &sender, mac) ||
	    (probe && own_probed(net, port, &target, mac))) {
		rte_pktmbuf_free(m);
		return;
	}
	for_us = own_answers(net, port, &target);
	if (!ip_addr_is_martian_source(&sender))
		sender_learn(net, port, m, &sender, for_us);
	if (for_us && opcode == RTE_ARP_OP_REQUEST) {
		const struct arp_msg reply = {
			.opcode = RTE_ARP_OP_REPLY,
			.sender = target,
			.target = sender,
			.target_mac = mac,
			.to = mac,
		};

		stat_inc(net->env, STAT_NET_ARP_REPLIES);
		arp_send(net, port, &reply);
	}
	rte_pktmbuf_free(m);
}
