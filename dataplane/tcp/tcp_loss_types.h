// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the TCP layer knows of octets that are lost, came out of order or came twice. For
// dataplane/tcp and its tests only.

#pragma once

#include <stdint.h>

#define TCP_SACK_BLOCKS_MAX 4 // a header has room for

struct tcp_block { // of sequence space, the end not in it
	uint32_t start, end;
};

#define TCP_DSACK_MAX 32 // of one turn; more are not told of

// Octets that came twice: told of in the next ACK (RFC 2883), which goes in the same turn.
struct tcp_dsack {
	uint32_t pcb; // 0: told
	uint32_t start, end;
};

// Of a slice that was sent: the millisecond of its latest transmission above three flags. Wraps
// after six days; compared by signed difference. Flagged slices hold sent octets only.
#define TCP_MARK_SHIFT 3
#define TCP_SL_SACKED 1U // acknowledged selectively
#define TCP_SL_LOST 2U   // to be sent again
#define TCP_SL_AGAIN 4U  // sent more than once
#define TCP_SL_FLAGS 7U

enum {
	TCP_LOSS_REORDERED = 1 << 0,  // the path reorders: RACK waits (RFC 8985 6.2)
	TCP_LOSS_REO_TIMER = 1 << 1,  // rtx_at_ms is RACK's reordering timer
	TCP_LOSS_RACK = 1 << 2,       // rack_* count
	TCP_LOSS_TLP = 1 << 3,        // a tail loss probe is out, until tlp_end is acknowledged
	TCP_LOSS_TLP_AGAIN = 1 << 4,  // which sent the last segment again
	TCP_LOSS_TLP_NO_RTT = 1 << 5, // no round trip was measured since
	TCP_LOSS_CUBIC = 1 << 6,      // an epoch has begun
	TCP_LOSS_UNDO = 1 << 7,       // undo_* count: until the first ACK of what was sent again
};

// What a connection needs only once it loses segments: the scoreboard's sums (marks are in the
// slices), RACK (RFC 8985), PRR (RFC 6937) and CUBIC (RFC 9438). From a pool, and back when nothing
// is in flight and the pool is half empty, or after idle; without one NewReno goes on.
struct tcp_loss {
	uint32_t sacked, lost;   // octets marked so
	uint32_t hint, hint_seq; // slice that was marked SACKED last, where blocks are sought
	uint32_t fack;           // highest sequence acknowledged in any way
	uint32_t rack_mark;      // RACK.xmit_ts, RACK.end_seq
	uint32_t rack_end;
	uint32_t rtt_ms, rtt_min_ms; // RACK.rtt, RACK.min_RTT
	uint32_t dsack_seq; // a D-SACK counts once a round trip: until this is acknowledged
	uint32_t prr_delivered, prr_out, recover_fs;
	uint32_t tlp_end;                           // TLP.end_seq
	struct tcp_block seen[TCP_SACK_BLOCKS_MAX]; // of the last ACK
	uint32_t cubic_w_max, cubic_w_est;          // octets
	uint32_t cubic_at_ms, cubic_k_ms;           // begin of the epoch, and from there to w_max
	uint32_t undo_ts;                           // our timestamp when the recovery began
	uint32_t undo_cwnd, undo_ssthresh;
	uint8_t flags;
	uint8_t reo_mult, reo_persist; // RACK.reo_wnd_mult, _persist
	uint8_t reserved[9];
};
static_assert(sizeof(struct tcp_loss) == 128, "two cache lines");
#define TCP_LOSS_SHARE 32 // queue entries a block
#define TCP_LOSS_LEAST 32
