// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See rig.h. Of each five delays one is by no rule: it strikes any reply, by any time.

#include "tests/unit/tarpit/rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOAD_WORTH (900 * MS) // shorter ones count neither way
#define STRAY_PERCENT 4       // of the replies that are not delayed, while some are owed

uint32_t rig_between(struct rig *rig, uint32_t from, uint32_t to)
{
	return from + rng_below(&rig->rng, to - from + 1);
}

bool rig_chance(struct rig *rig, unsigned percent)
{
	return rng_below(&rig->rng, 100) < percent;
}

static double unit(struct rig *rig)
{
	return (rng_below(&rig->rng, 1000000) + 1) / 1e6;
}

void rig_begin(struct rig *rig, struct rig_leg *leg)
{
	(void)rig;
	memset(leg, 0, sizeof(*leg));
}

static void count(struct rig *rig, unsigned truth, unsigned said)
{
	if (truth <= RIG_NONE && (truth != RIG_NONE || said != RIG_NONE))
		rig->seen[truth][said]++;
}

// What is told of the oldest ones that are not settled yet.
static void settle(struct rig *rig, struct rig_leg *leg, const struct tarpit_verdict *v, bool alone)
{
	uint32_t n = v->events;

	if (n == 0 || leg->held_count == 0)
		abort();
	if (alone && leg->held[0] == RIG_TOGETHER && leg->held_count > 1)
		n++; // one delay, two replies
	for (uint32_t i = 0; i < n; i++)
		count(rig, leg->held[i], v->reason);
	leg->held_count -= n;
	memmove(leg->held, leg->held + n, leg->held_count * sizeof(leg->held[0]));
}

static void
told(struct rig *rig,
     struct rig_leg *leg,
     unsigned truth,
     const struct tarpit_verdict *v,
     unsigned n)
{
	bool held = leg->tracked && leg->leg.held != 0;
	unsigned events = 0;

	for (unsigned i = 0; i < n; i++)
		events += v[i].events;
	if (n > 1 && events > leg->held_count + 1)
		n--; // the smaller part of the same delay
	if (leg->held_count == RIG_HELD)
		abort();
	if (held || events > leg->held_count ||
	    (n == 1 && truth == TARPIT_RELAY && leg->held[0] == RIG_TOGETHER))
		leg->held[leg->held_count++] = truth;
	else
		count(rig, truth, RIG_NONE); // not a word of it
	for (unsigned i = 0; i < n; i++)
		settle(rig, leg, &v[i], n == 1);
}

void rig_end(struct rig *rig, struct rig_leg *leg)
{
	struct tarpit_verdict v;

	if (leg->tracked && tarpit_leg_end(&rig->backend, &leg->leg, &v) == 1)
		settle(rig, leg, &v, true);
	if (leg->held_count != 0)
		abort();
}

// Load and chance come on top; the larger part is what is true of it, and where neither is twice
// the other, either would be.
static uint32_t mishaps(struct rig *rig, uint32_t us, unsigned *truth)
{
	uint32_t most = us, load = 0, stray = 0;

	if (rig->load_us != 0)
		load = (uint32_t)(-log(unit(rig)) * rig->load_us) + rig->load_us / 4;
	if (*truth == RIG_NONE && rig->debt >= 5 && rig_chance(rig, STRAY_PERCENT)) {
		stray = (uint32_t)(exp(log(0.6) + unit(rig) * log(120 / 0.6)) * S);
		rig->debt -= 5;
	}
	if (load > most) {
		most = load;
		*truth = load < LOAD_WORTH ? RIG_IGNORED : TARPIT_OVERLOAD;
	}
	if (load > us / 2 && us > load / 2 && *truth != RIG_TOGETHER)
		*truth = RIG_IGNORED;
	if (stray > most)
		*truth = TARPIT_UNKNOWN;
	if (*truth < RIG_NONE && *truth != TARPIT_UNKNOWN && us + load >= 400 * MS)
		rig->debt += rig->debt < 500;
	return us + load + stray;
}

static void
reply_put(struct rig *rig, struct rig_leg *leg, struct tarpit_reply *reply, unsigned truth)
{
	struct tarpit_verdict v[TARPIT_VERDICTS];
	bool first = reply->banner || reply->verb == SMTP_V_EHLO;
	unsigned n;

	reply->authed = leg->authed;
	reply->code = (unsigned)strtoul(reply->line, NULL, 10);
	reply->len = (uint32_t)strlen(reply->line);
	if (!leg->tracked && reply->pieces == 0 && tarpit_ordinary(&rig->backend, reply)) {
		count(rig, truth, RIG_NONE);
		leg->greeted = leg->greeted || !reply->banner;
		return;
	}
	if (!leg->tracked)
		leg->leg.fast = leg->greeted || !first; // or it would be remembered
	leg->tracked = leg->greeted = true;
	n = tarpit_judge(&rig->backend, &leg->leg, reply, v);
	told(rig, leg, truth, v, n);
}

void rig_reply_group(
	struct rig *rig,
	struct rig_leg *leg,
	enum smtp_verb verb,
	const char *line,
	struct rig_delay delay
)
{
	uint32_t us = delay.us;
	unsigned truth = delay.truth;
	struct tarpit_reply reply = {
		.verb = verb,
		.line = line,
		.follows = (delay.group & RIG_FOLLOWS) != 0,
		.more = (delay.group & RIG_MORE) != 0,
	};

	reply.us = rig_between(rig, 200, 15 * MS) + mishaps(rig, us, &truth);
	if (!reply.follows)
		reply.us += rig->rtt_us + rig_between(rig, 0, rig->jitter_us);
	if (verb == SMTP_V_BODY)
		reply.us += rig_between(rig, 5 * MS, 120 * MS);
	if (us > 0 && us < 400 * MS && truth < RIG_NONE && truth != TARPIT_OVERLOAD &&
	    truth != TARPIT_UNKNOWN && truth != TARPIT_BACK_PRESSURE_REJECT)
		truth = RIG_IGNORED;
	reply_put(rig, leg, &reply, truth);
}

void rig_reply(
	struct rig *rig,
	struct rig_leg *leg,
	enum smtp_verb verb,
	const char *line,
	uint32_t us,
	unsigned truth
)
{
	rig_reply_group(rig, leg, verb, line, (struct rig_delay){us, truth, 0});
}

void rig_banner(struct rig *rig, struct rig_leg *leg, const char *line, uint32_t us, unsigned truth)
{
	struct tarpit_reply reply = {.line = line, .banner = true};

	reply.us = 2 * rig->rtt_us + rig_between(rig, 0, 2 * rig->jitter_us) +
		   rig_between(rig, 200, 15 * MS) + mishaps(rig, us, &truth);
	reply_put(rig, leg, &reply, truth);
}

void rig_stutter(struct rig *rig, struct rig_leg *leg, enum smtp_verb verb, const char *line)
{
	struct tarpit_reply reply = {
		.verb = verb,
		.line = line,
		.banner = verb == SMTP_V_UNKNOWN,
		.pieces = (uint32_t)strlen(line),
	};

	reply.us = (uint32_t)strlen(line) * S + rig->rtt_us;
	rig->debt++;
	reply_put(rig, leg, &reply, TARPIT_STUTTER);
}
