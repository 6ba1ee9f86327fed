// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// EAL, packet buffers and the one port of the generator. Main thread; no other part of it knows
// EAL.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/port/port.h"

struct options;
struct rte_mempool;

struct port {
	uint16_t id;
	struct port_info info;
	struct rte_mempool *pool, *small_pool, *ref_pool;
	double ns_per_cycle;
};

// False: told on stderr.
bool port_open(struct port *port, const struct options *opt, char *program);
// Waits for the other side; false after so many seconds.
bool port_wait(const struct port *port, unsigned seconds);
void port_close(struct port *port);
uint64_t port_now_ns(const struct port *port);
extern const struct port_ops bench_port_ops; // dev: struct port
