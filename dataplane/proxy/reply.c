// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Replies of the backend: each belongs to the oldest command that awaits one, is timed, and goes to
// the client complete and in order (C4, C8, P2, G5). Worker thread.

#include "dataplane/proxy/delay_types.h"
#include "dataplane/proxy/relay_inner_types.h"

#include "common/abi/hist.h"

#include <stdio.h>
#include <string.h>

static void reply_count(struct relay *r, struct session *s, enum smtp_verb verb, unsigned code)
{
	struct shm_backend_local *backend = session_backend(r, s);
	struct shm_service_local *service = &r->config.shm.services[s->service_slot];

	backend->replies_4xx += code / 100 == 4;
	backend->replies_5xx += code / 100 == 5;
	backend->replies_421 += code == 421;
	stall_score(r, s, verb, code);
	if (verb == SMTP_V_RCPT && code / 100 == 2) {
		s->recipients++;
		s->leg_flags |= SESSION_LEG_F_FRUIT;
		backend->recipients++;
		service->recipients++;
		stat_inc(r->env, STAT_SESSION_RECIPIENTS);
	}
	if (verb != SMTP_V_BODY)
		return;
	service->bytes += s->body_bytes;
	if (code / 100 == 2) {
		s->messages++;
		s->leg_flags |= SESSION_LEG_F_FRUIT;
		backend->messages++;
		service->messages++;
		stat_inc(r->env, STAT_SESSION_MESSAGES);
	} else {
		s->leg_flags &= (uint16_t)~SESSION_LEG_F_FRUIT;
		stat_inc(r->env, STAT_SESSION_MESSAGES_REFUSED);
	}
}

// Of a client that was passed through and has gone: does the backend wait for what is no command?
static bool is_out_of_hand(enum smtp_verb verb, unsigned code)
{
	enum smtp_scan_next next = smtp_scan_reply(verb, code);

	return next == SMTP_SCAN_TLS || next == SMTP_SCAN_LOST;
}

// What the finished reply to a command means for the client's side.
static void reply_act(struct relay *r, struct session *s, enum smtp_verb verb, unsigned code)
{
	bool client = s->state != RELAY_S_GONE;

	if ((s->flags & SESSION_F_PASSED) != 0 && is_out_of_hand(verb, code)) {
		leg_release(r, s); // QUIT would not be read as that
		return;
	}
	switch (verb) {
	case SMTP_V_HELO:
		s->caps = 0;
		[[fallthrough]];
	case SMTP_V_EHLO:
		if (code == 250)
			s->flags &= ~(uint32_t)(SESSION_F_MAIL | SESSION_F_CHUNKS); // C6
		break;
	case SMTP_V_MAIL:
		if (code / 100 == 2) {
			s->flags |= SESSION_F_MAIL;
			if (s->pending_count == 0) // after chunks that were refused
				s->flags &= ~(uint32_t)SESSION_F_CHUNKS;
			s->recipients = 0;
		}
		break;
	case SMTP_V_DATA: // clients go by the first digit (RFC 5321 4.2.1): a body follows
		if (code / 100 == 3 && client) {
			s->state = RELAY_S_DATA;
			s->dot = SMTP_DOT_START;
			tcp_rx_window_set(r->tcp, s->client, SESSION_WINDOW_BODY);
		} else if (code / 100 == 3) {
			leg_drop(r, s); // no body will come, and none may be ended (C16)
		}
		break;
	case SMTP_V_AUTH:
		if (code / 100 == 3 && client)
			s->state = RELAY_S_AUTH;
		else if (code / 100 == 3)
			leg_release(r, s); // it would take QUIT for an answer
		if (code / 100 == 2)
			s->flags |= SESSION_F_AUTHED;
		break;
	case SMTP_V_RSET:
		if (code / 100 == 2)
			s->flags &= ~(uint32_t)SESSION_F_CHUNKS;
		[[fallthrough]];
	case SMTP_V_BODY:
		s->flags &= ~(uint32_t)SESSION_F_MAIL;
		break;
	default:
		break;
	}
}

static bool is_body_reply(const struct session *s)
{
	return s->leg_state == LEG_S_READY && s->pending_count > 0 && s->reply_bytes == 0 &&
	       s->pending_verb[s->pending_head] == SMTP_V_BODY;
}

void reply_tally(struct relay *r, struct session *s, enum smtp_verb verb, unsigned code)
{
	uint32_t us = relay_now_us(r) - s->pending_us[s->pending_head];

	pending_pop(s);
	s->reply_bytes = 0;
	s->leg_since_ms = env_now_ms(r->env);
	s->touched_ms = env_now_ms(r->env); // the client's turn begins now
	hist_add(&session_backend(r, s)->latency[smtp_verb_group(verb)], us);
	if (verb == SMTP_V_EHLO || verb == SMTP_V_HELO)
		reply_time_judge(r, s, us); // others when their last line came
	reply_count(r, s, verb, code);
}

// The last line was relayed.
void reply_done(struct relay *r, struct session *s, unsigned code)
{
	enum smtp_verb verb = (enum smtp_verb)s->pending_verb[s->pending_head];

	reply_tally(r, s, verb, code);
	reply_let_go(r, s);
	reply_act(r, s, verb, code);
	if (s->leg.v == 0) {
		if (s->client.v == 0)
			session_free(r, s);
		return;
	}
	pending_flush_own(r, s);
	if (code == 421 || verb == SMTP_V_QUIT) {
		client_release(r, s);
		leg_finish(r, s);
	} else if (s->state == RELAY_S_GONE) {
		leg_leave(r, s);
		if (s->leg.v == 0)
			session_free(r, s);
	}
}

// Reads a line off the leg.
void reply_line_take(struct relay *r, struct session *s, const char *line, uint32_t len)
{
	dialogue(r, s, CAPTURE_FROM_BACKEND, line, len);
	wire_rx_drop(r, wire_leg(s), len);
}

void reply_broken(struct relay *r, struct session *s)
{
	dialogue_note(r, s, "the backend's reply is none", 0);
	stat_inc(r->env, STAT_LEG_MALFORMED);
	leg_signal(r, s, SHM_SIGNAL_MALFORMED, NULL, 0);
	if (leg_is_greeting(s)) {
		leg_failed(r, s, true);
		return;
	}
	if (s->state == RELAY_S_DATA || s->state == RELAY_S_BDAT) {
		body_refuse(r, s, SMTP_OWN_BODY_LOST); // C16: the client hears of it at its end
		return;
	}
	leg_eod_judge(r, s);
	leg_drop(r, s);
	session_close(r, s, SMTP_OWN_BACKEND_PROTOCOL);
}

// Its client did not wait for a leg that is ready now. False: the session has ended.
static bool gone_leave(struct relay *r, struct session *s)
{
	leg_leave(r, s);
	if (s->leg.v != 0)
		return true;
	session_free(r, s);
	return false;
}

bool leg_ready(struct relay *r, struct session *s)
{
	char line[EHLO_LINE_MAX];
	uint64_t id = s->id;
	uint32_t n;

	s->leg_state = LEG_S_READY;
	if (s->state == RELAY_S_GONE)
		return gone_leave(r, s);
	if ((s->flags & SESSION_F_EHLO_KEPT) == 0)
		return true;
	s->leg_state = LEG_S_REEHLO; // a fresh leg for a later mail
	s->leg_since_ms = env_now_ms(r->env);
	n = ehlo_line(r, s, line);
	if (!wire_tx_write(r, wire_leg(s), line, n)) {
		leg_drop(r, s);
		session_close(r, s, SMTP_OWN_NO_LEG);
		return s->id == id;
	}
	if ((s->flags & SESSION_F_REOPENED) != 0) // else no backend has heard it yet
		stat_inc(
			r->env,
			(s->ehlo.verb & SESSION_EHLO_HELO) != 0 ? STAT_SYNTHETIC_HELO_REOPENED
								: STAT_SYNTHETIC_EHLO_REOPENED
		);
	s->flags &= ~(uint32_t)SESSION_F_REOPENED;
	dialogue(r, s, CAPTURE_OWN_TO_BACKEND, line, n);
	return true;
}

// The banner: 220 opens the leg, anything else sends the session to the next backend.
void banner_take(struct relay *r, struct session *s, unsigned code)
{
	struct shm_backend_local *backend = session_backend(r, s);

	hist_add(&backend->latency[SHM_VERB_BANNER], relay_now_us(r) - s->leg_since_us);
	if (code != 220 || (s->leg_flags & SESSION_LEG_F_REFUSES) != 0) {
		backend->replies_421 += code == 421;
		if (code / 100 == 5)
			stat_inc(r->env, STAT_LEG_SOURCE_REFUSED);
		backend->connecting--;
		s->leg_state = LEG_S_READY; // greeted, if not kindly
		leg_release(r, s);
		leg_failed(r, s, true);
		return;
	}
	leg_judged(r, s);
	backend->connecting--;
	backend->sessions++;
	lb_report_success(r->lb, s->backend_slot);
	if ((s->leg_flags & SESSION_LEG_F_STARTTLS) != 0 && s->state != RELAY_S_GONE)
		leg_starttls_begin(r, s);
	else
		leg_greeted(r, s);
}

static bool ehlo_reply(struct relay *r, struct session *s)
{
	bool ok;
	uint32_t len = reply_collect(r, s, 250, &ok);
	const struct smtp_limits limits = {s->max_message_bytes, s->max_recipients, offers_tls(s)};
	uint32_t out, caps = 0;

	if (len == 0)
		return false;
	out = ok ? smtp_ehlo_filter(r->scratch, len, &limits, r->out, RELAY_SCRATCH, &caps) : 0;
	if (out == 0) {
		reply_broken(r, s);
		return false;
	}
	s->caps = (uint16_t)caps;
	if (s->leg_state != LEG_S_REEHLO && s->client.v != 0 &&
	    !wire_tx_write(r, wire_client(s), r->out, out)) {
		s->flags |= SESSION_F_RETRY;
		return false;
	}
	reply_line_take(r, s, r->scratch, len);
	reply_let_go(r, s);
	profile_learn(r, s);
	if (s->leg_state != LEG_S_REEHLO && s->client.v != 0)
		dialogue(r, s, CAPTURE_TO_CLIENT, r->out, out);
	if (s->leg_state == LEG_S_REEHLO) {
		s->leg_state = LEG_S_READY;
		if (s->state == RELAY_S_GONE)
			return gone_leave(r, s);
		return true;
	}
	delay_reply(r, s, SMTP_V_EHLO, 250, "250 ", 4);
	s->flags |= SESSION_F_GREETED;
	reply_done(r, s, 250);
	return true;
}

// A reply nobody asked for: 421 is an announcement, anything else means the backend saw more than
// we sent (G5).
static bool
reply_unasked(struct relay *r, struct session *s, unsigned code, const char *line, uint32_t len)
{
	dialogue(r, s, CAPTURE_FROM_BACKEND, line, len);
	session_backend(r, s)->replies_421 += code == 421;
	if (code == 421 && (s->state == RELAY_S_DATA || s->state == RELAY_S_BDAT)) {
		body_refuse(r, s, SMTP_OWN_BODY_LOST); // C16: the client hears of it at its end
		return true;
	}
	if (code == 421 && s->state == RELAY_S_TLS) { // nothing of the client has reached it
		leg_release(r, s);
		leg_failed(r, s, true);
		return false;
	}
	if (code == 421) {
		if (s->client.v != 0 && wire_tx_write(r, wire_client(s), line, len))
			dialogue(r, s, CAPTURE_TO_CLIENT, line, len);
		leg_let_go(r, s);
	} else {
		stat_inc(r->env, STAT_LEG_DESYNC);
		session_backend(r, s)->desync++;
		alarm_tell(r, s, CTL_ALARM_DESYNC, line, len);
		leg_drop(r, s);
	}
	client_release(r, s);
	session_free(r, s);
	return false;
}

// True when the reply is to an EHLO and says 250: it is rewritten as a whole.
static bool is_ehlo_reply(const struct session *s, unsigned code)
{
	if (code != 250 || s->reply_bytes > 0)
		return false;
	if (s->leg_state == LEG_S_REEHLO)
		return true;
	return s->leg_state == LEG_S_READY && s->pending_count > 0 &&
	       s->pending_verb[s->pending_head] == SMTP_V_EHLO;
}

// To the client, as it came or made temporary.
static bool
line_relay(struct relay *r, struct session *s, const char *line, uint32_t len, unsigned code)
{
	enum smtp_verb verb = (enum smtp_verb)s->pending_verb[s->pending_head];

	if ((s->leg_flags & SESSION_LEG_F_SOFT_BOUNCE) == 0 || code / 100 != 5 ||
	    !smtp_verb_softens(verb))
		return wire_tx_write(r, wire_client(s), line, len);
	memcpy(r->out, line, len);
	smtp_reply_soften(r->out, len);
	if (!wire_tx_write(r, wire_client(s), r->out, len))
		return false;
	stat_inc(r->env, STAT_LEG_SOFT_BOUNCED);
	return true;
}

// A line before the leg may be used: of its greeting, or of a refusal of the EHLO that we said
// again.
static bool greeting_line(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	unsigned code,
	bool more
)
{
	bool banner = s->leg_state == LEG_S_BANNER;

	if (banner && !more)
		banner_judge(r, s, code, line, len);
	reply_line_take(r, s, line, len);
	s->reply_bytes = more ? s->reply_bytes + len : 0;
	s->reply_code = (uint16_t)code;
	if (more)
		return true;
	if (banner) {
		banner_take(r, s, code);
		return s->id != 0;
	}
	leg_release(r, s);
	session_close(r, s, SMTP_OWN_NO_LEG);
	return false;
}

// A line of an ordinary reply, checked.
static bool reply_line(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	unsigned code,
	bool more
)
{
	if (s->leg_state == LEG_S_CLOSING || s->leg_state == LEG_S_QUITTING) {
		bool over = s->leg_state == LEG_S_QUITTING && !more;

		reply_line_take(r, s, line, len);
		if (over)
			leg_finish(r, s);
		return !over;
	}
	if ((s->reply_bytes > 0 && s->reply_code != code) ||
	    s->reply_bytes + len > SMTP_REPLY_MAX) {
		reply_broken(r, s);
		return false;
	}
	if (s->leg_state == LEG_S_BANNER || s->leg_state == LEG_S_REEHLO)
		return greeting_line(r, s, line, len, code, more);
	if (s->leg_state == LEG_S_TLS_EHLO || s->leg_state == LEG_S_TLS_ASKED)
		return leg_tls_reply(r, s, line, len, code, more);
	if (s->leg_state == LEG_S_XCLIENT_EHLO || s->leg_state == LEG_S_XCLIENT)
		return leg_xclient_reply(r, s, line, len, code, more);
	if (s->pending_count == 0)
		return reply_unasked(r, s, code, line, len);
	if (s->client.v != 0 && !line_relay(r, s, line, len, code)) {
		s->flags |= SESSION_F_RETRY;
		return false;
	}
	if (!more) {
		enum smtp_verb verb = (enum smtp_verb)s->pending_verb[s->pending_head];

		reply_judge(r, s, verb, code, line, len);
		ledger_reply(r, s, verb, code, line, len);
	}
	dialogue(r, s, CAPTURE_FROM_BACKEND, line, len);
	if (s->client.v != 0)
		dialogue(r, s, CAPTURE_TO_CLIENT, line, len);
	wire_rx_drop(r, wire_leg(s), len);
	s->reply_bytes += len;
	s->reply_code = (uint16_t)code;
	if (!more)
		reply_done(r, s, code);
	return true;
}

bool reply_step(struct relay *r, struct session *s)
{
	enum line_result result;
	const char *line;
	uint32_t len;
	enum smtp_reply_part part;
	unsigned code;
	bool more = false;

	if (s->leg.v == 0 || s->leg_state <= LEG_S_CONNECTING || (s->flags & SESSION_F_RETRY) != 0)
		return false;
	if (is_passthrough(s) && (s->leg_flags & SESSION_LEG_F_REFUSES) == 0)
		return false; // splice.c
	if (scan_reply_is_cut(s) && scan_reply_rest(r, s))
		return true;
	if (s->leg_state == LEG_S_TLS && leg_tls_step(r, s))
		return true;
	if (s->leg.v == 0)
		return false;
	result = relay_line(r, wire_leg(s), SMTP_REPLY_LINE_MAX, &line, &len);
	code = result == LINE_OK && len >= 5 && line[len - 2] == '\r'
		       ? smtp_reply_code(line, len - 2, &more)
		       : 0;
	if (more && is_body_reply(s)) {
		part = reply_hold(r, s);
		code = part == SMTP_REPLY_BROKEN ? 0 : code;
		result = part == SMTP_REPLY_MORE ? LINE_MORE : result;
	}
	if (result == LINE_MORE) {
		if (wire_rx_bytes(r, wire_leg(s)) > 0)
			delay_piece(r, s);
		if ((s->flags & SESSION_F_LEG_FIN) != 0) {
			if (leg_in_body(s)) {
				tcp_abort(r->tcp, s->leg); // no FIN behind half a body (C16)
			} else {
				wire_end(r, wire_leg(s));
				tcp_release(r->tcp, s->leg, true);
			}
			leg_close_judge(r, s, TCP_CLOSE_DONE);
			leg_lost(r, s);
		}
		return false;
	}
	if (code == 0) {
		reply_broken(r, s);
		return false;
	}
	if (is_ehlo_reply(s, code))
		return ehlo_reply(r, s);
	if (is_verdict(s, line, len, code))
		return verdict_take(r, s);
	return reply_line(r, s, line, len, code, more);
}

bool reply_read_rest(struct relay *r, struct session *s)
{
	struct tcp_conn_id leg = s->leg;
	uint64_t id = s->id;

	stall_give_up(r, s);
	while (s->id == id && s->leg.v == leg.v && s->leg_state == LEG_S_READY &&
	       s->state != RELAY_S_GONE && s->pending_count > 0 && reply_step(r, s))
		;
	if (s->id == id && s->leg.v != leg.v)
		session_run(r, s);
	return s->id == id && s->leg.v == leg.v;
}

bool reply_last_ones(struct relay *r, struct session *s)
{
	struct tcp_conn_id leg = s->leg;
	uint64_t id = s->id;

	if (is_passthrough(s))
		return splice_last_ones(r, s);
	if (s->leg_tls != 0)
		leg_fill(r, s);
	return s->id == id && s->leg.v == leg.v && reply_read_rest(r, s);
}
