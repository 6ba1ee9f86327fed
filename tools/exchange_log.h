// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Exchange's protocol log of a receive connector (SmtpReceive): comma-separated values under header
// lines, of which "#Fields:" names the columns. Finds the delays that the server says it made, and
// its refusals for want of resources. Pure: lines in, events out; no line is too strange for it.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/abi/tarpit.h"

#define EXCHANGE_FIELDS 32
#define EXCHANGE_SESSIONS 4096 // whose state is kept; a power of two
#define EXCHANGE_SESSION_LEN 24

struct exchange_event {
	int64_t unix_s;
	uint64_t us;
	enum tarpit_reason reason;
};

// A session in the middle of a delay of which the log did not say why: its replies tell.
struct exchange_session {
	char id[EXCHANGE_SESSION_LEN];
	char verb[8]; // of the client's last command
	int64_t unix_s;
	uint64_t us; // 0: none
	enum tarpit_reason reason;
};

struct exchange_log {
	int column_time, column_session, column_event, column_data; // -1: not named yet
	uint64_t lines, malformed, tarpits;
	struct exchange_session session[EXCHANGE_SESSIONS];
	void (*event)(void *up, const struct exchange_event *event);
	void *up;
};

void exchange_log_init(
	struct exchange_log *log,
	void (*event)(void *up, const struct exchange_event *event),
	void *up
);
// One line, with or without its end; it is written to.
void exchange_log_line(struct exchange_log *log, char *line, size_t len);
// The file is over.
void exchange_log_end(struct exchange_log *log);
