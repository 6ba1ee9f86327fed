// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// XCLIENT towards a backend, as the pool says: an EHLO of our own name to see whether it is
// offered, then who the client is, and the server begins anew with the EHLO of that client (X7-X9).
// Both are said as soon as the leg is greeted, so that a client in its handshake does not wait for
// them. A backend that does not offer it, or refuses us the right to it, is left for the next one,
// with an alarm: nobody passes under our address unseen. What it says against the client is the
// client's (verdict.c). Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdio.h>

#include "dataplane/smtp/xclient.h"

// False: the session has ended.
static bool say(struct relay *r, struct session *s, const char *line, uint32_t len)
{
	uint64_t id = s->id;

	s->leg_since_ms = env_now_ms(r->env);
	if (wire_tx_write(r, wire_leg(s), line, len)) {
		dialogue(r, s, CAPTURE_OWN_TO_BACKEND, line, len);
		return true;
	}
	stat_inc(r->env, STAT_IDENTITY_NO_BUFFER);
	leg_drop(r, s);
	session_close(r, s, SMTP_OWN_NO_LEG);
	return s->id == id;
}

bool leg_greeted(struct relay *r, struct session *s)
{
	char line[300];
	int n;

	if ((s->leg_flags & SESSION_LEG_F_XCLIENT) == 0 || s->state == RELAY_S_GONE)
		return leg_ready(r, s);
	n = snprintf(line, sizeof(line), "EHLO %s\r\n", r->blob->hostname);
	stat_inc(r->env, STAT_IDENTITY_EHLO);
	s->leg_state = LEG_S_XCLIENT_EHLO;
	s->caps = 0; // of the attributes until XCLIENT is said: no command goes out before
	return say(r, s, line, (uint32_t)n);
}

static bool client_tell(struct relay *r, struct session *s)
{
	char line[SMTP_XCLIENT_MAX];
	struct smtp_xclient_client c = {0};
	uint32_t offered = s->caps;
	struct session_client who;

	session_client_get(r, s, &who);
	c.client = who.remote;
	c.local = who.local;
	if ((s->flags & SESSION_F_EHLO_KEPT) != 0) {
		c.helo = ehlo_text(r, s, &c.helo_len);
		c.esmtp = (s->ehlo.verb & SESSION_EHLO_HELO) == 0;
	}
	stat_inc(r->env, STAT_IDENTITY_XCLIENT);
	s->leg_state = LEG_S_XCLIENT;
	s->caps = 0;
	return say(r, s, line, smtp_xclient_line(offered, &c, line));
}

// The backend is not set up for it.
static void leg_misconfigured(struct relay *r, struct session *s, enum stat_id why)
{
	stat_inc(r->env, why);
	s->caps = 0;
	leg_release(r, s);
	leg_signal(r, s, SHM_SIGNAL_MALFORMED, NULL, 0);
	leg_failed(r, s, true);
}

// The reply is whole. False: nothing more can be read now.
static bool reply_over(struct relay *r, struct session *s, unsigned code)
{
	if (s->state == RELAY_S_GONE) { // the client did not wait: QUIT
		s->leg_state = LEG_S_READY;
		leg_leave(r, s);
		if (s->leg.v == 0)
			session_free(r, s);
		return false;
	}
	if (s->leg_state == LEG_S_XCLIENT_EHLO) {
		if (code == 250 && (s->caps & SMTP_XCLIENT_ADDR) != 0)
			return client_tell(r, s);
		leg_misconfigured(r, s, STAT_IDENTITY_NO_XCLIENT);
		return false;
	}
	if (code / 100 != 2) {
		leg_misconfigured(r, s, STAT_IDENTITY_XCLIENT_REFUSED);
		return false;
	}
	s->leg_flags |= SESSION_LEG_F_NAMED;
	return leg_ready(r, s);
}

bool leg_xclient_reply(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	unsigned code,
	bool more
)
{
	bool asked = s->leg_state == LEG_S_XCLIENT_EHLO;

	if (asked && code == 250)
		s->caps |= (uint16_t)smtp_xclient_offer(line, len);
	if (!more && s->state != RELAY_S_GONE &&
	    (asked ? (s->caps & SMTP_XCLIENT_ADDR) == 0 : code / 100 != 2))
		alarm_tell(r, s, CTL_ALARM_XCLIENT, line, len);
	reply_line_take(r, s, line, len);
	s->reply_bytes = more ? s->reply_bytes + len : 0;
	s->reply_code = (uint16_t)code;
	return more || reply_over(r, s, code);
}
