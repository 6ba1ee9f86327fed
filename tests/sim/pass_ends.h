// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Clients and backends of the passthrough scenario: each says its part of the dialogue when its
// turn has come, and judges every octet that it is told.

#pragma once

#include "tests/sim/box.h"
#include "tests/sim/control.h"
#include "tests/sim/talk.h"

#define PAIRS_MAX 8
#define LEGS_MAX 64
#define HOSTS 3 // backends
#define PATIENCE_NS (1800ULL * 1000 * SIM_MS)
#define START_NS (1500 * SIM_MS)
#define OURS_MAX 200

enum leaves { STAYS, LEAVES_RST, LEAVES_FIN };

struct end {
	struct tcp_conn_id conn;
	bool open, fin_sent;
	uint32_t sent, got;
	uint64_t next_ns, heard_ns;
	char ours[OURS_MAX]; // what came that the other side did not say
	uint32_t ours_len;
};

struct pair {
	struct talk talk;
	struct end end[2];
	enum leaves leaves[2];
	uint32_t leave_at[2]; // after so many octets
	bool started, left[2];
};

struct leg {
	struct tcp_conn_id conn;
	struct end *end; // once it is known whose it is
	struct pair *pair;
	unsigned host;
	bool open;
	uint32_t said;
	uint64_t next_ns, since_ns;
};

struct plot {
	struct sim *sim;
	struct sim_host *host[1 + HOSTS];
	unsigned hosts, pairs, legs;
	struct pair pair[PAIRS_MAX];
	struct leg leg[LEGS_MAX];
	struct box *box;
	struct control_blob blob;
	const char *refusal[HOSTS]; // NULL: it greets
	uint64_t stop_ns;           // 0: the box does not stop
	struct ip_endpoint target;
	bool clean; // nobody leaves, nobody refuses
};

// Of a backend's host: its application.
struct backend_of {
	struct plot *plot;
	unsigned host;
};

extern const struct tcp_ops leg_ops, client_ops;
void backend_turn(struct sim_host *host);
void client_turn(struct sim_host *host);
// Has it said and been told everything?
bool has_all(const struct pair *p, unsigned who);
