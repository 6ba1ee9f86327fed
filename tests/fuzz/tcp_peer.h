// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a peer of the TCP fuzzer sends, and what it must never be told.

#pragma once

#include "tests/fuzz/tcp_box.h"

#define FIN 0x01U
#define SYN 0x02U
#define RST 0x04U
#define PSH 0x08U
#define ACK 0x10U

struct segment {
	uint32_t off; // of the payload in the peer's stream
	uint32_t ack; // offset
	uint16_t wnd;
	uint8_t flags;
	uint32_t len;
	uint8_t options[40];
	unsigned options_len; // multiple of 4
	uint32_t flip;        // bit of the frame, UINT32_MAX: none
	uint8_t short_by;     // words that the header says it lacks of its least
};

void peer_send(struct tcp_box *box, unsigned k, const struct segment *s);
// The box never says that it holds what was not sent.
void peer_sack_check(const struct peer *p, const struct packet *packet);
