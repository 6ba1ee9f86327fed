// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Reasons for slow replies, and the time lost to each, as the dataplane counts it in the statistics
// segment. Names and remedies come from tarpit.def. Any process.

#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"

enum tarpit_reason {
#define TARPIT(sym, label, what, server, here) TARPIT_##sym,
#include "common/abi/tarpit.def"
#undef TARPIT
	TARPIT_REASONS
};

struct tarpit_text {
	const char *label;         // of metrics and JSON
	const char *what;          // for people
	const char *server, *here; // what an operator would do there, and here
};
extern const struct tarpit_text tarpit_texts[TARPIT_REASONS];

// For a backend, a virtual service or a source address of ours.
struct shm_tarpit { // dp: rw (its worker), others: ro
	uint64_t events[TARPIT_REASONS];
	uint64_t us[TARPIT_REASONS];
	uint64_t interval_ms; // of a backend: the constant that the classifier learned, 0: none
};
static_assert(sizeof(struct shm_tarpit) == 16 * 16 + 8, "ABI");

// What a worker counted, added to a reader's sum. True: something was ever counted.
bool shm_tarpit_add(struct shm_tarpit *to, const struct shm_tarpit *from);

#define SHM_TARPIT_SOURCES 64

// By the address that we connect from. The last one of a worker's stands for all for which there
// was no room, and its address stays unspecified.
struct shm_tarpit_source {   // dp: rw (its worker), others: ro
	struct ip_addr addr; // unspecified: unused
	struct shm_tarpit sum;
};
static_assert(sizeof(struct shm_tarpit_source) == 16 + sizeof(struct shm_tarpit), "ABI");
