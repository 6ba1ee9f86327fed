// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The deterministic simulator: hosts with Mailrace's own network and TCP library, a bad wire
// between them, virtual time. One process, one thread; everything random comes from the seed, so a
// seed replays. Nothing here reads a clock.

#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_mbuf.h>

#include "common/rng.h"
#include "dataplane/net/net.h"
#include "dataplane/port/share.h"
#include "dataplane/tcp/tcp.h"

#define SIM_HOSTS_MAX 24
#define SIM_QUEUE_MAX 4096
#define SIM_WORKERS_MAX 4
#define SIM_MS 1000000ULL
#define SIM_CLIENTS_MAX 64
#define SIM_MESSAGES_MAX 4

struct sim;
struct sim_port;

struct sim_frame {
	uint64_t at_ns;
	uint64_t order; // ties are broken by the order of sending
	uint32_t len;
	uint16_t host;
	uint16_t queue;
	uint8_t data[1600];
};

struct sim_wire {
	uint32_t loss_ppm, dup_ppm, corrupt_ppm, truncate_ppm;
	uint32_t delay_us, jitter_us; // jitter reorders
};

// A host: one worker of net + TCP and an application, or (the box) M workers of the product.
struct sim_host {
	struct sim *sim;
	uint16_t id;
	uint16_t workers;
	struct share *share; // of the queues that its port has: often fewer
	struct ip_prefix addr4, addr6;
	struct net_shared *shared;
	struct rte_mbuf *rx[SIM_WORKERS_MAX][SIM_QUEUE_MAX];
	unsigned rx_head[SIM_WORKERS_MAX], rx_tail[SIM_WORKERS_MAX];
	// plain hosts
	struct worker_env env;
	uint64_t stats[STAT_COUNT];
	struct net *net;
	struct tcp_stack *tcp;
	struct sim_port *dev;
	void *app;
	// one turn at sim->now_ns for all workers; returns work done
	unsigned (*turn)(struct sim_host *host);
	uint32_t (*next_ms)(struct sim_host *host, uint32_t limit_ms);
	void (*check)(struct sim_host *host);
	void (*app_turn)(struct sim_host *host);
	uint32_t (*app_next_ms)(struct sim_host *host, uint32_t limit_ms);
	void *app_arg; // of these two, where app is another's
};

struct sim {
	uint64_t seed;
	uint64_t now_ns;
	uint64_t end_ns; // liveness bound
	struct rng rng;  // scenario and wire
	struct sim_wire wire;
	struct sim_host *host[SIM_HOSTS_MAX];
	unsigned host_count;
	struct sim_frame **heap; // by (at_ns, order)
	unsigned heap_count, heap_size;
	uint64_t order;
	bool stalled;  // a port took less than it was given: frames wait
	uint64_t hash; // of all frames with their times
	uint64_t frames;
	uint64_t lost; // frames, by chance
	bool trace;
	FILE *pcap;         // NULL: none
	const char *failed; // first broken oracle
	char detail[256];
	struct rte_mempool *pool, *small_pool, *ref_pool;
};

// host.c
void sim_fail(struct sim *sim, const char *what, uint64_t a, uint64_t b);
// Runs until `done` says so and the wire is empty, or the bound is reached.
void sim_run(struct sim *sim, bool (*done)(void *arg), void *arg);

// wire.c
extern const struct port_ops sim_port_ops; // dev: struct sim_port
struct sim_port {
	struct sim_host *host;
	uint16_t worker;
};
void sim_host_mac(uint16_t id, uint8_t mac[6]);
bool sim_wire_deliver(struct sim *sim);        // frames that are due; false: none were
uint64_t sim_wire_next(const struct sim *sim); // UINT64_MAX: none on the way
void sim_wire_pcap_start(FILE *out);
void sim_wire_clear(struct sim *sim);

struct sim_host *sim_host_new(struct sim *sim, uint16_t workers);
// A plain host: net and TCP with an application behind ops.
void sim_host_plain(struct sim_host *host, const struct tcp_ops *ops, void *app);
// For hosts that only connect.
bool sim_no_syn(
	void *app,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	struct tcp_listen_info *ret
);
uint32_t sim_no_accept(void *app, struct tcp_conn_id conn, uint32_t cookie);
void sim_host_free(struct sim_host *host);
void sim_host_port_config(const struct sim_host *host, struct net_port_config *ret);

// message.c: bodies that both ends can make again from the identity alone
uint32_t message_size(uint64_t seed, unsigned client, unsigned message);
// All messages of this size (about) from here on; 0: sizes are drawn again.
void message_size_fix(uint32_t bytes);
// Bytes of the message as stored (dots not stuffed), with CRLF line ends; ends with CRLF. buf holds
// MESSAGE_MAX.
#define MESSAGE_MAX (512U << 10)
uint32_t message_make(uint64_t seed, unsigned client, unsigned message, uint8_t *buf);
// The same as a careless client sends it: some line ends are a bare LF or CR. What a relay that
// repairs them makes of it is message_make's again. Returns the length.
uint32_t message_careless(const uint8_t *in, uint32_t len, uint8_t *out);
// Is a stored body that message, whole?
bool message_is(
	uint64_t seed,
	unsigned client,
	unsigned message,
	const uint8_t *body,
	uint32_t len
);
// The octets of a body as a client sends them after DATA: dots stuffed and the final dot. out holds
// 2 x MESSAGE_MAX.
uint32_t
message_wire(uint64_t seed, unsigned client, unsigned message, bool is_careless, uint8_t *out);
// The end of a line of a body as it comes, CRLF included: takes the stuffed dot out. True: it was
// the body's end, and is gone from it.
bool message_line_end(uint8_t *body, uint32_t *len);
// BDAT commands and their octets, in equal parts, at most ten; out holds MESSAGE_MAX + 640.
uint32_t
message_chunks(uint64_t seed, unsigned client, unsigned message, unsigned count, uint8_t *out);
