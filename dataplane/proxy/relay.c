// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The relay's life, its sessions' table, and TCP's events. Worker thread.

#include "dataplane/proxy/delay_types.h"
#include "dataplane/proxy/relay_inner_types.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"

static struct wheel_entry *timer_entry(void *owner, uint32_t idx)
{
	return &((struct relay *)owner)->session[idx].timer;
}

struct relay *relay_new(const struct relay_config *config)
{
	struct relay *r = calloc(1, sizeof(*r));
	uint32_t *ids;

	if (r == NULL)
		return NULL;
	r->config = *config;
	r->env = config->env;
	r->session = array_new(config->max_sessions + 1, sizeof(struct session));
	ids = array_new(config->max_sessions + 1, sizeof(uint32_t));
	r->lb = lb_new(config->shm.backend_slots, config->shm.leases, &config->env->rng);
	r->clients = client_table_new(config->max_sessions);
	r->clients_of = calloc(config->env->count, sizeof(*r->clients_of));
	r->shakers_of = calloc(config->env->count, sizeof(*r->shakers_of));
	r->profile = profiles_new(config->shm.backend_slots);
	r->service_index = calloc(config->shm.service_slots, sizeof(uint32_t));
	r->backend_index = calloc(config->shm.backend_slots, sizeof(uint32_t));
	r->waiting_of = calloc(config->shm.service_slots, sizeof(uint32_t));
	if (r->session == NULL || ids == NULL || r->lb == NULL || r->service_index == NULL ||
	    r->waiting_of == NULL || r->clients == NULL || r->clients_of == NULL ||
	    r->shakers_of == NULL || r->profile == NULL || r->backend_index == NULL ||
	    !wire_tls_init(r) || !ehlo_init(r) || !ledger_init(r) || !named_init(r) ||
	    !delays_init(r)) {
		free(ids);
		relay_free(r);
		errno = ENOMEM;
		return NULL;
	}
	r->clients_of[config->env->id] = r->clients;
	r->shakers_of[config->env->id] = r->shakers;
	idpool_init(&r->ids, ids, config->max_sessions + 1);
	wheel_init(&r->wheel, env_now_ms(r->env), r, timer_entry, session_timer_fire);
	if (config->tls != NULL)
		tls_engine_finished_set(config->tls, shake_finished, r);
	return r;
}

void relay_free(struct relay *r)
{
	if (r == NULL)
		return;
	wire_tls_free(r);
	ehlo_free(r);
	ledger_free(r);
	named_free(r);
	delays_free(r);
	free(r->profile);
	free(r->session);
	free(r->service_index);
	free(r->backend_index);
	free(r->waiting_of);
	client_table_free(r->clients);
	free(r->clients_of);
	free(r->shakers_of);
	free(r->ids.next);
	lb_free(r->lb);
	free(r);
}

void relay_neighbor_set(struct relay *r, uint16_t worker, const struct relay *other)
{
	r->clients_of[worker] = other->clients;
	r->shakers_of[worker] = other->shakers;
}

void relay_attach(struct relay *r, struct tcp_stack *tcp)
{
	r->tcp = tcp;
}

size_t relay_bytes(const struct relay *r)
{
	return ((size_t)r->config.max_sessions + 1) * (sizeof(struct session) + sizeof(uint32_t)) +
	       wire_tls_bytes(r) + ehlo_bytes(r) + named_bytes(r) + delays_bytes(r) +
	       client_table_bytes(r->config.max_sessions);
}

uint32_t relay_sessions(const struct relay *r)
{
	return r->ids.used;
}

uint32_t relay_sessions_max(const struct relay *r, uint32_t *ret_bytes)
{
	*ret_bytes = sizeof(struct session);
	return r->config.max_sessions;
}

const void *
blob_at(const struct blob_header *blob, const struct blob_array *array, uint32_t index, size_t size)
{
	return (const uint8_t *)blob + array->off + index * size;
}

void relay_generation(struct relay *r, const struct blob_header *blob, const struct tls_set *tls)
{
	const struct blob_service *service = blob_at(blob, &blob->services, 0, sizeof(*service));
	const struct blob_backend *backend = blob_at(blob, &blob->backends, 0, sizeof(*backend));

	r->tls = tls;
	r->blob = blob;
	lb_generation(r->lb, blob);
	memset(r->service_index, 0xff, r->config.shm.service_slots * sizeof(uint32_t));
	for (uint32_t i = 0; i < blob->services.count; i++)
		r->service_index[service[i].slot] = i;
	memset(r->backend_index, 0xff, r->config.shm.backend_slots * sizeof(uint32_t));
	for (uint32_t i = 0; i < blob->backends.count; i++)
		r->backend_index[backend[i].slot] = i;
	delays_generation(r);
	locals_build(r);
}

const struct blob_service *service_at(const struct relay *r, uint32_t slot)
{
	uint32_t i = slot < r->config.shm.service_slots ? r->service_index[slot] : UINT32_MAX;

	return i != UINT32_MAX
		       ? blob_at(r->blob, &r->blob->services, i, sizeof(struct blob_service))
		       : NULL;
}

const struct blob_backend *backend_at(const struct relay *r, uint32_t slot)
{
	uint32_t i = slot < r->config.shm.backend_slots ? r->backend_index[slot] : UINT32_MAX;

	return i != UINT32_MAX
		       ? blob_at(r->blob, &r->blob->backends, i, sizeof(struct blob_backend))
		       : NULL;
}

enum line_result
relay_line(struct relay *r, struct wire wire, uint32_t max, const char **ret, uint32_t *ret_len)
{
	const uint8_t *p;
	uint32_t len, off = 0;

	while (off < max && wire_rx_peek(r, wire, off, &p, &len)) {
		const uint8_t *lf = memchr(p, '\n', len < max - off ? len : max - off);
		uint32_t n = lf != NULL ? (uint32_t)(lf - p) + 1 : len;

		if (lf != NULL && off == 0) {
			*ret = (const char *)p;
			*ret_len = n;
			return LINE_OK;
		}
		if (n > max - off)
			n = max - off;
		memcpy(r->scratch + off, p, n);
		off += n;
		if (lf != NULL) {
			*ret = r->scratch;
			*ret_len = off;
			return LINE_OK;
		}
	}
	return off >= max ? LINE_LONG : LINE_MORE;
}

void session_free(struct relay *r, struct session *s)
{
	uint32_t idx = session_index(r, s);

	BUG_ON_HOT(s->client.v != 0 || s->leg.v != 0);
	leg_wait_end(r, s);
	stall_leave(r, s);
	shake_hold_end(r, s);
	client_leave(r, s);
	ehlo_forget(r, s);
	ledger_session_end(r, s);
	named_forget(r, s);
	wheel_stop(&r->wheel, idx);
	r->probes -= s->state == RELAY_S_PROBE;
	if (s->state != RELAY_S_PROBE && (s->flags & SESSION_F_LEG_ONLY) == 0) {
		stat_inc(r->env, STAT_SESSION_ENDED);
		r->config.shm.services[s->service_slot].active--;
	}
	s->id = 0;
	idpool_put(&r->ids, idx);
}

void session_touch(struct relay *r, struct session *s)
{
	s->touched_ms = env_now_ms(r->env);
}

unsigned relay_timers_run(struct relay *r)
{
	lb_leases_settle(r->lb, r->config.shm.backends, r->env->now_ns);
	return wheel_run(&r->wheel, env_now_ms(r->env), RELAY_TIMER_QUOTA);
}

uint32_t relay_next_timer_ms(const struct relay *r, uint32_t limit_ms)
{
	int32_t left;

	if (r->tls_waiting > 0)
		return 0;
	left = (int32_t)(wheel_next_ms(&r->wheel, limit_ms) - env_now_ms(r->env));

	return left < 0 ? 0 : (uint32_t)left < limit_ms ? (uint32_t)left : limit_ms;
}

// Opens the records that came. False: the session has ended.
static bool session_fill(struct relay *r, struct session *s)
{
	uint64_t id = s->id;

	if (s->client_tls != 0)
		client_fill(r, s);
	if (s->id == id && s->leg_tls != 0)
		leg_fill(r, s);
	return s->id == id;
}

void session_run(struct relay *r, struct session *s)
{
	uint64_t id = s->id;
	bool more;

	if ((s->flags & SESSION_F_STALLED) != 0) {
		if (stall_is_left(s)) {
			client_hang_up(r, s);
			client_gone(r, s);
		}
		return;
	}
	more = pending_flush_own(r, s);
	if ((s->client_tls | s->leg_tls) != 0 && !session_fill(r, s))
		return;
	for (unsigned i = 0; more && i < SESSION_TURN_LOOPS * SESSION_PENDING_MAX; i++) {
		if ((s->flags & (SESSION_F_STALLED | SESSION_F_HOSTILE)) != 0 &&
		    ((s->flags & SESSION_F_STALLED) != 0 || stall_reply(r, s)))
			return; // its timer runs
		more = s->state == RELAY_S_PROBE ? probe_step(r, s) : reply_step(r, s);
		if (s->id != id)
			return; // ended
		if (more && s->state == RELAY_S_COMMAND)
			continue; // a reply too many is not to be taken for the next one's (G5)
		switch (s->state) {
		case RELAY_S_COMMAND:
		case RELAY_S_AUTH:
			more = command_step(r, s) || more;
			break;
		case RELAY_S_DATA:
		case RELAY_S_BDAT:
			more = body_step(r, s) || more;
			break;
		case RELAY_S_SWALLOW_DATA:
		case RELAY_S_SWALLOW_BDAT:
			more = swallow_step(r, s) || more;
			break;
		case RELAY_S_SPLICE:
		case RELAY_S_PASS:
		case RELAY_S_PASS_AUTH:
		case RELAY_S_PASS_DATA:
		case RELAY_S_PASS_BDAT:
			more = splice_step(r, s) || more;
			break;
		case RELAY_S_OFFER:
			more = offer_step(r, s) || more;
			break;
		case RELAY_S_TLS:
			more = shake_step(r, s) || more;
			break;
		case RELAY_S_HEADER:
			more = header_step(r, s);
			break;
		default:
			break;
		}
		if (s->id != id)
			return;
	}
	if (more)
		s->flags |= SESSION_F_RETRY;
	session_timer(r, s);
}

static void on_data(void *app, struct tcp_conn_id conn, uint32_t user)
{
	struct relay *r = app;
	struct session *s = session_of(r, user & ~TCP_USER_LEG);

	if ((user & TCP_USER_LEG) == 0 || is_passthrough(s))
		session_touch(r, s);
	session_run(r, s);
}

static void on_sent(void *app, struct tcp_conn_id conn, uint32_t user)
{
	struct relay *r = app;
	struct session *s = session_of(r, user & ~TCP_USER_LEG);

	// only bodies and spliced bytes wait for room; what found no buffer has its timer
	if (s->state != RELAY_S_DATA && s->state != RELAY_S_BDAT && !is_passthrough(s))
		return;
	session_touch(r, s); // a slow backend is not an idle client
	session_run(r, s);
}

static void on_connect(void *app, struct tcp_conn_id conn, uint32_t user)
{
	struct relay *r = app;
	struct session *s = session_of(r, user & ~TCP_USER_LEG);

	s->leg_state = LEG_S_BANNER;
	s->leg_since_ms = env_now_ms(r->env);
	if (is_passthrough(s))
		session_touch(r, s);
	if ((s->leg_flags & SESSION_LEG_F_HEADER) != 0 && !identity_send(r, s))
		return;
	if ((s->leg_flags & SESSION_LEG_F_IMPLICIT) != 0 && !leg_tls_begin(r, s))
		return;
	session_run(r, s);
}

static void on_fin(void *app, struct tcp_conn_id conn, uint32_t user)
{
	struct relay *r = app;
	struct session *s = session_of(r, user & ~TCP_USER_LEG);

	s->flags |= (user & TCP_USER_LEG) != 0 ? SESSION_F_LEG_FIN : SESSION_F_CLIENT_FIN;
	if (is_passthrough(s))
		session_touch(r, s);
	session_run(r, s);
}

static void
on_close(void *app, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	struct relay *r = app;
	struct session *s = session_of(r, user & ~TCP_USER_LEG);
	struct shm_backend_local *backend = session_backend(r, s);

	if ((user & TCP_USER_LEG) == 0) {
		client_gone(r, s);
		return;
	}
	backend->connect_refused += reason == TCP_CLOSE_REFUSED;
	backend->connect_timeouts +=
		reason == TCP_CLOSE_TIMEOUT && s->leg_state == LEG_S_CONNECTING;
	backend->resets += reason == TCP_CLOSE_RESET;
	if (s->state == RELAY_S_PROBE) {
		probe_end(
			r,
			s,
			reason == TCP_CLOSE_REFUSED       ? CTL_PROBE_REFUSED
			: reason == TCP_CLOSE_UNREACHABLE ? CTL_PROBE_UNREACHABLE
			: reason == TCP_CLOSE_TIMEOUT     ? CTL_PROBE_TIMEOUT
							  : CTL_PROBE_CLOSED
		);
		return;
	}
	if (!reply_last_ones(r, s))
		return;
	leg_close_judge(r, s, reason);
	leg_lost(r, s);
}

const struct tcp_ops relay_tcp_ops = {
	.on_syn = accept_syn,
	.on_accept = accept_session,
	.on_connect = on_connect,
	.on_data = on_data,
	.on_sent = on_sent,
	.on_fin = on_fin,
	.on_close = on_close,
};

void relay_drain(struct relay *r)
{
	r->draining = true;
}

static bool is_between_mails(const struct relay *r, const struct session *s)
{
	if (is_passthrough(s))
		return scan_is_between_mails(r, s) && wire_rx_bytes(r, wire_client(s)) == 0;
	return (s->state == RELAY_S_COMMAND || s->state == RELAY_S_OFFER) && s->client.v != 0 &&
	       s->pending_count == 0 &&
	       (s->flags & (SESSION_F_MAIL | SESSION_F_CLOSING | SESSION_F_CLIENT_FIN)) == 0 &&
	       wire_rx_bytes(r, wire_client(s)) == 0;
}

void relay_stop(struct relay *r)
{
	relay_drain(r);
	for (uint32_t i = 1; i < r->ids.count; i++) {
		struct session *s = &r->session[i];
		uint64_t id = s->id;

		if (id == 0 || !is_between_mails(r, s))
			continue;
		session_close(r, s, SMTP_OWN_DRAIN);
		if (s->id == id)
			session_timer(r, s);
	}
}

void relay_check(const struct relay *r)
{
	uint32_t used = 0, armed = 0, counted = 0, probes = 0, waiting = 0, slabs = 0, held = 0;
	uint32_t named = 0;

	for (uint32_t i = 1; i < r->ids.count; i++) {
		const struct session *s = &r->session[i];

		if (r->ids.next[i] != UINT32_MAX)
			continue;
		used++;
		armed += wheel_is_armed(&s->timer);
		counted += s->client_entry != 0;
		probes += s->state == RELAY_S_PROBE;
		waiting += (s->flags & SESSION_F_LEG_WAIT) != 0;
		held += (s->flags & SESSION_F_TLS_WAIT) != 0;
		named += s->named != 0;
		slabs += (s->flags & SESSION_F_EHLO_KEPT) != 0 && s->ehlo.len > SESSION_EHLO_MAX;
		BUG_ON(s->id == 0 || (s->client.v == 0 && s->leg.v == 0));
		BUG_ON(!wheel_is_armed(&s->timer)); // no state without a timer
		BUG_ON(s->pending_count > SESSION_PENDING_MAX);
	}
	wire_tls_check(r);
	ledger_check(r);
	BUG_ON(used != r->ids.used || armed != r->wheel.armed);
	BUG_ON(counted != client_table_sum(r->clients));
	BUG_ON(probes != r->probes);
	BUG_ON(held != r->shakes_held);
	BUG_ON(waiting != r->waiting || slabs != r->ehlo_ids.used);
	BUG_ON(named != r->named_ids.used);
	for (uint32_t slot = 0; slot < r->config.shm.backend_slots; slot++)
		BUG_ON(lb_leases_held(r->lb, slot) < r->config.shm.backends[slot].active);
}
