// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Delays that grow within a session: Exim's by a factor with each MAIL or RCPT (smtp_ratelimit_*),
// Sendmail's twofold with each command that does no work. Pure.

#include "dataplane/tarpit/tarpit_types.h"

#define DOUBLE_MAX (240 * SECOND) // Sendmail stops there
#define PROVEN_STEPS 5
#define CONSTANT_STEPS 20 // without growth
#define DOUBLE_STEPS 3
#define SURE_GROWTH 4

unsigned tarpit_grow_index(const struct tarpit_reply *reply)
{
	switch (reply->verb) {
	case SMTP_V_MAIL:
		return TARPIT_GROW_MAIL;
	case SMTP_V_RCPT:
		return TARPIT_GROW_RCPT;
	case SMTP_V_EHLO:
	case SMTP_V_HELO:
	case SMTP_V_NOOP:
	case SMTP_V_RSET:
	case SMTP_V_VRFY:
	case SMTP_V_EXPN:
	case SMTP_V_ETRN:
	case SMTP_V_HELP:
		return TARPIT_GROW_IDLE;
	default:
		return TARPIT_GROWS;
	}
}

static void sure_add(struct tarpit_backend *b, unsigned index, unsigned n)
{
	b->grow_sure[index] =
		(uint8_t)(b->grow_sure[index] + n < SURE_MAX ? b->grow_sure[index] + n : SURE_MAX);
}

static bool doubles(struct tarpit_backend *b, struct tarpit_leg *leg, uint16_t x)
{
	uint8_t *run = &leg->grow_run[TARPIT_GROW_IDLE];
	uint16_t *last = &leg->grow_last[TARPIT_GROW_IDLE];

	if (*run > 0 && (tarpit_near(b, x, *last * 2U) ||
			 (*last > DOUBLE_MAX / 2 && tarpit_near(b, x, DOUBLE_MAX))))
		*run += *run < UINT8_MAX;
	else if (tarpit_near(b, x, SECOND))
		*run = 1;
	else
		return false; // by another rule, in between
	*last = x;
	if (*run == DOUBLE_STEPS)
		sure_add(b, TARPIT_GROW_IDLE, SURE_GROWTH);
	return *run >= DOUBLE_STEPS || b->grow_sure[TARPIT_GROW_IDLE] >= SURE_GROWTH;
}

// A step that does not belong to the growth so far: one is forgiven.
static bool stray(struct tarpit_backend *b, struct tarpit_leg *leg, unsigned index, uint16_t x)
{
	uint8_t *run = &leg->grow_run[index];

	b->grow_sure[index] -= b->grow_sure[index] > 0;
	if (*run > 2) {
		*run = 2;
		return false;
	}
	*run = 1;
	leg->grow_first[index] = leg->grow_last[index] = x;
	return b->grow_sure[index] >= SURE_GROWTH && x >= b->grow_start[index] / 2 &&
	       x <= b->grow_start[index] * 2U;
}

bool tarpit_grows(struct tarpit_backend *b, struct tarpit_leg *leg, unsigned index, uint16_t x)
{
	uint32_t first, tolerance;

	if (leg == NULL || index >= TARPIT_GROWS)
		return false;
	if (index == TARPIT_GROW_IDLE)
		return doubles(b, leg, x);
	tolerance = tarpit_tolerance(b, x);
	if (leg->grow_run[index] == 0) {
		leg->grow_run[index] = 1;
		leg->grow_first[index] = leg->grow_last[index] = x;
		return b->grow_sure[index] >= SURE_GROWTH && x >= b->grow_start[index] / 2 &&
		       x <= b->grow_start[index] * 2U;
	}
	if (x + tolerance < leg->grow_last[index] || x > leg->grow_last[index] * 3U / 2 + tolerance)
		return stray(b, leg, index, x);
	leg->grow_run[index] += leg->grow_run[index] < UINT8_MAX;
	leg->grow_last[index] = x;
	if (leg->grow_run[index] == 2)
		leg->grow_first[index] = x; // one alone may have been a stray
	first = leg->grow_first[index];
	if (leg->grow_run[index] >= CONSTANT_STEPS && x < first + first / 8 &&
	    b->grow_sure[index] > 0)
		b->grow_sure[index]--;
	if (leg->grow_run[index] < PROVEN_STEPS || x < first + first / 8 + tolerance)
		return b->grow_sure[index] >= SURE_GROWTH;
	b->grow_start[index] = (uint16_t)first;
	sure_add(b, index, leg->grow_run[index] == PROVEN_STEPS ? SURE_GROWTH : 1);
	return true;
}
