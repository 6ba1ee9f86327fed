// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A backend that knows the client refuses it: in its greeting, in its reply to XCLIENT, or to the
// EHLO that we said for it ("Who is refused"). What it said is the client's, in place of the reply
// to its next command, which is its EHLO as a rule, and then the session ends. No other backend is
// asked, and it is no sign of the backend's health. The leg leaves at once, with QUIT. Worker
// thread.

#include "dataplane/proxy/relay_inner_types.h"

#include "common/abi/hist.h"

#include <string.h>

#include "dataplane/smtp/xclient.h"

bool is_verdict(const struct session *s, const char *line, uint32_t len, unsigned code)
{
	if (s->leg_state == LEG_S_XCLIENT)
		return s->reply_bytes == 0 && code / 100 != 2 &&
		       !smtp_xclient_fault(code, line, len);
	if (!leg_is_named(s) || s->reply_bytes > 0)
		return false;
	return (s->leg_state == LEG_S_BANNER && code != 220) ||
	       (s->leg_state == LEG_S_REEHLO && code != 250);
}

// As many whole lines as can be kept, or the begin of the first. The last of them ends the reply.
static uint32_t shorten(struct relay *r, const char *text, uint32_t len, char out[EHLO_NAME_MAX])
{
	uint32_t n = 0, last = 0;

	while (n < len) {
		const char *lf = memchr(text + n, '\n', len - n);
		uint32_t line = lf != NULL ? (uint32_t)(lf - text) + 1 - n : len - n;

		if (n + line > EHLO_NAME_MAX)
			break;
		memcpy(out + n, text + n, line);
		last = n;
		n += line;
	}
	if (n < len)
		stat_inc(r->env, STAT_IDENTITY_VERDICTS_CUT);
	if (n == 0) {
		memcpy(out, text, EHLO_NAME_MAX - 2);
		memcpy(out + EHLO_NAME_MAX - 2, "\r\n", 2);
		n = EHLO_NAME_MAX;
	}
	if (out[last + 3] == '-')
		out[last + 3] = ' ';
	return n;
}

static void keep(struct relay *r, struct session *s, const char *text, uint32_t len)
{
	char out[EHLO_NAME_MAX];
	uint32_t n = shorten(r, text, len, out);

	stat_inc(r->env, STAT_IDENTITY_VERDICTS);
	s->flags |= SESSION_F_VERDICT;
	if (!ehlo_text_put(r, s, out, n))
		stat_inc(r->env, STAT_IDENTITY_VERDICTS_CUT); // a reply of ours instead
}

// The greeting is over, if not a kind one.
static void greeted(struct relay *r, struct session *s, unsigned code)
{
	struct shm_backend_local *backend = session_backend(r, s);

	backend->replies_421 += code == 421;
	if (s->leg_state == LEG_S_BANNER) {
		hist_add(&backend->latency[SHM_VERB_BANNER], relay_now_us(r) - s->leg_since_us);
		backend->connecting--;
	}
	leg_judged(r, s);
	lb_report_success(r->lb, s->backend_slot);
	s->leg_state = LEG_S_READY;
}

bool verdict_take(struct relay *r, struct session *s)
{
	bool ok, more;
	uint32_t len = reply_collect(r, s, 0, &ok);
	const char *cr = len > 0 ? memchr(r->scratch, '\r', len) : NULL;
	unsigned code;

	if (len == 0)
		return false;
	if (!ok || cr == NULL) {
		reply_broken(r, s);
		return false;
	}
	code = smtp_reply_code(r->scratch, (uint32_t)(cr - r->scratch), &more);
	greeted(r, s, code);
	s->reply_code = (uint16_t)code;
	if (s->state != RELAY_S_GONE)
		keep(r, s, r->scratch, len);
	reply_line_take(r, s, r->scratch, len);
	if (s->state == RELAY_S_GONE) {
		leg_leave(r, s);
		if (s->leg.v != 0)
			return true;
		session_free(r, s);
		return false;
	}
	if (code == 421) // it closes
		leg_release(r, s);
	else
		leg_part(r, s);
	return true;
}

static bool own_say(struct relay *r, struct session *s)
{
	bool later = s->reply_code / 100 == 4;

	session_close(r, s, later ? SMTP_OWN_REFUSED_LATER : SMTP_OWN_REFUSED);
	return false;
}

bool verdict_say(struct relay *r, struct session *s, const char *line, uint32_t len)
{
	const char *text;
	uint32_t n;

	dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
	wire_rx_drop(r, wire_client(s), len);
	if ((s->flags & SESSION_F_EHLO_KEPT) == 0)
		return own_say(r, s);
	text = ehlo_text(r, s, &n);
	if (!wire_tx_write(r, wire_client(s), text, n))
		stat_inc(r->env, STAT_SESSION_NO_BUFFER);
	else
		dialogue(r, s, CAPTURE_TO_CLIENT, text, n);
	s->flags |= SESSION_F_CLOSING;
	client_release(r, s);
	session_free(r, s);
	return false;
}
