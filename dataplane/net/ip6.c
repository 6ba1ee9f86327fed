// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// IPv6 (RFC 8200): header and extension headers on the way in, header on the way out. Chains of
// extension headers are bounded (RFC 7112), fragments dropped and counted. Worker threads.

#include "dataplane/net/net_types.h"

#include <rte_ip.h>
#include <rte_tcp.h>

#define IP6_EXT_MAX 4
#define IP6_EXT_BYTES_MAX 256

enum ip6_next {
	IP6_NEXT_HOP_BY_HOP = 0,
	IP6_NEXT_ROUTING = 43,
	IP6_NEXT_FRAGMENT = 44,
	IP6_NEXT_NONE = 59,
	IP6_NEXT_DESTINATION = 60,
};

// Options that we may skip (RFC 8200 4.2): we know none that must be.
static bool options_may_be_skipped(const uint8_t *opt, unsigned len)
{
	while (len > 0) {
		unsigned size = opt[0] == 0 ? 1 : 2; // Pad1 has no length

		if (size > len || (opt[0] & 0xc0) != 0)
			return false;
		size += size == 2 ? opt[1] : 0;
		if (size > len)
			return false;
		opt += size;
		len -= size;
	}
	return true;
}

// Walks the extension headers; STAT_COUNT when all is well, else the drop reason.
static enum stat_id
extensions_skip(const struct rte_mbuf *m, uint16_t end, uint16_t *off, uint8_t *next)
{
	for (unsigned i = 0; i <= IP6_EXT_MAX; i++) {
		const uint8_t *ext;
		uint16_t len;

		if (*next == IP6_NEXT_FRAGMENT)
			return STAT_NET_IP6_FRAGMENT;
		if (*next != IP6_NEXT_HOP_BY_HOP && *next != IP6_NEXT_DESTINATION &&
		    *next != IP6_NEXT_ROUTING)
			return STAT_COUNT;
		if (end - *off < 8)
			return STAT_NET_IP6_EXTENSIONS;
		ext = rte_pktmbuf_mtod_offset(m, const uint8_t *, *off);
		len = (uint16_t)((ext[1] + 1) * 8);
		if (*next == IP6_NEXT_HOP_BY_HOP && i != 0)
			return STAT_NET_IP6_EXTENSIONS;
		*off = (uint16_t)(*off + len);
		if (*off > end || *off > sizeof(struct rte_ipv6_hdr) + IP6_EXT_BYTES_MAX)
			return STAT_NET_IP6_EXTENSIONS;
		if (*next == IP6_NEXT_ROUTING ? ext[3] != 0 // segments left: not for us (RFC 5095)
					      : !options_may_be_skipped(ext + 2, len - 2U))
			return STAT_NET_IP6_EXTENSIONS;
		*next = ext[0];
	}
	return STAT_NET_IP6_EXTENSIONS;
}

enum net_verdict
ip6_input(struct net *net, uint8_t port, struct rte_mbuf *m, bool steered, struct net_pkt *ret)
{
	const struct rte_ipv6_hdr *ip = rte_pktmbuf_mtod(m, const struct rte_ipv6_hdr *);
	struct ip_in in = {.m = m, .port = port, .steered = steered, .l4_off = sizeof(*ip)};
	enum stat_id why;
	uint16_t total;

	if (m->data_len < sizeof(*ip)) {
		net_drop(net, m, STAT_NET_IP6_SHORT);
		return NET_DONE;
	}
	total = rte_be_to_cpu_16(ip->payload_len);
	if ((rte_be_to_cpu_32(ip->vtc_flow) >> 28) != 6) {
		net_drop(net, m, STAT_NET_IP6_HEADER);
		return NET_DONE;
	}
	if (total > m->data_len - sizeof(*ip)) {
		net_drop(net, m, STAT_NET_IP6_SHORT);
		return NET_DONE;
	}
	total = (uint16_t)(total + sizeof(*ip));
	rte_pktmbuf_trim(m, (uint16_t)(m->data_len - total));
	memcpy(&in.src, &ip->src_addr, 16);
	memcpy(&in.dst, &ip->dst_addr, 16);
	in.hop_limit = ip->hop_limits;
	in.proto = ip->proto;
	if (ip_addr_is_v4(&in.src) || ip_addr_is_v4(&in.dst)) {
		net_drop(net, m, STAT_NET_IP_MARTIAN); // mapped addresses never stand on a wire
		return NET_DONE;
	}
	why = extensions_skip(m, total, &in.l4_off, &in.proto);
	if (why != STAT_COUNT) {
		net_drop(net, m, why);
		return NET_DONE;
	}
	in.l4_len = (uint16_t)(total - in.l4_off);
	return ip_input(net, &in, ret);
}

void ip6_output_header(const struct ip_out *out, struct rte_mbuf *m)
{
	uint16_t payload = (uint16_t)m->pkt_len;
	struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)rte_pktmbuf_prepend(m, sizeof(*ip));
	struct rte_tcp_hdr *tcp = (struct rte_tcp_hdr *)(ip + 1);

	memset(ip, 0, sizeof(*ip));
	ip->vtc_flow = rte_cpu_to_be_32(6U << 28 | (uint32_t)out->tos << 20);
	ip->payload_len = rte_cpu_to_be_16(payload);
	ip->proto = out->proto;
	ip->hop_limits = out->hop_limit;
	memcpy(&ip->src_addr, out->src, 16);
	memcpy(&ip->dst_addr, out->dst, 16);
	m->l3_len = sizeof(*ip);
	if (out->proto == 6 && out->l4_offload) {
		m->l4_len = (uint64_t)(tcp->data_off >> 4) * 4;
		m->ol_flags |= RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM;
		tcp->cksum = rte_ipv6_phdr_cksum(ip, m->ol_flags);
	} else if (out->proto == 6) {
		tcp->cksum = l4_cksum_ip6(m, ip, sizeof(*ip), ip->proto);
	}
}
