// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Slow replies of backends, and the time lost to each reason: feeds the classifier (tarpit/) and
// counts what it says by backend, virtual service and the address we connect from. A session is
// remembered from its first error or slow reply on, as long as there is room. Worker thread.

#include "dataplane/proxy/delay_types.h"
#include "dataplane/proxy/relay_inner_types.h"
#include "dataplane/tarpit/tarpit.h"

#include <stdlib.h>
#include <string.h>

#define SESSIONS_A_TRACK 64
#define TRACKS_MIN 16
#define PIECE_MS 100 // looks at an unfinished reply that come sooner are of the same piece

// What is known of a backend as long as its slot is the same server's.
struct delay_backend {
	struct ip_addr addr;
	uint32_t port;
	struct tarpit_backend learned;
};

struct delay_track {
	uint64_t session; // 0: free, or of one that has ended
	struct tcp_conn_id leg;
	uint32_t index; // of the session
	uint32_t backend_slot, service_slot;
	uint32_t piece_ms;
	uint16_t pieces;
	uint8_t source; // in the table of sources
	struct tarpit_leg history;
};

static uint32_t tracks_for(const struct relay *r)
{
	uint32_t n = TRACKS_MIN;

	while (n * 2 * SESSIONS_A_TRACK <= r->config.max_sessions)
		n *= 2;
	return n;
}

bool delays_init(struct relay *r)
{
	r->delay_mask = tracks_for(r) - 1;
	r->delay = calloc(r->config.shm.backend_slots, sizeof(*r->delay));
	r->track = calloc(r->delay_mask + 1, sizeof(*r->track));
	return r->delay != NULL && r->track != NULL;
}

void delays_free(struct relay *r)
{
	free(r->delay);
	free(r->track);
}

size_t delays_bytes(const struct relay *r)
{
	return (r->delay_mask + 1ULL) * sizeof(*r->track);
}

void delays_generation(struct relay *r)
{
	const struct blob_backend *b = blob_at(r->blob, &r->blob->backends, 0, sizeof(*b));

	for (uint32_t i = 0; i < r->blob->backends.count; i++, b++) {
		struct delay_backend *d = &r->delay[b->slot];

		if (d->port == b->port && memcmp(&d->addr, &b->addr, sizeof(d->addr)) == 0)
			continue;
		*d = (struct delay_backend){.addr = b->addr, .port = b->port};
	}
}

// Its place in the table; the last one when there is no room.
static uint8_t source_index(struct relay *r, const struct session *s)
{
	struct shm_tarpit_source *table = r->config.shm.tarpit_sources;
	struct tcp_info info;
	uint8_t i = 0;

	if (s->leg.v == 0)
		return SHM_TARPIT_SOURCES - 1;
	tcp_info_get(r->tcp, s->leg, &info);
	for (; i < SHM_TARPIT_SOURCES - 1; i++) {
		if (memcmp(&table[i].addr, &info.local.addr, sizeof(info.local.addr)) == 0)
			return i;
		if (ip_addr_is_unspecified(&table[i].addr))
			break;
	}
	if (i < SHM_TARPIT_SOURCES - 1)
		table[i].addr = info.local.addr;
	return i;
}

static void sum_add(struct shm_tarpit *sum, const struct tarpit_verdict *v)
{
	sum->events[v->reason] += v->events;
	sum->us[v->reason] += v->us;
}

static void verdicts_count(
	struct relay *r,
	const struct delay_track *of,
	const struct tarpit_verdict *v,
	unsigned n
)
{
	struct shm_tarpit *backend = &r->config.shm.tarpit_backends[of->backend_slot];

	for (unsigned i = 0; i < n; i++) {
		sum_add(backend, &v[i]);
		sum_add(&r->config.shm.tarpit_services[of->service_slot], &v[i]);
		sum_add(&r->config.shm.tarpit_sources[of->source].sum, &v[i]);
	}
	backend->interval_ms = tarpit_interval_ms(&r->delay[of->backend_slot].learned);
}

static struct delay_track *track_of(struct relay *r, const struct session *s)
{
	struct delay_track *t = &r->track[session_index(r, s) & r->delay_mask];

	return t->session == s->id && t->leg.v == s->leg.v ? t : NULL;
}

static void track_end(struct relay *r, struct delay_track *t)
{
	struct tarpit_verdict v;
	unsigned n = tarpit_leg_end(&r->delay[t->backend_slot].learned, &t->history, &v);

	verdicts_count(r, t, &v, n);
	t->session = 0;
}

// Was its leg given up, or handed to another session?
static bool is_over(const struct relay *r, const struct delay_track *t)
{
	const struct session *s = &r->session[t->index];

	return s->id != t->session || s->leg.v != t->leg.v;
}

// Begins to remember. NULL: another session has the place.
static struct delay_track *track_take(struct relay *r, const struct session *s, bool first)
{
	struct delay_track *t = &r->track[session_index(r, s) & r->delay_mask];

	if (t->session != 0 && is_over(r, t))
		track_end(r, t);
	if (t->session != 0) {
		stat_inc(r->env, STAT_LEG_UNTRACKED);
		return NULL;
	}
	*t = (struct delay_track){
		.session = s->id,
		.leg = s->leg,
		.index = session_index(r, s),
		.backend_slot = s->backend_slot,
		.service_slot = s->service_slot,
		.source = source_index(r, s),
		.history.fast = !first, // or it would be remembered
	};
	return t;
}

void delay_leg_end(struct relay *r, const struct session *s)
{
	struct delay_track *t = track_of(r, s);

	if (t != NULL)
		track_end(r, t);
}

void delay_piece(struct relay *r, const struct session *s)
{
	uint32_t now = env_now_ms(r->env);
	struct delay_track *t;

	if (r->config.shm.tarpit_backends == NULL || s->leg.v == 0)
		return;
	t = track_of(r, s);
	if (t == NULL)
		t = track_take(r, s, s->leg_state == LEG_S_BANNER);
	if (t == NULL || (t->pieces > 0 && now - t->piece_ms < PIECE_MS))
		return;
	t->piece_ms = now;
	t->pieces += t->pieces < UINT16_MAX;
}

// The greeting, or EHLO's answer before anything else was said.
static bool is_first(const struct session *s, const struct tarpit_reply *reply)
{
	return reply->banner || ((reply->verb == SMTP_V_EHLO || reply->verb == SMTP_V_HELO) &&
				 (s->flags & SESSION_F_GREETED) == 0);
}

static void
delay_judge(struct relay *r, struct session *s, struct delay_track *t, struct tarpit_reply *reply)
{
	struct tarpit_verdict v[TARPIT_VERDICTS];
	struct delay_track stranger = {
		.backend_slot = s->backend_slot, .service_slot = s->service_slot
	};
	unsigned n;

	if (t == NULL)
		t = track_take(r, s, is_first(s, reply));
	if (t != NULL) {
		reply->pieces = t->pieces;
		t->pieces = 0;
	}
	n = tarpit_judge(
		&r->delay[s->backend_slot].learned, t != NULL ? &t->history : NULL, reply, v
	);
	if (n > 0 && t == NULL)
		stranger.source = source_index(r, s);
	if (n > 0)
		verdicts_count(r, t != NULL ? t : &stranger, v, n);
}

void delay_reply(
	struct relay *r,
	struct session *s,
	enum smtp_verb verb,
	unsigned code,
	const char *line,
	uint32_t len
)
{
	uint32_t us = relay_now_us(r) - s->pending_us[s->pending_head];
	uint32_t since_ms = env_now_ms(r->env) - s->leg_since_ms; // its turn began
	unsigned next = (s->pending_head + 1U) % SESSION_PENDING_MAX;
	struct delay_track *t;
	struct tarpit_reply reply = {
		.verb = verb,
		.code = code,
		.line = line,
		.len = len,
		.us = us,
		.more = s->pending_count > 1 && s->pending_verb[next] < SMTP_V_COUNT,
		.authed = (s->flags & SESSION_F_AUTHED) != 0,
	};

	if (r->config.shm.tarpit_backends == NULL)
		return;
	if (us / 1000 > since_ms + 1) {
		reply.follows = true;
		reply.us = since_ms * 1000;
	}
	t = track_of(r, s);
	if (t != NULL || !tarpit_ordinary(&r->delay[s->backend_slot].learned, &reply))
		delay_judge(r, s, t, &reply);
}

void delay_banner(struct relay *r, struct session *s, unsigned code, const char *line, uint32_t len)
{
	struct tarpit_reply reply = {
		.verb = SMTP_V_UNKNOWN,
		.code = code,
		.line = line,
		.len = len,
		.us = relay_now_us(r) - s->leg_since_us,
		.banner = true,
	};
	struct delay_track *t;

	if (r->config.shm.tarpit_backends == NULL)
		return;
	t = track_of(r, s);
	if (t != NULL || !tarpit_ordinary(&r->delay[s->backend_slot].learned, &reply))
		delay_judge(r, s, t, &reply);
}
