// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Leases of connections: of each backend one count that all workers share, from which a worker
// takes a few at a time and to which it gives back what it does not use. A worker never opens a
// connection without one, so the workers together never have more open than the limit. Worker
// thread, lb_leases_new and _free main; the only state of the choice that workers share.

#include "dataplane/lb/lb_types.h"

#include <stdlib.h>

#define BATCH_MAX 64U
#define BATCHES_A_WORKER 8U // the smaller a limit, the fewer a worker may keep unused
#define TAKE_TRIES 16
#define SWEEP_NS 16000000ULL
#define SWEEP_SLOTS 1024U

struct lb_leases *lb_leases_new(uint32_t slots)
{
	size_t bytes = sizeof(struct lb_leases) + slots * sizeof(struct lb_lease);
	struct lb_leases *leases = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (leases == NULL)
		return NULL;
	*leases = (struct lb_leases){.slots = slots};
	for (uint32_t i = 0; i < slots; i++)
		leases->slot[i].used = 0;
	return leases;
}

void lb_leases_free(struct lb_leases *leases)
{
	free(leases);
}

uint32_t lb_leases_used(const struct lb_leases *leases, uint32_t slot)
{
	return __atomic_load_n(&leases->slot[slot].used, __ATOMIC_RELAXED);
}

uint32_t lb_leases_held(const struct lb *lb, uint32_t slot)
{
	return lb->slot[slot].held;
}

bool lease_is_there(const struct lb *lb, const struct lb_view *view, const struct blob_backend *b)
{
	uint32_t used;

	if (b->max_connections == 0)
		return true; // what other workers write is not even looked at
	used = lb_leases_used(lb->leases, b->slot);
	// a limit that was lowered: nobody opens more before enough have closed
	return lb->slot[b->slot].held > view->local[b->slot].active ? used <= b->max_connections
								    : used < b->max_connections;
}

static uint32_t batch_for(const struct lb_view *view, const struct blob_backend *b)
{
	uint32_t workers = view->workers > 0 ? view->workers : 1;
	uint32_t n = b->max_connections / (BATCHES_A_WORKER * workers);

	if (b->max_connections == 0 || n > BATCH_MAX)
		return BATCH_MAX;
	return n > 0 ? n : 1;
}

bool lease_take(struct lb *lb, const struct lb_view *view, const struct blob_backend *b)
{
	struct lb_slot *slot = &lb->slot[b->slot];
	uint32_t *used = &lb->leases->slot[b->slot].used;
	uint32_t limit = b->max_connections != 0 ? b->max_connections : UINT32_MAX;
	bool spare = slot->held > view->local[b->slot].active;
	uint32_t now;

	if (spare && b->max_connections == 0)
		return true;
	now = __atomic_load_n(used, __ATOMIC_RELAXED);
	if (spare)
		return now <= limit;
	for (unsigned i = 0; i < TAKE_TRIES && now < limit; i++) {
		uint32_t n = batch_for(view, b);

		if (n > limit - now)
			n = limit - now;
		if (__atomic_compare_exchange_n(
			    used, &now, now + n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED
		    )) {
			slot->held += n;
			return true;
		}
	}
	return false;
}

void lb_leases_settle(struct lb *lb, const struct shm_backend_local *local, uint64_t now_ns)
{
	if (now_ns - lb->sweep_ns < SWEEP_NS)
		return;
	lb->sweep_ns = now_ns;
	for (uint32_t i = 0; i < SWEEP_SLOTS && i < lb->slots; i++) {
		struct lb_slot *slot = &lb->slot[lb->sweep];
		uint32_t spare = slot->held > 0 ? slot->held - local[lb->sweep].active : 0;

		if (spare > 0) {
			slot->held -= spare;
			__atomic_fetch_sub(
				&lb->leases->slot[lb->sweep].used, spare, __ATOMIC_RELAXED
			);
		}
		lb->sweep = (lb->sweep + 1) % lb->slots;
	}
}
