// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The backend leg's life: opened at accept, moved to another backend while nothing of the client
// has reached it (C9, "Who is refused"), left politely (Z5) or reset inside a body (C16). Worker
// thread.

#include "dataplane/proxy/delay_types.h"
#include "dataplane/proxy/relay_inner_types.h"

#include <string.h>

static struct lb_view backends_view(const struct relay *r)
{
	return (struct lb_view){
		.blob = r->blob,
		.ctl = r->config.shm.backend_ctl,
		.local = r->config.shm.backends,
		.others_active = r->config.shm.others_active,
		.slots = r->config.shm.backend_slots,
		.workers = r->env->count,
		.now_ns = r->env->now_ns,
	};
}

static uint32_t backend_choose(struct relay *r, const struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);
	struct lb_view view = backends_view(r);

	if (service == NULL)
		return LB_NONE;
	return lb_pick(r->lb, &view, service->pool, s->tried, s->tried_count);
}

// Which addresses the leg may come from: those of the client's rule, else the pool's.
static struct ip_addr source_choose(
	struct relay *r,
	const struct blob_policy *policy,
	const struct blob_pool *pool,
	const struct ip_addr *backend
)
{
	static const struct ip_addr any;
	uint32_t first = pool->sources, count = pool->source_count, start;

	if (policy != NULL && policy->sources != UINT32_MAX) {
		first = policy->sources;
		count = policy->source_count;
	}
	if (count == 0)
		return any;
	start = rng_below(&r->env->rng, count);
	for (uint32_t i = 0; i < count; i++) {
		const struct blob_source *src = blob_at(
			r->blob, &r->blob->sources, first + (start + i) % count, sizeof(*src)
		);

		if (ip_addr_is_v4(&src->addr) == ip_addr_is_v4(backend))
			return src->addr;
	}
	return any;
}

static bool leg_connect(
	struct relay *r,
	struct session *s,
	const struct blob_backend *b,
	const struct blob_pool *pool
)
{
	const struct blob_policy *policy = session_policy(r, s);
	struct tcp_connect_args args = {
		.local = source_choose(r, policy, pool, &b->addr),
		.remote = {b->addr, b->port},
		.user = session_index(r, s) | TCP_USER_LEG,
		.rcv_window = SESSION_WINDOW_COMMAND,
		.syn_timeout_ms = pool->connect_timeout_ms,
	};

	s->leg_flags = identity_flags(identity_way(s, policy, pool)) | leg_tls_flags(s, pool);
	return tcp_connect(r->tcp, &args, &s->leg) == 0;
}

static void leg_opened(
	struct relay *r,
	struct session *s,
	const struct blob_backend *b,
	const struct blob_pool *pool
)
{
	const struct blob_service *service = service_at(r, s->service_slot);

	s->leg_state = LEG_S_CONNECTING;
	s->leg_since_ms = env_now_ms(r->env);
	s->leg_since_us = relay_now_us(r);
	s->flags &= ~(uint32_t)SESSION_F_LEG_FIN;
	if ((pool->flags & BLOB_POOL_F_SOFT_BOUNCE) != 0)
		s->leg_flags |= SESSION_LEG_F_SOFT_BOUNCE;
	s->rcpt_votes = s->eod_votes = 0;
	session_backend(r, s)->active++;
	session_backend(r, s)->connecting++;
	session_backend(r, s)->connects++;
	stat_inc(r->env, STAT_LEG_OPENED);
	if (service != NULL && service->pool != b->pool)
		stat_inc(r->env, STAT_LEG_BACKUP);
	dialogue_note(r, s, "connecting to a backend", 0);
	tcp_peer_set(r->tcp, s->client, s->leg);
	session_timer(r, s);
}

void leg_open(struct relay *r, struct session *s)
{
	bool full = false;

	if (leg_wait_behind(r, s))
		return;
	while (s->tried_count < LB_MAX_TRIED && !full) {
		uint32_t index = backend_choose(r, s);
		const struct blob_pool *pool;
		const struct blob_backend *b;

		full = index == LB_FULL;
		if (full || index == LB_NONE)
			break;
		b = blob_at(r->blob, &r->blob->backends, index, sizeof(*b));
		pool = blob_at(r->blob, &r->blob->pools, b->pool, sizeof(*pool));
		s->tried[s->tried_count++] = b->slot;
		s->backend_slot = b->slot;
		if (!leg_connect(r, s, b, pool))
			continue;
		leg_wait_end(r, s);
		leg_opened(r, s, b, pool);
		return;
	}
	if (full && leg_wait(r, s))
		return;
	if (full)
		stat_inc(r->env, STAT_LEG_LIMIT);
	r->config.shm.services[s->service_slot].no_backend++;
	session_close(r, s, SMTP_OWN_NO_BACKEND);
}

void leg_forget(struct relay *r, struct session *s)
{
	struct shm_backend_local *backend = session_backend(r, s);

	delay_leg_end(r, s);
	lb_report_end(
		r->lb, s->backend_slot, (s->leg_flags & SESSION_LEG_F_FRUIT) != 0, r->env->now_ns
	);
	backend->active--;
	backend->orphans -= (s->flags & SESSION_F_ORPHAN) != 0;
	if (s->leg_state == LEG_S_CONNECTING || s->leg_state == LEG_S_BANNER ||
	    (s->leg_state == LEG_S_TLS && (s->leg_flags & SESSION_LEG_F_IMPLICIT) != 0))
		backend->connecting--;
	s->leg.v = 0;
	wire_tls_put(r, &s->leg_tls);
	s->leg_state = LEG_S_NONE;
	s->pending_count = 0;
	s->reply_bytes = 0;
	s->flags &= ~(uint32_t)(SESSION_F_LEG_FIN | SESSION_F_WAIT | SESSION_F_ORPHAN |
				SESSION_F_CHUNKS);
}

void leg_release(struct relay *r, struct session *s)
{
	struct tcp_conn_id leg = s->leg;

	wire_end(r, wire_leg(s));
	leg_forget(r, s);
	tcp_release(r->tcp, leg, true);
}

void leg_drop(struct relay *r, struct session *s)
{
	struct tcp_conn_id leg = s->leg;

	if (leg.v == 0)
		return;
	if (leg_in_body(s))
		stat_inc(r->env, STAT_LEG_ABORTED_IN_BODY);
	leg_forget(r, s);
	tcp_abort(r->tcp, leg);
}

void leg_let_go(struct relay *r, struct session *s)
{
	if (leg_in_body(s))
		leg_drop(r, s);
	else
		leg_release(r, s);
}

// Since when: the session began, or the command came for which a fresh leg was opened.
static uint32_t leg_wanted_ms(const struct session *s)
{
	return (s->flags & SESSION_F_EHLO_KEPT) != 0 || s->client_tls != 0 ? s->touched_ms
									   : s->started_ms;
}

static bool is_out_of_patience(const struct relay *r, const struct session *s)
{
	return env_now_ms(r->env) - leg_wanted_ms(s) > SESSION_LEG_PATIENCE_MS;
}

bool leg_has_other(struct relay *r, const struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);
	struct lb_view view = backends_view(r);

	return service != NULL && s->tried_count < LB_MAX_TRIED && !is_out_of_patience(r, s) &&
	       lb_has(r->lb, &view, service->pool, s->tried, s->tried_count);
}

void leg_failed(struct relay *r, struct session *s, bool refused_by_reply)
{
	stat_inc(r->env, STAT_LEG_REFUSED);
	lb_report_failure(r->lb, s->backend_slot, r->env->now_ns);
	if (s->leg.v != 0)
		leg_drop(r, s);
	if (s->client.v == 0) {
		session_free(r, s);
		return;
	}
	if (is_out_of_patience(r, s))
		s->tried_count = LB_MAX_TRIED;
	if (s->tried_count < LB_MAX_TRIED)
		stat_inc(r->env, STAT_LEG_RETRIED);
	leg_open(r, s);
}

bool awaits_reply_to(const struct session *s, enum smtp_verb verb)
{
	for (unsigned i = 0; i < s->pending_count; i++)
		if (s->pending_verb[(s->pending_head + i) % SESSION_PENDING_MAX] == verb)
			return true;
	return false;
}

bool awaits_body_reply(const struct session *s)
{
	return s->state != RELAY_S_BDAT && s->state != RELAY_S_PASS_BDAT &&
	       awaits_reply_to(s, SMTP_V_BODY);
}

void leg_eod_judge(struct relay *r, struct session *s)
{
	if (!awaits_body_reply(s))
		return;
	session_backend(r, s)->eod_lost++;
	stat_inc(r->env, STAT_LEG_EOD_LOST);
}

// A leg lost between two mails takes nothing with it: QUIT still gets its 221 (C7), anything else a
// fresh leg, greeted as the client greeted. Not after AUTH, which no other leg knows of.
static bool can_go_on(const struct session *s)
{
	return s->leg_state == LEG_S_READY && s->state == RELAY_S_COMMAND && s->client.v != 0 &&
	       s->pending_count == 0 && (s->flags & SESSION_F_EHLO_KEPT) != 0 &&
	       (s->flags & (SESSION_F_MAIL | SESSION_F_AUTHED | SESSION_F_CLOSING |
			    SESSION_F_CLIENT_FIN)) == 0;
}

void leg_lost(struct relay *r, struct session *s)
{
	bool greeting = leg_is_greeting(s);
	bool quit = s->pending_count > 0 && s->pending_verb[s->pending_head] == SMTP_V_QUIT;
	bool go_on = can_go_on(s);
	unsigned owed = s->pending_count;

	leg_eod_judge(r, s);
	leg_forget(r, s);
	if (s->state == RELAY_S_GONE) {
		session_free(r, s);
		return;
	}
	switch (s->state) {
	case RELAY_S_DATA:
	case RELAY_S_BDAT:
		body_lost(r, s, SMTP_OWN_BODY_LOST, owed);
		session_run(r, s);
		break;
	case RELAY_S_SWALLOW_DATA:
	case RELAY_S_SWALLOW_BDAT:
		pending_own(r, s, SMTP_OWN_BODY_LOST, owed);
		break;
	case RELAY_S_SPLICE:
	case RELAY_S_PASS:
	case RELAY_S_PASS_AUTH:
	case RELAY_S_PASS_DATA:
	case RELAY_S_PASS_BDAT:
		if (greeting && (s->flags & SESSION_F_PASSED) == 0)
			leg_failed(r, s, false);
		else
			splice_step(r, s);
		break;
	default:
		if (greeting || s->state == RELAY_S_TLS)
			leg_failed(r, s, false);
		else if (go_on)
			session_run(r, s);
		else
			session_close(r, s, quit ? SMTP_OWN_QUIT : SMTP_OWN_BACKEND_LOST);
		break;
	}
}

// Sends QUIT for a client that is not there any more.
static void leg_quit(struct relay *r, struct session *s)
{
	stat_inc(r->env, STAT_LEG_QUITS);
	if (!wire_tx_write(r, wire_leg(s), "QUIT\r\n", 6)) {
		leg_drop(r, s);
		return;
	}
	dialogue(r, s, CAPTURE_OWN_TO_BACKEND, "QUIT", 4);
	s->leg_state = LEG_S_QUITTING;
	s->leg_since_ms = env_now_ms(r->env);
}

// Owes nothing: QUIT and its reply are all that is left.
static bool is_at_rest(const struct session *s)
{
	return s->leg_state == LEG_S_READY && s->pending_count == 0 && !scan_reply_is_cut(s);
}

void leg_leave(struct relay *r, struct session *s)
{
	bool alone = s->client.v == 0;

	stall_leave(r, s);
	switch (s->leg_state) {
	case LEG_S_NONE:
		return;
	case LEG_S_CONNECTING:
	case LEG_S_TLS: // nothing can be said in the middle of a handshake
		leg_drop(r, s);
		return;
	case LEG_S_QUITTING:
	case LEG_S_CLOSING:
		return;
	default:
		break;
	}
	if (leg_in_body(s) || s->state == RELAY_S_SPLICE || !alone || scan_is_cut(s)) {
		leg_drop(r, s);
		return;
	}
	if (s->state == RELAY_S_AUTH ||
	    s->state == RELAY_S_PASS_AUTH) { // it owes nothing, and would take QUIT for an answer
		leg_release(r, s);
		return;
	}
	if (s->state != RELAY_S_GONE && !is_at_rest(s) && !may_abandon(r, s->backend_slot)) {
		stat_inc(r->env, STAT_LEG_ORPHAN_LIMIT);
		leg_drop(r, s);
		return;
	}
	if (s->state != RELAY_S_GONE) {
		s->state = RELAY_S_GONE;
		s->leg_since_ms = env_now_ms(r->env);
		orphan_count(r, s);
	}
	if (is_at_rest(s))
		leg_quit(r, s);
	if (s->leg.v != 0)
		session_timer(r, s);
}

void leg_reopen(struct relay *r, struct session *s)
{
	if ((s->flags & (SESSION_F_EHLO_KEPT | SESSION_F_AUTHED)) != SESSION_F_EHLO_KEPT) {
		session_close(r, s, SMTP_OWN_NO_LEG);
		return;
	}
	stat_inc(r->env, STAT_LEG_REOPENED);
	s->flags |= SESSION_F_REOPENED;
	s->tried_count = 0;
	leg_open(r, s);
}

void leg_finish(struct relay *r, struct session *s)
{
	if ((s->flags & SESSION_F_LEG_FIN) != 0 || s->leg_state == LEG_S_CLOSING ||
	    leg_in_body(s)) {
		leg_let_go(r, s);
		session_free(r, s);
		return;
	}
	s->state = RELAY_S_GONE;
	s->leg_state = LEG_S_CLOSING;
	s->leg_since_ms = env_now_ms(r->env);
	session_timer(r, s);
}
