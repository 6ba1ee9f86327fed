// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Struct bodies of the network layer, for dataplane/net and its tests only.

#pragma once

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "dataplane/net/net.h"
#include "dataplane/port/share.h"

#define NET_PENDING_MAX 64     // packets of a worker waiting for neighbors
#define NET_PENDING_NEIGHBOR 3 // of them for one neighbor
#define NET_PENDING_NS 3000000000ULL
#define NET_TXQ_MAX 512 // frames a port has not taken yet
#define NEIGH_WAYS 8
#define NEIGH_PROBES 3
#define NEIGH_RETRANS_NS 1000000000ULL    // RFC 4861 10, RetransTimer
#define NEIGH_REACHABLE_NS 30000000000ULL // RFC 4861 10, ReachableTime
#define NEIGH_GONE_NS 600000000000ULL     // a stale entry nobody uses
#define NEIGH_SCAN_NS 100000000ULL
#define NET_TTL 64

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
};

struct net_port {
	struct port_info info;
	struct ip_prefix addresses[64];
	unsigned address_count;
	struct ip_addr gateways[2];
	unsigned gateway_count;
	struct ip_addr link_local; // fe80:: from the MAC
};

struct net_shared {
	struct net_port ports[PORT_MAX];
	unsigned port_count;
	uint16_t workers;
	uint8_t rss_key[HASH_TOEPLITZ_KEY_LEN];
	uint16_t reta[SHARE_RETA_SIZE];
	struct hash_key hash_key;
	uint32_t bucket_mask;
	struct neigh *neigh; // [(bucket_mask + 1) * NEIGH_WAYS]
};

struct net_pending {
	struct rte_mbuf *m; // IP packet, no Ethernet header yet
	struct ip_addr next_hop;
	uint64_t deadline_ns;
	uint8_t port;
};

struct net_txq {
	struct rte_mbuf *m[NET_TXQ_MAX];
	unsigned count;
};

struct net {
	struct worker_env *env;
	struct net_shared *shared;
	struct rte_mempool *pool;
	const struct port_ops *port_ops;
	void *port_dev;
	const struct net_ops *ops;
	void *up;
	struct net_pending pending[NET_PENDING_MAX];
	unsigned pending_count;
	uint64_t neigh_scan_ns;
	struct net_txq txq[PORT_MAX];
};

// What became of a frame: NET_DONE = consumed or dropped (the callee freed or kept the mbuf).
enum net_verdict { NET_DONE, NET_TCP };

// A parsed IP packet below its transport header; m's data starts at the L3 header, trimmed to the
// IP length.
struct ip_in {
	struct rte_mbuf *m;
	struct ip_addr src, dst;
	uint16_t l4_off, l4_len;
	uint8_t port, proto, hop_limit;
	bool steered;
};

static inline void net_drop(struct net *net, struct rte_mbuf *m, enum stat_id why)
{
	stat_inc(net->env, why);
	rte_pktmbuf_free(m);
}

// eth.c
enum net_verdict
eth_input(struct net *net, uint8_t port, struct rte_mbuf *m, bool steered, struct net_pkt *ret);
// Prepends the Ethernet header (and VLAN tag) and queues the frame for the port.
void eth_output(
	struct net *net,
	uint8_t port,
	const uint8_t dst[6],
	uint16_t ether_type,
	struct rte_mbuf *m
);
void eth_flush(struct net *net);

// arp.c: worker 0
void arp_input(struct net *net, uint8_t port, struct rte_mbuf *m);
void arp_request(
	struct net *net,
	uint8_t port,
	const struct ip_addr *target,
	const uint8_t *unicast_mac
);
void arp_announce(struct net *net, uint8_t port, const struct ip_addr *addr);

// ip4.c, ip6.c: m's data starts at the IP header.
enum net_verdict
ip4_input(struct net *net, uint8_t port, struct rte_mbuf *m, bool steered, struct net_pkt *ret);
enum net_verdict
ip6_input(struct net *net, uint8_t port, struct rte_mbuf *m, bool steered, struct net_pkt *ret);
// Addresses, protocol and owner checks common to both families.
enum net_verdict ip_input(struct net *net, const struct ip_in *in, struct net_pkt *ret);
// Prepends the IP header to a transport segment whose checksum field is 0 and completes both
// checksums.
struct ip_out {
	const struct ip_addr *src, *dst;
	uint8_t proto, hop_limit, tos;
	bool l4_offload;
};
void ip4_output_header(const struct ip_out *out, struct rte_mbuf *m);
void ip6_output_header(const struct ip_out *out, struct rte_mbuf *m);
// A whole IP packet to a next hop: Ethernet now, or queued while the neighbor is resolved.
void ip_transmit(
	struct net *net,
	uint8_t port,
	const struct ip_addr *next_hop,
	uint32_t *hint,
	struct rte_mbuf *m
);

// cksum.c: of the transport segment at l4_off of an IP packet; 0 when the field holds the right
// one.
struct rte_ipv4_hdr;
struct rte_ipv6_hdr;
uint16_t l4_cksum(const struct rte_mbuf *m, uint16_t l4_off, uint16_t pseudo);
uint16_t l4_cksum_ip4(const struct rte_mbuf *m, const struct rte_ipv4_hdr *ip, uint16_t l4_off);
uint16_t l4_cksum_ip6(
	const struct rte_mbuf *m,
	const struct rte_ipv6_hdr *ip,
	uint16_t l4_off,
	uint8_t proto
);

// icmp.c
void icmp4_input(struct net *net, const struct ip_in *in);
void icmp6_input(struct net *net, const struct ip_in *in);

// nd.c: worker 0
void nd_input(struct net *net, const struct ip_in *in);
void nd_solicit(
	struct net *net,
	uint8_t port,
	const struct ip_addr *target,
	const uint8_t *unicast_mac
);
void nd_advertise(
	struct net *net,
	uint8_t port,
	const struct ip_addr *addr,
	const struct ip_addr *to,
	const uint8_t *mac
);

// neigh.c
struct neigh *neigh_table_new(uint32_t max, uint32_t *ret_bucket_mask);
bool neigh_lookup(
	struct net_shared *shared,
	uint8_t port,
	const struct ip_addr *addr,
	uint32_t *hint,
	uint8_t mac[6]
);
// Worker 0: a station told its address. create: also when nobody asked for it.
void neigh_learn(
	struct net *net,
	uint8_t port,
	const struct ip_addr *addr,
	const uint8_t mac[6],
	bool create
);
void neigh_resolve(struct net *net, uint8_t port, const struct ip_addr *addr); // worker 0
void neigh_scan(struct net *net);                                              // worker 0

// net.c
bool net_addr_is_local(const struct net *net, const struct ip_addr *addr);
bool net_steer_to(
	struct net *net,
	uint16_t worker,
	uint8_t port,
	enum net_steer what,
	struct rte_mbuf *m
);
// An address of a port for packets of our own (ARP, ND) about target.
bool net_port_source(
	const struct net *net,
	uint8_t port,
	const struct ip_addr *target,
	struct ip_addr *ret
);
