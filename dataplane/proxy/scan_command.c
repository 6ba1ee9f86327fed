// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a passthrough client says, looked at on its way: commands, SASL lines, bodies as opaque
// octets up to their end. Nothing is refused here; what a server might read otherwise than we do
// ends the reading. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <string.h>
#include <strings.h>

// False: what comes cannot be told any more, since the body was answered before its end.
static bool body_over(struct relay *r, struct session *s, const char *what)
{
	dialogue_note(r, s, what, s->body_bytes);
	s->state = RELAY_S_PASS;
	if ((s->leg_flags & SESSION_LEG_F_UNASKED) != 0)
		scan_end(r, s, STAT_SCAN_UNASKED);
	return is_read(s);
}

static void body_count(struct relay *r, struct session *s, uint32_t n)
{
	s->body_bytes = n > UINT32_MAX - s->body_bytes ? UINT32_MAX : s->body_bytes + n;
	stat_add(r->env, STAT_SESSION_BYTES, n);
	session_backend(r, s)->bytes += n;
}

// A CR that ended the piece before went on: was it the begin of a line end? Returns how many octets
// of this piece are looked at with it.
static uint32_t cr_settle(struct session *s, uint8_t next, enum smtp_dot_event *ret)
{
	const uint8_t pair[2] = {'\r', next};
	uint32_t n, stuffed;

	s->scan.command.flags = 0;
	*ret = smtp_dot_scan(&s->dot, pair, 2, &n, &stuffed);
	if (*ret == SMTP_DOT_BARE)
		s->dot = SMTP_DOT_TEXT;
	return n == 2 ? 1 : 0;
}

// Up to the end of the body, which is where CRLF . CRLF is; bare line ends are text.
static uint32_t data_look(struct relay *r, struct session *s, const uint8_t *data, uint32_t len)
{
	enum smtp_dot_event event = SMTP_DOT_MORE;
	uint32_t at = 0, n, stuffed;

	if ((s->scan.command.flags & SMTP_SCAN_F_CR) != 0)
		at = cr_settle(s, data[0], &event);
	while (event != SMTP_DOT_END && at < len) {
		event = smtp_dot_scan(&s->dot, data + at, len - at, &n, &stuffed);
		at += n;
		if (event == SMTP_DOT_BARE) {
			s->dot = SMTP_DOT_TEXT;
			at++;
		} else if (event == SMTP_DOT_MORE && at < len) {
			s->scan.command.flags |= SMTP_SCAN_F_CR;
			at++;
		}
	}
	body_count(r, s, at);
	if (event == SMTP_DOT_END && body_over(r, s, "the body"))
		scan_push(r, s, SMTP_V_BODY);
	return at;
}

static void chunk_over(struct relay *r, struct session *s)
{
	unsigned last = (s->pending_head + s->pending_count - 1U) % SESSION_PENDING_MAX;

	if ((s->flags & SESSION_F_BDAT_LAST) != 0)
		s->flags &= ~(uint32_t)SESSION_F_CHUNKS; // it is whole
	if (body_over(r, s, "a chunk of the body") && s->pending_count > 0 &&
	    s->pending_verb[last] != SMTP_V_AGAIN)
		s->pending_us[last] =
			relay_now_us(r); // its reply's time counts from its last octet
}

static uint32_t chunk_look(struct relay *r, struct session *s, uint32_t len)
{
	uint32_t n = len < s->swallow_left ? len : (uint32_t)s->swallow_left;

	s->swallow_left -= n;
	body_count(r, s, n);
	if (s->swallow_left == 0)
		chunk_over(r, s);
	return n;
}

// len: of the whole line without its end, of which head has what is kept.
static void bdat_take(struct relay *r, struct session *s, const char *head, uint32_t len)
{
	struct smtp_command cmd;
	bool last;

	smtp_command_parse(head, len, &cmd);
	if (len > SMTP_SCAN_COMMAND || !smtp_bdat_parse(&cmd, &s->swallow_left, &last)) {
		scan_end(r, s, STAT_SCAN_BDAT);
		return;
	}
	if (!scan_push(r, s, last ? SMTP_V_BODY : SMTP_V_BDAT))
		return;
	s->state = RELAY_S_PASS_BDAT;
	s->flags &= ~(uint32_t)SESSION_F_BDAT_LAST;
	s->flags |= SESSION_F_CHUNKS | (last ? SESSION_F_BDAT_LAST : 0);
	if (s->swallow_left == 0)
		chunk_over(r, s);
}

static void command_take(struct relay *r, struct session *s, const char *head, uint32_t len)
{
	uint32_t kept = len < SMTP_SCAN_COMMAND ? len : SMTP_SCAN_COMMAND;
	enum smtp_verb verb = smtp_scan_verb(head, kept);

	if (len == 0) { // some servers answer it, others do not
		scan_end(r, s, STAT_SCAN_EMPTY);
		return;
	}
	if (s->leg_state == LEG_S_BANNER && s->pending_count == 0 && smtp_scan_is_proxy(head, kept))
		return; // of who stands before us
	if (verb == SMTP_V_BDAT) {
		bdat_take(r, s, head, len);
		return;
	}
	if (verb == SMTP_V_QUIT)
		s->flags |= SESSION_F_SAID_QUIT;
	scan_push(r, s, verb);
}

// A whole line, n octets of it at last.
static void line_take(struct relay *r, struct session *s, const char *last, uint32_t n)
{
	const struct smtp_scan_line line = s->scan.command;
	char text[SMTP_SCAN_TEXT_MAX], head[SMTP_SCAN_COMMAND];
	const char *shown =
		smtp_scan_text(&line, s->scan.command_head, SMTP_SCAN_COMMAND, last, &n, text);

	s->scan.command = (struct smtp_scan_line){0};
	memcpy(head, s->scan.command_head, sizeof(head));
	dialogue(r, s, CAPTURE_FROM_CLIENT, shown, n);
	dialogue(r, s, CAPTURE_TO_BACKEND, shown, n);
	if (s->state == RELAY_S_PASS) {
		uint32_t kept =
			line.len - 2U < SMTP_SCAN_COMMAND ? line.len - 2U : SMTP_SCAN_COMMAND;

		ledger_command(r, s, smtp_scan_verb(head, kept), shown, n);
		command_take(r, s, head, line.len - 2U);
		return;
	}
	s->state = RELAY_S_PASS;
	scan_push(r, s, SMTP_V_AUTH);
}

static uint32_t line_max(const struct session *s)
{
	bool long_one =
		s->state == RELAY_S_PASS_AUTH ||
		(s->scan.command.len >= 5 && strncasecmp(s->scan.command_head, "AUTH ", 5) == 0);

	return long_one ? SMTP_AUTH_LINE_MAX : SMTP_LINE_MAX;
}

// Octets behind a command whose reply tells whether they are commands.
static bool is_early(const struct session *s)
{
	unsigned last = (s->pending_head + s->pending_count - 1U) % SESSION_PENDING_MAX;

	return s->pending_count > 0 && s->scan.command.len == 0 &&
	       smtp_scan_is_open((enum smtp_verb)s->pending_verb[last]);
}

static uint32_t line_look(struct relay *r, struct session *s, const uint8_t *data, uint32_t len)
{
	struct smtp_scan_line *line = &s->scan.command;
	uint32_t n;
	bool whole;

	if (is_early(s)) {
		scan_end(r, s, STAT_SCAN_EARLY);
		return len;
	}
	whole = smtp_scan_line(line, s->scan.command_head, SMTP_SCAN_COMMAND, data, len, &n);
	if ((line->flags & (SMTP_SCAN_F_BARE | SMTP_SCAN_F_LF)) != 0)
		scan_end(r, s, STAT_SCAN_BARE);
	else if (line->len > line_max(s))
		scan_end(r, s, STAT_SCAN_LONG);
	else if (whole)
		line_take(r, s, (const char *)data, n);
	return n;
}

uint32_t scan_commands(struct relay *r, struct session *s, const uint8_t *data, uint32_t len)
{
	uint32_t at = 0;

	while (at < len && is_read(s)) {
		if (s->state == RELAY_S_PASS_DATA)
			at += data_look(r, s, data + at, len - at);
		else if (s->state == RELAY_S_PASS_BDAT)
			at += chunk_look(r, s, len - at);
		else
			at += line_look(r, s, data + at, len - at);
	}
	return at;
}
