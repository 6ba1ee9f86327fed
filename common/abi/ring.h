// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A ring of control messages in shared memory: one producer, one consumer, in two processes. The
// indices are masked by a constant and messages are copied, so a hostile or dying peer can neither
// lead an access out of the ring nor change a message that is being looked at. An element half
// written by a process that died is never seen: the index moves after it.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/ctl_msg.h"

struct ctl_ring {
	_Alignas(64) uint32_t tail; // producer: rw, consumer: ro; free running
	_Alignas(64) uint32_t head; // consumer: rw, producer: ro; free running
	_Alignas(64) struct ctl_msg msg[CTL_RING_SLOTS];
};
static_assert((CTL_RING_SLOTS & (CTL_RING_SLOTS - 1)) == 0, "masked");

enum ctl_ring_result {
	CTL_RING_EMPTY,
	CTL_RING_MSG,
	CTL_RING_BAD, // indices that cannot be: what was there is given up, the ring works again
};

// False when the ring is full.
bool ctl_ring_put(struct ctl_ring *ring, const struct ctl_msg *msg);
enum ctl_ring_result ctl_ring_get(struct ctl_ring *ring, struct ctl_msg *ret);
