// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a passthrough session's backend says, looked at on its way: each reply belongs to the oldest
// command that awaits one, is timed and counted as in the other modes, and tells how the dialogue
// goes on. Worker thread.

#include "dataplane/proxy/delay_types.h"
#include "dataplane/proxy/relay_inner_types.h"

#include <string.h>

static void malformed(struct relay *r, struct session *s)
{
	stat_inc(r->env, STAT_LEG_MALFORMED);
	leg_signal(r, s, SHM_SIGNAL_MALFORMED, NULL, 0);
	scan_end(r, s, STAT_SCAN_REPLY);
}

// Which transaction is open once this was answered.
static void transaction_follow(struct session *s, enum smtp_verb verb, unsigned code)
{
	bool ok = code / 100 == 2;

	switch (verb) {
	case SMTP_V_MAIL:
		if (ok) {
			s->flags |= SESSION_F_MAIL;
			if (s->pending_count == 0) // after chunks that were refused
				s->flags &= ~(uint32_t)SESSION_F_CHUNKS;
			s->recipients = 0;
		}
		break;
	case SMTP_V_AUTH:
		if (ok)
			s->flags |= SESSION_F_AUTHED;
		break;
	case SMTP_V_BODY:
		s->flags &= ~(uint32_t)SESSION_F_MAIL;
		s->body_bytes = 0;
		break;
	case SMTP_V_EHLO:
	case SMTP_V_HELO:
	case SMTP_V_RSET:
	case SMTP_V_FORBIDDEN: // XCLIENT: a session begins anew
		if (ok)
			s->flags &= ~(uint32_t)(SESSION_F_MAIL | SESSION_F_CHUNKS);
		break;
	default:
		break;
	}
	if (verb == SMTP_V_EHLO || verb == SMTP_V_HELO)
		s->flags |= SESSION_F_GREETED;
}

static void dialogue_follow(struct relay *r, struct session *s, enum smtp_verb verb, unsigned code)
{
	switch (smtp_scan_reply(verb, code)) {
	case SMTP_SCAN_BODY:
		s->state = RELAY_S_PASS_DATA;
		s->dot = SMTP_DOT_START;
		break;
	case SMTP_SCAN_SASL:
		s->state = RELAY_S_PASS_AUTH;
		break;
	case SMTP_SCAN_TLS:
		scan_end(r, s, STAT_SCAN_STARTTLS);
		break;
	case SMTP_SCAN_OVER:
		scan_end(r, s, STAT_SCAN_OVER);
		break;
	case SMTP_SCAN_LOST:
		scan_end(r, s, STAT_SCAN_CODE);
		break;
	default:
		break;
	}
}

static void reply_over(struct relay *r, struct session *s, unsigned code)
{
	enum smtp_verb verb = (enum smtp_verb)s->pending_verb[s->pending_head];

	reply_tally(r, s, verb, code);
	transaction_follow(s, verb, code);
	dialogue_follow(r, s, verb, code);
}

// A line that belongs to no command.
static void unasked(struct relay *r, struct session *s, unsigned code)
{
	session_backend(r, s)->replies_421 += code == 421;
	if (is_body_read(s)) { // read to its end, since it may be cut off (C16)
		if (code != 421)
			s->leg_flags |= SESSION_LEG_F_UNASKED;
		return;
	}
	scan_end(r, s, code == 421 ? STAT_SCAN_OVER : STAT_SCAN_UNASKED);
}

// A whole line: all of it, or what is left of it; bytes: its length.
static void
line_take(struct relay *r, struct session *s, const char *line, uint32_t len, uint32_t bytes)
{
	bool more = false;
	unsigned code = bytes >= 5 ? smtp_reply_code(line, len - 2, &more) : 0;

	if (code == 0 || (s->reply_bytes > 0 && s->reply_code != code) ||
	    s->reply_bytes + bytes > SMTP_REPLY_MAX) {
		malformed(r, s);
		return;
	}
	dialogue(r, s, CAPTURE_FROM_BACKEND, line, len);
	dialogue(r, s, CAPTURE_TO_CLIENT, line, len);
	s->reply_bytes = more ? s->reply_bytes + bytes : 0;
	s->reply_code = (uint16_t)code;
	if (s->leg_state == LEG_S_BANNER) {
		if (!more)
			scan_banner(r, s, code, line, len);
	} else if (s->pending_count == 0) {
		unasked(r, s, code);
	} else if (!more) {
		enum smtp_verb verb = (enum smtp_verb)s->pending_verb[s->pending_head];

		reply_judge(r, s, verb, code, line, len);
		ledger_reply(r, s, verb, code, line, len);
		reply_over(r, s, code);
	}
}

uint32_t scan_replies(struct relay *r, struct session *s, const uint8_t *data, uint32_t len)
{
	struct smtp_scan *scan = &s->scan;
	uint32_t at = 0;

	while (at < len && is_read(s)) {
		uint32_t n, shown;
		char text[SMTP_SCAN_TEXT_MAX];
		const char *line;
		bool whole = smtp_scan_line(
			&scan->reply, scan->reply_head, SMTP_SCAN_REPLY, data + at, len - at, &n
		);

		if (scan->reply.len > SMTP_REPLY_LINE_MAX ||
		    (scan->reply.flags & SMTP_SCAN_F_LF) != 0) {
			malformed(r, s);
		} else if (whole) {
			const struct smtp_scan_line was = scan->reply;

			shown = n;
			line = smtp_scan_text(
				&was,
				scan->reply_head,
				SMTP_SCAN_REPLY,
				(const char *)data + at,
				&shown,
				text
			);
			scan->reply = (struct smtp_scan_line){0};
			line_take(r, s, line, shown, was.len);
		} else {
			delay_piece(r, s);
		}
		at += n;
	}
	return at;
}

// A reply line of a leg whose client has gone, read to its end.
static void rest_take(struct relay *r, struct session *s, const char *line, uint32_t len)
{
	bool more = false;
	unsigned code = smtp_reply_code(line, len - 2, &more);

	if (code == 0 || (s->pending_count == 0 && s->leg_state != LEG_S_BANNER)) {
		leg_drop(r, s);
		session_free(r, s);
		return;
	}
	if (more) {
		s->reply_code = (uint16_t)code;
		return;
	}
	s->reply_bytes = 0;
	if (s->leg_state == LEG_S_BANNER) {
		banner_judge(r, s, code, line, len);
		banner_take(r, s, code);
		return;
	}
	reply_judge(r, s, (enum smtp_verb)s->pending_verb[s->pending_head], code, line, len);
	ledger_reply(r, s, (enum smtp_verb)s->pending_verb[s->pending_head], code, line, len);
	reply_done(r, s, code);
}

bool scan_reply_rest(struct relay *r, struct session *s)
{
	struct smtp_scan *scan = &s->scan;
	char text[SMTP_SCAN_TEXT_MAX];
	const uint8_t *p;
	const char *line;
	uint32_t len, n;
	bool whole;

	if (!tcp_rx_peek(r->tcp, s->leg, 0, &p, &len))
		return false;
	whole = smtp_scan_line(&scan->reply, scan->reply_head, SMTP_SCAN_REPLY, p, len, &n);
	tcp_rx_drop(r->tcp, s->leg, n);
	if (!whole)
		return true;
	len = 0;
	line = smtp_scan_text(&scan->reply, scan->reply_head, SMTP_SCAN_REPLY, NULL, &len, text);
	scan->reply = (struct smtp_scan_line){0};
	dialogue(r, s, CAPTURE_FROM_BACKEND, line, len);
	rest_take(r, s, line, len);
	return true;
}
