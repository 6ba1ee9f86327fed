// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Sendmail, by its operations guide: greet_pause; BadRcptThrottle sleeps 1 s before each RCPT after
// so many bad ones; from the n-th command on that does no work (3 HELO or EHLO, 20 NOOP and the
// like, 6 VRFY, 8 ETRN) each takes twice as long as the one before, up to 4 min.

#include "tests/unit/tarpit/rig.h"

#define SESSIONS 4000
#define THROTTLE 3

struct sendmail {
	struct rig *rig;
	struct rig_leg leg;
};

static void say(struct sendmail *m, enum smtp_verb verb, const char *line, uint32_t us)
{
	if (us != 0)
		us += rig_between(m->rig, 0, 3 * MS);
	rig_reply(m->rig, &m->leg, verb, line, us, us != 0 ? TARPIT_SENDMAIL_SLOW : RIG_NONE);
}

static void idle(struct sendmail *m, enum smtp_verb verb, const char *line, unsigned free)
{
	unsigned n = free + rng_below(&m->rig->rng, 8);

	for (unsigned i = 1; i <= n; i++) {
		uint32_t s = i < free ? 0 : 1U << (i - free);

		say(m, verb, line, (s < 240 ? s : 240) * S);
	}
}

static void mail(struct sendmail *m, bool guesses)
{
	unsigned n = guesses ? rig_between(m->rig, 5, 25) : 2, bad = 0;

	say(m, SMTP_V_MAIL, "250 2.1.0 <a@x.example>... Sender ok", 0);
	for (unsigned i = 0; i < n; i++) {
		bool no = guesses ? rig_chance(m->rig, 90) : rig_chance(m->rig, 5);

		bad += no;
		say(m,
		    SMTP_V_RCPT,
		    no ? "550 5.1.1 <b@x.example>... User unknown"
		       : "250 2.1.5 <b@x.example>... Recipient ok",
		    bad > THROTTLE ? S : 0);
	}
	if (bad == n) {
		say(m, SMTP_V_RSET, "250 2.0.0 Reset state", 0);
		return;
	}
	say(m, SMTP_V_DATA, "354 Enter mail, end with \".\" on a line by itself", 0);
	say(m, SMTP_V_BODY, "250 2.0.0 4BR1x Message accepted for delivery", 0);
}

void server_sendmail(struct rig *rig)
{
	struct sendmail m = {.rig = rig};
	uint32_t pause = rig_chance(rig, 50) ? rig_between(rig, 1, 20) * S : 5 * S;

	for (unsigned i = 0; i < SESSIONS; i++) {
		bool held = rig_chance(rig, 50);

		rig->load_us = i % 1000 >= 870 ? 2 * S : 0;
		rig_begin(rig, &m.leg);
		rig_banner(
			rig,
			&m.leg,
			"220 mx.example ESMTP Sendmail 8.18.1",
			held ? pause : 0,
			held ? TARPIT_GREET_PAUSE : RIG_NONE
		);
		if (rig_chance(rig, 4))
			idle(&m, SMTP_V_EHLO, "250 HELP", 3);
		else
			say(&m, SMTP_V_EHLO, "250 HELP", 0);
		if (rig_chance(rig, 5))
			idle(&m, SMTP_V_NOOP, "250 2.0.0 OK", 20);
		if (rig_chance(rig, 5))
			idle(&m, SMTP_V_VRFY, "252 2.5.2 Cannot VRFY user", 6);
		mail(&m, rig_chance(rig, 10));
		say(&m, SMTP_V_QUIT, "221 2.0.0 mx.example closing connection", 0);
		rig_end(rig, &m.leg);
	}
	rig->load_us = 0;
}
