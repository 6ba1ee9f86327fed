// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a frame says of itself, for captures, see frame.h. Trusts nothing in it.

#include "dataplane/net/frame.h"

#include <rte_arp.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include "dataplane/net/net_types.h"

#define HEADERS_MAX 256 // octets looked at: no capture filter needs what stands behind
#define IP6_EXT_MAX 4
#define ICMP_HEADER 8U
#define PORTS 4U

// The front of a frame in one piece.
struct front {
	const uint8_t *data;
	uint32_t len;
};

static uint16_t be16_at(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static struct ip_addr v4_at(const uint8_t *p)
{
	uint32_t be;

	memcpy(&be, p, sizeof(be));
	return ip_addr_from_v4(be);
}

// Transport protocol and its offset, 0: none to be had (a fragment, a header cut off).
static uint8_t ip6_transport(const struct front *f, uint32_t off, uint32_t *ret_off)
{
	uint8_t next = f->data[off + 6];

	off += (uint32_t)sizeof(struct rte_ipv6_hdr);
	for (unsigned i = 0; i < IP6_EXT_MAX && (next == 0 || next == 43 || next == 60); i++) {
		if (off + 8 > f->len)
			return 0;
		next = f->data[off];
		off += (f->data[off + 1] + 1U) * 8;
	}
	*ret_off = off;
	return next;
}

// An IP packet at off: its addresses, and where its transport begins. False: too short.
static bool
ip_parse(const struct front *f, uint32_t off, struct net_frame *ret, uint8_t *proto, uint32_t *l4)
{
	unsigned version = off < f->len ? f->data[off] >> 4 : 0;
	const uint8_t *ip = f->data + off;

	*proto = 0;
	if (version == 4 && off + sizeof(struct rte_ipv4_hdr) <= f->len) {
		ret->src = v4_at(ip + 12);
		ret->dst = v4_at(ip + 16);
		if ((be16_at(ip + 6) & 0x1fff) == 0) // not a later fragment
			*proto = ip[9];
		*l4 = off + (ip[0] & 0x0fU) * 4;
		return true;
	}
	if (version == 6 && off + sizeof(struct rte_ipv6_hdr) <= f->len) {
		memcpy(&ret->src, ip + 8, 16);
		memcpy(&ret->dst, ip + 24, 16);
		*proto = ip6_transport(f, off, l4);
		return true;
	}
	return false;
}

static bool is_icmp_error(const struct front *f, uint32_t l4, uint8_t proto)
{
	if (l4 + ICMP_HEADER > f->len)
		return false;
	if (proto == 1)
		return f->data[l4] == 3 || f->data[l4] == 11 || f->data[l4] == 12;
	return proto == 58 && f->data[l4] < 128; // RFC 4443 2.1
}

static bool ports_parse(const struct front *f, uint32_t l4, struct net_frame *ret)
{
	if (l4 + PORTS > f->len)
		return false;
	ret->sport = be16_at(f->data + l4);
	ret->dport = be16_at(f->data + l4 + 2);
	return true;
}

static void quote_parse(const struct front *f, uint32_t l4, struct net_frame *ret)
{
	struct net_frame quote = {.kind = NET_FRAME_QUOTE}, answer;
	uint32_t quote_l4;
	uint8_t proto;

	if (!ip_parse(f, l4 + ICMP_HEADER, &quote, &proto, &quote_l4) || proto != 6 ||
	    !ports_parse(f, quote_l4, &quote))
		return;
	answer = quote;
	answer.src = quote.dst;
	answer.dst = quote.src;
	answer.sport = quote.dport;
	answer.dport = quote.sport;
	*ret = answer;
}

static void front_parse(const struct front *f, struct net_frame *ret)
{
	uint32_t off = RTE_ETHER_HDR_LEN, l4;
	uint16_t type;
	uint8_t proto;

	if (f->len < RTE_ETHER_HDR_LEN)
		return;
	type = be16_at(f->data + 12);
	if (type == RTE_ETHER_TYPE_VLAN && f->len >= off + 4) {
		type = be16_at(f->data + off + 2);
		off += 4;
	}
	if (type == RTE_ETHER_TYPE_ARP && f->len >= off + sizeof(struct rte_arp_hdr)) {
		ret->kind = NET_FRAME_ADDRESSES;
		ret->src = v4_at(f->data + off + offsetof(struct rte_arp_hdr, arp_data.arp_sip));
		ret->dst = v4_at(f->data + off + offsetof(struct rte_arp_hdr, arp_data.arp_tip));
		return;
	}
	if ((type != RTE_ETHER_TYPE_IPV4 && type != RTE_ETHER_TYPE_IPV6) ||
	    !ip_parse(f, off, ret, &proto, &l4))
		return;
	ret->kind = NET_FRAME_ADDRESSES;
	if (proto == 6 && ports_parse(f, l4, ret)) {
		ret->kind = NET_FRAME_TCP;
		ret->l4_off = (uint16_t)l4;
	} else if (is_icmp_error(f, l4, proto)) {
		quote_parse(f, l4, ret);
	}
}

void net_frame_parse(const struct rte_mbuf *m, struct net_frame *ret)
{
	uint8_t copy[HEADERS_MAX];
	struct front f = {.len = m->pkt_len < HEADERS_MAX ? m->pkt_len : HEADERS_MAX};

	*ret = (struct net_frame){.kind = NET_FRAME_OTHER};
	f.data = rte_pktmbuf_read(m, 0, f.len, copy);
	if (f.data != NULL)
		front_parse(&f, ret);
}

bool net_frame_checksum(const struct rte_mbuf *m, uint16_t l4_off, uint16_t *ret)
{
	if ((m->ol_flags & RTE_MBUF_F_TX_L4_MASK) != RTE_MBUF_F_TX_TCP_CKSUM)
		return false;
	*ret = l4_cksum(m, l4_off, 0); // the field holds the pseudo-header's sum
	return true;
}

void net_frame_read(
	const struct rte_mbuf *m,
	uint32_t n,
	void (*part)(void *to, const void *data, uint32_t n),
	void *to
)
{
	for (; m != NULL && n > 0; m = m->next) {
		uint32_t len = m->data_len < n ? m->data_len : n;

		part(to, rte_pktmbuf_mtod(m, const void *), len);
		n -= len;
	}
}

uint32_t net_frame_bytes(const struct rte_mbuf *m)
{
	return m->pkt_len;
}
