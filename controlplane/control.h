// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The control process as a whole: the configuration in force, the link to the dataplane, health.
// Main thread.

#pragma once

#include "config/cfg.h"
#include "controlplane/creds.h"
#include "controlplane/health.h"
#include "controlplane/link.h"
#include "controlplane/tarpit.h"

struct journal;

struct control {
	struct cfg *cfg;         // accepted last; published as soon as a dataplane is there
	struct creds creds;      // of cfg
	struct cfg *started_cfg; // what ports and memory are taken to be
	struct link link;
	struct cfg_slots *slots; // while the link is open
	struct health *health;
	struct journal *journal;
	struct tarpit_log *tarpit;
	uint64_t started_ns;
	uint64_t attach_next_ns; // when to try again
	int attach_error;        // of the last try
	uint64_t reloads, reloads_refused;
	char refused_reason[256];     // of the last reload, empty when it was good
	uint64_t read_ns, publish_ns; // what the last reload took: the file; all until published
};

uint64_t control_clock_ns(void); // CLOCK_MONOTONIC
// Tries to attach when it is time; publishes the configuration when the dataplane runs another.
void control_attach(struct control *c, uint64_t now_ns);
// Reads the file again. 0, or -errno with errors in errs: the configuration in force stays then.
// Without a dataplane a good file is kept until there is one.
int control_reload(struct control *c, struct cfg_errors *errs);
// Takes the events of the workers: probe results; sessions go to the function given.
unsigned control_events(
	struct control *c,
	void (*session)(void *up, const struct ctl_msg *msg),
	void *up,
	uint64_t now_ns
);
