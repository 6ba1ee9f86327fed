// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A network layer and a TCP stack with an application above them and peers on the wire, for the TCP
// fuzzer. Octet k of what a peer sends, and of what the application writes, is a function of the
// connection and k, so that whatever way segments take, every octet that arrives can be judged.

#pragma once

#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp.h"
#include "tests/fuzz/eal.h"
#include "tests/fuzz/packet.h"

#define BOX_PEERS 12
#define BOX_APPS 48 // connections that the application has seen in one input
#define BOX_STREAM_MAX 65536
#define BOX_BURST 32
#define BOX_PORT_FIRST 25 // listeners: 25 plain, 26 small segments, 27 small window, 28 refuses

struct peer { // the other end of a tuple, its present incarnation
	bool used, v6, passive;
	bool started; // irs is known
	uint16_t ours, theirs;
	uint32_t iss, irs;
	uint32_t sent_max; // offset behind the last octet that it sent
	uint32_t acked;    // offset that the box acknowledged last
	uint32_t got;      // offset up to which it has all that the box sent
	bool got_fin, fin_sent, fin_many;
	uint32_t fin_at;
	uint32_t ts_recent; // of the box
	uint32_t queued;    // octets that the application wrote
	uint8_t text[BOX_STREAM_MAX];
};

enum read_mode { READ_ALL, READ_NOTHING, READ_LITTLE, READ_MODES };

struct app { // the application's side of a connection
	bool open, fin;
	struct tcp_conn_id conn;
	unsigned peer;
	uint32_t read; // offset
	uint8_t mode;
};

struct tcp_box {
	struct worker_env env;
	uint64_t stats[STAT_COUNT];
	struct net_shared *shared;
	struct net *net;
	struct tcp_stack *tcp;
	struct peer peer[BOX_PEERS];
	struct app app[BOX_APPS];
	unsigned apps;
	struct rte_mbuf *rx[BOX_BURST];
	unsigned rx_count;
	uint16_t room; // frames that the port takes at once
	bool mute;     // neighbors do not answer
	bool asked[2]; // IPv4, IPv6 neighbor solicited
	bool tainted;  // frames were sent whose octets follow no rule
};

struct tcp_box_config {
	uint64_t now_ns;
	uint32_t max_conns, max_slices;
	bool multi_segs;
};
void tcp_box_init(struct tcp_box *box, const struct tcp_box_config *config);
void tcp_box_frame(struct tcp_box *box, const void *frame, size_t len); // for the next turn
void tcp_box_turn(struct tcp_box *box); // until there is nothing left to do; checks the stack
// Lets go of everything, waits until all timers have run out; nothing may be left.
void tcp_box_fini(struct tcp_box *box);
// Octet at offset of what a peer sends.
uint8_t peer_octet(unsigned peer, uint32_t offset);
// Octets queued by the application from now on; false: the log is full.
bool app_may_write(const struct tcp_box *box, const struct app *a, uint32_t n);
void app_wrote(struct tcp_box *box, const struct app *a, const void *data, uint32_t n);
// Reads (and judges) up to n held octets, or moves them to another connection.
void app_read(struct tcp_box *box, struct app *a, uint32_t n);
void app_move(struct tcp_box *box, struct app *from, struct app *to, uint32_t n);
unsigned app_new(struct tcp_box *box, struct tcp_conn_id conn, unsigned peer);
