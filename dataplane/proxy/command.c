// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Commands of the client: read one line at a time as far as the backend may take them, checked, and
// handed on byte-exact (C1-C3, C14, C15, P1, P3, P9, P10, C13). Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <string.h>
#include <strings.h>

// No more to read: has the client gone?
bool input_over(struct relay *r, struct session *s)
{
	if ((s->flags & SESSION_F_CLIENT_FIN) == 0 || s->pending_count > 0)
		return false;
	client_hang_up(r, s);
	client_gone(r, s);
	return false;
}

// Rest of a line that was answered before its end: only CRLF ends it (C1).
bool line_swallow(struct relay *r, struct session *s)
{
	const uint8_t *p;
	uint32_t len;

	while (wire_rx_peek(r, wire_client(s), 0, &p, &len)) {
		const uint8_t *lf = memchr(p, '\n', len);
		uint32_t n = lf != NULL ? (uint32_t)(lf - p) + 1 : len;
		bool cr = n > 1 ? p[n - 2] == '\r' : (s->flags & SESSION_F_SWALLOW_CR) != 0;

		s->flags &= ~(uint32_t)SESSION_F_SWALLOW_CR;
		if (p[n - 1] == '\r')
			s->flags |= SESSION_F_SWALLOW_CR;
		wire_rx_drop(r, wire_client(s), n);
		if (lf != NULL && cr) {
			s->flags &= ~(uint32_t)SESSION_F_SWALLOW_LINE;
			return true;
		}
	}
	return input_over(r, s);
}

bool line_too_long(struct relay *r, struct session *s)
{
	dialogue_note(r, s, "a line that is too long", 0);
	s->flags |= SESSION_F_SWALLOW_LINE;
	session_say_in_turn(r, s, SMTP_OWN_LINE_LONG);
	stall_error(r, s);
	return true;
}

bool line_is_clean(const char *line, uint32_t len)
{
	if (len < 2 || line[len - 2] != '\r')
		return false;
	return memchr(line, '\r', len - 2) == NULL && memchr(line, '\0', len) == NULL;
}

// The octets behind it are counted for another message (P9): its reply may come later than those.
static bool begins_message(const struct session *s, enum smtp_verb verb)
{
	if (verb == SMTP_V_MAIL) // else it is one too many
		return (s->flags & SESSION_F_MAIL) == 0 && !awaits_reply_to(s, SMTP_V_MAIL);
	return verb == SMTP_V_RSET || verb == SMTP_V_EHLO || verb == SMTP_V_HELO;
}

// Who says it gets 221, whatever we would end the session for (C7).
bool line_is_quit(const char *line, uint32_t len)
{
	return len == 6 && strncasecmp(line, "QUIT\r\n", 6) == 0;
}

// Hands the line on and notes that a reply is due. False: no buffer, try again.
static bool command_forward(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	enum smtp_verb verb
)
{
	if (!wire_tx_write(r, wire_leg(s), line, len)) {
		s->flags |= SESSION_F_RETRY;
		return false;
	}
	dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
	dialogue(r, s, CAPTURE_TO_BACKEND, line, len);
	ledger_command(r, s, verb, line, len);
	if (begins_message(s, verb))
		s->body_bytes = 0;
	pending_push(r, s, verb);
	if (!smtp_verb_may_precede(verb))
		s->flags |= SESSION_F_WAIT;
	return true;
}

// Refuses a line ourselves.
bool command_refuse(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	enum smtp_own own
)
{
	s->flags |= SESSION_F_GREETED; // it is past that, if without EHLO
	dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
	wire_rx_drop(r, wire_client(s), len);
	session_say_in_turn(r, s, own);
	stall_error(r, s);
	return true;
}

// Up to its LF, which alone ends no line: what follows it is the rest of the same command.
bool line_unclean(struct relay *r, struct session *s, const char *line, uint32_t len)
{
	if (len < 2 || line[len - 2] != '\r')
		s->flags |= SESSION_F_SWALLOW_LINE;
	return command_refuse(r, s, line, len, SMTP_OWN_BARE_IN_COMMAND);
}

// Recipients of the open transaction, those included that the backend has not answered yet.
static unsigned recipients_asked(const struct session *s)
{
	unsigned n = s->recipients;

	for (unsigned i = 0; i < s->pending_count; i++) {
		uint8_t verb = s->pending_verb[(s->pending_head + i) % SESSION_PENDING_MAX];

		if (verb == SMTP_V_MAIL)
			n = 0;
		n += verb == SMTP_V_RCPT;
	}
	return n;
}

static enum smtp_own envelope_check(struct session *s, const struct smtp_command *cmd)
{
	uint64_t size;

	if (!smtp_params_check(cmd->args, cmd->args_len, s->caps, &size))
		return SMTP_OWN_PARAMETER;
	if (cmd->verb == SMTP_V_MAIL && s->max_message_bytes != 0 && size > s->max_message_bytes)
		return SMTP_OWN_SIZE;
	if (cmd->verb == SMTP_V_RCPT && s->max_recipients != 0 &&
	    recipients_asked(s) >= s->max_recipients)
		return SMTP_OWN_RECIPIENTS;
	return SMTP_OWN_COUNT;
}

// S5: the EHLO said before STARTTLS is void (RFC 3207 4.2).
static bool is_unsaid(const struct session *s)
{
	return (s->flags & SESSION_F_UNSAID) != 0;
}

// What we refuse ourselves; SMTP_OWN_COUNT: nothing.
static enum smtp_own command_check(struct session *s, const struct smtp_command *cmd)
{
	switch (cmd->verb) {
	case SMTP_V_UNKNOWN:
		return SMTP_OWN_UNKNOWN_VERB;
	case SMTP_V_FORBIDDEN:
		return SMTP_OWN_FORBIDDEN_VERB;
	case SMTP_V_STARTTLS:
		return s->client_tls != 0                 ? SMTP_OWN_TLS_TWICE
		       : (s->flags & SESSION_F_MAIL) != 0 ? SMTP_OWN_TLS_LATE
							  : SMTP_OWN_NO_STARTTLS;
	case SMTP_V_AUTH:
		return is_unsaid(s)    ? SMTP_OWN_EHLO_FIRST
		       : offers_tls(s) ? SMTP_OWN_TLS_NEEDED
				       : SMTP_OWN_COUNT;
	case SMTP_V_DATA:
		return is_unsaid(s) ? SMTP_OWN_EHLO_FIRST : SMTP_OWN_COUNT;
	case SMTP_V_ETRN:
		return (s->caps & SMTP_CAP_ETRN) != 0 ? SMTP_OWN_COUNT : SMTP_OWN_UNKNOWN_VERB;
	case SMTP_V_MAIL:
	case SMTP_V_RCPT:
		return is_unsaid(s) ? SMTP_OWN_EHLO_FIRST : envelope_check(s, cmd);
	default:
		return SMTP_OWN_COUNT;
	}
}

// BDAT announces octets that follow whatever becomes of the command (P7, P8).
static bool bdat_command(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	const struct smtp_command *cmd
)
{
	uint64_t octets;
	bool last;
	// whatever a server could read another way, and then take the octets for commands
	bool good = smtp_bdat_parse(cmd, &octets, &last) && line[4] == ' ';

	if (!good && octets == 0)
		return command_refuse(r, s, line, len, SMTP_OWN_BDAT_SYNTAX);
	if (!good || (s->caps & SMTP_CAP_CHUNKING) == 0) {
		dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
		wire_rx_drop(r, wire_client(s), len);
		s->swallow_left = octets;
		s->own_after = good ? SMTP_OWN_BDAT_NO_CHUNKING : SMTP_OWN_BDAT_SYNTAX;
		s->state = RELAY_S_SWALLOW_BDAT;
		return true;
	}
	if (!command_forward(r, s, line, len, last ? SMTP_V_BODY : SMTP_V_BDAT))
		return false;
	wire_rx_drop(r, wire_client(s), len);
	s->swallow_left = octets;
	s->flags &= ~(uint32_t)SESSION_F_BDAT_LAST;
	s->flags |= SESSION_F_CHUNKS | (last ? SESSION_F_BDAT_LAST : 0);
	s->state = RELAY_S_BDAT;
	tcp_rx_window_set(r->tcp, s->client, SESSION_WINDOW_BODY);
	return true;
}

static bool command_handle(struct relay *r, struct session *s, const char *line, uint32_t len)
{
	struct smtp_command cmd;
	enum smtp_own own;

	if (!line_is_clean(line, len))
		return line_unclean(r, s, line, len);
	smtp_command_parse(line, len - 2, &cmd);
	if (cmd.verb == SMTP_V_BDAT)
		return bdat_command(r, s, line, len, &cmd);
	if (cmd.verb == SMTP_V_STARTTLS && offers_tls(s) && (s->flags & SESSION_F_MAIL) == 0)
		return s->pending_count == 0 && offer_starttls(r, s, &cmd, line, len);
	own = command_check(s, &cmd);
	if (own != SMTP_OWN_COUNT && cmd.verb == SMTP_V_RCPT)
		ledger_refused(r, s, own, line, len);
	if (own != SMTP_OWN_COUNT)
		return command_refuse(r, s, line, len, own);
	if (cmd.verb == SMTP_V_EHLO || cmd.verb == SMTP_V_HELO)
		ehlo_keep(r, s, line, len);
	if (cmd.verb == SMTP_V_QUIT)
		s->flags |= SESSION_F_SAID_QUIT;
	if (!command_forward(r, s, line, len, cmd.verb))
		return false;
	if (cmd.verb == SMTP_V_EHLO || cmd.verb == SMTP_V_HELO)
		s->flags &= ~(uint32_t)SESSION_F_UNSAID;
	wire_rx_drop(r, wire_client(s), len);
	return true;
}

// A chunk of a message whose leg is lost: no other backend may see it, the client gets the same
// answer as for the one before. Anything else begins anew.
static bool chunk_swallow(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	const struct smtp_command *cmd
)
{
	uint64_t octets;
	bool last;

	if (cmd->verb != SMTP_V_BDAT || !smtp_bdat_parse(cmd, &octets, &last)) {
		s->flags &= ~(uint32_t)SESSION_F_CHUNKS_LOST;
		return false;
	}
	if (last)
		s->flags &= ~(uint32_t)SESSION_F_CHUNKS_LOST;
	dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
	wire_rx_drop(r, wire_client(s), len);
	if (s->own_after == SMTP_OWN_COUNT)
		s->own_after = SMTP_OWN_BODY_LOST;
	s->swallow_left = octets;
	s->state = RELAY_S_SWALLOW_BDAT;
	return true;
}

// No greeted leg: only QUIT can be answered; a leg lost or reset after a body is opened again for
// whatever comes next.
static bool without_leg(struct relay *r, struct session *s)
{
	struct smtp_command cmd;
	enum line_result result;
	const char *line;
	uint32_t len;

	if ((s->flags & SESSION_F_SWALLOW_LINE) != 0)
		return line_swallow(r, s);
	result = relay_line(r, wire_client(s), SMTP_AUTH_LINE_MAX, &line, &len);
	if (result == LINE_MORE)
		return input_over(r, s);
	if (result == LINE_LONG)
		return line_too_long(r, s);
	if (!line_is_clean(line, len))
		return line_unclean(r, s, line, len);
	if (len >= 6) {
		smtp_command_parse(line, len - 2, &cmd);
		if ((s->flags & SESSION_F_CHUNKS_LOST) != 0 && chunk_swallow(r, s, line, len, &cmd))
			return true;
		if (cmd.verb == SMTP_V_QUIT) {
			s->flags |= SESSION_F_SAID_QUIT;
			dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
			wire_rx_drop(r, wire_client(s), len);
			session_close(r, s, SMTP_OWN_QUIT);
			return false;
		}
	}
	if ((s->flags & SESSION_F_VERDICT) != 0)
		return verdict_say(r, s, line, len);
	if (s->leg_state == LEG_S_NONE && (s->flags & SESSION_F_LEG_WAIT) == 0)
		leg_reopen(r, s);
	return false;
}

static bool may_read(const struct relay *r, const struct session *s)
{
	if (s->pending_count == 0) // part of a reply that nobody asked for: its end tells (G5)
		return wire_rx_bytes(r, wire_leg(s)) == 0;
	if ((s->flags & SESSION_F_WAIT) != 0 || s->pending_count == SESSION_PENDING_MAX)
		return false;
	return (s->caps & SMTP_CAP_PIPELINING) != 0;
}

// A line that is none, while the backend awaits an answer of the client's (P11): nothing that comes
// after it could be told from it.
static void sasl_end(struct relay *r, struct session *s)
{
	session_close(r, s, SMTP_OWN_SASL_LINE);
}

bool command_step(struct relay *r, struct session *s)
{
	bool sasl = s->state == RELAY_S_AUTH;
	enum line_result result;
	const char *line;
	uint32_t len;

	if (s->client.v == 0 || (s->flags & (SESSION_F_CLOSING | SESSION_F_RETRY)) != 0)
		return false;
	if (s->leg_state != LEG_S_READY)
		return without_leg(r, s);
	if (!may_read(r, s))
		return false;
	if (s->pending_count == 0)
		s->flags &= ~(uint32_t)SESSION_F_WAIT;
	if ((s->flags & SESSION_F_SWALLOW_LINE) != 0)
		return line_swallow(r, s);
	result = relay_line(r, wire_client(s), SMTP_AUTH_LINE_MAX, &line, &len);
	if (result == LINE_MORE)
		return input_over(r, s);
	if (result == LINE_LONG && sasl) {
		sasl_end(r, s);
		return false;
	}
	if (result == LINE_LONG ||
	    (!sasl && len > SMTP_LINE_MAX && strncasecmp(line, "AUTH ", 5) != 0))
		return line_too_long(r, s);
	if (r->draining && !sasl && (s->flags & SESSION_F_MAIL) == 0 && s->pending_count == 0 &&
	    !line_is_quit(line, len)) {
		session_close(r, s, SMTP_OWN_DRAIN);
		return false;
	}
	if (!sasl)
		return command_handle(r, s, line, len);
	if (!line_is_clean(line, len)) {
		sasl_end(r, s);
		return false;
	}
	if (!command_forward(r, s, line, len, SMTP_V_AUTH))
		return false;
	wire_rx_drop(r, wire_client(s), len);
	s->state = RELAY_S_COMMAND;
	return true;
}
