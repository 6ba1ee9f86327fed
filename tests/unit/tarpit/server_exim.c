// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Exim, by its specification (smtp_ratelimit_mail, smtp_ratelimit_rcpt): n commands at once, then a
// delay that grows by a factor with each, up to a limit. The values are the manual's.

#include "tests/unit/tarpit/rig.h"

#define SESSIONS 1500

struct rate {
	unsigned free, count;
	double first, factor, delay; // seconds
};

struct exim {
	struct rig *rig;
	struct rig_leg leg;
	struct rate mail, rcpt;
};

static void say(struct exim *e, enum smtp_verb verb, const char *line, struct rate *rate)
{
	uint32_t us = 0;

	if (rate != NULL && ++rate->count > rate->free) {
		us = (uint32_t)(rate->delay * S);
		rate->delay = rate->delay * rate->factor < 240 ? rate->delay * rate->factor : 240;
	}
	rig_reply(e->rig, &e->leg, verb, line, us, us != 0 ? TARPIT_EXIM_RATE : RIG_NONE);
}

static void mail(struct exim *e, unsigned recipients)
{
	e->rcpt.count = 0;
	e->rcpt.delay = e->rcpt.first;
	say(e, SMTP_V_MAIL, "250 OK", &e->mail);
	for (unsigned i = 0; i < recipients; i++)
		say(e,
		    SMTP_V_RCPT,
		    rig_chance(e->rig, 95) ? "250 Accepted" : "550 Unrouteable address",
		    &e->rcpt);
	say(e, SMTP_V_DATA, "354 Enter message, ending with \".\" on a line by itself", NULL);
	say(e, SMTP_V_BODY, "250 OK id=1tDxYz-000000001aB-2cDe", NULL);
}

void server_exim(struct rig *rig)
{
	struct exim e = {
		.rig = rig,
		.mail = {.free = 2, .first = 0.5, .factor = 1.05},
		.rcpt = {.free = 4, .first = 0.25, .factor = 1.015},
	};

	for (unsigned i = 0; i < SESSIONS; i++) {
		unsigned mails = rig_chance(rig, 25) ? rig_between(rig, 10, 40) : 1;

		rig->load_us = i % 500 >= 450 ? 1800 * MS : 0;
		e.mail.count = 0;
		e.mail.delay = e.mail.first;
		rig_begin(rig, &e.leg);
		rig_banner(rig, &e.leg, "220 mx.example ESMTP Exim 4.98", 0, RIG_NONE);
		say(&e, SMTP_V_EHLO, "250 HELP", NULL);
		for (unsigned n = 0; n < mails; n++)
			mail(&e,
			     mails > 1            ? 1
			     : rig_chance(rig, 6) ? rig_between(rig, 60, 120)
						  : 2);
		say(&e, SMTP_V_QUIT, "221 mx.example closing connection", NULL);
		rig_end(rig, &e.leg);
	}
	rig->load_us = 0;
}
