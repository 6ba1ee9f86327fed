// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A passthrough session between two connections of a stack without a wire: what arrives is handed
// to the relay segment by segment, what it queues is taken off and compared.

#pragma once

#include "dataplane/proxy/relay_inner_types.h"
#include "dataplane/tcp/tcp_inner_types.h"

#define STREAM_MAX (64U << 10)

struct step {
	char who; // 'C' or 'B'
	const char *text;
	uint32_t len; // 0: a string
};

// What was read of a dialogue.
struct outcome {
	uint64_t stats[STAT_COUNT];
	uint64_t hist[SHM_VERB_GROUPS];
	uint64_t signal[SHM_SIGNALS], failing, mails, rcpt_votes, eod_votes;
	uint64_t recipients, messages, bytes, replies_4xx, replies_5xx, replies_421;
	uint32_t flags, pending, body_bytes;
	uint8_t state, leg_state;
};

// Of the session under test.
extern uint64_t stats[STAT_COUNT];
extern struct worker_env env;
extern struct shm_backend_local backends[2];
extern struct relay *relay;
extern struct session *session;
extern struct tcp_pcb *client, *leg;

bool rig_init(void); // once
void start(uint32_t slices);
void stop(void); // everything is given back
bool is_alive(void);
// What arrived has left, nothing waits and nothing is added; takes it off.
void bytes_compare(void);
// One side says something, in pieces of this size, cut at one place besides.
void say(const struct step *step, uint32_t piece, uint32_t cut);
void outcome_get(struct outcome *ret);
// A dialogue in pieces but for one step, which is cut at one place.
void play(const struct step *steps, unsigned n, uint32_t piece, unsigned step, uint32_t cut);
