// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A passthrough dialogue that is read: when that ends and why, what of it awaits a reply, and where
// it may be left. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdio.h>
#include <string.h>

#define NAME_PREFIX "ended_" // of the counters

void scan_end(struct relay *r, struct session *s, enum stat_id why)
{
	char note[96];

	stat_inc(r->env, why);
	if (r->listener.line != NULL) {
		snprintf(
			note,
			sizeof(note),
			"not read from here on: %s",
			stat_descs[why].name + strlen(NAME_PREFIX)
		);
		dialogue_note(r, s, note, 0);
	}
	scan_greeted(r, s);
	s->state = RELAY_S_SPLICE;
	s->scan = (struct smtp_scan){0};
	s->pending_count = 0;
	s->reply_bytes = 0;
	if (why != STAT_SCAN_OVER)
		s->leg_flags |= SESSION_LEG_F_FRUIT; // what comes is not seen
}

// A slot for the entry, and one for how many more of it there are.
static bool is_short(const struct session *s)
{
	return s->pending_count >= SESSION_PENDING_MAX - 3;
}

// Another one of the last kind, if it is that: in the same turn, or when entries are short. As an
// entry of its own where there is one, since their times differ.
static bool again(struct relay *r, struct session *s, enum smtp_verb verb)
{
	unsigned last = (s->pending_head + s->pending_count - 1U) % SESSION_PENDING_MAX;
	bool run = s->pending_verb[last] == SMTP_V_AGAIN;
	unsigned entry = run ? (last + SESSION_PENDING_MAX - 1U) % SESSION_PENDING_MAX : last;

	if (s->pending_count == 0 || s->pending_verb[entry] != verb)
		return false;
	if (s->pending_us[entry] != relay_now_us(r) && !is_short(s))
		return false;
	if (run && s->pending_us[last] < SCAN_AGAIN_MAX) {
		s->pending_us[last]++;
		return true;
	}
	if (run || s->pending_count == SESSION_PENDING_MAX)
		return false;
	pending_push(r, s, SMTP_V_AGAIN);
	last = (last + 1U) % SESSION_PENDING_MAX;
	s->pending_us[last] = 1;
	return true;
}

bool scan_push(struct relay *r, struct session *s, enum smtp_verb verb)
{
	if (again(r, s, verb))
		return true;
	if (s->pending_count == SESSION_PENDING_MAX) {
		scan_end(r, s, STAT_SCAN_OUTSTANDING);
		return false;
	}
	return pending_push(r, s, verb);
}

bool scan_is_cut(const struct session *s)
{
	return is_read(s) && (s->scan.command.len > 0 || s->scan.command_ahead > 0);
}

bool scan_reply_is_cut(const struct session *s)
{
	return (s->flags & SESSION_F_PASSED) != 0 && s->state != RELAY_S_SPLICE &&
	       s->scan.reply.len > 0;
}

bool scan_is_between_mails(const struct relay *r, const struct session *s)
{
	const uint32_t busy = SESSION_F_MAIL | SESSION_F_CHUNKS | SESSION_F_CLOSING |
			      SESSION_F_CLIENT_FIN | SESSION_F_LEG_FIN;

	if (s->state != RELAY_S_PASS || s->client.v == 0 || s->pending_count > 0 ||
	    (s->flags & busy) != 0 || scan_is_cut(s) || scan_reply_is_cut(s) ||
	    s->scan.reply_ahead > 0)
		return false;
	if ((s->flags & SESSION_F_PASSED) == 0)
		return true; // nobody has said anything yet
	return s->leg_state == LEG_S_READY && tcp_rx_bytes(r->tcp, s->leg) == 0;
}

void scan_client_gone(struct relay *r, struct session *s)
{
	if (!is_read(s))
		return;
	if (s->scan.reply_ahead > 0) // nobody is left who could take it
		tcp_rx_drop(r->tcp, s->leg, s->scan.reply_ahead);
	s->scan.reply_ahead = 0;
	if (s->leg_state == LEG_S_BANNER)
		s->reply_bytes = 0;
}

bool scan_client_fin(struct relay *r, struct session *s)
{
	if (scan_is_cut(s)) {
		scan_end(r, s, STAT_SCAN_CUT);
		return true;
	}
	if (s->pending_count > 0 && !is_body_read(s))
		return true; // it may still read
	client_hang_up(r, s);
	client_gone(r, s);
	return false;
}

bool scan_leg_fin(struct relay *r, struct session *s)
{
	if (is_body_read(s)) { // that goes on, and must not end by a FIN (C16)
		tcp_shutdown(r->tcp, s->client);
		return true;
	}
	leg_close_judge(r, s, TCP_CLOSE_DONE);
	if (s->leg_state == LEG_S_BANNER && (s->flags & SESSION_F_PASSED) == 0) {
		tcp_release(r->tcp, s->leg, true);
		leg_lost(r, s); // as one that was refused
		return false;
	}
	leg_eod_judge(r, s);
	scan_end(r, s, STAT_SCAN_CLOSED);
	return true;
}
