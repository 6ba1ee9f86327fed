// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Steering rings on rte_ring in ordinary memory: no EAL names, so that the simulator can have any
// number of them.

#include "dataplane/port/steer.h"

#include <rte_mbuf.h>
#include <rte_ring_elem.h>

#include <errno.h>
#include <stdlib.h>

struct rte_ring *steer_ring_new(void)
{
	ssize_t size = rte_ring_get_memsize_elem(sizeof(struct steer_elem), STEER_SLOTS);
	struct rte_ring *ring = aligned_alloc(
		RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL((size_t)size, RTE_CACHE_LINE_SIZE)
	);

	if (ring == NULL)
		return NULL;
	if (rte_ring_init(ring, "steer", STEER_SLOTS, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
		free(ring);
		errno = EINVAL;
		return NULL;
	}
	return ring;
}

void steer_ring_free(struct rte_ring *ring)
{
	struct steer_elem elem;

	if (ring == NULL)
		return;
	while (steer_get_burst(ring, &elem, 1) == 1)
		rte_pktmbuf_free(elem.m);
	free(ring);
}

bool steer_put(struct rte_ring *ring, const struct steer_elem *elem)
{
	return rte_ring_sp_enqueue_elem(ring, (void *)(uintptr_t)elem, sizeof(*elem)) == 0;
}

unsigned steer_get_burst(struct rte_ring *ring, struct steer_elem *elems, unsigned n)
{
	return rte_ring_sc_dequeue_burst_elem(ring, elems, sizeof(*elems), n, NULL);
}
