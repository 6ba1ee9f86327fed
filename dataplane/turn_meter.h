// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Cycles of each stage of a turn. Compiled into every dataplane, folded away in all but
// mailrace-dataplane-cycles (TURN_METER = 1), where lcore.c hands in the counter to read: the turn
// itself knows no clock, and in the simulator nobody counts. A worker's thread writes, main reads
// at the end.

#pragma once

#include <stddef.h>
#include <stdint.h>

#ifndef TURN_METER
#define TURN_METER 0
#endif

// Turns beyond this are left out: the core did something else meanwhile (1 ms at 2 GHz).
#define TURN_METER_CYCLES_MAX (1U << 21)

#define TURN_STAGES(X) \
	X(RECEIVE, "receive") \
	X(INPUT, "input") \
	X(RINGS, "rings") \
	X(EVENTS, "events") \
	X(TIMERS, "timers") \
	X(OUTPUT, "output") \
	X(TRANSMIT, "transmit")

enum turn_stage {
#define X(sym, name) TURN_S_##sym,
	TURN_STAGES(X)
#undef X
		TURN_S_COUNT
};

struct turn_meter {
	uint64_t (*cycles)(void);
	uint64_t turns; // that did work
	uint64_t left_out;
	uint64_t sum[TURN_S_COUNT];     // of those turns
	uint64_t at, lap[TURN_S_COUNT]; // of the turn under way
};

static inline void turn_meter_begin(struct turn_meter *m)
{
	if (!TURN_METER || m == NULL)
		return;
	m->at = m->cycles();
	for (unsigned i = 0; i < TURN_S_COUNT; i++)
		m->lap[i] = 0;
}

// What was done since the last call is this stage's.
static inline void turn_meter_note(struct turn_meter *m, enum turn_stage stage)
{
	uint64_t now;

	if (!TURN_METER || m == NULL)
		return;
	now = m->cycles();
	m->lap[stage] += now - m->at;
	m->at = now;
}

static inline void turn_meter_end(struct turn_meter *m, unsigned work)
{
	uint64_t sum = 0;

	if (!TURN_METER || m == NULL || work == 0)
		return;
	for (unsigned i = 0; i < TURN_S_COUNT; i++)
		sum += m->lap[i];
	if (sum > TURN_METER_CYCLES_MAX) {
		m->left_out++;
		return;
	}
	m->turns++;
	for (unsigned i = 0; i < TURN_S_COUNT; i++)
		m->sum[i] += m->lap[i];
}

// Logs what each stage cost, in all and for each of so many sessions. Main thread, when the worker
// has ended.
void turn_meter_show(const struct turn_meter *meter, unsigned worker, uint64_t sessions);
