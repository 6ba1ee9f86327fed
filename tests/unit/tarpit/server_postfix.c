// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Postfix, by postconf(5): from smtpd_soft_error_limit errors without a delivery on it sleeps
// smtpd_error_sleep_time before each reply, at smtpd_hard_error_limit it hangs up; postscreen holds
// its greeting for postscreen_greet_wait, less under stress.

#include "tests/unit/tarpit/rig.h"

#define SESSIONS 4000

struct postfix {
	struct rig *rig;
	struct rig_leg leg;
	uint32_t sleep, greet;
	unsigned soft, hard, errors;
};

static void say(struct postfix *p, enum smtp_verb verb, const char *line)
{
	bool error = line[0] == '4' || line[0] == '5', sleeps;

	p->errors += error;
	sleeps = p->errors > p->soft;
	rig_reply(
		p->rig,
		&p->leg,
		verb,
		line,
		sleeps ? p->sleep + rig_between(p->rig, 0, 2 * MS) : 0,
		sleeps ? TARPIT_POSTFIX_ERRORS : RIG_NONE
	);
}

static void mail(struct postfix *p, bool guesses)
{
	unsigned n = guesses ? p->soft + 1 + rng_below(&p->rig->rng, 8) : 1, good = 0;

	say(p, SMTP_V_MAIL, "250 2.1.0 Ok");
	for (unsigned i = 0; i < n && p->errors < p->hard; i++) {
		bool bad = guesses ? !rig_chance(p->rig, 10) : rig_chance(p->rig, 10);

		good += !bad;
		say(p,
		    SMTP_V_RCPT,
		    bad ? "550 5.1.1 <a@x.example>: Recipient address rejected: User unknown"
			: "250 2.1.5 Ok");
	}
	if (p->errors >= p->hard)
		return;
	if (good == 0) {
		say(p, SMTP_V_RSET, "250 2.0.0 Ok");
		return;
	}
	say(p, SMTP_V_DATA, "354 End data with <CR><LF>.<CR><LF>");
	if (!guesses)
		p->errors = 0; // a mail was delivered
	say(p, SMTP_V_BODY, guesses ? "550 5.7.1 spam" : "250 2.0.0 Ok: queued as 4XyZ");
}

void server_postfix(struct rig *rig)
{
	struct postfix p = {.rig = rig};
	bool screen = rig_chance(rig, 70);

	p.sleep = rig_chance(rig, 50) ? S : rig_between(rig, 1, 5) * S;
	p.soft = rig_chance(rig, 60) ? 10 : rig_between(rig, 3, 9);
	p.hard = 20;
	for (unsigned i = 0; i < SESSIONS; i++) {
		bool held = screen && rig_chance(rig, 40);

		rig->load_us = i % 1000 >= 850 ? 1500 * MS : 0;
		p.greet = rig->load_us != 0 ? 2 * S : 6 * S;
		p.errors = 0;
		rig_begin(rig, &p.leg);
		rig_banner(
			rig,
			&p.leg,
			"220 mx.example ESMTP Postfix",
			held ? p.greet : 0,
			held ? TARPIT_GREET_PAUSE : RIG_NONE
		);
		say(&p, SMTP_V_EHLO, "250 CHUNKING");
		mail(&p, rig_chance(rig, 15));
		if (p.errors < p.hard)
			say(&p, SMTP_V_QUIT, "221 2.0.0 Bye");
		rig_end(rig, &p.leg);
	}
	rig->load_us = 0;
}
