// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Queues and owners of one port. Each (port, queue) has one owner, the only worker that receives
// and sends on it; a worker without a queue hands its frames to an owner over a ring of one
// producer and one consumer, in order, and the owner sends them once a turn. A full ring takes no
// more: its worker keeps the rest. The same for DPDK's ports and the simulator's.

#pragma once

#include <stdint.h>

struct rte_mbuf;
struct share;

#define SHARE_RETA_SIZE 128  // of NICs' redirection tables, or a multiple of it
#define SHARE_RING_SLOTS 512 // frames of one worker under way to an owner
#define SHARE_BURST 32
#define SHARE_HELD_MAX (SHARE_RING_SLOTS + SHARE_BURST)

// Sends on a queue of the port: takes the first `return value` frames.
typedef uint16_t (*share_send)(void *up, uint16_t queue, struct rte_mbuf **pkts, uint16_t n);

// Worker that owns the tuples of a slot of the redirection table, whatever queues a port has.
static inline uint16_t share_slot_owner(unsigned slot, uint16_t workers)
{
	return (uint16_t)(slot % SHARE_RETA_SIZE % workers);
}

// Queues <= workers; first: the worker that owns queue 0, the next ones following. NULL + errno.
// Main thread, before the workers start.
struct share *share_new(uint16_t workers, uint16_t queues, uint16_t first);
void share_free(struct share *share); // and the frames in its rings
uint16_t share_queues(const struct share *share);
// Queue that this worker owns, or -1.
int share_own_queue(const struct share *share, uint16_t worker);
// Queue on which this worker's frames leave: its own, or that of the owner it hands them to.
uint16_t share_tx_queue(const struct share *share, uint16_t worker);
// Any worker: sends on its own queue or hands over. Takes the first `return value` frames.
uint16_t share_tx(
	struct share *share,
	uint16_t worker,
	struct rte_mbuf **pkts,
	uint16_t n,
	share_send send,
	void *up
);
// An owner, once a turn: sends what was handed to it. Returns the number of frames sent.
uint16_t share_run(struct share *share, uint16_t worker, share_send send, void *up);
