// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A dialogue for the passthrough scenario, both sides of it drawn from the seed: commands alone and
// in groups, bodies of any octets, chunks, AUTH; then QUIT, TLS (octets that may look like
// anything), or nonsense. At which octets what may be said of others' is marked.

#pragma once

#include "tests/sim/sim.h"

#define TALK_MAX 65536
#define TALK_TURNS_MAX 64

enum talk_mark {
	TALK_NOTHING, // of ours may stand here
	TALK_REST, // commands: QUIT behind a client that has gone; replies: 421 when the box stops
	TALK_BODY, // inside: a connection that ends here is reset
};

struct talk_turn {
	uint8_t who;  // 0: client, 1: backend
	uint32_t end; // in the octets of who says it
};

struct talk {
	uint8_t text[2][TALK_MAX]; // of the client, of the backend
	uint8_t mark[2][TALK_MAX + 1];
	uint32_t len[2];
	struct talk_turn turn[TALK_TURNS_MAX];
	unsigned turns;
};

// number stands in its EHLO, so that the backend can tell whose connection it is.
void talk_draw(struct talk *talk, struct rng *rng, unsigned number);
#define TALK_BANNER "220-sim\r\n220 sim\r\n"
#define TALK_EHLO "EHLO talk%02u.sim.example\r\n"
