// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Choice of a backend: smooth weighted round robin, and weighted least connections by two weighted
// random choices. What control wrote is clamped, never trusted. Worker thread; no I/O, no time but
// what is passed in.

#include "dataplane/lb/lb_types.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LB_FAIL_LIMIT 3
#define LB_AVOID_FIRST_NS 1000000000ULL
#define LB_AVOID_MAX_NS 30000000000ULL
#define EPOCH_SHIFT 33     // of nanoseconds: 8.6 s
#define FRUITLESS_MIN 8    // ends of which something can be said
#define FRUITLESS_MARGIN 8 // an eighth more of them than the other's

struct lb *lb_new(uint32_t slots, struct lb_leases *leases, struct rng *rng)
{
	struct lb *lb = calloc(1, sizeof(*lb) + slots * sizeof(struct lb_slot));

	if (lb == NULL)
		return NULL;
	lb->rng = rng;
	lb->slots = slots;
	lb->leases_own = leases == NULL;
	lb->leases = leases != NULL ? leases : lb_leases_new(slots);
	if (lb->leases == NULL) {
		free(lb);
		return NULL;
	}
	return lb;
}

void lb_free(struct lb *lb)
{
	if (lb != NULL && lb->leases_own)
		lb_leases_free(lb->leases);
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

// Takes sessions by its configuration and by control's word.
static bool is_up(const struct lb_view *view, const struct blob_backend *b)
{
	const struct shm_backend_ctl *ctl;

	if (b->slot >= view->slots || b->weight == 0 || b->admin != BLOB_ADMIN_ENABLED)
		return false;
	ctl = &view->ctl[b->slot];
	return ctl->admin != BLOB_ADMIN_DRAIN && ctl->health != SHM_HEALTH_DOWN &&
	       ctl->health != SHM_HEALTH_MAINTENANCE && ctl->health != SHM_HEALTH_EJECTED;
}

// Numbers of the last epochs, as they are now.
static struct lb_slot *slot_now(struct lb *lb, uint32_t slot, uint64_t now_ns)
{
	struct lb_slot *s = &lb->slot[slot];
	uint32_t epoch = (uint32_t)(now_ns >> EPOCH_SHIFT);
	uint32_t passed = epoch - s->epoch;

	if (passed == 0)
		return s;
	if (passed > 31)
		passed = 31;
	s->epoch = epoch;
	s->picks >>= passed;
	s->ends >>= passed;
	s->fruitless >>= passed;
	return s;
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

static struct candidates candidates_of(
	const struct lb_view *view,
	uint32_t pool,
	const uint32_t *tried,
	unsigned tried_count
)
{
	const uint8_t *base = (const uint8_t *)view->blob;
	const struct blob_pool *p = (const struct blob_pool *)(base + view->blob->pools.off) + pool;

	return (struct candidates){
		.first = (const struct blob_backend *)(base + view->blob->backends.off) +
			 p->backends,
		.count = p->backend_count,
		.tried = tried,
		.tried_count = tried_count,
		.avoid = true,
	};
}

static bool
eligible(const struct lb *lb, const struct lb_view *view, const struct candidates *c, uint32_t i)
{
	const struct blob_backend *b = &c->first[i];

	if (!is_up(view, b) || tried_before(b, c->tried, c->tried_count))
		return false;
	if (c->avoid && lb->slot[b->slot].avoid_until_ns > view->now_ns)
		return false;
	return lease_is_there(lb, view, b);
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

// Fast-failure guard. Whoever refuses quickly has few connections open and would be given more and
// more: a backend that ends a larger part of its sessions without fruit than the other is given no
// more than its weight's share of the choices.
static bool gains_by_failing(
	struct lb *lb,
	const struct lb_view *view,
	const struct blob_backend *chosen,
	const struct blob_backend *other
)
{
	const struct lb_slot *c = slot_now(lb, chosen->slot, view->now_ns);
	const struct lb_slot *o = slot_now(lb, other->slot, view->now_ns);
	uint64_t mine = (uint64_t)c->fruitless * (o->ends + 1);
	uint64_t theirs = (uint64_t)o->fruitless * (c->ends + 1);
	uint64_t margin = (uint64_t)c->ends * (o->ends + 1) / FRUITLESS_MARGIN;

	if (c->ends < FRUITLESS_MIN || mine <= theirs + margin)
		return false;
	return c->picks * weight_of(view, other) >= o->picks * weight_of(view, chosen);
}

// (load + 1) / weight, compared crosswise: is b the lighter one?
static bool
is_lighter(const struct lb_view *view, const struct blob_backend *b, const struct blob_backend *a)
{
	return (load_of(view, b) + 1) * weight_of(view, a) <
	       (load_of(view, a) + 1) * weight_of(view, b);
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
	if (is_lighter(view, &c->first[b], &c->first[a])) {
		uint32_t lighter = b;

		b = a;
		a = lighter;
	}
	return a != b && gains_by_failing(lb, view, &c->first[a], &c->first[b]) ? b : a;
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

// A choice with its lease; UINT32_MAX: none.
static uint32_t pool_pick(
	struct lb *lb,
	const struct lb_view *view,
	const struct blob_pool *p,
	const struct candidates *c
)
{
	uint32_t i = p->scheduler == BLOB_SCHED_WRR ? pick_round_robin(lb, view, c)
						    : pick_least(lb, view, c);

	// another worker may have taken the last lease since it was looked at
	if (i == UINT32_MAX || !lease_take(lb, view, &c->first[i]))
		return UINT32_MAX;
	slot_now(lb, c->first[i].slot, view->now_ns)->picks++;
	return p->backends + i;
}

// Is any of the pool up, and not failing for us?
static bool any_up(const struct lb *lb, const struct lb_view *view, const struct candidates *c)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (is_up(view, &c->first[i]) &&
		    lb->slot[c->first[i].slot].avoid_until_ns <= view->now_ns)
			return true;
	return false;
}

// Would one be taken but for its limit?
static bool any_full(const struct lb_view *view, const struct candidates *c)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (is_up(view, &c->first[i]) &&
		    !tried_before(&c->first[i], c->tried, c->tried_count))
			return true;
	return false;
}

uint32_t
lb_pick(struct lb *lb,
	const struct lb_view *view,
	uint32_t pool,
	const uint32_t *tried,
	unsigned tried_count)
{
	const uint8_t *base = (const uint8_t *)view->blob;
	const struct blob_pool *pools = (const struct blob_pool *)(base + view->blob->pools.off);
	struct candidates own = candidates_of(view, pool, tried, tried_count), spare;
	uint32_t backup = pools[pool].backup, picked;
	bool has_spare;

	health_follow(lb, view, &own);
	picked = pool_pick(lb, view, &pools[pool], &own);
	if (picked != UINT32_MAX)
		return picked;
	has_spare = backup != 0 && backup <= view->blob->pools.count && !any_up(lb, view, &own);
	if (has_spare) {
		spare = candidates_of(view, backup - 1, tried, tried_count);
		health_follow(lb, view, &spare);
		picked = pool_pick(lb, view, &pools[backup - 1], &spare);
		if (picked != UINT32_MAX)
			return picked;
	}
	own.avoid = false; // rather one that failed lately than none
	picked = pool_pick(lb, view, &pools[pool], &own);
	if (picked == UINT32_MAX && has_spare) {
		spare.avoid = false;
		picked = pool_pick(lb, view, &pools[backup - 1], &spare);
	}
	if (picked != UINT32_MAX)
		return picked;
	return any_full(view, &own) || (has_spare && any_full(view, &spare)) ? LB_FULL : LB_NONE;
}

static bool
any_eligible(const struct lb *lb, const struct lb_view *view, const struct candidates *c)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (eligible(lb, view, c, i))
			return true;
	return false;
}

bool lb_has(
	const struct lb *lb,
	const struct lb_view *view,
	uint32_t pool,
	const uint32_t *tried,
	unsigned tried_count
)
{
	const uint8_t *base = (const uint8_t *)view->blob;
	const struct blob_pool *pools = (const struct blob_pool *)(base + view->blob->pools.off);
	const struct candidates own = candidates_of(view, pool, tried, tried_count);
	uint32_t backup = pools[pool].backup;
	struct candidates spare;

	if (any_eligible(lb, view, &own))
		return true;
	if (backup == 0 || backup > view->blob->pools.count || any_up(lb, view, &own))
		return false;
	spare = candidates_of(view, backup - 1, tried, tried_count);
	return any_eligible(lb, view, &spare);
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

void lb_report_end(struct lb *lb, uint32_t slot, bool fruitful, uint64_t now_ns)
{
	struct lb_slot *s = slot_now(lb, slot, now_ns);

	s->ends++;
	s->fruitless += !fruitful;
}
