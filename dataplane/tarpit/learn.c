// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What is usual at a backend, which delays are constant, and whether it is overloaded. Pure.

#include "dataplane/tarpit/tarpit_types.h"

#define SLOW_US 300000        // beyond the usual: less cannot be told from the network
#define BASE_FIRST_MAX 600000 // who knows nothing believes this much
#define BASE_MAX 500000       // that slow replies alone can make usual
#define STEP_MAX 20000        // one reply moves the usual by a sixteenth of this
#define BODY_TICKS 12         // a body takes this long besides
#define SHARE_MANY 24000      // of 65535: three in eight
#define SHARE_SOME 16000
#define SURE_CONSTANT 6 // all replies delayed by one time: not a matter of load

enum shm_verb_group tarpit_group(const struct tarpit_reply *reply)
{
	return reply->banner ? SHM_VERB_BANNER : smtp_verb_group(reply->verb);
}

uint16_t tarpit_delay(const struct tarpit_backend *b, const struct tarpit_reply *reply)
{
	// what follows in a group waits for no round trip
	uint32_t base = reply->follows ? 0 : b->base_us[tarpit_group(reply)];
	uint32_t x = reply->us > base ? reply->us - base : 0;

	if (x < SLOW_US + 4 * b->jitter_us)
		return 0;
	if (base == 0 && !reply->follows && x < SLOW_US + BASE_FIRST_MAX)
		return 0; // it may be far away
	x /= TICK_US;
	return x < UINT16_MAX ? (uint16_t)x : UINT16_MAX;
}

static void share_add(struct tarpit_backend *b, enum shm_verb_group group, bool slow)
{
	uint16_t *share = &b->slow[group];

	b->seen |= (uint16_t)(1U << group);
	*share = (uint16_t)(slow ? *share + (UINT16_MAX - *share) / 8 : *share - *share / 8);
}

void tarpit_usual(struct tarpit_backend *b, const struct tarpit_reply *reply)
{
	enum shm_verb_group group = tarpit_group(reply);
	uint32_t *base = &b->base_us[group], off;

	if (reply->code < 400)
		share_add(b, group, false);
	if (reply->follows)
		return;
	if (*base == 0) {
		*base = reply->us < BASE_FIRST_MAX ? reply->us + 1 : BASE_FIRST_MAX;
		return;
	}
	off = reply->us < *base ? *base - reply->us : reply->us - *base;
	if (reply->us < *base)
		*base -= off / 4;
	off = off < STEP_MAX ? off : STEP_MAX;
	if (reply->us > *base)
		*base += off / 16;
	b->jitter_us = b->jitter_us - b->jitter_us / 16 + off / 16;
}

void tarpit_slow(struct tarpit_backend *b, enum shm_verb_group group, uint16_t x)
{
	share_add(b, group, true);
	if (b->load == 0)
		b->load = x;
	b->load = (uint16_t)(b->load - b->load / 8 + x / 8);
	if (b->base_us[group] != 0 && b->base_us[group] < BASE_MAX)
		b->base_us[group] += (uint32_t)x * TICK_US >> 12; // a longer way to it by now?
}

uint32_t tarpit_tolerance(const struct tarpit_backend *b, uint32_t k)
{
	return k / 50 + 3 + b->jitter_us / (TICK_US / 2);
}

bool tarpit_near(const struct tarpit_backend *b, uint32_t x, uint32_t k)
{
	uint32_t off = x < k ? k - x : x - k;

	return k != 0 && off <= tarpit_tolerance(b, k);
}

bool tarpit_near_at(
	const struct tarpit_backend *b,
	enum shm_verb_group group,
	uint32_t x,
	uint32_t k
)
{
	return tarpit_near(b, x, k) ||
	       (group == SHM_VERB_END_OF_DATA && x > BODY_TICKS && tarpit_near(b, x - BODY_TICKS, k)
	       ) ||
	       (group == SHM_VERB_END_OF_DATA && tarpit_near(b, x + BODY_TICKS, k));
}

bool tarpit_ring_add(
	const struct tarpit_backend *b,
	struct tarpit_ring *ring,
	enum shm_verb_group group,
	uint16_t x
)
{
	bool hit = tarpit_near_at(b, group, x, ring->k);
	unsigned same = 0;

	for (unsigned i = 0; i < TARPIT_RING; i++)
		same += tarpit_near_at(b, group, x, ring->last[i]);
	ring->last[ring->at] = x;
	ring->at = (uint8_t)((ring->at + 1) % TARPIT_RING);
	if (hit) {
		ring->k = (uint16_t)((ring->k * 7U + x + 4) / 8);
		ring->sure += ring->sure < SURE_MAX;
		return true;
	}
	if (ring->sure > 0)
		ring->sure--;
	if (same >= 2 && ring->sure <= SURE) {
		ring->k = x;
		ring->sure = SURE;
	} else if (ring->sure == 0) {
		ring->k = 0;
	}
	return same >= 2;
}

bool tarpit_is_overload(const struct tarpit_backend *b)
{
	unsigned many = 0, seen = 0;

	for (unsigned g = 0; g < SHM_VERB_GROUPS; g++) {
		many += b->slow[g] >= SHARE_MANY;
		seen += (b->seen >> g) & 1;
	}
	return (many >= 3 || (many == seen && many == 2)) &&
	       b->ring[TARPIT_RING_ALL].sure < SURE_CONSTANT;
}

bool tarpit_is_busy(const struct tarpit_backend *b)
{
	unsigned some = 0;

	for (unsigned g = 0; g < SHM_VERB_GROUPS; g++)
		some += b->slow[g] >= SHARE_SOME;
	return some >= 2 && b->ring[TARPIT_RING_ALL].sure < SURE_CONSTANT;
}
