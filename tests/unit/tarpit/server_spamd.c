// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// OpenBSD's spamd, by its manual page: an octet a second to whom a list holds; to others for the
// first ten seconds only.

#include "tests/unit/tarpit/rig.h"

#define SESSIONS 600

void server_spamd(struct rig *rig)
{
	struct rig_leg leg;

	for (unsigned i = 0; i < SESSIONS; i++) {
		bool listed = rig_chance(rig, 60);

		rig_begin(rig, &leg);
		rig_stutter(
			rig, &leg, SMTP_V_UNKNOWN, "220 x.example ESMTP spamd IP-based SPAM blocker"
		);
		if (listed) {
			rig_stutter(
				rig,
				&leg,
				SMTP_V_EHLO,
				"250 Hello, spam sender. Pleased to be wasting your time."
			);
			rig_stutter(
				rig, &leg, SMTP_V_MAIL, "250 You are about to try to deliver spam."
			);
			rig_stutter(
				rig,
				&leg,
				SMTP_V_RCPT,
				"250 This is hurting you more than it is hurting me."
			);
			rig_stutter(
				rig,
				&leg,
				SMTP_V_DATA,
				"451 Temporary failure, please try again later."
			);
		} else {
			rig_reply(rig, &leg, SMTP_V_EHLO, "250 Hello", 0, RIG_NONE);
			rig_reply(rig, &leg, SMTP_V_MAIL, "250 OK", 0, RIG_NONE);
			rig_reply(rig, &leg, SMTP_V_RCPT, "451 Temporary failure", 0, RIG_NONE);
			rig_reply(rig, &leg, SMTP_V_QUIT, "221 x.example", 0, RIG_NONE);
		}
		rig_end(rig, &leg);
	}
}
