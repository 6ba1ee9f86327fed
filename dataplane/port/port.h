// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A port as the stages above see it: bursts in, bursts out, capabilities. The DPDK ports
// (port_dpdk.c) and the simulator's wire implement the same ops. Each (port, queue) has one owner;
// a worker without a transmit queue of its own hands over by ring inside the implementation
// (share.h). Worker threads only, except where said.

#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rte_mbuf;

#define PORT_MAX 16
#define PORT_BURST 32

#define PORT_F_TX_TCP_CKSUM \
	0x01U // the port fills TCP checksums (mbuf offload flags); else software
#define PORT_F_TX_MULTI_SEGS 0x02U // mbuf chains may be sent; else the stack copies
#define PORT_F_RX_L4_CKSUM 0x04U   // receive flags tell whether the L4 checksum was good

struct port_ops {
	// Up to n frames received for this worker; the caller owns them.
	uint16_t (*rx_burst)(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n);
	// Takes the first `return value` frames; the caller keeps (and frees or retries) the rest.
	uint16_t (*tx_burst)(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n);
	// Once a turn: sends what workers without a queue handed to this one; how many frames.
	// NULL: each worker has its queues.
	uint16_t (*run)(void *dev, uint16_t port);
};

struct port_info {
	uint8_t mac[6];
	uint16_t mtu;   // of IP
	uint16_t vlan;  // tag to send and accept, 0: untagged
	uint32_t flags; // PORT_F_*
};
