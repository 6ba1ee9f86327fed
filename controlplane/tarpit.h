// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What was lost to tarpits in the last minutes, hour and day: the workers' sums looked at every few
// seconds, and the differences kept by minute and by hour. Main thread of control; its memory is
// taken at start and begins empty with the process.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/tarpit.h"
#include "controlplane/link.h"

#define TARPIT_MINUTES 60
#define TARPIT_HOURS 24
#define TARPIT_ROWS 512
#define TARPIT_LOOK_NS 5000000000ULL

enum tarpit_by { TARPIT_BY_BACKEND, TARPIT_BY_SERVICE, TARPIT_BY_SOURCE, TARPIT_BYS };

struct tarpit_part {
	uint64_t events[TARPIT_REASONS];
	uint64_t ms[TARPIT_REASONS];
};

struct tarpit_row {
	uint8_t by;                     // enum tarpit_by
	char name[2 * MR_NAME_LEN + 2]; // pool/backend, virtual service, address
	uint64_t interval_ms;           // of a backend, 0: none
	struct shm_tarpit seen;         // the sums when they were looked at last
	struct tarpit_part minute[TARPIT_MINUTES], hour[TARPIT_HOURS];
};

struct tarpit_log {
	uint64_t boot_id; // of the dataplane whose sums were seen
	uint64_t since_s; // the first look, in seconds since 1970
	uint64_t now_s;   // the last one
	uint64_t look_ns; // CLOCK_MONOTONIC, when to look again
	uint64_t unkept;  // rows for which there was no room
	uint32_t rows;
	struct tarpit_row row[TARPIT_ROWS];
};

struct tarpit_log *tarpit_log_new(void);
// Looks at the sums when it is time. unix_s: the time of day.
void tarpit_log_run(
	struct tarpit_log *log,
	const struct link *link,
	uint64_t now_ns,
	uint64_t unix_s
);
// A row's sums are so by now. quiet: they are from before the first look.
void tarpit_log_add(
	struct tarpit_log *log,
	enum tarpit_by by,
	const char *name,
	const struct shm_tarpit *sum,
	bool quiet
);
// Time passes: what is too old is forgotten.
void tarpit_log_turn(struct tarpit_log *log, uint64_t unix_s);
// The sum of the last n minutes (to TARPIT_MINUTES) or hours (to TARPIT_HOURS), the one that is
// under way among them.
void tarpit_row_minutes(
	const struct tarpit_log *log,
	const struct tarpit_row *row,
	unsigned n,
	struct tarpit_part *ret
);
void tarpit_row_hours(
	const struct tarpit_log *log,
	const struct tarpit_row *row,
	unsigned n,
	struct tarpit_part *ret
);
