// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Timer wheel over intrusive entries addressed by index: four non-cascading levels (1 ms, 8 ms, 64
// ms, 512 ms a slot, 256 slots each; the last one spans beyond its range by re-insertion), so a far
// deadline is up to 12 % late and never early. An entry whose owner only moves its deadline later
// keeps its slot and is re-inserted when that slot fires (lazy): no list work a packet. Time is
// `now_ms` passed in. One worker's thread only.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define WHEEL_LEVELS 4
#define WHEEL_SLOTS 256

struct wheel_entry {
	uint32_t next, prev;  // entry indices, 0 = none
	uint32_t deadline_ms; // wanted time (wraps after 49 days; compared by signed difference)
	uint32_t slot;        // 1 + level * WHEEL_SLOTS + slot while armed, 0 when idle
};
static_assert(sizeof(struct wheel_entry) == 16, "part of PCB and session budgets");

// Finds the entry of an index; the array that holds it is the owner's.
typedef struct wheel_entry *(*wheel_entry_fn)(void *owner, uint32_t idx);
// Called for each expired entry, already idle; may arm or stop any entry of the wheel, itself
// included.
typedef void (*wheel_fire_fn)(void *owner, uint32_t idx);

struct wheel {
	uint32_t head[WHEEL_LEVELS * WHEEL_SLOTS];
	uint32_t now_ms;
	uint32_t armed; // entries in the wheel
	void *owner;
	wheel_entry_fn entry;
	wheel_fire_fn fire;
};

void wheel_init(
	struct wheel *w,
	uint32_t now_ms,
	void *owner,
	wheel_entry_fn entry,
	wheel_fire_fn fire
);
// Arms or moves: fires at or after deadline_ms. A deadline in the past fires at the next wheel_run.
void wheel_arm(struct wheel *w, uint32_t idx, uint32_t deadline_ms);
// What wheel_arm does for the most common case, an armed entry whose deadline moves later: false
// when it is not that case and nothing was done.
static inline bool wheel_put_off(struct wheel_entry *e, uint32_t deadline_ms)
{
	if (e->slot == 0 || (int32_t)(deadline_ms - e->deadline_ms) < 0)
		return false;
	e->deadline_ms = deadline_ms;
	return true;
}
void wheel_stop(struct wheel *w, uint32_t idx);
static inline bool wheel_is_armed(const struct wheel_entry *e)
{
	return e->slot != 0;
}
// Advances to now_ms and fires at most `quota` entries; the rest fire at the next call. Returns how
// many fired.
uint32_t wheel_run(struct wheel *w, uint32_t now_ms, uint32_t quota);
// Earliest time at which something may fire (never late), or now_ms + limit_ms when nothing is
// sooner: for the simulator's virtual clock and for sleeping when idle.
uint32_t wheel_next_ms(const struct wheel *w, uint32_t limit_ms);
