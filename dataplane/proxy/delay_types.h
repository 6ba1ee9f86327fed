// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Why replies are slow: what the relay tells delay.c. For dataplane/proxy only.

#pragma once

#include "dataplane/proxy/relay_inner_types.h"

bool delays_init(struct relay *r);
void delays_free(struct relay *r);
size_t delays_bytes(const struct relay *r);
void delays_generation(struct relay *r); // what was learned of a slot's last server is forgotten
// The last line of a reply, or of a greeting, before it is tallied.
void delay_reply(
	struct relay *r,
	struct session *s,
	enum smtp_verb verb,
	unsigned code,
	const char *line,
	uint32_t len
);
void delay_banner(
	struct relay *r,
	struct session *s,
	unsigned code,
	const char *line,
	uint32_t len
);
void delay_piece(struct relay *r, const struct session *s); // a reply has begun and is not whole
void delay_leg_end(struct relay *r, const struct session *s);
