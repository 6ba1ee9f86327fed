// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// DPDK ports: EAL from the configuration, packet pools, queues, and the burst functions of each
// worker. Main thread, except the bursts.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/shm_layout.h"
#include "config/cfg.h"
#include "dataplane/port/port.h"

struct rte_mempool;

struct port_pools {
	struct rte_mempool *pool;       // received frames, ARP, ND
	struct rte_mempool *small_pool; // headers and small payload
	struct rte_mempool *ref_pool;   // references into bodies
};

// Starts EAL with one lcore a worker besides the main one. 0, or -errno and a text in ret_reason.
int port_eal_init(const struct cfg *cfg, const char **ret_reason);
// A thread beside the workers, on the CPUs that none of them has (if there are any: else on the
// main thread's). 0 or -errno.
struct port_thread {
	uint64_t id;
};
int port_thread_start(
	struct port_thread *ret,
	const char *name,
	uint32_t (*run)(void *arg),
	void *arg
);
void port_thread_join(struct port_thread thread);
// Pools for all workers. Here it is settled how many queues each port will have.
int port_pools_init(const struct cfg *cfg, struct port_pools *ret, const char **ret_reason);
// Buffers that ports, pool caches and rings may keep: connections must leave them, else receiving
// stops. After port_pools_init.
uint32_t port_buffers_reserved(const struct cfg *cfg);
// Names, links and counters of all ports (main thread). True: a link came up since the last call.
bool port_publish(const struct cfg *cfg, struct shm_port *out, struct shm_port_link *ret_links);
// Buffers of all pools: all, and those in use now (main thread, costs microseconds).
void port_pools_count(const struct port_pools *pools, uint32_t *ret_total, uint32_t *ret_in_use);
struct port_start_args {
	const struct cfg *cfg;
	const struct port_pools *pools;
	const uint8_t *rss_key; // of 40 octets: that of the owner of each tuple
};
// Configures and starts every port of the configuration: info[] in their order.
int port_start(
	const struct port_start_args *args,
	struct port_info info[PORT_MAX],
	const char **ret_reason
);
void port_stop(const struct cfg *cfg);

// Burst functions; dev is the worker's struct port_dpdk.
struct port_dpdk {
	uint16_t worker;
};
extern const struct port_ops port_dpdk_ops;
