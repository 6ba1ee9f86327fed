// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Ethernet and VLAN: which frames are ours, and the frame header of what we send. Worker threads.

#include "dataplane/net/net_types.h"

#include <rte_prefetch.h>

static bool mac_is_ours(const struct net_port *port, const struct rte_ether_hdr *eth)
{
	return memcmp(eth->dst_addr.addr_bytes, port->info.mac, 6) == 0 ||
	       rte_is_multicast_ether_addr(&eth->dst_addr); // broadcast included
}

// Cuts the Ethernet header off; false when the frame was dropped.
static bool eth_strip(struct net *net, uint8_t p, struct rte_mbuf *m, uint16_t *ret_type)
{
	const struct net_port *port = &net->shared->ports[p];
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	uint16_t header = RTE_ETHER_HDR_LEN;
	uint16_t vlan = 0;
	uint16_t type;

	if (m->data_len < RTE_ETHER_HDR_LEN) {
		net_drop(net, m, STAT_NET_ETH_SHORT);
		return false;
	}
	type = rte_be_to_cpu_16(eth->ether_type);
	if (type == RTE_ETHER_TYPE_VLAN) {
		const struct rte_vlan_hdr *tag = (const struct rte_vlan_hdr *)(eth + 1);

		if (m->data_len < RTE_ETHER_HDR_LEN + sizeof(*tag)) {
			net_drop(net, m, STAT_NET_ETH_SHORT);
			return false;
		}
		vlan = rte_be_to_cpu_16(tag->vlan_tci) & 0x0fff;
		type = rte_be_to_cpu_16(tag->eth_proto);
		header += sizeof(*tag);
	} else if (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) {
		vlan = m->vlan_tci & 0x0fff;
	}
	if (vlan != port->info.vlan) {
		net_drop(net, m, STAT_NET_ETH_VLAN);
		return false;
	}
	if (!mac_is_ours(port, eth)) {
		net_drop(net, m, STAT_NET_ETH_NOT_OURS);
		return false;
	}
	m->l2_len = header; // for a steered frame, whose owner starts again from here
	rte_pktmbuf_adj(m, header);
	*ret_type = type;
	return true;
}

enum net_verdict
eth_input(struct net *net, uint8_t port, struct rte_mbuf *m, bool steered, struct net_pkt *ret)
{
	uint16_t type;

	if (m->nb_segs > 1 && rte_pktmbuf_linearize(m) != 0) {
		net_drop(net, m, STAT_NET_RX_CHAIN);
		return NET_DONE;
	}
	if (!eth_strip(net, port, m, &type))
		return NET_DONE;
	switch (type) {
	case RTE_ETHER_TYPE_IPV4:
		return ip4_input(net, port, m, steered, ret);
	case RTE_ETHER_TYPE_IPV6:
		return ip6_input(net, port, m, steered, ret);
	case RTE_ETHER_TYPE_ARP:
		if (net->env->id == 0) {
			arp_input(net, port, m);
		} else {
			net_steer_to(net, 0, port, NET_STEER_FRAME, m);
		}
		return NET_DONE;
	default:
		net_drop(net, m, STAT_NET_ETH_TYPE);
		return NET_DONE;
	}
}

void eth_output(
	struct net *net,
	uint8_t p,
	const uint8_t dst[6],
	uint16_t ether_type,
	struct rte_mbuf *m
)
{
	const struct net_port *port = &net->shared->ports[p];
	uint16_t header = (uint16_t)(RTE_ETHER_HDR_LEN +
				     (port->info.vlan != 0 ? sizeof(struct rte_vlan_hdr) : 0));
	struct rte_ether_hdr *eth = (struct rte_ether_hdr *)rte_pktmbuf_prepend(m, header);
	struct net_txq *q = &net->txq[p];

	if (eth == NULL) {
		net_drop(net, m, STAT_NET_NO_BUFFER);
		return;
	}
	memcpy(eth->dst_addr.addr_bytes, dst, 6);
	memcpy(eth->src_addr.addr_bytes, port->info.mac, 6);
	eth->ether_type = rte_cpu_to_be_16(ether_type);
	m->l2_len = header;
	if (port->info.vlan != 0) {
		struct rte_vlan_hdr *tag = (struct rte_vlan_hdr *)(eth + 1);

		eth->ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN);
		tag->vlan_tci = rte_cpu_to_be_16(port->info.vlan);
		tag->eth_proto = rte_cpu_to_be_16(ether_type);
	}
	if (q->count == NET_TXQ_MAX)
		eth_flush(net);
	if (q->count == NET_TXQ_MAX) {
		net_drop(net, m, STAT_NET_TX_FULL);
		return;
	}
	if (q->count == 0)
		q->moved_ms = env_now_ms(net->env);
	q->m[q->count++] = m;
}

// Frames that wait for a link are of no use to anybody when it is back, and hold buffers till then.
static void stale_drop(struct net *net, struct net_txq *q)
{
	if (env_now_ms(net->env) - q->moved_ms < NET_TX_STALE_MS)
		return;
	for (unsigned i = 0; i < q->count; i++)
		net_drop(net, q->m[i], STAT_NET_TX_STALE);
	q->count = 0;
}

void eth_flush(struct net *net)
{
	for (unsigned p = 0; p < net->shared->port_count; p++) {
		struct net_txq *q = &net->txq[p];
		uint16_t sent;

		if (q->count == 0)
			continue;
		sent = net->port_ops->tx_burst(
			net->port_dev, (uint16_t)p, q->m, (uint16_t)q->count
		);
		stat_add(net->env, STAT_NET_TX_PACKETS, sent);
		if (sent == 0) {
			stale_drop(net, q);
			continue;
		}
		q->moved_ms = env_now_ms(net->env);
		q->count -= sent;
		memmove(q->m, q->m + sent, q->count * sizeof(q->m[0])); // kept for the next turn
	}
}
