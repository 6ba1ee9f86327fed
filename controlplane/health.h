// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Health of the backends: orders the probes, counts rise and fall, judges what the traffic met, and
// writes the verdict where the workers read it. Slow is not down: only what ends a stage of a probe
// (refused, closed, a wrong reply, its time-out) counts. A backend without a probe, or not yet
// probed, counts as up. Main thread of control.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/link.h"
#include "controlplane/passive.h"

struct health_backend {
	char pool[MR_NAME_LEN], name[MR_NAME_LEN];
	uint32_t slot, index; // index: into the blob in force
	struct cfg_probe probe;
	uint32_t connect_timeout_ms;
	uint32_t stages;       // of a probe, after connect
	uint32_t first, peers; // of the pool: index of its first backend, how many it has
	uint32_t slow_start_ms, ejection_ms;
	struct passive_rules rules;
	bool v4;
	bool takes_none; // by the file: drained, or weight 0
	enum shm_health health;
	enum shm_reason reason; // of health, where it takes no sessions
	enum blob_admin admin;  // as the operator set it here; the file has its own
	unsigned good, bad;     // probes in a row
	struct passive passive;
	enum shm_reason suspected; // judged last, and so many times more before
	unsigned strikes;
	uint64_t source_refused, refused_log_ns; // greetings 5xx, as last seen; when it was said
	uint64_t alarm_log_ns;                   // when an alarm of it was said
	unsigned alarms;                         // since, not said
	bool spared;                             // it would be ejected, but half the pool is out
	unsigned times;                          // ejected in a row
	uint64_t hold_ns;                        // not back before
	uint64_t ramp_ns;                        // begin of its slow start, 0: none
	uint32_t ramp_ms;
	uint32_t weight_permille, drift_permille, ejections;
	char backup[MR_NAME_LEN]; // of the pool, empty: none
	char said[64];            // with which it called us off
	bool pool_down; // of the pool, in its first backend: nothing was up at the last look
	uint64_t next_ns;
	uint32_t request_id; // of the probe under way, 0: none
	uint64_t deadline_ns;
	struct ctl_probe_result last;
	uint64_t last_ns;    // 0: never
	uint64_t changed_ns; // of health
	uint64_t ok, failed;
};

static inline bool health_is_out(const struct health_backend *b)
{
	return b->health == SHM_HEALTH_DOWN || b->health == SHM_HEALTH_MAINTENANCE ||
	       b->health == SHM_HEALTH_EJECTED;
}

static inline bool health_takes_sessions(const struct health_backend *b)
{
	return !health_is_out(b) && b->admin == BLOB_ADMIN_ENABLED && !b->takes_none;
}

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
// alarm.c: a worker tells of what no backend should do.
void health_alarm(struct health *health, const struct ctl_msg *msg, uint64_t now_ns);
// Is a probe under way?
bool health_is_waiting(const struct health *health);
// Of pool and name, or of index i in order; NULL when there is none.
struct health_backend *health_find(struct health *health, const char *pool, const char *name);
struct health_backend *health_at(struct health *health, unsigned i);
// health_change.c: into the segment; a new state, logged; the slow start and the returns that are
// due.
void health_write(const struct link *link, const struct health_backend *b);
void health_change(
	struct link *link,
	struct health_backend *b,
	enum shm_health to,
	enum shm_reason reason,
	uint64_t now_ns
);
void health_ramp(struct link *link, struct health_backend *b, uint64_t now_ns);
void health_return(struct link *link, struct health_backend *b, uint64_t now_ns);
// judge.c: what the traffic met at each, once a second. Forgets what it knows of one.
void health_judge(struct health *health, struct link *link, uint64_t now_ns);
void health_judge_anew(const struct link *link, struct health_backend *b, uint64_t now_ns);
// The operator's drain or enable; the latter also ends the least time out of an ejection.
void health_admin_set(struct link *link, struct health_backend *b, enum blob_admin admin);
const char *health_name(enum shm_health health);
const char *health_result_name(unsigned code); // enum ctl_probe_result_code
const char *health_stage_name(unsigned stage); // enum ctl_probe_stage
