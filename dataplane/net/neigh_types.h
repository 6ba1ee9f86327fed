// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The neighbor table of ARP and ND (neigh.c), for dataplane/net and its tests only. Written by
// worker 0, read by all.

#pragma once

#include "dataplane/net/net.h"

#define NEIGH_WAYS 8
#define NEIGH_PROBES 3
#define NEIGH_RETRANS_NS 1000000000ULL    // RFC 4861 10, RetransTimer
#define NEIGH_REACHABLE_NS 30000000000ULL // RFC 4861 10, ReachableTime
#define NEIGH_GONE_NS 600000000000ULL     // a stale entry nobody uses
#define NEIGH_WAIT_NS 3000000000ULL       // for an address of ours to ask from
#define NEIGH_SCAN_NS 100000000ULL
#define NEIGH_MOVE_NS 1000000000ULL // between two changes of a neighbor's link-layer address

enum neigh_state {
	NEIGH_S_FREE,
	NEIGH_S_INCOMPLETE,
	NEIGH_S_REACHABLE,
	NEIGH_S_STALE,
	NEIGH_S_PROBE,
};

// Worker 0: rw. Others: ro under seq, except `used`, which any worker sets.
struct neigh {
	uint32_t seq; // odd while being written
	uint8_t state;
	uint8_t port;
	uint8_t mac[6];
	struct ip_addr addr;
	uint8_t used;
	uint8_t probes;
	uint8_t reserved[6];
	uint64_t since_ns; // last confirmation, or first solicitation
	uint64_t next_ns;  // next solicitation or check
	uint64_t moved_ns; // last time a known mac was replaced, 0: never
};
static_assert(sizeof(struct neigh) == 64, "a cache line");

struct neigh *neigh_table_new(uint32_t max, uint32_t *ret_bucket_mask);
bool neigh_lookup(
	struct net_shared *shared,
	uint8_t port,
	const struct ip_addr *addr,
	uint32_t *hint,
	uint8_t mac[6]
);
// Worker 0: a neighbor named its link-layer address on its own account: the source of a
// solicitation (RFC 4861 7.2.3), an ARP request or announcement. create: also when nobody asked for
// it.
void neigh_heard(
	struct net *net,
	uint8_t port,
	const struct ip_addr *addr,
	const uint8_t mac[6],
	bool create
);
// Worker 0: an advertisement (RFC 4861 7.2.5) or an ARP reply.
struct neigh_advert {
	const uint8_t *mac; // NULL: not told
	bool solicited, override;
};
void neigh_advertised(
	struct net *net,
	uint8_t port,
	const struct ip_addr *addr,
	const struct neigh_advert *advert
);
bool neigh_is_asked(struct net *net, uint8_t port, const struct ip_addr *addr);
void neigh_resolve(struct net *net, uint8_t port, const struct ip_addr *addr); // worker 0
void neigh_scan(struct net *net);                                              // worker 0
