// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Rings of two workers and a journal in a folder of its own, for its tests. One thread.

#pragma once

#include <jansson.h>

#include "controlplane/journal.h"

#define WORKERS 2

struct rig {
	struct capture_ring *ring[WORKERS];
	struct capture_writer out[WORKERS];
	uint64_t seq[WORKERS];
	uint8_t *segment;
	struct link link;
	struct cfg cfg;
	struct journal *j;
	char dir[64];
};

extern struct rig rig;

int journal_rig_setup(void **state);
int journal_rig_teardown(void **state);
// As a worker does; false: full.
bool tell(unsigned worker, const char *helo, const char *id, const char *from, const char *to);
unsigned journal_rig_run(void);  // a turn of control
json_t *journal_rig_lines(void); // of all files, each of them an object
