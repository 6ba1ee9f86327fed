// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the files about loss offer each other and the rest of dataplane/tcp, grouped by the file
// that defines it. For dataplane/tcp and its tests only.

#pragma once

#include "dataplane/tcp/tcp_inner_types.h"

// tcp_sack.c: what we tell the peer of its segments that came out of order or twice
void tcp_dsack_note(struct tcp_stack *s, const struct tcp_pcb *p, uint32_t start, uint32_t end);
static inline bool tcp_sack_due(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	return (p->ooo_head | s->dsack_count) != 0 && (p->flags & TCP_F_SACK) != 0;
}
// Writes the option into at most room octets; returns its length, 0: nothing to tell, or no room.
unsigned tcp_sack_fill(struct tcp_stack *s, const struct tcp_pcb *p, uint8_t *out, unsigned room);
