// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Health probes: a quiet SMTP client (connect, banner, EHLO with our own name, TLS as the pool
// says, QUIT, wait for 221) through the traffic's own path, ordered and judged by control (Z8).
// Uses a session slot without a client. No probe leaves while a reply is owed to it (Z5): when it
// timed out the verdict is told, and the connection stays for the late reply, QUIT and 221, ten
// minutes at most. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdio.h>
#include <string.h>

#define PROBE_TIMEOUT_MAX_MS 600000
#define PROBES_LEFT_MAX 4 // told already, at one backend by one worker
#define SESSIONS_A_LIST 256
#define SLOTS_A_LIST 4096 // looked at for one command

void relay_event_send(struct relay *r, struct ctl_msg *msg)
{
	msg->generation = r->blob != NULL ? r->blob->generation : 0;
	if (!r->config.event(r->config.up, msg)) {
		stat_inc(r->env, STAT_CTL_EVENTS_LOST);
		if (r->config.shm.worker != NULL)
			r->config.shm.worker->events_lost++;
	}
}

static void result_send(
	struct relay *r,
	uint32_t request_id,
	uint32_t slot,
	enum ctl_probe_result_code code,
	const struct session *s
)
{
	struct ctl_msg msg = {
		.type = CTL_EVT_PROBE, .length = sizeof(msg.probe_result), .request_id = request_id
	};

	msg.probe_result.backend_slot = slot;
	msg.probe_result.code = (uint16_t)code;
	if (s != NULL) {
		const struct probe *t = &s->probe;

		msg.probe_result.stage = s->probe.stage;
		msg.probe_result.reply = s->reply_code;
		memcpy(msg.probe_result.text, r->probe_text, sizeof(msg.probe_result.text) - 1);
		msg.probe_result.connect_us = t->connect_us;
		msg.probe_result.banner_us = t->banner_us;
		msg.probe_result.ehlo_us = t->ehlo_us;
		msg.probe_result.tls_us = t->tls_us;
		if (s->probe.stage == CTL_STAGE_QUIT)
			msg.probe_result.quit_us = relay_now_us(r) - t->mark_us;
	}
	relay_event_send(r, &msg);
}

uint16_t probe_flags(const struct blob_pool *pool)
{
	enum blob_client_address way = (enum blob_client_address)pool->client_address;

	return probe_tls_flags(pool) | identity_flags(way);
}

static uint32_t time_or(uint32_t ms, uint32_t otherwise)
{
	return ms == 0 ? otherwise : ms < PROBE_TIMEOUT_MAX_MS ? ms : PROBE_TIMEOUT_MAX_MS;
}

void probe_start(struct relay *r, const struct ctl_msg *msg)
{
	const struct ctl_probe *want = &msg->probe;
	const struct blob_backend *b = NULL;
	struct tcp_connect_args args = {.rcv_window = SESSION_WINDOW_COMMAND};
	struct session *s;
	uint32_t idx = 0;

	if (r->blob != NULL && want->generation == r->blob->generation &&
	    want->backend_index < r->blob->backends.count)
		b = blob_at(r->blob, &r->blob->backends, want->backend_index, sizeof(*b));
	// whatever control orders, most sessions are for mail
	if (b != NULL && b->slot == want->backend_slot && r->probes <= r->config.max_sessions / 4)
		idx = idpool_get(&r->ids);
	if (idx == 0) {
		stat_inc(r->env, STAT_PROBE_NO_RESOURCE);
		result_send(r, msg->request_id, want->backend_slot, CTL_PROBE_NO_RESOURCE, NULL);
		return;
	}
	s = session_of(r, idx);
	*s = (struct session){
		.id = session_id_new(r),
		.state = RELAY_S_PROBE,
		.backend_slot = b->slot,
		.probe = {.request_id = msg->request_id},
		.leg_state = LEG_S_CONNECTING,
		.leg_flags = probe_flags(
			blob_at(r->blob, &r->blob->pools, b->pool, sizeof(struct blob_pool))
		),
		.leg_since_ms = env_now_ms(r->env),
	};
	r->probes++;
	s->probe.mark_us = relay_now_us(r);
	s->probe.timeout_ms = time_or(want->timeout_ms, 30000);
	args.local = want->source;
	args.remote = (struct ip_endpoint){b->addr, b->port};
	args.user = idx | TCP_USER_LEG;
	args.syn_timeout_ms = time_or(want->connect_timeout_ms, 3000);
	stat_inc(r->env, STAT_PROBE_SENT);
	if (tcp_connect(r->tcp, &args, &s->leg) != 0) {
		stat_inc(r->env, STAT_PROBE_NO_RESOURCE);
		result_send(r, msg->request_id, b->slot, CTL_PROBE_NO_RESOURCE, NULL);
		s->leg.v = 0;
		session_free(r, s);
		return;
	}
	session_timer(r, s);
}

// The verdict is told; what is left is to part politely.
static bool is_told(const struct session *s)
{
	return s->leg_state == LEG_S_READY || s->leg_state == LEG_S_QUITTING;
}

static void verdict_tell(struct relay *r, struct session *s, enum ctl_probe_result_code code)
{
	if (s->probe.test)
		test_mail_end(r, s, code);
	else
		result_send(r, s->probe.request_id, s->backend_slot, code, s);
	s->probe.test = false;
}

// Stays with a verdict that is told, for the reply that is owed or for 221. False: enough do so at
// this backend already, or we stop.
static bool probe_stay(struct relay *r, struct session *s, enum leg_state state)
{
	struct shm_backend_local *backend = session_backend(r, s);

	if (r->draining || backend->probes_left >= PROBES_LEFT_MAX) {
		stat_inc(r->env, STAT_PROBE_LEFT_EARLY);
		return false;
	}
	backend->probes_left++;
	stat_inc(r->env, STAT_PROBE_STAYED);
	s->leg_state = (uint8_t)state;
	s->leg_since_ms = env_now_ms(r->env);
	s->probe.timeout_ms = SESSION_ORPHAN_MS;
	session_timer(r, s);
	return true;
}

static bool leg_is_open(struct relay *r, const struct session *s)
{
	struct tcp_info info = {.state = "closed"};

	if (s->leg.v != 0)
		tcp_info_get(r->tcp, s->leg, &info);
	return strcmp(info.state, "closed") != 0;
}

static void probe_free(struct relay *r, struct session *s, bool open)
{
	struct tcp_conn_id leg = s->leg;

	if (open)
		wire_end(r, wire_leg(s));
	wire_tls_put(r, &s->leg_tls);
	s->leg.v = 0;
	if (open)
		tcp_release(r->tcp, leg, true);
	session_free(r, s);
}

void probe_end(struct relay *r, struct session *s, enum ctl_probe_result_code code)
{
	bool open = leg_is_open(r, s);

	if (is_told(s)) {
		session_backend(r, s)->probes_left--;
	} else {
		bool owed = open && code == CTL_PROBE_TIMEOUT && s->leg_state != LEG_S_CONNECTING &&
			    s->leg_state != LEG_S_TLS;

		verdict_tell(r, s, code);
		if (owed &&
		    probe_stay(
			    r, s, s->probe.stage == CTL_STAGE_QUIT ? LEG_S_QUITTING : LEG_S_READY
		    ))
			return;
	}
	probe_free(r, s, open);
}

// The answer was a bad one: QUIT, and 221 is waited for. Returns false when the probe is over.
static bool probe_quit(struct relay *r, struct session *s, enum ctl_probe_result_code code)
{
	bool said = wire_tx_write(r, wire_leg(s), "QUIT\r\n", 6);

	verdict_tell(r, s, code);
	if (said && probe_stay(r, s, LEG_S_QUITTING))
		return true;
	probe_free(r, s, true);
	return false;
}

// What was owed came late, or 221.
static bool told_reply(struct relay *r, struct session *s)
{
	struct tcp_conn_id leg = s->leg;
	bool shakes = s->probe.stage == CTL_STAGE_STARTTLS && s->reply_code == 220;

	if (s->leg_state == LEG_S_READY && s->probe.stage == CTL_STAGE_DATA &&
	    s->reply_code / 100 == 3) { // a body is only ever closed, never ended (C16)
		s->leg.v = 0;
		tcp_abort(r->tcp, leg);
	} else if (s->leg_state == LEG_S_READY && !shakes && // nothing is said in a handshake
		   wire_tx_write(r, wire_leg(s), "QUIT\r\n", 6)) {
		s->leg_state = LEG_S_QUITTING;
		return true;
	}
	probe_end(r, s, CTL_PROBE_TIMEOUT);
	return false;
}

void probe_stage_next(
	struct relay *r,
	struct session *s,
	uint32_t *ret_us,
	enum ctl_probe_stage stage
)
{
	uint32_t now = relay_now_us(r);

	*ret_us = now - s->probe.mark_us;
	s->probe.mark_us = now;
	s->probe.stage = (uint8_t)stage;
	s->leg_since_ms = env_now_ms(r->env);
}

// The last line of a reply came. Returns false when the probe is over.
static bool stage_reply(struct relay *r, struct session *s)
{
	char cmd[300];
	int n = 0;

	if (is_told(s))
		return told_reply(r, s);
	if (s->probe.test)
		return test_mail_reply(r, s);
	switch (s->probe.stage) {
	case CTL_STAGE_BANNER:
		if (s->reply_code != 220)
			return probe_quit(r, s, CTL_PROBE_BANNER);
		probe_stage_next(r, s, &s->probe.banner_us, CTL_STAGE_EHLO);
		n = snprintf(cmd, sizeof(cmd), "EHLO %s\r\n", r->blob->hostname);
		break;
	case CTL_STAGE_EHLO:
		if (s->reply_code != 250)
			return probe_quit(r, s, CTL_PROBE_EHLO);
		if (probe_wants_starttls(s) && (s->leg_flags & SESSION_LEG_F_OFFERED) == 0)
			return probe_quit(r, s, CTL_PROBE_NO_STARTTLS);
		probe_stage_next(
			r,
			s,
			&s->probe.ehlo_us,
			probe_wants_starttls(s) ? CTL_STAGE_STARTTLS : CTL_STAGE_QUIT
		);
		n = snprintf(
			cmd, sizeof(cmd), probe_wants_starttls(s) ? "STARTTLS\r\n" : "QUIT\r\n"
		);
		break;
	case CTL_STAGE_STARTTLS:
		if (s->reply_code != 220)
			return probe_quit(r, s, CTL_PROBE_NO_STARTTLS);
		return probe_starttls_begin(r, s);
	default:
		probe_end(r, s, CTL_PROBE_OK);
		return false;
	}
	if (!wire_tx_write(r, wire_leg(s), cmd, (uint32_t)n)) {
		probe_end(r, s, CTL_PROBE_NO_RESOURCE);
		return false;
	}
	return true;
}

bool probe_step(struct relay *r, struct session *s)
{
	enum line_result result;
	const char *line;
	uint32_t len;
	bool more = false;

	if (s->leg_state == LEG_S_CONNECTING)
		return false;
	if (s->leg_state == LEG_S_TLS)
		return probe_tls_step(r, s);
	if (s->probe.stage == CTL_STAGE_CONNECT && s->probe.test)
		test_mail_connected(r, s, CTL_STAGE_BANNER);
	else if (s->probe.stage == CTL_STAGE_CONNECT)
		probe_stage_next(r, s, &s->probe.connect_us, CTL_STAGE_BANNER);
	result = relay_line(r, wire_leg(s), SMTP_REPLY_LINE_MAX, &line, &len);
	if (result == LINE_MORE) {
		if ((s->flags & SESSION_F_LEG_FIN) != 0)
			probe_end(r, s, CTL_PROBE_CLOSED);
		return false;
	}
	s->reply_code = 0;
	if (result == LINE_OK)
		text_keep(r->probe_text, line, len);
	if (result == LINE_OK && len >= 5 && line[len - 2] == '\r')
		s->reply_code = (uint16_t)smtp_reply_code(line, len - 2, &more);
	if (s->probe.stage == CTL_STAGE_EHLO && s->reply_code == 250)
		leg_offer_note(s, line, len);
	if (s->reply_code == 0) {
		probe_end(r, s, CTL_PROBE_MALFORMED);
		more = false;
	} else {
		wire_rx_drop(r, wire_leg(s), len);
		more = more || stage_reply(r, s);
	}
	r->probe_text[0] = '\0'; // of this session only
	return more;
}

void session_report(struct relay *r, const struct session *s, uint32_t request_id)
{
	struct ctl_msg msg = {
		.type = CTL_EVT_SESSION, .length = sizeof(msg.session), .request_id = request_id
	};
	struct ctl_session *out = &msg.session;
	struct session_client who;

	*out = (struct ctl_session){
		.id = s->id,
		.service_slot = s->service_slot,
		.backend_slot = s->leg.v != 0 ? s->backend_slot : 0,
		.state = s->state,
		.leg_state = s->leg_state,
		.age_ms = env_now_ms(r->env) - s->started_ms,
		.idle_ms = env_now_ms(r->env) - s->touched_ms,
		.messages = s->messages,
		.recipients = s->recipients,
		.bytes_from_client = s->body_bytes,
	};
	if (s->client.v != 0) {
		session_client_get(r, s, &who);
		out->client = who.remote.addr;
		out->client_port = who.remote.port;
		out->local = who.local.addr;
		out->local_port = who.local.port;
	}
	relay_event_send(r, &msg);
}

static void session_list(struct relay *r, const struct ctl_msg *msg)
{
	struct ctl_msg end = {
		.type = CTL_EVT_SESSION_END,
		.length = sizeof(end.session_list),
		.request_id = msg->request_id,
	};
	uint32_t limit = msg->session_list.limit;
	uint32_t i = msg->session_list.cursor > 0 ? msg->session_list.cursor : 1;
	uint32_t end_at = i < r->ids.count && r->ids.count - i > SLOTS_A_LIST ? i + SLOTS_A_LIST
									      : r->ids.count;

	if (limit > SESSIONS_A_LIST)
		limit = SESSIONS_A_LIST;
	for (; i < end_at && limit > 0; i++) {
		const struct session *s = session_of(r, i);

		if (r->ids.next[i] != UINT32_MAX || s->state == RELAY_S_PROBE)
			continue;
		session_report(r, s, msg->request_id);
		limit--;
	}
	end.session_list.cursor = i < r->ids.count ? i : 0;
	relay_event_send(r, &end);
}

void relay_command(struct relay *r, const struct ctl_msg *msg)
{
	switch (msg->type) {
	case CTL_CMD_PROBE:
		probe_start(r, msg);
		break;
	case CTL_CMD_TEST_MAIL:
		test_mail_start(r, msg);
		break;
	case CTL_CMD_SESSION_LIST:
		session_list(r, msg);
		break;
	default:
		stat_inc(r->env, STAT_CTL_UNKNOWN);
		break;
	}
}
