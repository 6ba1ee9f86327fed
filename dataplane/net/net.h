// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Link and network layer of one worker: Ethernet, VLAN, ARP, IPv4, IPv6, ND, ICMP; routes,
// neighbors and the owner of each tuple. Below it ports, above it TCP through net_ops. State of one
// worker is touched by its thread only; the neighbor table is written by worker 0 alone and read by
// all (net_shared). Never allocates, blocks or logs.
//
// mbuf ownership: *_input takes the mbuf whatever happens; net_output takes it whatever it returns.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/ctl_msg.h"
#include "common/addr.h"
#include "common/env.h"
#include "common/hash.h"
#include "dataplane/port/port.h"

struct rte_mbuf;
struct rte_mempool;
struct shm_conflict;
struct net;        // one a worker
struct net_shared; // neighbors, routes, addresses of ports: one a process (or one a simulated host)

#define NET_BURST PORT_BURST
#define NET_HEADROOM \
	128 // room in front of a TCP header that net_output needs at most: Ethernet, VLAN, IPv6

// One received TCP segment, checked down to the IP lengths and the TCP checksum; lives for one
// burst.
struct net_pkt {
	struct rte_mbuf
		*m; // data starts at the TCP header (L2 and L3 already cut off, padding trimmed)
	struct ip_addr src, dst;
	uint16_t sport, dport; // host byte order
	uint16_t len;          // TCP header and payload, bytes
	uint8_t port;          // that received it
	uint8_t ecn;
};

// ICMP error about a TCP segment of ours, quote checked for length; RFC 5927 checks of the sequence
// are TCP's.
struct net_icmp_error {
	struct ip_addr local, remote; // of the quoted segment, as we sent it
	uint16_t local_port, remote_port;
	uint32_t seq; // quoted sequence number
	uint16_t mtu; // of a packet-too-big, else 0
	enum { NET_ICMP_UNREACHABLE_SOFT, NET_ICMP_UNREACHABLE_HARD, NET_ICMP_TOO_BIG } kind;
};

// What became of an echo request of ours.
struct net_echo {
	uint32_t id;
	bool answered; // false: not in time
	uint8_t hop_limit;
	uint64_t time_ns;
};

struct net_ops {
	// TCP segments of tuples that this worker owns. Takes all mbufs.
	void (*tcp_input)(void *up, struct net_pkt *pkts, unsigned n);
	void (*icmp_error)(void *up, const struct net_icmp_error *err);
	// Is addr one that we answer for besides the ports' own addresses (virtual services, source
	// addresses)?
	bool (*is_local)(void *up, const struct ip_addr *addr);
	// Hands a whole frame (as received) or, for NET_STEER_RESOLVE, a 0-length mbuf with the
	// address in its data, to another worker. False: ring full, the caller frees and counts.
	bool (*steer)(void *up, uint16_t worker, uint8_t port, uint8_t what, struct rte_mbuf *m);
	// NULL: nobody pings.
	void (*echo)(void *up, const struct net_echo *echo);
};

enum net_steer { NET_STEER_FRAME = 0, NET_STEER_RESOLVE = 1 };

struct net_port_config {
	struct port_info info;
	const struct ip_prefix *addresses; // with host bits
	unsigned address_count;
	const struct ip_addr *gateways;
	unsigned gateway_count;
};

struct net_shared_config {
	const struct net_port_config *ports;
	unsigned port_count;
	uint16_t workers;
	uint8_t rss_key[HASH_TOEPLITZ_KEY_LEN]; // random a boot; the owner of a tuple = reta[hash &
						// 127]
	struct hash_key hash_key;               // for the neighbor table
	uint32_t max_neighbors;                 // default 4096
};

// Memory is taken here and never later. NULL + errno. Main thread, before workers start.
struct net_shared *net_shared_new(const struct net_shared_config *config);
void net_shared_free(struct net_shared *shared);

struct net_config {
	struct worker_env *env;
	struct net_shared *shared;
	struct rte_mempool *pool; // for ARP, ND, ICMP of ours
	const struct port_ops *port_ops;
	void *port_dev;
	const struct net_ops *ops;
	void *up;
	struct shm_conflict *conflicts; // [SHM_CONFLICTS], NULL: not kept
};

struct net *net_new(const struct net_config *config);
void net_free(struct net *net); // frees held mbufs too

// One burst of frames just received on a port (or steered here by another worker, then steered =
// true).
void net_input_burst(
	struct net *net,
	uint8_t port,
	struct rte_mbuf **frames,
	unsigned n,
	bool steered
);
// NET_STEER_RESOLVE messages, worker 0 only.
void net_resolve_request(struct net *net, uint8_t port, struct rte_mbuf *m);
// Retransmits solicitations, ages neighbors, probes and announces addresses (gratuitous ARP,
// unsolicited NA), reports groups. Every turn; cheap.
void net_timers(struct net *net);
// Milliseconds until one of these may be due, at most limit_ms; that a neighbor that nobody waits
// for grows old does not count.
uint32_t net_next_timer_ms(const struct net *net, uint32_t limit_ms);
// Sends what net_output queued. Once a turn, after TCP's output pass.
void net_flush(struct net *net);
// Addresses of a new generation, between begin and end, each once or more: those that are new are
// probed and announced, those that are missing are given up. Worker 0.
void net_announce_begin(struct net *net);
void net_announce(struct net *net, const struct ip_addr *addr);
void net_announce_end(struct net *net);
// A port's link has come (back): its addresses are probed and announced again. Worker 0.
void net_link_up(struct net *net, uint8_t port);

// Other ops from here on, for one that looks on while a capture is armed; its own thread.
void net_port_set(struct net *net, const struct port_ops *ops, void *dev);

// Which port (and gateway) leads to dst. Static after start: the result may be kept in a PCB for
// its life.
struct net_route {
	uint8_t port;
	bool on_link;
	uint16_t mtu; // of IP on that port
	struct ip_addr next_hop;
	struct ip_addr
		source; // the port's own address of dst's family, preferring the subnet of next_hop
};
// False: no route (counted by the caller). Any worker.
bool net_route_lookup(const struct net *net, const struct ip_addr *dst, struct net_route *ret);

// Sends one TCP segment: m's data starts at the TCP header, checksum field zero, NET_HEADROOM bytes
// of headroom, possibly a chain. Adds IP and Ethernet headers, completes the checksum (offload or
// software), queues while the neighbor is being resolved (bounded; then drops, counted). neigh is a
// hint that the caller keeps with the route (0 at first), to save the neighbor lookup.
struct net_tx {
	const struct ip_addr *src, *dst, *next_hop;
	uint32_t *neigh;
	uint8_t port;
	uint8_t ttl; // 0: 64
	uint8_t tos;
};
void net_output(struct net *net, const struct net_tx *tx, struct rte_mbuf *m);

// Sends an echo request; net_ops.echo tells the end of it, once. Worker 0. 0, -EADDRINUSE (an
// address of ours), -EHOSTUNREACH (no route), -ENOBUFS.
int net_ping(struct net *net, const struct ip_addr *to, uint32_t id, uint32_t timeout_ms);

// Tables entry by entry from *at = 0 on, until false. Worker 0.
bool net_neighbor_next(const struct net *net, uint32_t *at, struct ctl_neighbor *ret);
bool net_route_next(const struct net *net, uint32_t *at, struct ctl_route *ret);
uint32_t net_neighbor_count(const struct net *net, uint32_t *ret_max, uint32_t *ret_bytes);

// Worker that owns a tuple, as seen on an arriving packet (src = the peer). Computable by every
// worker.
uint16_t net_owner(
	const struct net_shared *shared,
	const struct ip_addr *src,
	const struct ip_addr *dst,
	uint16_t sport,
	uint16_t dport
);
