// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Control messages between two processes, see ring.h. One thread on each side; never blocks.

#include "common/abi/ring.h"

#define MASK (CTL_RING_SLOTS - 1U)

bool ctl_ring_put(struct ctl_ring *ring, const struct ctl_msg *msg)
{
	uint32_t tail = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED);
	uint32_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);

	if (tail - head >= CTL_RING_SLOTS)
		return false;
	ring->msg[tail & MASK] = *msg;
	__atomic_store_n(&ring->tail, tail + 1, __ATOMIC_RELEASE);
	return true;
}

enum ctl_ring_result ctl_ring_get(struct ctl_ring *ring, struct ctl_msg *ret)
{
	uint32_t head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);
	uint32_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);

	if (tail == head)
		return CTL_RING_EMPTY;
	if (tail - head > CTL_RING_SLOTS) {
		__atomic_store_n(&ring->head, tail, __ATOMIC_RELEASE);
		return CTL_RING_BAD;
	}
	*ret = ring->msg[head & MASK];
	__atomic_store_n(&ring->head, head + 1, __ATOMIC_RELEASE);
	return CTL_RING_MSG;
}
