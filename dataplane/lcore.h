// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A worker on its lcore: the endless loop around worker_turn, with clock, idle sleep and generation
// swap.

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/abi/blob.h"
#include "common/abi/ring.h"
#include "dataplane/worker.h"

enum lcore_phase {
	LCORE_RUN,
	LCORE_DRAIN, // no new sessions, idle ones end with 421
	LCORE_STOP,  // what is left is reset
};

// What a worker takes as one: a configuration and the credentials that it names.
struct lcore_generation {
	const struct blob_header *blob;
	const struct tls_set *tls; // NULL: it needs none
};

struct lcore {
	struct worker worker;
	struct turn_meter meter;               // of mailrace-dataplane-cycles
	struct lcore_generation generation[2]; // main: w, one while the lcore may read the other
	const struct lcore_generation *_Atomic next;     // main: w, lcore: r
	const struct lcore_generation *taken;            // this lcore: rw
	const struct tls_set *leaving;                   // likewise: given back little by little
	struct tls_engine *engine;                       // of the worker; NULL: no TLS
	const struct ticket_keys *_Atomic tickets;       // main: w, lcore: r
	const struct ticket_keys *_Atomic tickets_taken; // lcore: w, main: r
	uint32_t *others_active;                         // [backend slots], this lcore: rw
	const struct shm_backend_local **others;         // [count - 1] blocks of the other workers
	uint32_t backend_slots;
	uint64_t others_ns;
	struct ctl_ring *commands, *events; // from and to control
	const struct shm_port *ports;       // worker 0: where main says which links are up
	uint64_t links_ns;
	bool link_down[PORT_MAX]; // when last looked at
	bool idle_sleep;
	bool draining;
	_Atomic enum lcore_phase *phase; // main: w, lcore: r
};

// Runs until LCORE_STOP; the argument is a struct lcore. On its lcore.
int lcore_run(void *arg);
// Monotonic nanoseconds.
uint64_t lcore_clock_ns(void);
