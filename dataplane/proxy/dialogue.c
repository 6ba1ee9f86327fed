// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a transcript is told: the lines of both legs in the order they pass, without bodies and SASL
// data. Costs one look at a pointer a line while nobody listens. Worker thread.

#include <stdio.h>
#include <string.h>

#include "dataplane/proxy/relay_inner_types.h"

void relay_listener_set(struct relay *r, const struct relay_listener *listener)
{
	r->listener = listener != NULL ? *listener : (struct relay_listener){0};
}

static uint32_t without_line_end(const char *line, uint32_t len)
{
	if (len > 0 && line[len - 1] == '\n')
		len--;
	if (len > 0 && line[len - 1] == '\r')
		len--;
	return len;
}

static bool is_command(enum capture_kind kind)
{
	return kind == CAPTURE_FROM_CLIENT || kind == CAPTURE_TO_BACKEND ||
	       kind == CAPTURE_OWN_TO_BACKEND;
}

// Does the reply under way answer AUTH or a SASL line?
static bool answers_auth(const struct session *s)
{
	return s->pending_count > 0 && s->pending_verb[s->pending_head] == SMTP_V_AUTH;
}

static uint32_t line_show(
	const struct session *s,
	enum capture_kind kind,
	const char *line,
	uint32_t len,
	char out[SMTP_SHOW_MAX]
)
{
	if (!is_command(kind))
		return smtp_show_reply(line, len, answers_auth(s), out);
	if (memchr(line, '\r', len) != NULL || memchr(line, '\0', len) != NULL)
		return smtp_show_nothing("a bare CR or a NUL", out);
	return smtp_show_command(
		line, len, s->state == RELAY_S_AUTH || s->state == RELAY_S_PASS_AUTH, out
	);
}

void dialogue_tell(
	struct relay *r,
	const struct session *s,
	enum capture_kind kind,
	const char *line,
	uint32_t len
)
{
	struct relay_view view;
	uint32_t at = 0;

	session_view_get(r, s, &view);
	while (at < len) { // a reply may be of several lines
		const char *lf = memchr(line + at, '\n', len - at);
		uint32_t n = lf != NULL ? (uint32_t)(lf - line) + 1 - at : len - at;
		char out[SMTP_SHOW_MAX];
		uint32_t shown = line_show(s, kind, line + at, without_line_end(line + at, n), out);

		r->listener.line(r->listener.up, &view, kind, out, shown);
		at += n;
	}
}

void dialogue_note_tell(struct relay *r, const struct session *s, const char *what, uint64_t octets)
{
	struct relay_view view;
	char out[SMTP_SHOW_MAX];
	int n = octets > 0 ? snprintf(
				     out,
				     sizeof(out),
				     "(%s, %llu octets)",
				     what,
				     (unsigned long long)octets
			     )
			   : snprintf(out, sizeof(out), "(%s)", what);

	session_view_get(r, s, &view);
	r->listener.line(r->listener.up, &view, CAPTURE_NOTE, out, (uint32_t)n);
}
