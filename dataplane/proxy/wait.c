// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Sessions whose backends are all at max_connections: they wait a little for a connection to become
// free, since the client has time (RFC 5321 4.5.3.2), and are told 421 when none does or when too
// many wait already. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#define WAIT_FIRST_MS 20U // a lease that another worker kept unused is back by then
#define WAIT_DOUBLINGS 2U // often enough that nobody is unlucky for long
#define WAIT_LIMIT_MS 5000U
#define WAITING_SHARE 8U // of the worker's sessions
#define WAITING_MAX 4096U

// From the begin of the wait to the next look: 20, 40, 80, 80 ... ms apart.
static uint32_t next_look_ms(uint32_t looks)
{
	uint32_t doubled = looks < WAIT_DOUBLINGS ? looks : WAIT_DOUBLINGS;

	return WAIT_FIRST_MS * ((2U << doubled) - 1) +
	       (looks - doubled) * (WAIT_FIRST_MS << WAIT_DOUBLINGS);
}

bool leg_wait(struct relay *r, struct session *s)
{
	uint32_t limit = r->config.max_sessions / WAITING_SHARE + 1;

	if (limit > WAITING_MAX)
		limit = WAITING_MAX;
	if ((s->flags & SESSION_F_LEG_WAIT) == 0) {
		if (r->waiting >= limit || s->client.v == 0)
			return false;
		r->waiting++;
		r->waiting_of[s->service_slot]++;
		stat_inc(r->env, STAT_LEG_WAITS);
		s->flags |= SESSION_F_LEG_WAIT;
		s->leg_since_ms = env_now_ms(r->env);
		s->leg_looks = 0;
	} else if (env_now_ms(r->env) - s->leg_since_ms >= WAIT_LIMIT_MS) {
		return false;
	} else {
		s->leg_looks++;
	}
	session_timer(r, s);
	return true;
}

bool leg_wait_behind(struct relay *r, struct session *s)
{
	return (s->flags & SESSION_F_LEG_WAIT) == 0 && s->tried_count == 0 &&
	       r->waiting_of[s->service_slot] > 0 && leg_wait(r, s);
}

uint32_t leg_wait_timer_ms(const struct session *s)
{
	return s->leg_since_ms + next_look_ms(s->leg_looks);
}

void leg_wait_end(struct relay *r, struct session *s)
{
	if ((s->flags & SESSION_F_LEG_WAIT) == 0)
		return;
	r->waiting--;
	r->waiting_of[s->service_slot]--;
	s->flags &= ~(uint32_t)SESSION_F_LEG_WAIT;
}
