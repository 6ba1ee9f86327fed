// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What both IP families check after their own headers: addresses, protocol, owner; then TCP's ports
// and checksum. Worker threads.

#include "dataplane/net/net_types.h"

#include <rte_ip.h>
#include <rte_tcp.h>

static bool tcp_checksum_ok(const struct ip_in *in)
{
	struct rte_mbuf *m = in->m;
	uint64_t flag = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
	const void *ip = rte_pktmbuf_mtod(m, const void *);

	if (flag == RTE_MBUF_F_RX_L4_CKSUM_GOOD || flag == RTE_MBUF_F_RX_L4_CKSUM_NONE)
		return true;
	if (flag == RTE_MBUF_F_RX_L4_CKSUM_BAD)
		return false;
	if (ip_addr_is_v4(&in->src))
		return l4_cksum_ip4(m, ip, in->l4_off) == 0;
	return l4_cksum_ip6(m, ip, in->l4_off, in->proto) == 0;
}

static enum net_verdict tcp_segment(struct net *net, const struct ip_in *in, struct net_pkt *ret)
{
	const struct rte_tcp_hdr *tcp;
	uint16_t sport, dport, owner;

	if (in->l4_len < sizeof(*tcp)) {
		net_drop(net, in->m, STAT_NET_TCP_SHORT);
		return NET_DONE;
	}
	tcp = rte_pktmbuf_mtod_offset(in->m, const struct rte_tcp_hdr *, in->l4_off);
	sport = rte_be_to_cpu_16(tcp->src_port);
	dport = rte_be_to_cpu_16(tcp->dst_port);
	owner = net_owner(net->shared, &in->src, &in->dst, sport, dport);
	if (owner != net->env->id) {
		if (in->steered) {
			net_drop(net, in->m, STAT_NET_STEERED_WRONG);
			return NET_DONE;
		}
		stat_inc(net->env, STAT_WORKER_WRONG_QUEUE);
		net_steer_to(net, owner, in->port, NET_STEER_FRAME, in->m);
		return NET_DONE;
	}
	if (!tcp_checksum_ok(in)) {
		net_drop(net, in->m, STAT_NET_TCP_CHECKSUM);
		return NET_DONE;
	}
	rte_pktmbuf_adj(in->m, in->l4_off);
	*ret = (struct net_pkt){
		.m = in->m,
		.src = in->src,
		.dst = in->dst,
		.sport = sport,
		.dport = dport,
		.len = in->l4_len,
		.port = in->port,
	};
	return NET_TCP;
}

enum net_verdict ip_input(struct net *net, const struct ip_in *in, struct net_pkt *ret)
{
	bool icmp = in->proto == 1 || in->proto == 58;

	if (icmp && net->env->id != 0 && !in->steered) {
		net_steer_to(net, 0, in->port, NET_STEER_FRAME, in->m);
		return NET_DONE;
	}
	if (in->proto == 58 && !ip_addr_is_v4(&in->src)) {
		icmp6_input(
			net, in
		); // has its own rules for unspecified sources and multicast destinations
		return NET_DONE;
	}
	if (ip_addr_is_martian_source(&in->src) || net_addr_is_local(net, &in->src)) {
		net_drop(net, in->m, STAT_NET_IP_MARTIAN);
		return NET_DONE;
	}
	if (!net_addr_is_local(net, &in->dst)) {
		net_drop(net, in->m, STAT_NET_IP_NOT_LOCAL);
		return NET_DONE;
	}
	if (frame_is_group(in->m)) { // RFC 1122 3.3.6
		net_drop(net, in->m, STAT_NET_IP_GROUP_FRAME);
		return NET_DONE;
	}
	if (in->proto == 6)
		return tcp_segment(net, in, ret);
	if (in->proto == 1 && ip_addr_is_v4(&in->src))
		icmp4_input(net, in);
	else
		net_drop(net, in->m, STAT_NET_IP_PROTOCOL);
	return NET_DONE;
}
