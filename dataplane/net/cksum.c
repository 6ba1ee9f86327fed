// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Internet checksum (RFC 1071) over chains whose segments begin at any byte. Own code because
// DPDK 24.11's rte_raw_cksum_mbuf loses the carries of a segment that begins at an odd offset (it
// swaps a sum that is not folded yet): bodies forwarded in slices hit that all the time. Pure.

#include "dataplane/net/net_types.h"

#include <rte_ip.h>

uint16_t l4_cksum(const struct rte_mbuf *m, uint16_t l4_off, uint16_t pseudo)
{
	uint32_t sum = pseudo;
	uint32_t skip = l4_off;
	bool odd = false;

	for (; m != NULL; m = m->next) {
		uint32_t len = m->data_len;
		uint16_t part;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		part = rte_raw_cksum(
			rte_pktmbuf_mtod_offset(m, const void *, skip), len - skip
		); // folded
		sum += odd ? rte_bswap16(part) : part;
		odd ^= ((len - skip) & 1) != 0;
		skip = 0;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

uint16_t l4_cksum_ip4(const struct rte_mbuf *m, const struct rte_ipv4_hdr *ip, uint16_t l4_off)
{
	return l4_cksum(m, l4_off, rte_ipv4_phdr_cksum(ip, 0));
}

uint16_t l4_cksum_ip6(
	const struct rte_mbuf *m,
	const struct rte_ipv6_hdr *ip,
	uint16_t l4_off,
	uint8_t proto
)
{
	struct rte_ipv6_hdr pseudo = *ip; // extension headers do not count

	pseudo.proto = proto;
	pseudo.payload_len = rte_cpu_to_be_16((uint16_t)(m->pkt_len - l4_off));
	return l4_cksum(m, l4_off, rte_ipv6_phdr_cksum(&pseudo, 0));
}
