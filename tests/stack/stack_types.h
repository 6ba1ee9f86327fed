// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The inside of a stack under test.

#pragma once

#include "common/env.h"
#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp.h"
#include "tests/stack/neighbor.h"
#include "tests/stack/stack.h"

#define STACK_SOCKETS 64
#define STACK_ANSWERS 64

enum socket_kind { SOCKET_FREE, SOCKET_LISTENER, SOCKET_OPENING, SOCKET_OPEN, SOCKET_OVER };

struct stack_socket {
	enum socket_kind kind;
	uint16_t port; // LISTENER
	int listener;  // not accepted yet: whose, else -1
	bool fin;
	int error;     // OVER: what recv tells
	uint8_t *rest; // OVER: what came before and was not read
	uint32_t rest_len;
	struct tcp_conn_id conn;
};

struct stack {
	struct stack_config config;
	struct worker_env env;
	uint64_t stats[STAT_COUNT];
	struct rte_mempool *pool, *small_pool, *ref_pool;
	struct net_shared *shared;
	struct net *net;
	struct tcp_stack *tcp;
	struct stack_socket socket[STACK_SOCKETS];
	bool called; // since it was run: there may be something to do at once
	uint32_t rcv_window, mss_max, syn_timeout_ms;
	uint8_t answer[STACK_ANSWERS][NEIGHBOR_ANSWER_MAX];
	uint32_t answer_len[STACK_ANSWERS];
	unsigned answers;
};

extern const struct tcp_ops stack_tcp_ops; // socket.c
