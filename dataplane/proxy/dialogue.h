// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dialogue of a session as its listener is told it; nothing costs without one. For this folder.
// Worker thread.

#pragma once

#include "dataplane/proxy/session_types.h"

// Tells the listener, if there is one. Lines as they came, their line end included; on
// the way through to the other leg both sides of it are told.
void dialogue_tell(
	struct relay *r,
	const struct session *s,
	enum capture_kind kind,
	const char *line,
	uint32_t len
);
void dialogue_note_tell(
	struct relay *r,
	const struct session *s,
	const char *what,
	uint64_t octets
);
static inline void dialogue(
	struct relay *r,
	const struct session *s,
	enum capture_kind kind,
	const char *line,
	uint32_t len
)
{
	if (r->listener.line != NULL)
		dialogue_tell(r, s, kind, line, len);
}
static inline void
dialogue_note(struct relay *r, const struct session *s, const char *what, uint64_t octets)
{
	if (r->listener.line != NULL)
		dialogue_note_tell(r, s, what, octets);
}
