// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Health of the backends: orders the probes, counts rise and fall, writes the verdict where the
// workers read it. Slow is not down: only what ends a stage (refused, closed, a wrong reply, its
// time-out) counts. A backend without a probe, or not yet probed, counts as up. Main thread of
// control.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/link.h"

struct health_backend {
	char pool[MR_NAME_LEN], name[MR_NAME_LEN];
	uint32_t slot, index; // index: into the blob in force
	struct cfg_probe probe;
	uint32_t connect_timeout_ms;
	enum shm_health health;
	enum blob_admin admin; // as the operator set it here; the file has its own
	unsigned streak;       // results in a row that speak against health
	uint64_t next_ns;
	uint32_t request_id; // of the probe under way, 0: none
	uint64_t deadline_ns;
	struct ctl_probe_result last;
	uint64_t last_ns;    // 0: never
	uint64_t changed_ns; // of health
	uint64_t ok, failed;
};

struct health;

struct health *health_new(void); // NULL + errno
void health_free(struct health *health);
// Takes over the generation in force at an open link: what is known of a backend stays with its
// name; what is not known here is adopted from the segment. 0 or -ENOMEM (the old table stays).
int health_configure(
	struct health *health,
	const struct cfg *cfg,
	struct link *link,
	uint64_t now_ns
);
// Sends what is due; gives up probes whose answer is overdue.
void health_run(struct health *health, struct link *link, uint64_t now_ns);
void health_result(
	struct health *health,
	struct link *link,
	const struct ctl_msg *msg,
	uint64_t now_ns
);
// Is a probe under way?
bool health_is_waiting(const struct health *health);
// Of pool and name, or of index i in order; NULL when there is none.
struct health_backend *health_find(struct health *health, const char *pool, const char *name);
struct health_backend *health_at(struct health *health, unsigned i);
// The operator's drain or enable.
void health_admin_set(struct link *link, struct health_backend *b, enum blob_admin admin);
const char *health_name(enum shm_health health);
const char *health_result_name(unsigned code); // enum ctl_probe_result_code
const char *health_stage_name(unsigned stage); // enum ctl_probe_stage
