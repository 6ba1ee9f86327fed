// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Queues and owners of a port, and the rings by which workers without a queue hand their frames to
// an owner. Worker threads but for new and free; never allocates after start, never blocks.

#include "dataplane/port/share.h"

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_A_TURN 4 // bursts of one worker's frames

struct hand {
	struct rte_ring *ring; // NULL: this worker has a queue of its own
	// the owner's: taken from the ring, not taken by the port yet
	struct rte_mbuf *held[SHARE_BURST];
	uint16_t held_count;
};

struct share {
	uint16_t workers, queues, first;
	struct hand hand[]; // [workers], by the worker that hands over
};

static struct rte_ring *ring_new(void)
{
	size_t size =
		RTE_ALIGN_CEIL((size_t)rte_ring_get_memsize(SHARE_RING_SLOTS), RTE_CACHE_LINE_SIZE);
	struct rte_ring *ring = aligned_alloc(RTE_CACHE_LINE_SIZE, size);

	if (ring == NULL)
		return NULL;
	if (rte_ring_init(ring, "share", SHARE_RING_SLOTS, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
		free(ring);
		return NULL;
	}
	return ring;
}

// Position of a worker, counted from the one that owns queue 0.
static uint16_t rank_of(const struct share *share, uint16_t worker)
{
	return (uint16_t)((worker + share->workers - share->first) % share->workers);
}

struct share *share_new(uint16_t workers, uint16_t queues, uint16_t first)
{
	struct share *share;

	if (queues == 0 || queues > workers || first >= workers) {
		errno = EINVAL;
		return NULL;
	}
	share = calloc(1, sizeof(*share) + workers * sizeof(share->hand[0]));
	if (share == NULL)
		return NULL;
	share->workers = workers;
	share->queues = queues;
	share->first = first;
	for (uint16_t w = 0; w < workers; w++) {
		if (rank_of(share, w) < queues)
			continue;
		share->hand[w].ring = ring_new();
		if (share->hand[w].ring == NULL) {
			share_free(share);
			errno = ENOMEM;
			return NULL;
		}
	}
	return share;
}

void share_free(struct share *share)
{
	if (share == NULL)
		return;
	for (uint16_t w = 0; w < share->workers; w++) {
		struct hand *h = &share->hand[w];
		void *m;

		for (unsigned i = 0; i < h->held_count; i++)
			rte_pktmbuf_free(h->held[i]);
		while (h->ring != NULL && rte_ring_sc_dequeue(h->ring, &m) == 0)
			rte_pktmbuf_free(m);
		free(h->ring);
	}
	free(share);
}

uint16_t share_queues(const struct share *share)
{
	return share->queues;
}

int share_own_queue(const struct share *share, uint16_t worker)
{
	uint16_t rank = rank_of(share, worker);

	return rank < share->queues ? rank : -1;
}

uint16_t share_tx_queue(const struct share *share, uint16_t worker)
{
	return rank_of(share, worker) % share->queues;
}

uint16_t share_tx(
	struct share *share,
	uint16_t worker,
	struct rte_mbuf **pkts,
	uint16_t n,
	share_send send,
	void *up
)
{
	struct hand *h = &share->hand[worker];

	if (h->ring == NULL)
		return send(up, share_tx_queue(share, worker), pkts, n);
	return (uint16_t)rte_ring_sp_enqueue_burst(h->ring, (void *const *)pkts, n, NULL);
}

static uint16_t hand_run(struct hand *h, uint16_t queue, share_send send, void *up)
{
	uint16_t total = 0;

	for (unsigned round = 0; round < ROUNDS_A_TURN; round++) {
		uint16_t sent;

		if (h->held_count == 0)
			h->held_count = (uint16_t
			)rte_ring_sc_dequeue_burst(h->ring, (void **)h->held, SHARE_BURST, NULL);
		if (h->held_count == 0)
			break;
		sent = send(up, queue, h->held, h->held_count);
		h->held_count -= sent;
		memmove(h->held, h->held + sent, h->held_count * sizeof(h->held[0]));
		total += sent;
		if (h->held_count > 0)
			break; // the port takes no more now
	}
	return total;
}

uint16_t share_run(struct share *share, uint16_t worker, share_send send, void *up)
{
	uint16_t queue = rank_of(share, worker);
	uint16_t total = 0;

	if (queue >= share->queues)
		return 0;
	for (unsigned rank = queue + share->queues; rank < share->workers; rank += share->queues) {
		unsigned from = (rank + share->first) % share->workers;

		total += hand_run(&share->hand[from], queue, send, up);
	}
	return total;
}
