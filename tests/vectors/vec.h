// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Script vectors: segments into the TCP library, segments out of it, line by line (README.md is the
// language). One stack of one worker on a port that only records; virtual time; both families and
// two positions of the peer's sequence space for every script. One thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_mbuf.h>

#include "common/rng.h"
#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp.h"
#include "tests/stack/neighbor.h"

#define VEC_WORDS_MAX 32
#define VEC_FLOWS_MAX 8
#define VEC_OUT_MAX 512
#define VEC_EVENTS_MAX 64
#define VEC_PAYLOAD_MAX 65536
#define VEC_MS 1000000ULL
#define VEC_ANSWERS_MAX 4
#define VEC_HOLD_MAX 8192
#define VEC_PORT 25
#define VEC_SACK_MAX 4

// A TCP segment as the scripts speak of it: numbers relative to the start of each side's sequence
// space.
struct vec_seg {
	uint64_t at_ms; // since the vector began
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint32_t len;
	uint16_t wnd, mss, urg;
	uint8_t flags, wscale, doff; // doff 0: right
	bool has_ws, has_ts, has_sackok, bad_sum, payload_good;
	unsigned sack_count; // blocks
	uint32_t sack[2 * VEC_SACK_MAX];
	uint32_t ts_val, ts_ecr;
	uint8_t raw[40]; // options as they stand, instead of those above
	unsigned raw_len;
};

// One tuple: the peer's side of it, and the application's view of ours.
struct vec_flow {
	uint16_t peer_port, local_port;
	uint32_t peer_isn, peer_ts;
	uint32_t our_isn, our_ts; // our_ts: last value seen from us
	bool our_isn_known;
	struct tcp_conn_id conn;
	uint32_t written, read; // bytes by our application
};

enum vec_event_kind { VEC_EV_ACCEPT, VEC_EV_CONNECT, VEC_EV_FIN, VEC_EV_CLOSE };

struct vec_event {
	enum vec_event_kind kind;
	unsigned flow;
	enum tcp_close_reason reason;
};

struct vec {
	// the host
	struct worker_env env;
	uint64_t stats[STAT_COUNT];
	struct net_shared *shared;
	struct net *net;
	struct tcp_stack *tcp;
	struct rte_mempool *pool, *small_pool, *ref_pool;
	struct ip_addr local, peer;
	uint64_t start_ns;
	// what it sent
	struct vec_seg out[VEC_OUT_MAX];
	unsigned out_head, out_tail;
	uint8_t answer[VEC_ANSWERS_MAX][NEIGHBOR_ANSWER_MAX]; // to ARP and ND
	uint32_t answer_len[VEC_ANSWERS_MAX];
	unsigned answers, answered;
	// its application
	struct vec_flow flow[VEC_FLOWS_MAX];
	unsigned current;
	struct vec_event event[VEC_EVENTS_MAX];
	unsigned event_head, event_tail;
	bool deny;
	struct tcp_listen_info listen;
	uint32_t held[VEC_HOLD_MAX]; // queue entries taken away
	unsigned held_count;
	bool blocks_held;
	// the script
	bool v6;
	uint32_t isn, ts;
	const char *file, *name;
	unsigned line;
	char failed[256];
};

void vec_fail(struct vec *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

// host.c
void vec_host_start(struct vec *v);
void vec_host_stop(struct vec *v); // checks that all buffers came back
// Turns until nothing is left to do at this instant.
void vec_settle(struct vec *v);
void vec_advance(struct vec *v, uint32_t ms);
uint64_t vec_now_ms(const struct vec *v);
// Takes a frame; the stack's buffer is made of it.
void vec_frame_in(struct vec *v, const uint8_t *data, uint32_t len);

// frame.c
#define VEC_FRAME_MAX (VEC_PAYLOAD_MAX + 128)
uint8_t vec_pattern(uint32_t off); // byte of a stream at an offset
uint32_t vec_frame_build(const struct vec *v, const struct vec_seg *seg, uint8_t *out);
uint32_t vec_icmp_build(
	const struct vec *v,
	const struct vec_seg *quoted,
	const char *kind,
	unsigned arg,
	uint8_t *out
);
// What the stack sent: TCP goes to the out queue, ARP and ND are answered.
void vec_frame_out(struct vec *v, const uint8_t *data, uint32_t len);
struct vec_flow *vec_flow_of(struct vec *v, uint16_t peer_port, uint16_t local_port);

// app.c
extern const struct tcp_ops vec_tcp_ops;
void vec_app(struct vec *v, char **word, unsigned n);
void vec_event(struct vec *v, char **word, unsigned n);
void vec_state(struct vec *v, const char *want);
// As if other connections held n queue entries.
void vec_hold(struct vec *v, unsigned n);
void vec_hold_blocks(struct vec *v); // all of those for loss recovery

// segment.c: the statements about segments
bool vec_seg_parse(struct vec *v, char **word, unsigned n, struct vec_seg *ret);
void vec_in(struct vec *v, char **word, unsigned n);
void vec_out(struct vec *v, char **word, unsigned n);
void vec_icmp(struct vec *v, char **word, unsigned n);

// script.c: 0, or the number of vectors that failed
unsigned vec_file_run(const char *path, struct vec *v, const char *only, unsigned *ret_run);
uint32_t vec_number(struct vec *v, const char *text);
