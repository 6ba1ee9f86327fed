// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// ICMP for IPv4 (RFC 792, 1122) and IPv6 (RFC 4443): echo, at a bounded rate, and errors about our
// own TCP segments, which go to the worker that owns the quoted tuple. We send no errors. Worker 0,
// and the owner for a steered error.

#include "dataplane/net/net_types.h"

#include <rte_icmp.h>
#include <rte_ip.h>

#define ICMP_HEADER 8
#define ICMP_QUOTE_TCP 8           // ports and sequence number
#define ECHO_EVERY_NS 1000000ULL   // one reply, in the long run
#define ECHO_BURST_NS 100000000ULL // that many of them at once

enum icmp6_type {
	ICMP6_UNREACHABLE = 1,
	ICMP6_TOO_BIG = 2,
	ICMP6_ECHO_REQUEST = 128,
	ICMP6_ECHO_REPLY = 129,
	ICMP6_ND_FIRST = 133,
	ICMP6_ND_LAST = 137,
};

// Hands an error to its owner: upwards when that is us, else the whole frame by ring.
static void error_deliver(struct net *net, const struct ip_in *in, const struct net_icmp_error *err)
{
	uint16_t owner = net_owner(
		net->shared, &err->remote, &err->local, err->remote_port, err->local_port
	);

	if (!net_addr_is_local(net, &err->local)) {
		net_drop(net, in->m, STAT_NET_ICMP_QUOTE);
		return;
	}
	if (owner == net->env->id) {
		stat_inc(net->env, STAT_NET_ICMP_ERRORS);
		net->ops->icmp_error(net->up, err);
		rte_pktmbuf_free(in->m);
	} else if (in->steered) {
		net_drop(net, in->m, STAT_NET_STEERED_WRONG);
	} else {
		net_steer_to(net, owner, in->port, NET_STEER_FRAME, in->m);
	}
}

static void quote_tcp(const uint8_t *tcp, struct net_icmp_error *err)
{
	uint32_t seq;

	memcpy(&seq, tcp + 4, sizeof(seq));
	err->local_port = (uint16_t)(tcp[0] << 8 | tcp[1]);
	err->remote_port = (uint16_t)(tcp[2] << 8 | tcp[3]);
	err->seq = rte_be_to_cpu_32(seq);
}

static void icmp4_error(struct net *net, const struct ip_in *in, const struct rte_icmp_hdr *icmp)
{
	const struct rte_ipv4_hdr *quote =
		(const struct rte_ipv4_hdr *)((const uint8_t *)icmp + ICMP_HEADER);
	struct net_icmp_error err = {.kind = NET_ICMP_UNREACHABLE_SOFT};
	unsigned header;

	if (in->l4_len < ICMP_HEADER + sizeof(*quote)) {
		net_drop(net, in->m, STAT_NET_ICMP_MALFORMED);
		return;
	}
	header = (quote->version_ihl & 0x0fU) * 4;
	if ((quote->version_ihl >> 4) != 4 || header < sizeof(*quote) ||
	    in->l4_len < ICMP_HEADER + header + ICMP_QUOTE_TCP) {
		net_drop(net, in->m, STAT_NET_ICMP_MALFORMED);
		return;
	}
	if (quote->next_proto_id != 6 ||
	    (quote->fragment_offset & rte_cpu_to_be_16(RTE_IPV4_HDR_OFFSET_MASK)) != 0) {
		net_drop(net, in->m, STAT_NET_ICMP_QUOTE);
		return;
	}
	err.local = ip_addr_from_v4(quote->src_addr);
	err.remote = ip_addr_from_v4(quote->dst_addr);
	quote_tcp((const uint8_t *)quote + header, &err);
	if (icmp->icmp_code == 4) {
		err.kind = NET_ICMP_TOO_BIG;
		err.mtu = rte_be_to_cpu_16(icmp->icmp_seq_nb
		); // RFC 1191 4: next-hop MTU, 0: not told
	} else if (icmp->icmp_code == 2 || icmp->icmp_code == 3) {
		err.kind = NET_ICMP_UNREACHABLE_HARD; // protocol, port (RFC 1122 4.2.3.9)
	}
	error_deliver(net, in, &err);
}

// Turns an echo request round in place: m's data starts at the IP header.
static void echo_reply(struct net *net, const struct ip_in *in, uint8_t proto)
{
	struct rte_mbuf *m = in->m;
	struct ip_out out = {
		.src = &in->dst, .dst = &in->src, .proto = proto, .hop_limit = NET_TTL
	};
	struct net_route route = {.port = in->port, .next_hop = in->src};

	if (net->echo_ns > net->env->now_ns + ECHO_BURST_NS) {
		net_drop(net, m, STAT_NET_ICMP_LIMITED);
		return;
	}
	if (!ip_addr_is_link_local(&in->src) && !net_route_lookup(net, &in->src, &route)) {
		net_drop(net, m, STAT_NET_NO_ROUTE);
		return;
	}
	net->echo_ns =
		(net->echo_ns > net->env->now_ns ? net->echo_ns : net->env->now_ns) + ECHO_EVERY_NS;
	rte_pktmbuf_adj(m, in->l4_off);
	m->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL; // whose buffer it is stays true
	stat_inc(net->env, STAT_NET_ICMP_ECHO);
	if (proto == 1) {
		ip4_output_header(&out, m);
	} else {
		struct rte_icmp_hdr *icmp = rte_pktmbuf_mtod(m, struct rte_icmp_hdr *);

		icmp->icmp_cksum = 0;
		ip6_output_header(&out, m);
		icmp->icmp_cksum = l4_cksum_ip6(
			m,
			rte_pktmbuf_mtod(m, const struct rte_ipv6_hdr *),
			sizeof(struct rte_ipv6_hdr),
			58
		);
	}
	ip_transmit(net, route.port, &route.next_hop, NULL, m);
}

void icmp4_input(struct net *net, const struct ip_in *in)
{
	struct rte_icmp_hdr *icmp =
		rte_pktmbuf_mtod_offset(in->m, struct rte_icmp_hdr *, in->l4_off);

	if (in->l4_len < ICMP_HEADER || rte_raw_cksum(icmp, in->l4_len) != 0xffff) {
		net_drop(net, in->m, STAT_NET_ICMP_MALFORMED);
		return;
	}
	switch (icmp->icmp_type) {
	case RTE_ICMP_TYPE_ECHO_REQUEST:
		icmp->icmp_type = RTE_ICMP_TYPE_ECHO_REPLY;
		icmp->icmp_cksum = 0;
		icmp->icmp_cksum = (uint16_t)~rte_raw_cksum(icmp, in->l4_len);
		echo_reply(net, in, 1);
		break;
	case RTE_ICMP_TYPE_ECHO_REPLY:
		ping_input(net, in);
		break;
	case RTE_ICMP_TYPE_DEST_UNREACHABLE:
		icmp4_error(net, in, icmp);
		break;
	default:
		net_drop(net, in->m, STAT_NET_ICMP_IGNORED);
		break;
	}
}

static void icmp6_error(struct net *net, const struct ip_in *in, const struct rte_icmp_hdr *icmp)
{
	const struct rte_ipv6_hdr *quote =
		(const struct rte_ipv6_hdr *)((const uint8_t *)icmp + ICMP_HEADER);
	struct net_icmp_error err = {.kind = NET_ICMP_UNREACHABLE_SOFT};
	uint32_t mtu;

	if (in->l4_len < ICMP_HEADER + sizeof(*quote) + ICMP_QUOTE_TCP ||
	    rte_be_to_cpu_32(quote->vtc_flow) >> 28 != 6) {
		net_drop(net, in->m, STAT_NET_ICMP_MALFORMED);
		return;
	}
	if (quote->proto != 6) { // we send no extension headers, and nobody may insert any
		net_drop(net, in->m, STAT_NET_ICMP_QUOTE);
		return;
	}
	memcpy(&err.local, &quote->src_addr, 16);
	memcpy(&err.remote, &quote->dst_addr, 16);
	quote_tcp((const uint8_t *)(quote + 1), &err);
	if (icmp->icmp_type == ICMP6_TOO_BIG) {
		memcpy(&mtu, &icmp->icmp_ident, sizeof(mtu));
		mtu = rte_be_to_cpu_32(mtu);
		err.kind = NET_ICMP_TOO_BIG;
		err.mtu = (uint16_t)(mtu > UINT16_MAX ? UINT16_MAX : mtu);
	} else if (icmp->icmp_code == 1 || icmp->icmp_code == 4) {
		err.kind = NET_ICMP_UNREACHABLE_HARD; // administratively prohibited, port
	}
	error_deliver(net, in, &err);
}

void icmp6_input(struct net *net, const struct ip_in *in)
{
	struct rte_icmp_hdr *icmp =
		rte_pktmbuf_mtod_offset(in->m, struct rte_icmp_hdr *, in->l4_off);
	const struct rte_ipv6_hdr *ip = rte_pktmbuf_mtod(in->m, const struct rte_ipv6_hdr *);

	if (in->l4_len < ICMP_HEADER || l4_cksum_ip6(in->m, ip, in->l4_off, 58) != 0) {
		net_drop(net, in->m, STAT_NET_ICMP_MALFORMED);
		return;
	}
	if (icmp->icmp_type == MLD_QUERY) {
		mld_input(net, in);
		return;
	}
	if (icmp->icmp_type == MLD_REPORT || icmp->icmp_type == MLD_REPORT1 ||
	    icmp->icmp_type == MLD_DONE1) { // of other listeners
		net_drop(net, in->m, STAT_NET_ICMP_IGNORED);
		return;
	}
	if (icmp->icmp_type >= ICMP6_ND_FIRST && icmp->icmp_type <= ICMP6_ND_LAST) {
		nd_input(net, in);
		return;
	}
	if (ip_addr_is_martian_source(&in->src) || net_addr_is_local(net, &in->src)) {
		net_drop(net, in->m, STAT_NET_IP_MARTIAN);
		return;
	}
	if (!net_addr_is_local(net, &in->dst)) { // multicast too: no echo of ours to a group's
		net_drop(net, in->m, STAT_NET_IP_NOT_LOCAL);
		return;
	}
	if (frame_is_group(in->m)) {
		net_drop(net, in->m, STAT_NET_IP_GROUP_FRAME);
		return;
	}
	switch (icmp->icmp_type) {
	case ICMP6_ECHO_REQUEST:
		icmp->icmp_type = ICMP6_ECHO_REPLY;
		echo_reply(net, in, 58);
		break;
	case ICMP6_ECHO_REPLY:
		ping_input(net, in);
		break;
	case ICMP6_UNREACHABLE:
	case ICMP6_TOO_BIG:
		icmp6_error(net, in, icmp);
		break;
	default:
		net_drop(net, in->m, STAT_NET_ICMP_IGNORED);
		break;
	}
}
