// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The timer wheel: an entry is placed in the finest level whose span covers its distance, at the
// slot of its deadline rounded up to the level's granularity, and is not moved to finer levels
// afterwards (non-cascading). What is due beyond the last level waits in its farthest slot and is
// re-inserted there. One worker's thread; never allocates.

#include "common/wheel.h"

#define WHEEL_ANCHORS 1U // slot value = anchor + level * WHEEL_SLOTS + slot, so that 0 means idle

static const uint8_t level_shift[WHEEL_LEVELS] = {0, 3, 6, 9};

void wheel_init(
	struct wheel *w,
	uint32_t now_ms,
	void *owner,
	wheel_entry_fn entry,
	wheel_fire_fn fire
)
{
	*w = (struct wheel){.now_ms = now_ms, .owner = owner, .entry = entry, .fire = fire};
}

// Slot (without anchor) for a deadline at or after now.
static uint32_t slot_of(const struct wheel *w, uint32_t deadline_ms)
{
	uint32_t distance = deadline_ms - w->now_ms;

	for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
		unsigned shift = level_shift[level];
		// The current slot of a level has been visited already: one slot less than a whole
		// turn fits, one more is lost to rounding up.
		uint32_t span = (WHEEL_SLOTS - 2U) << shift;
		uint32_t tick;

		if (distance > span && level < WHEEL_LEVELS - 1)
			continue;
		if (distance > span)
			deadline_ms = w->now_ms + span;
		tick = (deadline_ms + (1U << shift) - 1) >> shift;
		return level * WHEEL_SLOTS + tick % WHEEL_SLOTS;
	}
	return 0; // not reached: the last level takes everything
}

static void entry_unlink(struct wheel *w, struct wheel_entry *e)
{
	if (e->next != 0)
		w->entry(w->owner, e->next)->prev = e->prev;
	if (e->prev != 0)
		w->entry(w->owner, e->prev)->next = e->next;
	else
		w->head[e->slot - WHEEL_ANCHORS] = e->next;
	e->next = e->prev = e->slot = 0;
	w->armed--;
}

static void entry_link(struct wheel *w, uint32_t idx, struct wheel_entry *e, uint32_t slot)
{
	e->prev = 0;
	e->next = w->head[slot];
	if (e->next != 0)
		w->entry(w->owner, e->next)->prev = idx;
	w->head[slot] = idx;
	e->slot = slot + WHEEL_ANCHORS;
	w->armed++;
}

// A deadline that has passed is due at the next millisecond.
static uint32_t effective_deadline(const struct wheel *w, uint32_t deadline_ms)
{
	return (int32_t)(deadline_ms - w->now_ms) > 0 ? deadline_ms : w->now_ms + 1;
}

void wheel_arm(struct wheel *w, uint32_t idx, uint32_t deadline_ms)
{
	struct wheel_entry *e = w->entry(w->owner, idx);

	if (wheel_put_off(e, deadline_ms))
		return; // re-inserted when its slot comes
	e->deadline_ms = deadline_ms;
	if (e->slot != 0)
		entry_unlink(w, e);
	entry_link(w, idx, e, slot_of(w, effective_deadline(w, deadline_ms)));
}

void wheel_stop(struct wheel *w, uint32_t idx)
{
	struct wheel_entry *e = w->entry(w->owner, idx);

	if (e->slot != 0)
		entry_unlink(w, e);
}

// Fires what is due in a slot that the hand has reached; entries that were moved later go to their
// new slot. Returns false when the quota ran out with entries left.
static bool slot_run(struct wheel *w, uint32_t slot, uint32_t *quota)
{
	while (w->head[slot] != 0) {
		uint32_t idx = w->head[slot];
		struct wheel_entry *e = w->entry(w->owner, idx);

		if (*quota == 0)
			return false;
		(*quota)--;
		entry_unlink(w, e);
		if ((int32_t)(e->deadline_ms - w->now_ms) > 0)
			entry_link(w, idx, e, slot_of(w, e->deadline_ms));
		else
			w->fire(w->owner, idx);
	}
	return true;
}

uint32_t wheel_run(struct wheel *w, uint32_t now_ms, uint32_t quota)
{
	uint32_t left = quota;

	if (w->armed == 0) {
		if ((int32_t)(now_ms - w->now_ms) > 0)
			w->now_ms = now_ms;
		return 0;
	}
	while ((int32_t)(now_ms - w->now_ms) > 0) {
		w->now_ms++;
		for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
			uint32_t mask = (1U << level_shift[level]) - 1;

			if ((w->now_ms & mask) != 0)
				break; // coarser levels tick on multiples of finer ones
			if (!slot_run(
				    w,
				    level * WHEEL_SLOTS +
					    (w->now_ms >> level_shift[level]) % WHEEL_SLOTS,
				    &left
			    )) {
				w->now_ms--; // come back to this millisecond
				return quota;
			}
		}
	}
	return quota - left;
}

uint32_t wheel_next_ms(const struct wheel *w, uint32_t limit_ms)
{
	uint32_t best = limit_ms;

	if (w->armed == 0)
		return w->now_ms + limit_ms;
	for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
		unsigned shift = level_shift[level];
		uint32_t tick = w->now_ms >> shift;

		for (uint32_t i = 1; i <= WHEEL_SLOTS; i++) {
			uint32_t at = ((tick + i) << shift) - w->now_ms;

			if (at >= best)
				break;
			if (w->head[level * WHEEL_SLOTS + (tick + i) % WHEEL_SLOTS] != 0) {
				best = at;
				break;
			}
		}
	}
	return w->now_ms + best;
}
