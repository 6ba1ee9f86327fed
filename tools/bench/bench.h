// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The generator as a whole: one thread that is all clients and all backends, on one stack of the
// network and TCP library. All memory is taken at start.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/env.h"
#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp.h"
#include "tools/bench/ledger.h"
#include "tools/bench/message.h"
#include "tools/bench/options.h"
#include "tools/bench/port.h"

#define BENCH_LINE_MAX 1000
#define BENCH_USER_LEG 0x40000000U // in a connection's user word: of a backend

struct clients;
struct backends;
struct secure;

struct bench {
	struct options opt;
	struct worker_env env;
	uint64_t stats[STAT_COUNT];
	struct port port;
	struct net_shared *net_shared;
	struct net *net;
	struct tcp_stack *tcp;
	struct message_pool messages;
	struct ledger ledger;
	struct clients *clients;
	struct backends *backends;
	struct secure *secure;       // NULL: plain
	uint64_t begun_ns, ended_ns; // of the measured interval
	uint64_t measured;           // sessions that ended in it
	uint64_t busy_ns;            // of turns that did work
};
