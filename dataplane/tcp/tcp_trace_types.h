// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The ring of events of tcp_trace.c. For dataplane/tcp and its tests only.

#pragma once

#include <stdint.h>

#define TCP_TRACE_EVENTS 4096 // of all connections of a worker, power of two

struct tcp_trace_event {
	uint32_t pcb;
	uint32_t at_ms;
	uint32_t seq; // of what was sent, or is sent next
	uint8_t kind; // enum tcp_trace_kind
	uint8_t state;
	uint16_t reserved;
};

struct tcp_trace_ring {
	uint32_t next; // free running
	struct tcp_trace_event event[TCP_TRACE_EVENTS];
};
