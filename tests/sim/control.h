// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The simulator's control process: see control.c.

#pragma once

#include "tests/sim/box.h"
#include "tests/sim/sim.h"

#define CONTROL_BACKENDS_MAX 4

struct control_blob {
	struct blob_header head;
	struct blob_listener listener[2];
	struct blob_service service[2];
	struct blob_pool pool[2];
	struct blob_backend backend[CONTROL_BACKENDS_MAX];
	struct blob_rule rule[1]; // of everybody
	struct blob_prefix prefix[1];
};

struct control;
// Sets the arrays' places and both services and pools; head, listeners and backends are the
// caller's.
void control_blob_fill(
	struct control_blob *b,
	const struct blob_service *service,
	const struct blob_pool *pool
);
struct control *control_new(
	struct sim *sim,
	struct sim_host *host,
	struct box *box,
	const struct control_blob *first,
	bool benign
);
// Changes nothing more; what was asked is still answered.
void control_stop(struct control *c);
bool control_idle(const struct control *c); // nothing is awaited
void control_free(struct control *c);
