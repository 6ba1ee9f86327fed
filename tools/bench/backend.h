// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The backends: SMTP servers that count what they are told and compare every byte of every body.
// One thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tcp/tcp.h"

struct bench;

#define BACKEND_VERBS(X) \
	X(EHLO) X(HELO) X(MAIL) X(RCPT) X(DATA) X(BDAT) X(RSET) X(NOOP) X(QUIT) X(OTHER)

enum backend_verb {
#define X(sym) BACKEND_V_##sym,
	BACKEND_VERBS(X)
#undef X
		BACKEND_V_COUNT
};
extern const char *const backend_verb_names[BACKEND_V_COUNT];

enum leg_state { LEG_FREE, LEG_COMMAND, LEG_BODY };

struct leg {
	struct tcp_conn_id conn;
	uint32_t next_due; // list of delayed replies
	uint32_t pos;      // bytes of the message compared
	uint32_t left;     // of a chunk
	uint64_t message;  // identity that MAIL named
	uint64_t due_ns;
	uint8_t state;
	uint8_t reply; // that waits, enum leg_reply
	uint8_t ehlos, backend;
	uint16_t rcpts;
	bool chunk, fin;
};

struct backends {
	struct leg *leg;
	struct {
		uint32_t *next, head;
	} free;
	uint32_t count, active;
	uint32_t due_head, due_tail; // FIFO: the delay is the same for all, UINT32_MAX: none
	uint64_t connections[64];    // of each backend
	uint64_t verb[BACKEND_V_COUNT];
	uint64_t legs, legs_ok, messages, bytes, second_ehlos;
};

struct backends *backends_new(const struct bench *b);
void backends_free(struct backends *backends);
bool backend_listens(
	const struct bench *b,
	const struct ip_endpoint *local,
	struct tcp_listen_info *ret
);
uint32_t backend_accept(struct bench *b, struct tcp_conn_id conn, uint32_t cookie);
void backend_run(struct bench *b, uint32_t idx);
void backend_fin(struct bench *b, uint32_t idx);
void backend_closed(struct bench *b, uint32_t idx, enum tcp_close_reason reason);
// Replies that are due.
unsigned backends_turn(struct bench *b);
