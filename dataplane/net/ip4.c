// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// IPv4 (RFC 791, 1122): header checks on the way in, header on the way out. Fragments are dropped
// and counted; a load balancer's TCP needs no reassembly. Worker threads.

#include "dataplane/net/net_types.h"

#include <rte_ip.h>
#include <rte_tcp.h>

enum net_verdict
ip4_input(struct net *net, uint8_t port, struct rte_mbuf *m, bool steered, struct net_pkt *ret)
{
	const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod(m, const struct rte_ipv4_hdr *);
	uint16_t header, total;
	struct ip_in in;

	if (m->data_len < sizeof(*ip)) {
		net_drop(net, m, STAT_NET_IP4_SHORT);
		return NET_DONE;
	}
	header = (uint16_t)((ip->version_ihl & 0x0f) * 4);
	total = rte_be_to_cpu_16(ip->total_length);
	if ((ip->version_ihl >> 4) != 4 || header < sizeof(*ip) || header > total) {
		net_drop(net, m, STAT_NET_IP4_HEADER);
		return NET_DONE;
	}
	if (total > m->data_len) {
		net_drop(net, m, STAT_NET_IP4_SHORT);
		return NET_DONE;
	}
	if (raw_cksum(ip, header) != 0xffff) {
		net_drop(net, m, STAT_NET_IP4_CHECKSUM);
		return NET_DONE;
	}
	if ((ip->fragment_offset & rte_cpu_to_be_16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)
	    ) != 0) {
		net_drop(net, m, STAT_NET_IP4_FRAGMENT);
		return NET_DONE;
	}
	rte_pktmbuf_trim(m, (uint16_t)(m->data_len - total)); // Ethernet padding
	in = (struct ip_in){
		.m = m,
		.src = ip_addr_from_v4(ip->src_addr),
		.dst = ip_addr_from_v4(ip->dst_addr),
		.l4_off = header,
		.l4_len = (uint16_t)(total - header),
		.port = port,
		.proto = ip->next_proto_id,
		.hop_limit = ip->time_to_live,
		.steered = steered,
	};
	return ip_input(net, &in, ret);
}

void ip4_output_header(const struct ip_out *out, struct rte_mbuf *m)
{
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)rte_pktmbuf_prepend(m, sizeof(*ip));
	struct rte_tcp_hdr *tcp = (struct rte_tcp_hdr *)(ip + 1);

	*ip = (struct rte_ipv4_hdr){
		.version_ihl = RTE_IPV4_VHL_DEF,
		.type_of_service = out->tos,
		.total_length = rte_cpu_to_be_16((uint16_t)m->pkt_len),
		.fragment_offset =
			rte_cpu_to_be_16(RTE_IPV4_HDR_DF_FLAG), // id 0 is fine with DF (RFC 6864)
		.time_to_live = out->hop_limit,
		.next_proto_id = out->proto,
		.src_addr = ip_addr_to_v4(out->src),
		.dst_addr = ip_addr_to_v4(out->dst),
	};
	m->l3_len = sizeof(*ip);
	if (out->proto == 6 && out->l4_offload) {
		m->l4_len = (uint64_t)(tcp->data_off >> 4) * 4;
		m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM;
		tcp->cksum = rte_ipv4_phdr_cksum(ip, m->ol_flags);
	} else if (out->proto == 6) {
		tcp->cksum = l4_cksum_ip4(m, ip, sizeof(*ip));
	}
	ip->hdr_checksum = (uint16_t
	)~raw_cksum(ip, sizeof(*ip)); // always in software: several ports do not offer it
}
