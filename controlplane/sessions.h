// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Session lists: asked of one worker after another over the rings, a part at a time, so that no
// worker's turn grows with the number of sessions. Main thread of control.

#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "controlplane/control.h"

#define SESSIONS_LISTS_MAX 8

struct session_list {
	bool used, done;
	bool truncated; // the limit was reached, or a worker did not answer in time
	uint32_t request_id;
	uint32_t worker; // being asked
	uint32_t limit;  // left
	uint64_t deadline_ns;
	json_t *entries;
	void *owner; // suspended until it is done; NULL: nobody
};

struct sessions {
	struct session_list list[SESSIONS_LISTS_MAX];
	uint32_t next_id;
};

// Begins a list of at most limit sessions; NULL when too many are under way.
struct session_list *sessions_begin(struct sessions *s, const struct control *c, uint32_t limit);
void sessions_event(struct sessions *s, const struct control *c, const struct ctl_msg *msg);
// Ends those that wait too long or have lost their dataplane.
void sessions_run(struct sessions *s, const struct control *c, uint64_t now_ns);
bool sessions_are_waiting(const struct sessions *s);
void sessions_end(struct session_list *list);
