// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The rules, see tarpit.h: the surest first. Pure.

#include "dataplane/tarpit/tarpit_types.h"

#define TOGETHER_US 50000 // replies of one group that were let go at once
#define RUN_PROVEN 3      // replies of one delay, none faster: the address is discredited
#define RUN_BUSY 5        // the same where many are slow
#define DISTRUST 8
#define ODD_MAX 3     // of another delay: they have nothing in common
#define ERRORS_MANY 2 // that were answered at once before the delays began
#define AFTER_ERRORS_MAX 8
#define SHARE_SOME 16000  // of 65535: a quarter
#define LOAD_FACTOR 3     // who waits longer than so many times the others waits for something else
#define STEP (5 * SECOND) // of Exchange's back pressure, from 10 s to 55 s

static const struct {
	enum tarpit_reason reason;
	unsigned ring;
} exchange[TARPIT_KINDS] = {
	[TARPIT_KIND_USER] = {TARPIT_RECIPIENT_LOOKUP, TARPIT_RING_USER},
	[TARPIT_KIND_AUTH] = {TARPIT_AUTH_FAILED, TARPIT_RING_AUTH},
	[TARPIT_KIND_AUTH_TYPE] = {TARPIT_AUTH_TYPE, TARPIT_RING_AUTH_TYPE},
	[TARPIT_KIND_RELAY] = {TARPIT_RELAY, TARPIT_RING_RELAY},
	[TARPIT_KIND_CONTENT] = {TARPIT_CONTENT, TARPIT_RING_CONTENT},
};

static bool is_exchange(enum tarpit_kind kind)
{
	return kind >= TARPIT_KIND_USER && kind <= TARPIT_KIND_CONTENT;
}

// A slow reply while it is looked at.
struct slow {
	struct tarpit_backend *b;
	struct tarpit_leg *leg;
	enum tarpit_kind kind;
	enum shm_verb_group group;
	unsigned grow;
	bool grow_seen; // and it was not that
	uint16_t x;
};

uint32_t tarpit_interval_ms(const struct tarpit_backend *b)
{
	const struct tarpit_ring *best = &b->ring[TARPIT_RING_USER];

	for (unsigned i = TARPIT_RING_USER; i <= TARPIT_RING_CONTENT; i++)
		if (b->ring[i].sure > best->sure)
			best = &b->ring[i];
	return best->sure >= SURE ? best->k * (TICK_US / 1000U) : 0;
}

// The interval is one of the connector: what one reply taught holds for the others.
static bool is_interval(const struct slow *s)
{
	const struct tarpit_backend *b = s->b;

	if (!tarpit_is_busy(b) && tarpit_near_at(b, s->group, s->x, EXCHANGE_K))
		return true;
	for (unsigned i = TARPIT_RING_USER; i <= TARPIT_RING_CONTENT; i++)
		if (b->ring[i].sure >= SURE && tarpit_near_at(b, s->group, s->x, b->ring[i].k))
			return true;
	return false;
}

static bool is_load(const struct tarpit_backend *b, uint16_t x)
{
	return tarpit_is_overload(b) && x <= LOAD_FACTOR * b->load;
}

static bool is_back_pressure(struct slow *s)
{
	struct tarpit_backend *b = s->b;
	bool same = tarpit_ring_add(b, &b->ring[TARPIT_RING_MAIL], s->group, s->x);
	uint32_t step = (s->x + STEP / 2U) / STEP;

	if (tarpit_is_overload(b) || (s->leg != NULL && s->leg->fast == 0))
		return false;
	// who lets delays grow comes by the same ones in each session
	same = same && b->grow_sure[TARPIT_GROW_MAIL] == 0;
	return same || (b->slow[SHM_VERB_MAIL] >= SHARE_SOME && step >= 2 && step <= 11 &&
			tarpit_near(b, s->x, step * STEP));
}

static bool is_delayed_ack(struct slow *s)
{
	struct tarpit_ring *ring = &s->b->ring[TARPIT_RING_ACK];
	uint32_t max = ACK_MAX;

	tarpit_ring_add(s->b, ring, s->group, s->x);
	if (ring->sure >= SURE && ring->k > max)
		max = ring->k;
	return s->b->slow[SHM_VERB_END_OF_DATA] >= SHARE_SOME && !tarpit_is_overload(s->b) &&
	       s->x <= max + tarpit_tolerance(s->b, max);
}

static bool is_greet_pause(struct slow *s)
{
	struct tarpit_backend *b = s->b;
	struct tarpit_ring *ring = &b->ring[TARPIT_RING_BANNER];

	if (!tarpit_is_overload(b))
		return tarpit_ring_add(b, ring, s->group, s->x) ||
		       tarpit_near(b, s->x, POSTSCREEN_K);
	return ring->sure >= SURE && s->x + tarpit_tolerance(b, s->x) >= ring->k &&
	       s->x <= ring->k + LOAD_FACTOR * b->load; // and load on top
}

// Of a good reply, and of any other for which no rule was found.
static enum tarpit_reason reason_of_good(struct slow *s)
{
	struct tarpit_backend *b = s->b;

	if (!s->grow_seen && !tarpit_is_overload(b) && tarpit_grows(b, s->leg, s->grow, s->x))
		return s->grow == TARPIT_GROW_IDLE ? TARPIT_SENDMAIL_SLOW : TARPIT_EXIM_RATE;
	if (s->kind <= TARPIT_KIND_ACK) {
		tarpit_slow(b, s->group, s->x);
		if (s->group == SHM_VERB_BANNER && is_greet_pause(s))
			return TARPIT_GREET_PAUSE;
		if (s->group == SHM_VERB_MAIL && is_back_pressure(s))
			return TARPIT_BACK_PRESSURE;
		if (s->kind == TARPIT_KIND_ACK && is_delayed_ack(s))
			return TARPIT_DELAYED_ACK;
		tarpit_ring_add(b, &b->ring[TARPIT_RING_ALL], s->group, s->x);
	}
	return is_load(b, s->x) ? TARPIT_OVERLOAD : TARPIT_UNKNOWN;
}

static enum tarpit_reason held_reason(struct tarpit_backend *b, struct tarpit_leg *leg)
{
	struct slow s = {
		.b = b,
		.leg = leg,
		.kind = (enum tarpit_kind)leg->held_kind,
		.group = (enum shm_verb_group)leg->held_group,
		.grow = leg->held_grow,
		.x = leg->held,
	};

	return reason_of_good(&s);
}

static unsigned
held_settle(struct tarpit_leg *leg, enum tarpit_reason reason, struct tarpit_verdict *ret)
{
	*ret = (struct tarpit_verdict){reason, leg->held_count, leg->held_us};
	leg->held = 0;
	leg->held_count = 0;
	leg->held_us = 0;
	return 1;
}

unsigned
tarpit_leg_end(struct tarpit_backend *b, struct tarpit_leg *leg, struct tarpit_verdict *ret)
{
	return leg->held == 0 ? 0 : held_settle(leg, held_reason(b, leg), ret);
}

static void hold(struct slow *s, uint32_t us)
{
	struct tarpit_leg *leg = s->leg;

	if (leg->held == 0) {
		leg->held = s->x;
		leg->held_group = (uint8_t)s->group;
		leg->held_kind = (uint8_t)s->kind;
		leg->held_grow = (uint8_t)s->grow;
	}
	leg->held_count++;
	leg->held_us += us;
}

// Replies that all came late by the same time, from the first one on.
static void run_follow(struct slow *s)
{
	struct tarpit_leg *leg = s->leg;

	if (leg == NULL)
		return;
	if (leg->run > 0 && !tarpit_near_at(s->b, s->group, s->x, leg->run_k)) {
		leg->odd += leg->odd < UINT8_MAX;
		leg->run = leg->groups = 0;
	}
	leg->run_k = leg->run == 0 ? s->x : leg->run_k;
	leg->run += leg->run < UINT8_MAX;
	leg->groups |= (uint8_t)(1U << s->group);
}

// Are so many replies of one delay enough? Of two verbs, at least.
static bool is_proven(const struct slow *s, unsigned run)
{
	unsigned groups = s->leg->groups | 1U << s->group;

	return run >= (tarpit_is_busy(s->b) ? RUN_BUSY : RUN_PROVEN) &&
	       (groups & (groups - 1)) != 0;
}

static bool is_discredited(struct slow *s)
{
	struct tarpit_backend *b = s->b;
	const struct tarpit_leg *leg = s->leg;
	bool known = b->distrust >= DISTRUST && tarpit_near_at(b, s->group, s->x, b->distrust_k);

	if (leg == NULL || leg->fast > 0)
		return leg == NULL && known;
	if (is_proven(s, leg->run)) {
		b->distrust = b->distrust < SURE_MAX ? b->distrust + DISTRUST : b->distrust;
		b->distrust_k = leg->run_k;
		return true;
	}
	return known;
}

// Delays that began after errors: all replies (Postfix), or RCPT only (Sendmail)?
static bool is_after_errors(struct slow *s, bool rcpt, enum tarpit_reason *ret)
{
	struct tarpit_backend *b = s->b;
	struct tarpit_leg *leg = s->leg;

	if (leg == NULL || leg->errors < ERRORS_MANY || tarpit_is_overload(b))
		return false;
	if (!tarpit_ring_add(b, &b->ring[TARPIT_RING_ERRORS], s->group, s->x) &&
	    !tarpit_near(b, s->x, POSTFIX_K))
		return false;
	leg->errors_slow += leg->errors_slow < UINT8_MAX;
	if (!rcpt && leg->errors_slow > 1 && b->after_errors < AFTER_ERRORS_MAX)
		b->after_errors++;
	*ret = b->after_errors > 0           ? TARPIT_POSTFIX_ERRORS
	       : b->after_errors < 0 && rcpt ? TARPIT_SENDMAIL_SLOW
					     : TARPIT_UNKNOWN;
	return true;
}

// Before a constant is looked for: what grows slowly looks like one for a while.
static bool is_rate(struct slow *s)
{
	if (s->grow == TARPIT_GROW_IDLE || tarpit_is_overload(s->b))
		return false;
	s->grow_seen = true;
	return tarpit_grows(s->b, s->leg, s->grow, s->x);
}

static bool is_exchange_tarpit(struct slow *s)
{
	bool same = false;

	if (!tarpit_is_busy(s->b))
		same = tarpit_ring_add(s->b, &s->b->ring[exchange[s->kind].ring], s->group, s->x);
	return same || is_interval(s);
}

// Under load a delay by rule comes on top: each gets its part.
static unsigned
parts(const struct slow *s,
      uint32_t k,
      enum tarpit_reason reason,
      uint32_t us,
      struct tarpit_verdict ret[2])
{
	if (k == 0 || !tarpit_is_overload(s->b) || s->x < k || s->x > k + LOAD_FACTOR * s->b->load)
		return 0;
	k *= TICK_US;
	us = us > k ? us - k : 0;
	ret[us > k] = (struct tarpit_verdict){reason, 1, k}; // the larger one first
	ret[us <= k] = (struct tarpit_verdict){TARPIT_OVERLOAD, 1, us};
	return 2;
}

static void fast_follow(
	struct tarpit_backend *b,
	struct tarpit_leg *leg,
	const struct tarpit_reply *reply,
	enum tarpit_kind kind
)
{
	tarpit_usual(b, reply);
	if (!reply->banner && kind <= TARPIT_KIND_ACK && !reply->authed)
		b->distrust -= b->distrust < 4 ? b->distrust : 4;
	if (leg == NULL)
		return;
	leg->fast += !reply->banner && leg->fast < UINT16_MAX;
	if (reply->verb == SMTP_V_BODY && reply->code < 300) {
		leg->errors = 0;
		leg->errors_slow = 0;
	}
	if (leg->errors_slow > 1 && reply->verb != SMTP_V_RCPT &&
	    b->after_errors > -AFTER_ERRORS_MAX)
		b->after_errors--;
	if (kind <= TARPIT_KIND_ACK)
		return;
	leg->errors += leg->errors < UINT16_MAX;
	leg->kinds |= (uint16_t)(1U << kind);
}

bool tarpit_ordinary(struct tarpit_backend *b, const struct tarpit_reply *reply)
{
	if (reply->code >= 400 || tarpit_delay(b, reply) != 0)
		return false;
	tarpit_usual(b, reply);
	if (!reply->banner && !reply->authed && b->distrust > 0)
		b->distrust -= b->distrust < 4 ? b->distrust : 4;
	return true;
}

// What is held waits for this reply: is it of the same making?
static unsigned held_look(
	struct slow *s,
	const struct tarpit_reply *reply,
	uint32_t *us,
	struct tarpit_verdict *ret
)
{
	struct tarpit_leg *leg = s->leg;

	if (leg == NULL || leg->held == 0)
		return 0;
	if (is_exchange(s->kind) && reply->follows && s->x == 0 && reply->us < TOGETHER_US &&
	    leg->held_count == 1 && leg->held_group != SHM_VERB_BANNER && !reply->authed) {
		s->x = leg->held; // the group was held for its last reply
		*us += leg->held_us;
		leg->held = 0;
		leg->held_count = 0;
		leg->held_us = 0;
		return 0;
	}
	if (s->x != 0 && leg->fast == 0 && tarpit_near_at(s->b, s->group, s->x, leg->held) &&
	    !reply->authed && reply->pieces < TARPIT_PIECES &&
	    (s->kind <= TARPIT_KIND_ACK || is_proven(s, leg->run + 1U)))
		return 0; // with it
	return held_settle(leg, held_reason(s->b, leg), ret);
}

static unsigned slow_judge(
	struct slow *s,
	const struct tarpit_reply *reply,
	uint32_t us,
	struct tarpit_verdict ret[2]
)
{
	struct tarpit_leg *leg = s->leg;
	enum tarpit_reason reason;
	bool rcpt = reply->verb == SMTP_V_RCPT, tarpits = is_exchange(s->kind) && !reply->authed;

	run_follow(s);
	if (reply->pieces >= TARPIT_PIECES) {
		reason = TARPIT_STUTTER;
	} else if (!reply->authed && is_discredited(s)) {
		reason = TARPIT_DISCREDITED;
		if (leg != NULL && leg->held != 0) {
			us += leg->held_us;
			*ret = (struct tarpit_verdict){reason, leg->held_count + 1U, us};
			leg->held = 0;
			leg->held_count = 0;
			leg->held_us = 0;
			return 1;
		}
	} else if (leg != NULL && leg->fast == 0 && leg->odd < ODD_MAX &&
		   s->kind <= TARPIT_KIND_ACK && !reply->authed) {
		hold(s, us);
		return 0;
	} else if (tarpits && (leg == NULL || (leg->kinds >> s->kind & 1) == 0) &&
		   is_exchange_tarpit(s)) {
		reason = exchange[s->kind].reason;
	} else if (leg != NULL && reply->more && s->kind == TARPIT_KIND_GOOD && leg->errors == 0) {
		hold(s, us);
		return 0;
	} else if (is_rate(s)) {
		reason = TARPIT_EXIM_RATE;
	} else if (is_after_errors(s, rcpt, &reason)) {
		; // said there
	} else if (tarpits && (leg == NULL || (leg->kinds >> s->kind & 1) != 0) &&
		   is_exchange_tarpit(s)) {
		reason = exchange[s->kind].reason;
	} else if (tarpits && parts(s,
				    tarpit_interval_ms(s->b) / (TICK_US / 1000),
				    exchange[s->kind].reason,
				    us,
				    ret) == 2) {
		return 2;
	} else {
		reason = reason_of_good(s);
	}
	*ret = (struct tarpit_verdict){reason, 1, us};
	return 1;
}

unsigned tarpit_judge(
	struct tarpit_backend *b,
	struct tarpit_leg *leg,
	const struct tarpit_reply *reply,
	struct tarpit_verdict ret[TARPIT_VERDICTS]
)
{
	struct slow s = {
		.b = b,
		.leg = leg,
		.kind = tarpit_kind(reply->verb, reply->code, reply->line, reply->len),
		.group = tarpit_group(reply),
		.grow = tarpit_grow_index(reply),
		.x = tarpit_delay(b, reply),
	};
	uint32_t us = reply->us;
	unsigned n = held_look(&s, reply, &us, ret);

	if (s.kind == TARPIT_KIND_NO_ROOM) {
		ret[n] = (struct tarpit_verdict){TARPIT_BACK_PRESSURE_REJECT, 1, us};
		return n + 1;
	}
	if (s.x == 0) {
		fast_follow(b, leg, reply, s.kind);
		return n;
	}
	return n + slow_judge(&s, reply, us, ret + n);
}
