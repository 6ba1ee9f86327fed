// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the models of servers share: a way to it with a round trip and jitter, load, delays by no
// known rule, and the count of what the classifier said against what was so.

#pragma once

#include "common/rng.h"
#include "dataplane/tarpit/tarpit.h"

#define RIG_NONE TARPIT_REASONS           // no delay worth the name
#define RIG_TOGETHER (TARPIT_REASONS + 1) // held with the last reply of its group
#define RIG_IGNORED (TARPIT_REASONS + 2)  // too short to be told from the network
#define RIG_HELD 64
#define MS 1000U
#define S 1000000U

struct rig {
	struct rng rng;
	struct tarpit_backend backend;
	uint32_t rtt_us, jitter_us;
	uint32_t load_us;                     // mean delay by load, 0: none
	unsigned debt;                        // of delays by no rule, in fifths
	uint32_t (*seen)[TARPIT_REASONS + 1]; // [truth][said]
};

// A connection to the server.
struct rig_leg {
	struct tarpit_leg leg;
	bool tracked, authed, greeted;
	unsigned held[RIG_HELD], held_count; // truths
};

void rig_begin(struct rig *rig, struct rig_leg *leg);
void rig_end(struct rig *rig, struct rig_leg *leg);
uint32_t rig_between(struct rig *rig, uint32_t from, uint32_t to);
bool rig_chance(struct rig *rig, unsigned percent);

enum { RIG_FOLLOWS = 1, RIG_MORE = 2 };
struct rig_delay {
	uint32_t us;
	unsigned truth, group;
};
// The server's reply, delayed by a rule of its own: us, RIG_NONE: 0. group: RIG_...
void rig_reply(
	struct rig *rig,
	struct rig_leg *leg,
	enum smtp_verb verb,
	const char *line,
	uint32_t us,
	unsigned truth
);
void rig_reply_group(
	struct rig *rig,
	struct rig_leg *leg,
	enum smtp_verb verb,
	const char *line,
	struct rig_delay delay
);
// One that comes an octet at a time.
void rig_stutter(struct rig *rig, struct rig_leg *leg, enum smtp_verb verb, const char *line);
// The greeting.
void rig_banner(
	struct rig *rig,
	struct rig_leg *leg,
	const char *line,
	uint32_t us,
	unsigned truth
);

// The models: some thousand sessions each.
void server_exchange(struct rig *rig);
void server_postfix(struct rig *rig);
void server_exim(struct rig *rig);
void server_sendmail(struct rig *rig);
void server_spamd(struct rig *rig);
