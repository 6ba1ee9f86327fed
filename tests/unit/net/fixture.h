// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A network layer alone, for its unit tests: ports that record what was sent, an upper layer that
// records what came up, and frames made by hand. Time stands still unless net_fix_run moves it.

#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <rte_arp.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include "dataplane/net/net_types.h"

#define FIX_MS 1000000ULL
#define FIX_FRAMES 256
#define FIX_ROOM 2048

struct fix_frame {
	uint16_t port, len;
	uint8_t data[FIX_ROOM];
};

struct fix {
	struct worker_env env;
	uint64_t stats[STAT_COUNT];
	struct net_shared *shared;
	struct net *net;
	struct fix_frame sent[FIX_FRAMES];
	unsigned sent_count;
	uint16_t tx_room;  // frames that the ports still take
	uint64_t rx_flags; // of the frames received
	uint16_t rx_vlan;
	struct ip_addr local[8];
	unsigned local_count; // virtual services
	unsigned tcp_count;
	struct net_pkt tcp; // the last one; m is gone
	uint8_t tcp_data[FIX_ROOM];
	unsigned error_count;
	struct net_icmp_error error; // the last one
	unsigned steer_count;
	uint16_t steer_to;
	uint8_t steer_what;
	bool steer_full;
	struct fix_frame steered; // the last one
};

// Two ports. 0: 10.0.0.10/24, 2001:db8::10/64, gateways 10.0.0.1 and fe80::1. 1, tagged 20:
// 10.1.0.10/24, 2001:db8:1::10/64. 10.0.0.25 and 2001:db8::25 are virtual services.
struct fix *net_fix_new(uint16_t worker, uint16_t workers);
// With other ports.
struct fix *net_fix_new_ports(const struct net_port_config *ports, unsigned count);
void net_fix_free(struct fix *f); // fails the test when a buffer has leaked
void net_fix_run(struct fix *f, unsigned ms);
// Beyond what is done at start; forgets what was sent and counted.
void net_fix_settle(struct fix *f);
void net_fix_forget(struct fix *f); // what was sent, counted and came up

// A frame received.
void net_fix_in(struct fix *f, uint8_t port, const void *frame, uint16_t len);
void net_fix_in_steered(struct fix *f, uint8_t port, const void *frame, uint16_t len);
void net_fix_asked(struct fix *f, uint8_t port, const struct ip_addr *next_hop); // by a worker

struct ip_addr ip(const char *text);
extern const uint8_t mac_a[6], mac_b[6], mac_ours[2][6], mac_all[6];

// Frames being built.
struct pkt {
	uint16_t len;
	uint8_t data[FIX_ROOM];
};
void pkt_eth(struct pkt *p, const uint8_t dst[6], const uint8_t src[6], uint16_t type);
void pkt_add(struct pkt *p, const void *data, size_t len);
// Header with the length of what will follow; options or extension headers are the caller's.
void pkt_ip4(struct pkt *p, const char *src, const char *dst, uint8_t proto, uint16_t payload);
void pkt_ip6(struct pkt *p, const char *src, const char *dst, uint8_t proto, uint16_t payload);
// Sets the checksum at `field` of the transport that begins at `l4`, for the IP header at 14.
void pkt_cksum(struct pkt *p, uint16_t l4, uint16_t field, uint8_t proto);
void pkt_ip4_cksum(struct pkt *p);

void fix_arp(
	struct fix *f,
	uint16_t opcode,
	const char *sender,
	const uint8_t mac[6],
	const char *target,
	const uint8_t to[6]
);
// Neighbor discovery on port 0. option: type, or 0 for none.
struct fix_nd {
	const char *src, *dst, *target;
	const uint8_t *mac; // of the option
	uint8_t type, code, flags, hop_limit, option, option_len;
	uint16_t cut; // octets less than there should be
};
void fix_nd_in(struct fix *f, const struct fix_nd *nd);
void fix_tcp_in(
	struct fix *f,
	uint8_t port,
	const char *src,
	const char *dst,
	uint16_t sport,
	uint16_t dport
);
// A segment of ours towards dst, by its route.
void fix_tcp_out(struct fix *f, const char *src, const char *dst);

const struct fix_frame *fix_last(const struct fix *f);
// Of a frame without tag.
uint16_t fix_type(const struct fix_frame *frame);
unsigned fix_count_type(const struct fix *f, uint16_t type);
