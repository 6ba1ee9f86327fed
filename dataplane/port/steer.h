// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Steering rings: one single-producer single-consumer ring from each worker to each other one, for
// frames that arrived on the wrong queue and for neighbor requests to worker 0. Made at start;
// enqueue and dequeue by the two workers only.

#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rte_mbuf;
struct rte_ring;

#define STEER_SLOTS 1024 // frames in flight from one worker to another

struct steer_elem {
	struct rte_mbuf *m;
	uint8_t port, what; // enum net_steer
	uint8_t reserved[6];
};

struct rte_ring *steer_ring_new(void);                                // NULL + errno
void steer_ring_free(struct rte_ring *ring);                          // frees frames still in it
bool steer_put(struct rte_ring *ring, const struct steer_elem *elem); // false: full
unsigned steer_get_burst(struct rte_ring *ring, struct steer_elem *elems, unsigned n);
