// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The product in the simulator: M virtual workers with their own steering rings, run by
// worker_turn, behind one port whose frames arrive at any worker.

#pragma once

#include "common/abi/blob.h"
#include "dataplane/worker.h"
#include "tests/sim/sim.h"

#define BOX_SLOTS 32

struct box_limits {
	uint32_t max_sessions, max_conns, max_slices;
	uint32_t max_tls; // 0: no TLS
};

struct box;
struct box *box_new(struct sim *sim, struct sim_host *host, const struct box_limits *limits);
void box_free(struct box *box);
// A command of control to a worker (worker modulo the number of workers).
void box_command(struct box *box, unsigned worker, const struct ctl_msg *msg);
// Where the workers' events go; until then they are lost.
void box_event_set(struct box *box, bool (*event)(void *up, const struct ctl_msg *msg), void *up);
void box_generation(struct box *box, const struct blob_header *blob);
// One worker alone takes it over; false: there is no such worker.
bool box_generation_take(struct box *box, unsigned worker, const struct blob_header *blob);
void box_dump(const struct box *box);
void box_stop(struct box *box);       // as the process does at its end
bool box_idle(const struct box *box); // no session, connection, slice
// Sessions and legs that the statistics still show open.
uint64_t box_load(const struct box *box);
uint64_t box_stat(const struct box *box, enum stat_id stat);
struct shm_backend_signals box_signals(const struct box *box, uint32_t slot); // of all workers
// Limits of the backends' connections, by slot: what all workers together have open never grows
// beyond them (0: none). Set with the generation.
void box_limit_set(struct box *box, uint32_t slot, uint32_t limit);
struct shm_backend_ctl *box_backend_ctl(struct box *box);
struct capture_ring *box_capture(struct box *box, unsigned worker); // likewise
