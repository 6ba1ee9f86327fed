// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dataplane process as a whole: what its modules set up in order and take down in reverse. Main
// thread.

#pragma once

#include "common/hash.h"
#include "config/certs.h"
#include "config/cfg.h"
#include "dataplane/credentials.h"
#include "dataplane/ctl/keep.h"
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
	struct rte_ring **ring;         // [from * workers + to]
	struct rte_ring **in;           // [to * workers + from]
	struct lcore *lcore;            // [workers]
	struct helper_threads *helpers; // helpers.c; NULL: none
	struct lb_leases *leases;
	struct blob_header *blob, *old_blob;
	struct certs *certs; // of cfg, with their keys until they are handed out
	struct credentials *credentials, *old_credentials; // NULL: no TLS
	char credentials_reason[192];                      // why the last ones were refused
	struct tickets *tickets;                           // NULL: no TLS yet
	uint64_t generation;
	unsigned handed_out;                  // generations, to the workers
	uint64_t ports_ns;                    // last looked at
	uint8_t conflict_told[SHM_CONFLICTS]; // state that the log knows
	uint64_t refused_ns;                  // a generation of control, told last
	_Atomic enum lcore_phase phase;
	struct keep keep;
	char *state_dir;          // NULL: the configuration's
	char *text;               // of the file at start, until it is kept
	uint64_t kept_generation; // last one that was to be written
	bool last_good;           // started with what was kept
	bool reload_wanted;       // SIGHUP came while the generation before was being taken over
	const char *reason;       // of a failed start
};

// workers.c: the workers' memory, rings and layers.
int workers_init(struct dataplane *dp);
void workers_fini(struct dataplane *dp);
// helpers.c: TLS engines of the workers, and the threads behind them.
int engines_init(struct dataplane *dp);
void engines_fini(struct dataplane *dp); // no worker, no credentials are left
// Sends what stopped workers had handed to each other, their last resets among it.
void workers_flush(struct dataplane *dp);
// generation.c. 0, -EBUSY while the generation before is still being taken over, or -errno and a
// reason (the file's own errors: in errs).
int generation_from_file(
	struct dataplane *dp,
	const struct cfg *cfg,
	const struct certs *certs,
	struct cfg_errors *errs,
	const char **ret_reason
);
// The first len bytes of the arena, which control may go on changing, and the credentials as
// control handed them over, fd -1: none.
int generation_from_control(
	struct dataplane *dp,
	const uint8_t *arena,
	uint32_t len,
	int creds_fd,
	const char **ret_reason
);
// A blob not checked yet, which it takes over, and the credentials it needs; they stay the
// caller's.
int generation_install(
	struct dataplane *dp,
	void *blob,
	size_t len,
	const struct bundle *bundle,
	const char **ret_reason
);
// Frees the generation before once all workers have passed.
void generation_reap(struct dataplane *dp);
// tickets.c: how tickets are made, as the credentials that come into force say; what falls due, now
// and then. No engine, no tickets.
void tickets_configure(struct dataplane *dp, const struct creds_tickets *config);
void tickets_run(struct dataplane *dp);
void tickets_stop(struct dataplane *dp);
// conflicts.c: logs what has changed about addresses of ours that others have.
void conflicts_log(struct dataplane *dp);
// state.c: what is kept over restarts. The file has been refused: gets the configuration of its
// last good start. False: there is none.
bool state_recover(struct dataplane *dp, const char *file, struct cfg_errors *errs);
int state_generation(struct dataplane *dp); // then, the last good generation
int state_start(struct dataplane *dp);      // before another user is taken; never fails
void state_run(struct dataplane *dp);       // now and then
void state_stop(struct dataplane *dp);
// Copies control's view of health into the statistics.
void health_publish(struct dataplane *dp);
