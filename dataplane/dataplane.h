// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dataplane process as a whole: what its modules set up in order and take down in reverse. Main
// thread.

#pragma once

#include "common/hash.h"
#include "config/cfg.h"
#include "dataplane/ctl/server.h"
#include "dataplane/ctl/shm.h"
#include "dataplane/lcore.h"
#include "dataplane/port/port_dpdk.h"

struct dataplane {
	struct cfg *cfg;
	struct cfg_slots *slots;
	struct server server;
	struct shm shm;
	struct port_pools pools;
	struct port_info info[PORT_MAX];
	uint8_t rss_key[HASH_TOEPLITZ_KEY_LEN]; // random a boot: the owner of each tuple
	struct net_shared *net_shared;
	struct port_dpdk queue[CFG_MAX_WORKERS];
	struct rte_ring **ring; // [from * workers + to]
	struct rte_ring **in;   // [to * workers + from]
	struct lcore *lcore;    // [workers]
	struct blob_header *blob, *old_blob;
	uint64_t generation;
	uint64_t ports_ns;      // last looked at
	unsigned announce_left; // looks until the addresses were announced often enough
	_Atomic enum lcore_phase phase;
	const char *reason; // of a failed start
};

// workers.c: the workers' memory, rings and layers.
int workers_init(struct dataplane *dp);
void workers_fini(struct dataplane *dp);
// Sends what stopped workers had handed to each other, their last resets among it.
void workers_flush(struct dataplane *dp);
// generation.c. 0, -EBUSY while the generation before is still being taken over, or -errno.
int generation_from_file(struct dataplane *dp, const struct cfg *cfg, struct cfg_errors *errs);
// The first len bytes of the arena, which control may go on changing.
int generation_from_control(
	struct dataplane *dp,
	const uint8_t *arena,
	uint32_t len,
	const char **ret_reason
);
// Frees the generation before once all workers have passed.
void generation_reap(struct dataplane *dp);
// Copies control's view of health into the statistics.
void health_publish(struct dataplane *dp);
