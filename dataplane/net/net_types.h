// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Struct bodies of the network layer, for dataplane/net and its tests only.

#pragma once

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "dataplane/net/neigh_types.h"
#include "dataplane/net/net.h"
#include "dataplane/net/own_types.h"
#include "dataplane/port/share.h"

#define NET_PENDING_MAX 64     // packets of a worker waiting for neighbors
#define NET_PENDING_NEIGHBOR 3 // of them for one neighbor
#define NET_PENDING_NS 3000000000ULL
#define NET_TXQ_MAX 512 // frames a port has not taken yet
#define NET_TTL 64
#define NET_OFF_MAX 64 // addresses that are off which all workers know

struct net_port {
	struct port_info info;
	struct ip_prefix addresses[64];
	unsigned address_count;
	struct ip_addr gateways[2];
	unsigned gateway_count;
	struct ip_addr link_local; // fe80:: from the MAC
	bool has_ip6;              // an IPv6 address is configured
};

// Addresses of ours that another station has. Worker 0: rw. Others: ro under seq.
struct net_off {
	uint32_t seq; // odd while being written
	uint32_t count;
	struct ip_addr addr[NET_OFF_MAX];
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
	struct net_off off;
};

struct net_pending {
	struct rte_mbuf *m; // IP packet, no Ethernet header yet
	struct ip_addr next_hop;
	uint64_t deadline_ns;
	uint8_t port;
};

#define NET_PINGS_MAX 16

struct net_ping {
	bool used;
	uint32_t id;
	struct ip_addr addr;
	uint16_t ident, seq; // as on the wire
	uint64_t word;
	uint64_t sent_ns, deadline_ns;
};

#define NET_TX_STALE_MS 1000 // a port whose link is down takes nothing

struct net_txq {
	struct rte_mbuf *m[NET_TXQ_MAX];
	unsigned count;
	uint32_t moved_ms; // when the port took one, or the first began to wait
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
	struct own_table *own;               // worker 0, else NULL
	struct shm_conflict *conflicts;      // [SHM_CONFLICTS], or NULL
	uint64_t echo_ns;                    // when the echo replies sent so far are paid for
	struct net_ping ping[NET_PINGS_MAX]; // worker 0
	unsigned pings;                      // of them under way
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

// The frame that a packet came in, while m's data starts at its L3 header.
static inline const struct rte_ether_hdr *frame_of(const struct rte_mbuf *m)
{
	return (const struct rte_ether_hdr *)(rte_pktmbuf_mtod(m, const uint8_t *) - m->l2_len);
}

static inline bool frame_is_group(const struct rte_mbuf *m)
{
	return rte_is_multicast_ether_addr(&frame_of(m)->dst_addr); // broadcast included
}

// May a station have this address?
static inline bool mac_is_station(const uint8_t mac[6])
{
	static const uint8_t none[6];

	return (mac[0] & 1) == 0 && memcmp(mac, none, 6) != 0;
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
bool arp_request( // false: no sure address to ask from yet

	struct net *net,
	uint8_t port,
	const struct ip_addr *target,
	const uint8_t *unicast_mac
);
void arp_probe(struct net *net, uint8_t port, const struct ip_addr *addr);
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
// Folded sum of one run of bytes, not complemented.
uint16_t raw_cksum(const void *data, uint32_t len);
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

// ping.c: worker 0
void ping_input(struct net *net, const struct ip_in *in); // an echo reply
void ping_timers(struct net *net);

// nd.c: worker 0
void nd_input(struct net *net, const struct ip_in *in);
struct ip_addr nd_solicited_node(const struct ip_addr *addr); // its multicast group
void nd_probe(struct net *net, uint8_t port, const struct ip_addr *addr);
bool nd_solicit( // false: no sure address to ask from yet

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

// route.c: the address that packets by way of a gateway have. False: none of its family.
bool net_gateway_source(
	const struct net *net,
	uint8_t port,
	const struct ip_addr *gateway,
	struct ip_addr *ret
);

// net.c
bool net_addr_is_local(const struct net *net, const struct ip_addr *addr);
bool net_steer_to(
	struct net *net,
	uint16_t worker,
	uint8_t port,
	enum net_steer what,
	struct rte_mbuf *m
);
// Is it off because another station has it?
bool net_addr_is_off(const struct net *net, const struct ip_addr *addr);
