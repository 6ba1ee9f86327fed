// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Handshakes that may not begin yet (S4): all connections that TLS may have are open, all contexts
// are in use by handshakes that go on, or the client's own limits are reached. The reply to
// STARTTLS is held, then 421: a flood must not make senders fall back to plain text. Of a client
// that begins with TLS its ClientHello waits, then the connection ends. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#define QUEUE_MS 30000U // of a service that is gone

static bool is_room(const struct relay *r)
{
	return r->wire_ids.used + 1 < r->wire_ids.count;
}

static uint32_t queue_ms(const struct blob_service *service)
{
	return service != NULL ? service->tls_queue_ms : QUEUE_MS;
}

// STAT_COUNT: nothing stands against it.
static enum stat_id held_by(const struct relay *r, const struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);
	const struct tls_creds *creds = session_creds(r, s);
	struct session_client who;

	if (!is_room(r))
		return STAT_TLS_NO_ROOM;
	if (creds != NULL && tls_creds_full(creds) && wire_stalled(r, creds) == 0)
		return STAT_TLS_HELD_ALL;
	session_client_get(r, s, &who);
	if (service != NULL && !shake_may(r, service, &who.remote.addr))
		return STAT_TLS_HELD_CLIENT;
	return STAT_COUNT;
}

void shake_counted(struct relay *r, const struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);
	struct session_client who;

	if (service == NULL)
		return;
	session_client_get(r, s, &who);
	r->wire_shake[s->client_tls].entry = shake_count(r, service, &who.remote.addr);
}

enum hold shake_hold(struct relay *r, struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);
	enum stat_id why;

	if ((s->flags & SESSION_F_TLS_WAIT) != 0)
		return HOLD_WAIT;
	why = held_by(r, s);
	if (why == STAT_COUNT)
		return HOLD_NONE;
	stat_inc(r->env, why);
	if (s->state != RELAY_S_TLS && service != NULL &&
	    service->tls_overflow == BLOB_OVERFLOW_PLAINTEXT)
		return HOLD_REFUSE;
	s->flags |= SESSION_F_TLS_WAIT;
	s->leg_since_ms = env_now_ms(r->env);
	s->leg_looks = 0;
	r->shakes_held++;
	stat_set(r->env, STAT_TLS_HELD_NOW, r->shakes_held);
	return HOLD_WAIT;
}

void shake_hold_end(struct relay *r, struct session *s)
{
	if ((s->flags & SESSION_F_TLS_WAIT) == 0)
		return;
	s->flags &= ~(uint32_t)SESSION_F_TLS_WAIT;
	r->shakes_held--;
	stat_set(r->env, STAT_TLS_HELD_NOW, r->shakes_held);
}

void shake_look(struct relay *r, struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);
	bool late = env_now_ms(r->env) - s->leg_since_ms >= queue_ms(service);
	bool free = held_by(r, s) == STAT_COUNT;

	if (!free && !late) {
		s->leg_looks++;
		session_timer(r, s);
		return;
	}
	shake_hold_end(r, s);
	if (free)
		session_run(r, s);
	else if (s->state == RELAY_S_TLS)
		shake_fail(r, s, STAT_TLS_FAIL_HELD);
	else
		session_close(r, s, SMTP_OWN_TLS_BUSY);
}
