// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// How long a session waits for its backend, its client, its handshake, a buffer, and what happens
// then. One timer a session, of the nearest of them. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include "common/abi/hist.h"

#define BANNERS_LEARNED 20
#define BANNER_PATIENCE_MS 270000 // a client waits five minutes (RFC 5321 4.5.3.2.2)

// A backend that is known to greet late is waited for: leaving early is what servers hold against
// an address ("Waiting").
static uint32_t banner_timeout(const struct relay *r, const struct session *s, uint32_t configured)
{
	const struct shm_hist *h =
		&r->config.shm.backends[s->backend_slot].latency[SHM_VERB_BANNER];
	uint64_t learned = 0;

	if (h->count >= BANNERS_LEARNED)
		learned = hist_quantile_us(h, 0.99) / 1000;
	if (learned > BANNER_PATIENCE_MS)
		learned = BANNER_PATIENCE_MS;
	return learned > configured ? (uint32_t)learned : configured;
}

static uint32_t pool_timeout(const struct relay *r, const struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);
	const struct blob_pool *pool;
	bool body;

	if (service == NULL)
		return 660000; // the service is gone, its session stays
	pool = blob_at(r->blob, &r->blob->pools, service->pool, sizeof(*pool));
	if (s->leg_state == LEG_S_CONNECTING)
		return pool->connect_timeout_ms + 1000; // TCP's own limit comes first
	if (leg_is_greeting(s))
		return banner_timeout(r, s, pool->banner_timeout_ms);
	body = s->pending_count > 0 && s->pending_verb[s->pending_head] == SMTP_V_BODY;
	return body ? pool->end_of_data_timeout_ms : pool->reply_timeout_ms;
}

// The client sends, or should: a chunk's reply is only owed after its last octet.
static bool is_in_body(const struct session *s)
{
	return s->state == RELAY_S_DATA || s->state == RELAY_S_BDAT ||
	       s->state == RELAY_S_SWALLOW_DATA || s->state == RELAY_S_SWALLOW_BDAT;
}

static uint32_t pool_eod_ms(const struct relay *r, const struct blob_service *service)
{
	const struct blob_pool *pool =
		blob_at(r->blob, &r->blob->pools, service->pool, sizeof(*pool));

	return pool->end_of_data_timeout_ms;
}

static uint32_t client_timeout(const struct relay *r, const struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);

	if (service == NULL)
		return 300000;
	if (is_in_body(s))
		return service->data_idle_ms;
	if (is_passthrough(s) && service->client_idle_ms < pool_eod_ms(r, service))
		return pool_eod_ms(
			r, service
		); // of both: who owes whom a reply is not always known
	return service->client_idle_ms;
}

// Does the session wait for its backend (the client's idle timer stands still then, C10)?
static bool waits_for_leg(const struct session *s)
{
	if (is_passthrough(s))
		return leg_is_greeting(s) && (s->flags & SESSION_F_PASSED) == 0;
	return (s->pending_count > 0 && !is_in_body(s)) || leg_is_greeting(s) ||
	       s->leg_state == LEG_S_REEHLO || s->leg_state == LEG_S_QUITTING;
}

static uint32_t due_ms(const struct relay *r, const struct session *s)
{
	if ((s->flags & SESSION_F_RETRY) != 0)
		return env_now_ms(r->env) + SESSION_RETRY_MS;
	if ((s->flags & (SESSION_F_LEG_WAIT | SESSION_F_TLS_WAIT)) != 0)
		return leg_wait_timer_ms(s);
	if (s->state == RELAY_S_HEADER)
		return s->started_ms + SESSION_HEADER_MS;
	if (s->state == RELAY_S_PROBE)
		return s->leg_since_ms + s->probe.timeout_ms;
	if (s->leg_state == LEG_S_QUITTING)
		return s->leg_since_ms + SESSION_QUIT_MS;
	if (s->leg_state == LEG_S_CLOSING)
		return s->leg_since_ms + SESSION_FIN_MS;
	if (s->state == RELAY_S_GONE)
		return s->leg_since_ms + SESSION_ORPHAN_MS;
	if (waits_for_leg(s))
		return s->leg_since_ms + pool_timeout(r, s);
	return s->touched_ms + client_timeout(r, s);
}

void session_timer(struct relay *r, struct session *s)
{
	uint32_t at;

	if ((s->flags & SESSION_F_STALLED) != 0)
		return; // armed when it began
	at = due_ms(r, s);
	if (s->client_tls != 0)
		at = shake_timer_ms(r, s, at);
	if (!wheel_put_off(&s->timer, at))
		wheel_arm(&r->wheel, session_index(r, s), at);
}

// Nobody answered in time.
static void leg_timed_out(struct relay *r, struct session *s)
{
	if (s->leg_state == LEG_S_CLOSING) {
		leg_finish(r, s);
		return;
	}
	leg_eod_judge(r, s);
	if (s->state == RELAY_S_GONE || s->leg_state == LEG_S_QUITTING) {
		leg_drop(r, s);
		if (s->client.v == 0)
			session_free(r, s);
		return;
	}
	if (is_passthrough(s) && s->leg_state == LEG_S_BANNER && !leg_has_other(r, s)) {
		s->flags |= SESSION_F_PASSED; // stays with this one, and its client with it
		session_timer(r, s);
		return;
	}
	if (leg_is_greeting(s)) {
		session_backend(r, s)->connect_timeouts++;
		leg_signal(r, s, SHM_SIGNAL_TIMEOUT, NULL, 0);
		if (s->leg_state == LEG_S_CONNECTING || s->leg_state == LEG_S_TLS ||
		    !leg_abandon(r, s))
			leg_leave(r, s);
		leg_failed(r, s, false);
		return;
	}
	stat_inc(r->env, STAT_LEG_REPLY_TIMEOUT);
	leg_drop(r, s);
	session_close(r, s, SMTP_OWN_BACKEND_TIMEOUT);
}

// Inside a body it may be the backend that takes nothing more.
static void client_timed_out(struct relay *r, struct session *s)
{
	bool body = s->state == RELAY_S_DATA || s->state == RELAY_S_BDAT;
	bool stalled = body && s->leg.v != 0 && tcp_rx_bytes(r->tcp, s->client) > 0;

	if (stalled) {
		stat_inc(r->env, STAT_LEG_REPLY_TIMEOUT);
		leg_signal(r, s, SHM_SIGNAL_TIMEOUT, NULL, 0);
	}
	if (body)
		leg_drop(r, s); // C16
	session_close(r, s, stalled ? SMTP_OWN_BACKEND_TIMEOUT : SMTP_OWN_IDLE);
}

void session_timer_fire(void *owner, uint32_t idx)
{
	struct relay *r = owner;
	struct session *s = session_of(r, idx);
	uint32_t limit;

	if ((s->flags & SESSION_F_STALLED) != 0) {
		stall_fire(r, s);
		return;
	}
	if (s->client_tls != 0 && shake_is_late(r, s)) {
		shake_fail(r, s, STAT_TLS_FAIL_TIMEOUT);
		return;
	}
	if ((s->flags & SESSION_F_TLS_WAIT) != 0) {
		shake_look(r, s);
		return;
	}
	if ((s->flags & SESSION_F_RETRY) != 0) {
		s->flags &= ~(uint32_t)SESSION_F_RETRY;
		session_run(r, s);
		return;
	}
	if (s->state == RELAY_S_HEADER) {
		header_late(r, s);
		return;
	}
	if (s->state == RELAY_S_PROBE) {
		probe_end(r, s, CTL_PROBE_TIMEOUT);
		return;
	}
	if ((s->flags & SESSION_F_LEG_WAIT) != 0) {
		leg_open(r, s);
		return;
	}
	if (waits_for_leg(s) || s->state == RELAY_S_GONE) {
		leg_timed_out(r, s);
		return;
	}
	limit = client_timeout(r, s);
	if ((int32_t)(env_now_ms(r->env) - s->touched_ms - limit) < 0) {
		session_timer(r, s);
		return;
	}
	if (is_passthrough(s))
		splice_cut(r, s);
	else
		client_timed_out(r, s);
}
