// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A frame as someone who looks on sees it: addresses and ports, whatever may be wrong with the
// rest. Pure functions, any thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"

struct rte_mbuf;

enum net_frame_kind {
	NET_FRAME_OTHER,     // no addresses
	NET_FRAME_ADDRESSES, // ARP (asker and asked), IP
	NET_FRAME_TCP,       // a tuple too
	NET_FRAME_QUOTE, // an ICMP error; src and dst are of the TCP segment quoted in it, turned
			 // round: as a segment that answers it would have them
};

struct net_frame {
	enum net_frame_kind kind;
	struct ip_addr src, dst;
	uint16_t sport, dport;
	uint16_t l4_off; // NET_FRAME_TCP: of its header
};

// m's data starts at the Ethernet header; may be a chain.
void net_frame_parse(const struct rte_mbuf *m, struct net_frame *ret);
// What a port with checksum offload will put into the TCP header of a frame to be sent; false: the
// frame holds it already.
bool net_frame_checksum(const struct rte_mbuf *m, uint16_t l4_off, uint16_t *ret);
// At most n octets from the front of a frame, in parts: part is called for each.
void net_frame_read(
	const struct rte_mbuf *m,
	uint32_t n,
	void (*part)(void *to, const void *data, uint32_t n),
	void *to
);
uint32_t net_frame_bytes(const struct rte_mbuf *m);
