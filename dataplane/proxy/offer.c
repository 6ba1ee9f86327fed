// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A client to which STARTTLS is offered and that has neither begun it nor a mail: we answer it
// ourselves, since what it says now is forgotten with TLS (S5) and no backend may see a second EHLO
// (Z1). STARTTLS opens the leg, which connects and is greeted while the client is in its handshake;
// where TLS is not required, the first verb for a backend opens it too, in plain text, with the
// EHLO that was kept. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#define CLEAR_MAX 65536U // octets of a client before TLS, or before its first mail without it

static bool say_and_drop(struct relay *r, struct session *s, uint32_t len, enum smtp_own own)
{
	if (!session_say(r, s, own)) {
		s->flags |= SESSION_F_RETRY;
		return false;
	}
	wire_rx_drop(r, wire_client(s), len);
	return true;
}

// S13: what a client may say to us alone. False: it was too much.
static bool clear_count(struct relay *r, struct session *s, uint64_t octets)
{
	if (octets <= CLEAR_MAX - s->body_bytes) {
		s->body_bytes += (uint32_t)octets;
		return true;
	}
	session_close(r, s, SMTP_OWN_TLS_CLEAR);
	return false;
}

static bool ehlo_answer(struct relay *r, struct session *s, const char *line, uint32_t len)
{
	uint32_t n;

	if (!ehlo_keep(r, s, line, len)) // a leg in plain text could not be told of it
		return say_and_drop(r, s, len, SMTP_OWN_EHLO_SYNTAX);
	n = profile_ehlo(r, s, r->out, RELAY_SCRATCH);
	if (!wire_tx_write(r, wire_client(s), r->out, n)) {
		s->flags |= SESSION_F_RETRY;
		return false;
	}
	s->flags |= SESSION_F_GREETED;
	dialogue(r, s, CAPTURE_OWN_TO_CLIENT, r->out, n);
	wire_rx_drop(r, wire_client(s), len);
	return true;
}

bool offer_starttls(
	struct relay *r,
	struct session *s,
	const struct smtp_command *cmd,
	const char *line,
	uint32_t len
)
{
	enum hold hold;

	if ((s->flags & SESSION_F_TLS_WAIT) == 0)
		dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
	if (cmd->args_len > 0)
		return say_and_drop(r, s, len, SMTP_OWN_TLS_SYNTAX);
	if (wire_rx_bytes(r, wire_client(s)) > len) { // S6: never looked at, not now and not later
		session_close(r, s, SMTP_OWN_TLS_PIPELINED);
		return false;
	}
	if (session_creds(r, s) == NULL)
		return say_and_drop(r, s, len, SMTP_OWN_TLS_NONE);
	hold = shake_hold(r, s);
	if (hold == HOLD_REFUSE)
		return say_and_drop(r, s, len, SMTP_OWN_TLS_OVERFLOW);
	if (hold == HOLD_WAIT || !say_and_drop(r, s, len, SMTP_OWN_TLS_START))
		return false;
	if (s->leg.v != 0) // it was opened in plain text, between two mails: its EHLO is void
		leg_part(r, s);
	shake_begin(r, s);
	s->tried_count = 0;
	if (!identity_waits(r, s))
		leg_open(r, s);
	return true;
}

// The client goes on without TLS: the leg opens, and the line is read again when it is greeted.
static bool plain_begin(struct relay *r, struct session *s)
{
	s->state = RELAY_S_COMMAND;
	stat_inc(r->env, STAT_TLS_NOT_USED);
	leg_open(r, s);
	return false;
}

// Octets follow BDAT whatever becomes of it (P8).
static bool
bdat_refuse(struct relay *r, struct session *s, const struct smtp_command *cmd, uint32_t len)
{
	uint64_t octets;
	bool last;

	if (!smtp_bdat_parse(cmd, &octets, &last) && octets == 0)
		return say_and_drop(r, s, len, SMTP_OWN_BDAT_SYNTAX);
	wire_rx_drop(r, wire_client(s), len);
	if (!clear_count(r, s, octets))
		return false;
	s->swallow_left = octets;
	s->own_after = SMTP_OWN_TLS_NEEDED;
	s->state = RELAY_S_SWALLOW_BDAT;
	return true;
}

static bool required(
	struct relay *r,
	struct session *s,
	const struct smtp_command *cmd,
	const char *line,
	uint32_t len
)
{
	if (cmd->verb == SMTP_V_BDAT)
		return bdat_refuse(r, s, cmd, len);
	return command_refuse(r, s, line, len, SMTP_OWN_TLS_NEEDED);
}

static bool optional(
	struct relay *r,
	struct session *s,
	const struct smtp_command *cmd,
	const char *line,
	uint32_t len
)
{
	switch (cmd->verb) {
	case SMTP_V_HELO:
		dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
		return say_and_drop(
			r, s, len, ehlo_keep(r, s, line, len) ? SMTP_OWN_HELO : SMTP_OWN_EHLO_SYNTAX
		);
	case SMTP_V_RSET:
		dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
		return say_and_drop(r, s, len, SMTP_OWN_OK);
	case SMTP_V_AUTH:
		return command_refuse(r, s, line, len, SMTP_OWN_TLS_NEEDED);
	case SMTP_V_UNKNOWN:
		return command_refuse(r, s, line, len, SMTP_OWN_UNKNOWN_VERB);
	case SMTP_V_FORBIDDEN:
		return command_refuse(r, s, line, len, SMTP_OWN_FORBIDDEN_VERB);
	default:
		return plain_begin(r, s);
	}
}

static bool offer_handle(struct relay *r, struct session *s, const char *line, uint32_t len)
{
	struct smtp_command cmd;

	if (!line_is_clean(line, len))
		return line_unclean(r, s, line, len);
	smtp_command_parse(line, len - 2, &cmd);
	switch (cmd.verb) {
	case SMTP_V_EHLO:
		dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
		return ehlo_answer(r, s, line, len);
	case SMTP_V_NOOP:
		dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
		return say_and_drop(r, s, len, SMTP_OWN_OK);
	case SMTP_V_QUIT:
		s->flags |= SESSION_F_SAID_QUIT;
		dialogue(r, s, CAPTURE_FROM_CLIENT, line, len);
		wire_rx_drop(r, wire_client(s), len);
		session_close(r, s, SMTP_OWN_QUIT);
		return false;
	case SMTP_V_STARTTLS:
		return offer_starttls(r, s, &cmd, line, len);
	default:
		return offers_tls_only(s) ? required(r, s, &cmd, line, len)
					  : optional(r, s, &cmd, line, len);
	}
}

bool offer_step(struct relay *r, struct session *s)
{
	enum line_result result;
	const char *line;
	uint32_t len;

	if (s->client.v == 0 || (s->flags & (SESSION_F_CLOSING | SESSION_F_RETRY)) != 0)
		return false;
	if ((s->flags & SESSION_F_TLS_WAIT) != 0)
		return input_over(r, s);
	if ((s->flags & SESSION_F_SWALLOW_LINE) != 0)
		return clear_count(r, s, wire_rx_bytes(r, wire_client(s))) && line_swallow(r, s);
	result = relay_line(r, wire_client(s), SMTP_LINE_MAX, &line, &len);
	if (result == LINE_MORE)
		return input_over(r, s);
	if (result == LINE_LONG)
		return clear_count(r, s, SMTP_LINE_MAX) && line_too_long(r, s);
	if (r->draining && !line_is_quit(line, len)) {
		session_close(r, s, SMTP_OWN_DRAIN);
		return false;
	}
	return clear_count(r, s, len) && offer_handle(r, s, line, len);
}
