// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Internet checksum (RFC 1071) over chains whose segments begin at any byte. Own code because
// DPDK 24.11's rte_raw_cksum_mbuf loses the carries of a segment that begins at an odd offset (it
// swaps a sum that is not folded yet): bodies forwarded in slices hit that all the time; and
// because its loop over 16-bit words is not vectorised by default. Pure.

#include "dataplane/net/net_types.h"

#include <rte_ip.h>

typedef uint64_t u64x2 __attribute__((vector_size(16)));

static uint16_t fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

// The one's complement sum does not care how wide the words are that it is taken over: 32-bit
// halves of 16 bytes at a time go into 64-bit lanes, which cannot overflow below 16 GiB.
uint16_t raw_cksum(const void *data, uint32_t len)
{
	const u64x2 mask = {0xffffffff, 0xffffffff};
	const uint8_t *p = data;
	u64x2 low = {0}, high = {0};
	uint64_t sum, word;

	for (; len >= 16; len -= 16, p += 16) {
		u64x2 v;

		memcpy(&v, p, sizeof(v));
		low += v & mask;
		high += v >> 32;
	}
	low += high;
	sum = low[0] + low[1];
	if (len >= 8) {
		memcpy(&word, p, 8);
		sum += (word & 0xffffffff) + (word >> 32);
		len -= 8;
		p += 8;
	}
	if (len >= 4) {
		uint32_t half;

		memcpy(&half, p, 4);
		sum += half;
		len -= 4;
		p += 4;
	}
	for (unsigned i = 0; i < len; i++)
		sum += i == 1 ? (uint64_t)p[i] << 8 : p[i];
	return fold(sum);
}

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
		part = raw_cksum(rte_pktmbuf_mtod_offset(m, const void *, skip), len - skip);
		sum += odd ? rte_bswap16(part) : part;
		odd ^= ((len - skip) & 1) != 0;
		skip = 0;
	}
	return (uint16_t)~fold(sum);
}

uint16_t l4_cksum_ip4(const struct rte_mbuf *m, const struct rte_ipv4_hdr *ip, uint16_t l4_off)
{
	uint64_t pseudo = (uint64_t)ip->src_addr + ip->dst_addr;

	pseudo += rte_cpu_to_be_16(ip->next_proto_id);
	pseudo += rte_cpu_to_be_16((uint16_t)(rte_be_to_cpu_16(ip->total_length) - l4_off));
	return l4_cksum(m, l4_off, fold(pseudo));
}

uint16_t l4_cksum_ip6(
	const struct rte_mbuf *m,
	const struct rte_ipv6_hdr *ip,
	uint16_t l4_off,
	uint8_t proto
)
{
	uint64_t pseudo = raw_cksum(&ip->src_addr, 32); // both addresses

	static_assert(
		offsetof(struct rte_ipv6_hdr, dst_addr) ==
		offsetof(struct rte_ipv6_hdr, src_addr) + 16
	);
	pseudo += rte_cpu_to_be_16(proto); // extension headers do not count
	pseudo += rte_cpu_to_be_16((uint16_t)(m->pkt_len - l4_off));
	return l4_cksum(m, l4_off, fold(pseudo));
}
