// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The clients: sessions begun in closed or open loop, every reply checked, timed. One thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tcp/tcp.h"
#include "tools/bench/hist.h"

struct bench;

// What a client waits for, in the order of a session.
#define CLIENT_STEPS(X) \
	X(CONNECT, "connect") \
	X(BANNER, "banner") \
	X(EHLO, "ehlo") \
	X(STARTTLS, "starttls") \
	X(SHAKE, "handshake") \
	X(MAIL, "mail") \
	X(RCPT, "rcpt") \
	X(DATA, "data_354") \
	X(BODY, "end_of_data") \
	X(QUIT, "quit") \
	X(FIN, "fin") \
	X(HELD, "held")

enum client_step {
#define X(sym, name) CLIENT_S_##sym,
	CLIENT_STEPS(X)
#undef X
		CLIENT_S_COUNT
};
extern const char *const client_step_names[CLIENT_S_COUNT];

struct client {
	struct tcp_conn_id conn;
	uint8_t step;
	bool held, pipelining; // the second: offered in EHLO's reply
	bool secure;           // STARTTLS was answered
	uint16_t messages_left, rcpts_left;
	uint32_t sent, size; // bytes of the message
	uint64_t message;    // identity, UINT64_MAX: none
	uint64_t started_ns; // meant to start (open loop)
	uint64_t asked_ns;   // the step's command was sent
};

struct clients {
	struct client *client;
	struct {
		uint32_t *next, head, used;
	} free;
	uint32_t count; // array
	uint32_t active, holding, held_ready;
	uint64_t begun, ok, failed, messages, bytes;
	uint64_t late_starts; // open loop: no session was free in time
	uint64_t draw;        // addresses and targets in turn
	uint64_t next_ns;     // open loop
	uint32_t scan;        // for time-outs
	bool stopping;        // no new sessions
	bool release;         // held ones go
	struct hist session, step[CLIENT_S_COUNT];
};

struct clients *clients_new(const struct bench *b);
void clients_free(struct clients *clients);
// Starts and time-outs; a part of them each turn.
unsigned clients_turn(struct bench *b);
// True when all that was asked for is over (or, with held sessions, when only they are left).
bool clients_done(const struct bench *b);
// The first sessions go one at a time, so that both sides know their neighbors before the load.
bool clients_warm(const struct bench *b);
void client_fail(struct bench *b, struct client *cl, const char *what, unsigned code);
void client_quit(struct bench *b, struct client *cl);
void client_connected(struct bench *b, uint32_t idx);
void client_run(struct bench *b, uint32_t idx);
void client_fin(struct bench *b, uint32_t idx);
void client_closed(struct bench *b, uint32_t idx, enum tcp_close_reason reason);
