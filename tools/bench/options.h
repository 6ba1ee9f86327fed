// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the command line asks for, within limits. Main thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"

#define OPTIONS_TARGETS 8
#define OPTIONS_BACKENDS 64
#define OPTIONS_SESSIONS_MAX 2000000U // active and held ones each
#define OPTIONS_SIZE_MIN 64U
#define OPTIONS_SIZE_MAX (64U << 20)
#define OPTIONS_BUFFERS_MAX (1U << 20)
#define OPTIONS_MESSAGES_MAX (1ULL << 28) // in one run: a bit each at both ends

struct options {
	const char *vdev;
	unsigned cpu;
	bool hugepages, idle_sleep;
	uint32_t buffers;
	struct ip_prefix own4, own6;         // of the port, with host bits: the clients' gateway
	struct ip_prefix clients4, clients6; // where the clients' addresses come from
	uint32_t client_count;               // addresses
	struct ip_endpoint target[OPTIONS_TARGETS], backend[OPTIONS_BACKENDS];
	unsigned target_count, backend_count;
	uint32_t concurrent, hold;
	uint32_t rate; // sessions a second (open loop); 0: closed loop
	uint64_t sessions, seconds;
	uint32_t messages, recipients; // a session, a message
	uint32_t size_min, size_max;   // bytes of a message
	bool pipelining, bdat;
	uint32_t tls;  // 0: plain, 12 and 13: STARTTLS with that version
	bool resume;   // with the last ticket
	uint32_t wave; // ClientHellos sent together; 0 and 1: each at once
	uint32_t delay_ms, timeout_s;
	uint64_t seed;
	const char *output;
};

// False: wrong usage, which was told on stderr.
bool options_parse(int argc, char **argv, struct options *ret);
