// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Neighbor discovery (RFC 4861): solicitations and advertisements for our addresses and next hops.
// Router advertisements and redirects are ignored: routes are configured. What others say of our
// own addresses is own.c's. Worker 0 only.

#include "dataplane/net/net_types.h"

#include <rte_ip.h>

#define ND_SOLICIT 135
#define ND_ADVERT 136
#define ND_OPT_SOURCE 1
#define ND_OPT_TARGET 2
#define ND_FLAG_SOLICITED 0x40
#define ND_FLAG_OVERRIDE 0x20
#define ND_OPTIONS_MAX 8

struct nd_msg {
	uint8_t type, code;
	uint16_t cksum;
	uint8_t flags, reserved[3];
	uint8_t target[16];
	uint8_t opt_type, opt_len;
	uint8_t opt_mac[6];
};
#define ND_FIXED 24 // without options

static void mac_of_multicast(const struct ip_addr *group, uint8_t mac[6])
{
	mac[0] = mac[1] = 0x33; // RFC 2464 7
	memcpy(mac + 2, group->b + 12, 4);
}

// ff02::1:ffXX:XXXX, RFC 4291 2.7.1
struct ip_addr nd_solicited_node(const struct ip_addr *addr)
{
	struct ip_addr group = {.b = {0xff, 0x02, [11] = 1, [12] = 0xff}};

	memcpy(group.b + 13, addr->b + 13, 3);
	return group;
}

// mac NULL: to a group, or to a neighbor that is looked up.
static void
nd_send(struct net *net,
	uint8_t port,
	const struct nd_msg *msg,
	const struct ip_addr *src,
	const struct ip_addr *dst,
	const uint8_t *mac)
{
	struct ip_out out = {.src = src, .dst = dst, .proto = 58, .hop_limit = 255};
	struct rte_mbuf *m = rte_pktmbuf_alloc(net->pool);
	struct nd_msg *nd;
	uint8_t group_mac[6];

	if (m == NULL) {
		stat_inc(net->env, STAT_NET_NO_BUFFER);
		return;
	}
	nd = (struct nd_msg *)rte_pktmbuf_append(m, sizeof(*nd));
	*nd = *msg;
	nd->cksum = 0;
	nd->opt_len = 1;
	memcpy(nd->opt_mac, net->shared->ports[port].info.mac, 6);
	if (msg->opt_type == 0)
		rte_pktmbuf_trim(m, sizeof(*nd) - ND_FIXED);
	ip6_output_header(&out, m);
	nd->cksum = l4_cksum_ip6(
		m, rte_pktmbuf_mtod(m, struct rte_ipv6_hdr *), sizeof(struct rte_ipv6_hdr), 58
	);
	if (mac == NULL && dst->b[0] != 0xff) {
		ip_transmit(net, port, dst, NULL, m);
		return;
	}
	if (mac == NULL)
		mac_of_multicast(dst, group_mac);
	eth_output(net, port, mac != NULL ? mac : group_mac, RTE_ETHER_TYPE_IPV6, m);
}

bool nd_solicit(
	struct net *net,
	uint8_t port,
	const struct ip_addr *target,
	const uint8_t *unicast_mac
)
{
	struct ip_addr dst = nd_solicited_node(target);
	struct nd_msg msg = {.type = ND_SOLICIT, .opt_type = ND_OPT_SOURCE};
	struct ip_addr src;

	memcpy(msg.target, target->b, 16);
	if (!own_source(net, port, target, &src))
		return false;
	stat_inc(net->env, STAT_NET_ND_SOLICITS);
	nd_send(net, port, &msg, &src, unicast_mac != NULL ? target : &dst, unicast_mac);
	return true;
}

void nd_probe(struct net *net, uint8_t port, const struct ip_addr *addr)
{
	const struct ip_addr src = {0}, dst = nd_solicited_node(addr); // RFC 4862 5.4.2
	struct nd_msg msg = {.type = ND_SOLICIT};

	memcpy(msg.target, addr->b, 16);
	nd_send(net, port, &msg, &src, &dst, NULL);
}

void nd_advertise(
	struct net *net,
	uint8_t port,
	const struct ip_addr *addr,
	const struct ip_addr *to,
	const uint8_t *mac
)
{
	static const struct ip_addr all_nodes = {.b = {0xff, 0x02, [15] = 1}};
	struct nd_msg msg = {
		.type = ND_ADVERT,
		.flags = to != NULL ? ND_FLAG_SOLICITED : 0,
		.opt_type = ND_OPT_TARGET,
	};

	if (own_is_sure(net, port, addr)) // RFC 4429 3.3
		msg.flags |= ND_FLAG_OVERRIDE;
	memcpy(msg.target, addr->b, 16);
	stat_inc(net->env, STAT_NET_ND_ADVERTS);
	nd_send(net, port, &msg, addr, to != NULL ? to : &all_nodes, mac);
}

// Finds a link-layer address option; false when the options are malformed. *ret_mac stays NULL when
// there is none.
static bool option_find(const uint8_t *opt, unsigned len, uint8_t type, const uint8_t **ret_mac)
{
	for (unsigned i = 0; i < ND_OPTIONS_MAX && len >= 8; i++) {
		unsigned size = opt[1] * 8U;

		if (size == 0 || size > len)
			return false;
		if (opt[0] == type && size == 8) {
			if (!mac_is_station(opt + 2))
				return false;
			*ret_mac = opt + 2;
		}
		opt += size;
		len -= size;
	}
	return len == 0;
}

// RFC 4861 7.1.1, 7.1.2, what both have in common; the checksum has been seen to.
static bool common_is_valid(const struct net *net, const struct ip_in *in, const struct nd_msg *nd)
{
	struct ip_addr target;

	if (in->hop_limit != 255 || in->l4_len < ND_FIXED || nd->code != 0)
		return false;
	memcpy(target.b, nd->target, 16);
	if (ip_addr_is_martian_source(&target) || ip_addr_is_v4(&target)) // multicast and worse
		return false;
	if (ip_addr_is_martian_source(&in->src) && !ip_addr_is_unspecified(&in->src))
		return false;
	return in->dst.b[0] == 0xff || net_addr_is_local(net, &in->dst) ||
	       own_find(net, in->port, &in->dst) != NULL;
}

// 7.1.1: somebody's duplicate address detection goes to the solicited nodes and names no station.
static bool solicit_is_valid(const struct ip_in *in, const uint8_t *mac)
{
	const struct ip_addr group = nd_solicited_node(&in->dst);

	return !ip_addr_is_unspecified(&in->src) || (ip_addr_eq(&in->dst, &group) && mac == NULL);
}

static void solicit_input(
	struct net *net,
	const struct ip_in *in,
	const struct ip_addr *target,
	const uint8_t *mac
)
{
	const uint8_t *from = frame_of(in->m)->src_addr.addr_bytes;

	if (ip_addr_is_unspecified(&in->src)) {
		// somebody's DAD: answered to all nodes (7.2.4)
		if (!own_probed(net, in->port, target, from) && own_answers(net, in->port, target))
			nd_advertise(net, in->port, target, NULL, NULL);
		return;
	}
	if (own_claimed(net, in->port, &in->src, mac != NULL ? mac : from))
		return; // who asks from an address of ours says that it is its own
	if (!own_answers(net, in->port, target))
		return;
	if (mac != NULL)
		neigh_heard(net, in->port, &in->src, mac, true); // 7.2.3
	nd_advertise(net, in->port, target, &in->src, mac);
}

static void advert_input(
	struct net *net,
	const struct ip_in *in,
	const struct ip_addr *target,
	const uint8_t *mac
)
{
	const struct nd_msg *nd = rte_pktmbuf_mtod_offset(in->m, const struct nd_msg *, in->l4_off);
	const struct neigh_advert advert = {
		.mac = mac,
		.solicited = (nd->flags & ND_FLAG_SOLICITED) != 0,
		.override = (nd->flags & ND_FLAG_OVERRIDE) != 0,
	};

	const uint8_t *from = mac != NULL ? mac : frame_of(in->m)->src_addr.addr_bytes;

	if (!own_claimed(net, in->port, target, from))
		neigh_advertised(net, in->port, target, &advert);
}

void nd_input(struct net *net, const struct ip_in *in)
{
	const struct nd_msg *nd = rte_pktmbuf_mtod_offset(in->m, const struct nd_msg *, in->l4_off);
	bool solicit = nd->type == ND_SOLICIT;
	const uint8_t *mac = NULL;
	struct ip_addr target;
	bool valid;

	if (nd->type != ND_SOLICIT && nd->type != ND_ADVERT) {
		net_drop(net, in->m, STAT_NET_ICMP_IGNORED);
		return;
	}
	valid = common_is_valid(net, in, nd) && option_find(
							(const uint8_t *)nd + ND_FIXED,
							in->l4_len - ND_FIXED,
							solicit ? ND_OPT_SOURCE : ND_OPT_TARGET,
							&mac
						);
	if (valid && solicit)
		valid = solicit_is_valid(in, mac);
	else if (valid) // 7.1.2: nobody asked all of us
		valid = in->dst.b[0] != 0xff || (nd->flags & ND_FLAG_SOLICITED) == 0;
	if (!valid) {
		net_drop(net, in->m, STAT_NET_ND_MALFORMED);
		return;
	}
	memcpy(target.b, nd->target, 16);
	if (solicit)
		solicit_input(net, in, &target, mac);
	else
		advert_input(net, in, &target, mac);
	rte_pktmbuf_free(in->m);
}
