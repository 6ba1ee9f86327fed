// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Exchange, by what Microsoft publishes of TarpitInterval, AuthTarpitInterval,
// MaxAcknowledgementDelay (Set-ReceiveConnector), back pressure, and of addresses that left in the
// middle of a delay. Authenticated sessions are spared the intervals, not the rest.

#include <math.h>

#include "tests/unit/tarpit/rig.h"

#define SESSIONS 9000

enum phase { CALM, PRESSED, REJECTING, ACKS, DISCREDITED, LOADED, PHASES };

struct exchange {
	struct rig *rig;
	struct rig_leg leg;
	uint32_t k, auth_k, ack_max; // the connector's
	enum phase phase;
	uint32_t stair;
	bool distrusted;
};

// It waits by timers, that are late by some.
static uint32_t timer(struct exchange *e, uint32_t us)
{
	return us + rig_between(e->rig, 0, 20 * MS);
}

static void
say(struct exchange *e, enum smtp_verb verb, const char *line, unsigned rule, uint32_t us)
{
	if (e->leg.authed && rule != TARPIT_BACK_PRESSURE && rule != TARPIT_DELAYED_ACK &&
	    rule != TARPIT_BACK_PRESSURE_REJECT)
		rule = RIG_NONE;
	if (rule == RIG_NONE)
		us = 0;
	if (e->distrusted && !e->leg.authed) {
		rule = TARPIT_DISCREDITED;
		us = e->k;
	}
	rig_reply(e->rig, &e->leg, verb, line, us != 0 ? timer(e, us) : 0, rule);
}

static void authenticate(struct exchange *e)
{
	if (rig_chance(e->rig, 12)) {
		say(e,
		    SMTP_V_AUTH,
		    "504 5.7.4 Unrecognized authentication type",
		    TARPIT_AUTH_TYPE,
		    e->k);
		return;
	}
	if (rig_chance(e->rig, 25)) {
		say(e,
		    SMTP_V_AUTH,
		    "535 5.7.3 Authentication unsuccessful",
		    TARPIT_AUTH_FAILED,
		    e->auth_k);
		return;
	}
	say(e, SMTP_V_AUTH, "235 2.7.0 Authentication successful", RIG_NONE, 0);
	e->leg.authed = true;
}

// MAIL and a RCPT elsewhere in one group: the 250 waits for the 550.
static void relay_try(struct exchange *e)
{
	const char *no = "550 5.7.1 Unable to relay";
	uint32_t us = timer(e, e->k);

	if (e->leg.authed || e->distrusted)
		return;
	if (rig_chance(e->rig, 50)) {
		say(e, SMTP_V_MAIL, "250 2.1.0 Sender OK", RIG_NONE, 0);
		say(e, SMTP_V_RCPT, no, TARPIT_RELAY, e->k);
		return;
	}
	rig_reply_group(
		e->rig,
		&e->leg,
		SMTP_V_MAIL,
		"250 2.1.0 Sender OK",
		(struct rig_delay){us, RIG_TOGETHER, RIG_MORE}
	);
	rig_reply_group(
		e->rig, &e->leg, SMTP_V_RCPT, no, (struct rig_delay){0, TARPIT_RELAY, RIG_FOLLOWS}
	);
}

static void recipients(struct exchange *e)
{
	unsigned n = 1 + rng_below(&e->rig->rng, 3);

	for (unsigned i = 0; i < n; i++) {
		if (rig_chance(e->rig, 15))
			say(e, SMTP_V_RCPT, "550 5.1.1 User unknown", TARPIT_RECIPIENT_LOOKUP, e->k
			);
		else
			say(e, SMTP_V_RCPT, "250 2.1.5 Recipient OK", RIG_NONE, 0);
	}
}

static void body(struct exchange *e)
{
	uint32_t hold = (uint32_t)(-log((rng_below(&e->rig->rng, 1000) + 1) / 1000.0) * 9 * S);

	say(e, SMTP_V_DATA, "354 Start mail input; end with <CRLF>.<CRLF>", RIG_NONE, 0);
	if (rig_chance(e->rig, 7)) {
		say(e, SMTP_V_BODY, "554 5.6.0 Invalid message content", TARPIT_CONTENT, e->k);
		return;
	}
	hold = hold < e->ack_max ? hold + 500 * MS : e->ack_max;
	say(e,
	    SMTP_V_BODY,
	    "250 2.6.0 <1@x.example> [InternalId=7] Queued mail for delivery",
	    e->phase == ACKS ? TARPIT_DELAYED_ACK : RIG_NONE,
	    hold);
}

static void mail(struct exchange *e)
{
	if (e->phase == REJECTING && rig_chance(e->rig, 70)) {
		say(e,
		    SMTP_V_MAIL,
		    rig_chance(e->rig, 50) ? "452 4.3.1 Insufficient system resources"
					   : "421 4.3.2 System not accepting network messages",
		    TARPIT_BACK_PRESSURE_REJECT,
		    0);
		return;
	}
	say(e,
	    SMTP_V_MAIL,
	    "250 2.1.0 Sender OK",
	    e->phase == PRESSED ? TARPIT_BACK_PRESSURE : RIG_NONE,
	    e->stair);
	recipients(e);
	body(e);
}

static void session(struct exchange *e)
{
	rig_begin(e->rig, &e->leg);
	e->leg.authed = false;
	rig_banner(
		e->rig,
		&e->leg,
		"220 mx.example Microsoft ESMTP MAIL Service ready",
		e->distrusted ? timer(e, e->k) : 0,
		e->distrusted ? TARPIT_DISCREDITED : RIG_NONE
	);
	say(e, SMTP_V_EHLO, "250 CHUNKING", RIG_NONE, 0);
	if (rig_chance(e->rig, 20))
		authenticate(e);
	for (unsigned n = 1 + rng_below(&e->rig->rng, 3); n > 0; n--)
		mail(e);
	if (rig_chance(e->rig, 15))
		relay_try(e);
	say(e, SMTP_V_QUIT, "221 2.0.0 Service closing transmission channel", RIG_NONE, 0);
	rig_end(e->rig, &e->leg);
}

void server_exchange(struct rig *rig)
{
	struct exchange e = {.rig = rig};

	// one second to ten minutes
	e.k = (uint32_t)(exp(rng_below(&rig->rng, 1000) / 1000.0 * log(600)) * S);
	e.auth_k = rig_chance(rig, 50) ? e.k : rig_between(rig, 2, 20) * S;
	e.ack_max = rig_chance(rig, 50) ? 30 * S : 60 * S;
	for (unsigned i = 0; i < SESSIONS; i++) {
		unsigned part = i * 2 * PHASES * 3 / SESSIONS; // three rounds, a calm between each

		e.phase = part % 2 == 0 ? CALM : (enum phase)(part / 2 % PHASES);
		// ten seconds, then five more for each step
		e.stair = 10 * S + 5 * S *
					   (i % (SESSIONS / (6 * PHASES)) * 12 * PHASES * 3 /
					    SESSIONS / 4 % 10);
		e.distrusted = e.phase == DISCREDITED;
		rig->load_us = e.phase == LOADED ? 2 * S : 0;
		session(&e);
	}
	rig->load_us = 0;
}
