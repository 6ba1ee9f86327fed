// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the TCP layer knows of octets that came out of order or came twice. For
// dataplane/tcp and its tests only.

#pragma once

#include <stdint.h>

#define TCP_SACK_BLOCKS_MAX 4 // a header has room for

struct tcp_block { // of sequence space, the end not in it
	uint32_t start, end;
};

#define TCP_DSACK_MAX 32 // of one turn; more are not told of

// Octets that came twice: told of in the next ACK (RFC 2883), which goes in the same turn.
struct tcp_dsack {
	uint32_t pcb; // 0: told
	uint32_t start, end;
};
