// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A worker: everything one lcore owns, and its turn. turn.c (pure, also run by the simulator with M
// virtual workers in one thread) runs the stages; lcore.c holds the loop with clock, idle
// sleep and generation swap.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/env.h"
#include "dataplane/net/net.h"
#include "dataplane/proxy/relay.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/turn_meter.h"
#include "dataplane/watch/watch.h"

struct rte_ring;

struct worker {
	struct worker_env env;
	struct net *net;
	struct tcp_stack *tcp;
	struct relay *relay;
	struct watch *watch;
	bool watched; // a capture is armed
	const struct port_ops *port_ops;
	void *port_dev;
	uint8_t port_count;
	struct rte_ring *
		*steer_out; // [count], to each other worker (own entry NULL), see port/steer.h
	struct rte_ring **steer_in; // [count], from each other worker
	struct shm_worker *shm;
	struct turn_meter *meter; // NULL: nobody counts cycles
	bool (*event)(void *up, const struct ctl_msg *msg);
	void *up;
};

// Memory pools, limits and secrets of one worker, from which worker_init makes its layers (net,
// tcp, relay) in order.
struct worker_config {
	uint16_t id, count;
	uint64_t rng_seed;
	uint64_t now_ns;
	uint64_t *stats;
	struct net_shared *net_shared;
	struct rte_mempool *pool, *small_pool, *ref_pool;
	const struct port_ops *port_ops;
	void *port_dev;
	uint8_t port_count;
	uint32_t port_flags;
	uint32_t max_sessions; // of this worker
	uint32_t max_conns;    // PCBs: two a session, and room for those that only finish
	uint32_t max_minis, max_slices;
	struct hash_key flow_key, isn_key;
	struct hash_key client_key; // the same for all workers
	struct relay_shm shm;
	struct tls_engine *tls; // NULL: none
	uint32_t max_tls;       // see relay.h
	uint32_t max_named;     // likewise
	bool (*event)(void *up, const struct ctl_msg *msg);
	void *up;
	struct rte_ring **steer_out, **steer_in;
	struct shm_conflict *conflicts;    // of addresses, see net.h
	struct capture_ring *capture_ring; // NULL: no captures
};

int worker_init(
	struct worker *worker,
	const struct worker_config *config
); // 0 or -errno, nothing half-made
void worker_fini(struct worker *worker);

// Memory reserved for sessions (T7).
size_t worker_session_bytes(const struct worker *worker);

// commands.c: a command of control, between two turns.
void worker_command(struct worker *worker, const struct ctl_msg *msg);
void worker_echo(void *up, const struct net_echo *echo); // net_ops
// turn.c: captures have begun or ended.
void worker_watch_apply(struct worker *worker);
// One turn at env.now_ns. Returns the amount of work done, 0 when idle.
unsigned worker_turn(struct worker *worker);
// Milliseconds until a timer may be due, at most limit_ms.
uint32_t worker_next_timer_ms(const struct worker *worker, uint32_t limit_ms);
