// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Struct bodies of the TCP layer, for dataplane/tcp and its tests only. A PCB is three cache lines
// by heat; half-open and TIME_WAIT connections are 64-byte minis. Everything is a flat array with
// 32-bit indices; index 0 is none.

#pragma once

#include <rte_mbuf.h>
#include <rte_tcp.h>

#include "common/bug.h"
#include "common/idpool.h"
#include "common/wheel.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/tcp/tcp_loss_types.h"
#include "dataplane/tcp/tcp_trace_types.h"

#define TCP_INDEX_MINI 0x80000000U      // in the flow table: index of a mini, not of a PCB
#define TCP_INDEX_TIME_WAIT 0x40000000U // of the TIME_WAIT ones
#define TCP_INDEX_MASK (TCP_INDEX_TIME_WAIT - 1)
#define TCP_OOO_MAX 64   // segments kept out of order
#define TCP_DUPACKS 3    // RFC 5681 3.2, DupThresh of RFC 6675
#define TCP_COPY_MAX 256 // payload up to this is copied
#define TCP_WSCALE 7
#define TCP_MSS_FLOOR 64       // a smaller MSS of the peer is raised (CVE-2019-11479)
#define TCP_MSS_DEFAULT_V4 536 // RFC 9293 3.7.1
#define TCP_MSS_DEFAULT_V6 1220
#define TCP_INITIAL_WINDOW 10 // segments, RFC 6928
#define TCP_RTO_INITIAL_MS 1000
#define TCP_RTO_MIN_MS 200       // beyond the round trip
#define TCP_RTO_SYN_LOST_MS 3000 // RFC 6298 5.7
#define TCP_RTO_MAX_MS 60000
#define TCP_BACKOFF_MAX 10 // R2: unanswered retransmissions, over 100 s (RFC 9293 3.8.3)
#define TCP_PROBES_MAX 12
#define TCP_DELACK_MS 40
#define TCP_SYN_TICK_MS 1000
#define TCP_SYNACK_SECONDS 32 // SYN-ACK again after 1, 2, 4, 8, 16 of them
#define TCP_TIME_WAIT_MS 60000
#define TCP_FIN_WAIT_2_MS 60000
#define TCP_TX_LIMIT (8U << 20)                   // bytes in one transmit queue
#define TCP_PAWS_IDLE_MS (24U * 24 * 3600 * 1000) // RFC 7323 5.5
#define TCP_GATEWAYS_MAX 32
#define TCP_SHARE_DIVISOR 8 // one connection's part of what is free
#define TCP_SHARE_RESERVE 8 // part of all that only connections with less than a segment may use
#define TCP_PRESSURE_WINDOW 16384U // bound of windows under memory pressure, see rcv_least
#define TCP_TIMER_QUOTA 256

enum tcp_state {
	TCP_S_CLOSED,
	TCP_S_SYN_SENT,
	TCP_S_SYN_RCVD, // simultaneous open only; passive opens are minis
	TCP_S_ESTABLISHED,
	TCP_S_FIN_WAIT_1,
	TCP_S_FIN_WAIT_2,
	TCP_S_CLOSE_WAIT,
	TCP_S_CLOSING,
	TCP_S_LAST_ACK,
};

// What a SYN negotiates; a mini keeps it.
#define TCP_F_NEGOTIATED (TCP_F_TS | TCP_F_WS | TCP_F_SACK)

enum {
	TCP_F_TS = 1 << 0,   // timestamps negotiated
	TCP_F_WS = 1 << 1,   // window scale negotiated
	TCP_F_SACK = 1 << 2, // selective acknowledgements negotiated
	TCP_F_FIN_QUEUED = 1 << 3,
	TCP_F_FIN_SENT = 1 << 4,
	TCP_F_ORPHAN = 1 << 5, // the application let go
	TCP_F_DRAIN = 1 << 6,  // orphan that discards what still comes
	TCP_F_ACK_NOW = 1 << 7,
	TCP_F_DELACK = 1 << 8,       // delack_at_ms counts
	TCP_F_RTX = 1 << 9,          // rtx_at_ms counts
	TCP_F_PERSIST = 1 << 10,     // rtx_at_ms is the persist timer's
	TCP_F_STATE_TIMER = 1 << 11, // state_at_ms counts
	TCP_F_DIRTY = 1 << 12,       // on the output list
	TCP_F_RECOVERY = 1 << 13,    // fast recovery until `recover` is acknowledged
	TCP_F_RTT = 1 << 14,         // rtt_seq is being timed
	TCP_F_FIN_RCVD = 1 << 15,
};

// A close_reason of ours: over in order, but the application has bytes to read first.
#define TCP_CLOSE_UNREAD 0xff

enum {
	TCP_EV_ACCEPT = 1 << 0,
	TCP_EV_CONNECT = 1 << 1,
	TCP_EV_DATA = 1 << 2,
	TCP_EV_SENT = 1 << 3,
	TCP_EV_FIN = 1 << 4,
	TCP_EV_CLOSE = 1 << 5,
	TCP_EV_FREE = 1 << 6,   // nobody to tell: only give the PCB back
	TCP_EV_QUEUED = 1 << 7, // on the event list
};

struct tcp_pcb {
	// line 0: every packet
	struct ip_addr local, remote;
	uint16_t local_port, remote_port;
	uint8_t state;
	uint8_t events;
	uint16_t flags;
	uint32_t rcv_nxt, snd_una, snd_nxt, snd_wnd;
	uint32_t peer; // PCB of the other leg, for window accounting
	uint32_t user;
	// line 1: data and ACK
	uint32_t rcv_adv; // right edge of the window we offered
	uint32_t ts_recent;
	uint32_t snd_wl1, snd_wl2;
	uint32_t cwnd, ssthresh;
	uint32_t srtt_us8;   // smoothed RTT, 8 x us
	uint32_t rttvar_us4; // 4 x us
	uint16_t rto_ms;
	uint16_t mss; // payload of a full segment, options taken off
	uint8_t backoff;
	uint8_t dupacks; // in SYN_SENT: SYNs provoked; while the window is shut: probes unanswered
	uint8_t snd_wscale : 4;
	uint8_t rcv_least : 4; // x 2 KiB: it may hold them beside a segment, however short memory
			       // is
	uint8_t close_reason;
	uint32_t rx_head, rx_tail; // slices in order, not read yet
	uint32_t tx_head, tx_tail; // slices not acknowledged yet
	uint32_t rx_bytes, tx_bytes;
	// line 2: slow path
	uint32_t snd_max; // highest sequence sent + 1
	uint32_t recover;
	union {
		struct { // without timestamps, and until the handshake is over
			uint32_t rtt_seq, rtt_at_ms;
		};
		struct {                   // with timestamps
			uint32_t last_ack; // Last.ACK.sent of RFC 7323 4.3
			uint32_t ts_at_ms; // when ts_recent was taken
		};
	};
	uint32_t neigh;
	uint32_t rcv_cap;
	struct wheel_entry timer;
	uint32_t rtx_at_ms; // nothing in flight: since when
	uint32_t delack_at_ms, state_at_ms;
	uint32_t ooo_head;
	uint32_t ts_offset;
	uint16_t loss; // index of the loss block, 0: none
	uint8_t route_port;
	uint8_t gateway; // 1 + index into the stack's gateways, 0: on link
};
static_assert(sizeof(struct tcp_pcb) == 192, "three cache lines");
static_assert(offsetof(struct tcp_pcb, rcv_adv) == 64, "line 1");
static_assert(offsetof(struct tcp_pcb, snd_max) == 128, "line 2");

#define TCP_MINI_TICK_MS 4                 // of `due`: 16 bits reach 131 s ahead
#define TCP_MINI_STALL_MS TCP_TIME_WAIT_MS // no delay is longer: all minis are over

struct tcp_mini {
	struct ip_addr local, remote;
	uint16_t local_port, remote_port;
	uint8_t flags; // of TCP_F_NEGOTIATED
	uint8_t snd_wscale;
	uint8_t seconds; // half-open: since the SYN
	uint8_t reserved;
	uint32_t rcv_nxt, snd_nxt;
	uint32_t ts_recent;
	uint16_t due;        // in ticks, wraps
	uint16_t mss;        // the peer's offer
	uint32_t next, prev; // FIFO
};
static_assert(sizeof(struct tcp_mini) == 64, "one cache line");

struct tcp_slice {
	struct rte_mbuf *m;
	uint32_t seq; // of the first byte (out-of-order and transmit queues)
	uint32_t next;
	uint16_t off; // from m->buf_addr
	uint16_t len;
	uint32_t sent; // of a transmit queue's head: where the last segment ended, 0: not known
	// out of order: the later, the greater; sent: when (TCP_MARK_SHIFT) and TCP_SL_*
	uint32_t mark;
	bool fin; // out of order: the peer's FIN is behind it
	uint8_t reserved[3];
};
static_assert(sizeof(struct tcp_slice) == 32, "never over two cache lines");

#define FLOW_WAYS 8
struct flow_bucket {
	uint16_t tag[FLOW_WAYS];
	uint32_t idx[FLOW_WAYS]; // 0: free
	uint32_t overflow;       // bucket index, 0: none
	uint32_t reserved[3];
};
static_assert(sizeof(struct flow_bucket) == 64, "one cache line");

struct tcp_fifo {
	uint32_t head, tail, count;
	uint32_t over; // up to this one all have had their time, whatever `due` says; 0: none
};

struct tcp_minis {
	struct tcp_mini *mini;
	struct idpool ids;
	struct tcp_fifo fifo;
};

struct tcp_list { // ring of PCB indices, each at most once: never full, as there is no PCB 0
	uint32_t *idx;
	uint32_t size, head, tail;
};

enum tcp_pressure { // of memory, see tcp_pressure.c
	TCP_PRESSURE_NONE,
	TCP_PRESSURE_WINDOWS, // windows stop growing
	TCP_PRESSURE_PRUNE,   // nothing is kept out of order
	TCP_PRESSURE_REFUSE,  // no new connections of clients
	TCP_PRESSURE_ABORT,   // the largest is reset
};

struct tcp_gateway {
	struct ip_addr next_hop;
	uint8_t port;
};

struct tcp_stack {
	struct tcp_config config;
	struct worker_env *env;
	struct net *net;
	struct tcp_pcb *pcb;
	struct idpool pcbs;
	struct tcp_minis syn, tw;
	uint32_t ran_ms; // when minis were last seen to
	struct tcp_slice *slice;
	struct idpool slices;
	struct tcp_loss *loss;
	struct idpool losses;
	struct flow_bucket *bucket;
	uint32_t buckets, bucket_main; // of two choices; where those of the overflow begin
	struct idpool overflow;        // of bucket indices - bucket_main
	struct wheel wheel;
	struct tcp_list events, dirty;
	struct tcp_gateway gateway[TCP_GATEWAYS_MAX];
	unsigned gateway_count;
	uint32_t ooo_mark; // of the latest segment out of order
	struct tcp_dsack dsack[TCP_DSACK_MAX];
	unsigned dsack_count;
	uint8_t pressure;                     // enum tcp_pressure
	uint32_t walk, largest, largest_held; // of the walk under pressure
	struct tcp_trace_ring *trace;
	size_t bytes;
};
