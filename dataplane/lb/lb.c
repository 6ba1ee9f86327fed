// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Choice of a backend: smooth weighted round robin, and weighted least connections by two weighted
// random choices. What control wrote is clamped, never trusted. Worker thread; no I/O, no time but
// what is passed in.

#include "dataplane/lb/lb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LB_FAIL_LIMIT 3
#define LB_AVOID_FIRST_NS 1000000000ULL
#define LB_AVOID_MAX_NS 30000000000ULL

struct lb_slot {
	int64_t current; // smooth round robin's running weight
	uint64_t avoid_until_ns;
	uint32_t failures; // in a row
	uint16_t changes;  // of health, as control told last
};

struct lb {
	struct rng *rng;
	uint32_t slots;
	struct lb_slot slot[];
};

struct lb *lb_new(uint32_t slots, struct rng *rng)
{
	struct lb *lb = calloc(1, sizeof(*lb) + slots * sizeof(struct lb_slot));

	if (lb == NULL)
		return NULL;
	lb->rng = rng;
	lb->slots = slots;
	return lb;
}

void lb_free(struct lb *lb)
{
	free(lb);
}

void lb_generation(struct lb *lb, const struct blob_header *blob)
{
	for (uint32_t i = 0; i < lb->slots; i++)
		lb->slot[i].current = 0;
}

static uint64_t weight_of(const struct lb_view *view, const struct blob_backend *b)
{
	uint32_t permille = view->ctl[b->slot].weight_permille;

	if (permille == 0 || permille > 1000)
		permille = 1000;
	return (uint64_t)b->weight * permille;
}

static uint64_t load_of(const struct lb_view *view, const struct blob_backend *b)
{
	uint64_t others = view->others_active != NULL ? view->others_active[b->slot] : 0;

	return view->local[b->slot].active + others;
}

static bool usable(const struct lb_view *view, const struct blob_backend *b)
{
	const struct shm_backend_ctl *ctl = &view->ctl[b->slot];
	uint64_t limit = b->max_connections;

	if (b->slot >= view->slots || b->weight == 0 || b->admin != BLOB_ADMIN_ENABLED ||
	    ctl->admin == BLOB_ADMIN_DRAIN)
		return false;
	if (ctl->health == SHM_HEALTH_DOWN || ctl->health == SHM_HEALTH_MAINTENANCE)
		return false;
	// each worker may use its share, so that the sum never exceeds the limit by more than one a
	// worker
	return limit == 0 ||
	       view->local[b->slot].active < (limit + view->workers - 1) / view->workers;
}

static bool tried_before(const struct blob_backend *b, const uint32_t *tried, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (tried[i] == b->slot)
			return true;
	return false;
}

struct candidates {
	const struct blob_backend *first;
	uint32_t count;
	const uint32_t *tried;
	unsigned tried_count;
	bool avoid; // leave out slots that failed lately
};

static bool
eligible(const struct lb *lb, const struct lb_view *view, const struct candidates *c, uint32_t i)
{
	const struct blob_backend *b = &c->first[i];

	if (!usable(view, b) || tried_before(b, c->tried, c->tried_count))
		return false;
	return !c->avoid || lb->slot[b->slot].avoid_until_ns <= view->now_ns;
}

static uint32_t
pick_round_robin(struct lb *lb, const struct lb_view *view, const struct candidates *c)
{
	uint32_t best = UINT32_MAX;
	int64_t total = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		int64_t weight = (int64_t)weight_of(view, &c->first[i]);
		struct lb_slot *slot = &lb->slot[c->first[i].slot];

		if (!eligible(lb, view, c, i))
			continue;
		slot->current += weight;
		total += weight;
		if (best == UINT32_MAX || slot->current > lb->slot[c->first[best].slot].current)
			best = i;
	}
	if (best != UINT32_MAX)
		lb->slot[c->first[best].slot].current -= total;
	return best;
}

// A random eligible backend, by weight.
static uint32_t
draw(struct lb *lb, const struct lb_view *view, const struct candidates *c, uint64_t total)
{
	uint64_t at = rng_next(lb->rng) % total;

	for (uint32_t i = 0; i < c->count; i++) {
		uint64_t weight = weight_of(view, &c->first[i]);

		if (!eligible(lb, view, c, i))
			continue;
		if (at < weight)
			return i;
		at -= weight;
	}
	return UINT32_MAX;
}

static uint32_t pick_least(struct lb *lb, const struct lb_view *view, const struct candidates *c)
{
	uint64_t total = 0;
	uint32_t a, b;

	for (uint32_t i = 0; i < c->count; i++)
		if (eligible(lb, view, c, i))
			total += weight_of(view, &c->first[i]);
	if (total == 0)
		return UINT32_MAX;
	a = draw(lb, view, c, total);
	b = draw(lb, view, c, total);
	if (a == UINT32_MAX || b == UINT32_MAX) // control has changed something meanwhile
		return a != UINT32_MAX ? a : b;
	// (load + 1) / weight, compared crosswise
	if ((load_of(view, &c->first[b]) + 1) * weight_of(view, &c->first[a]) <
	    (load_of(view, &c->first[a]) + 1) * weight_of(view, &c->first[b]))
		return b;
	return a;
}

// A probe that found a backend up again ends the avoidance by our own failures.
static void health_follow(struct lb *lb, const struct lb_view *view, const struct candidates *c)
{
	for (uint32_t i = 0; i < c->count; i++) {
		uint32_t slot = c->first[i].slot;
		uint16_t changes = view->ctl[slot].changes;

		if (changes == lb->slot[slot].changes)
			continue;
		lb->slot[slot].changes = changes;
		if (view->ctl[slot].health == SHM_HEALTH_UP)
			lb_report_success(lb, slot);
	}
}

uint32_t
lb_pick(struct lb *lb,
	const struct lb_view *view,
	uint32_t pool,
	const uint32_t *tried,
	unsigned tried_count)
{
	const uint8_t *base = (const uint8_t *)view->blob;
	const struct blob_pool *p = (const struct blob_pool *)(base + view->blob->pools.off) + pool;
	struct candidates c = {
		.first = (const struct blob_backend *)(base + view->blob->backends.off) +
			 p->backends,
		.count = p->backend_count,
		.tried = tried,
		.tried_count = tried_count,
		.avoid = true,
	};

	health_follow(lb, view, &c);
	for (unsigned pass = 0; pass < 2; pass++) {
		uint32_t i = p->scheduler == BLOB_SCHED_WRR ? pick_round_robin(lb, view, &c)
							    : pick_least(lb, view, &c);

		if (i != UINT32_MAX)
			return p->backends + i;
		c.avoid = false; // rather one that failed lately than none
	}
	return UINT32_MAX;
}

void lb_report_failure(struct lb *lb, uint32_t slot, uint64_t now_ns)
{
	struct lb_slot *s = &lb->slot[slot];
	uint64_t avoid = LB_AVOID_FIRST_NS;

	if (++s->failures < LB_FAIL_LIMIT)
		return;
	for (uint32_t i = LB_FAIL_LIMIT; i < s->failures && avoid < LB_AVOID_MAX_NS; i++)
		avoid *= 2;
	s->avoid_until_ns = now_ns + (avoid < LB_AVOID_MAX_NS ? avoid : LB_AVOID_MAX_NS);
}

void lb_report_success(struct lb *lb, uint32_t slot)
{
	lb->slot[slot].failures = 0;
	lb->slot[slot].avoid_until_ns = 0;
}
