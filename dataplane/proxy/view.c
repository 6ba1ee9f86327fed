// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A session as someone who looks on sees it, see relay.h. Changes nothing. Worker thread.

#include <string.h>

#include "dataplane/proxy/relay_inner_types.h"

#define SLOTS_A_LOOK 8192
#define EVENTS_MAX 64 // of a connection, the latest

void session_view_get(struct relay *r, const struct session *s, struct relay_view *ret)
{
	struct session_client who;
	struct tcp_info info;

	*ret = (struct relay_view){.id = s->id, .service_slot = s->service_slot};
	if (s->client.v != 0 && s->state != RELAY_S_HEADER) { // else it is not known yet
		session_client_get(r, s, &who);
		ret->client = who.remote.addr;
	}
	if (s->leg.v != 0) {
		tcp_info_get(r->tcp, s->leg, &info);
		ret->backend = info.remote;
	}
}

void relay_view_get(struct relay *r, uint32_t user, struct relay_view *ret)
{
	session_view_get(r, session_of(r, user & ~TCP_USER_LEG), ret);
	ret->is_leg = (user & TCP_USER_LEG) != 0;
}

uint32_t relay_listener_service(const struct relay *r, const struct ip_endpoint *local)
{
	const struct blob_listener *l = r->blob != NULL ? listener_at(r, local) : NULL;
	const struct blob_service *service;

	if (l == NULL)
		return 0;
	service = blob_at(r->blob, &r->blob->services, l->service, sizeof(*service));
	return service->slot;
}

static void text_put(char *to, size_t room, const char *text)
{
	memcpy(to, text, strnlen(text, room - 1)); // to is zeroed
}

static void
connection_tell(struct relay *r, struct tcp_conn_id conn, uint8_t leg, uint32_t request_id)
{
	struct ctl_msg msg = {
		.type = CTL_EVT_CONNECTION,
		.length = sizeof(msg.connection),
		.request_id = request_id,
	};
	struct tcp_info info;

	tcp_info_get(r->tcp, conn, &info);
	msg.connection = (struct ctl_connection){
		.local = info.local.addr,
		.remote = info.remote.addr,
		.local_port = info.local.port,
		.remote_port = info.remote.port,
		.leg = leg,
		.srtt_us = info.srtt_us,
		.rto_ms = info.rto_ms,
		.cwnd_bytes = info.cwnd_bytes,
		.snd_wnd = info.snd_wnd,
		.rcv_wnd = info.rcv_wnd,
		.mss = info.mss,
		.received_bytes = tcp_rx_bytes(r->tcp, conn),
		.unacknowledged_bytes = tcp_tx_bytes(r->tcp, conn),
	};
	text_put(msg.connection.state, sizeof(msg.connection.state), info.state);
	relay_event_send(r, &msg);
}

static_assert((int)CTL_TLS_GROUP_P384 == (int)TLS_GROUP_P384, "the same numbers");

static void tls_tell(struct relay *r, uint32_t index, uint8_t leg, uint32_t request_id)
{
	const struct wire_tls *t = &r->wire_tls[index];
	struct ctl_msg msg = {
		.type = CTL_EVT_TLS,
		.length = sizeof(msg.tls),
		.request_id = request_id,
		.tls = {.leg = leg, .shaking = t->phase != WIRE_OPEN},
	};

	if (index == 0)
		return;
	if (t->phase == WIRE_OPEN) {
		msg.tls.version = t->st.version;
		msg.tls.suite = t->facts.suite;
		msg.tls.group = t->facts.group;
		msg.tls.known = t->facts.known;
		text_put(msg.tls.name, sizeof(msg.tls.name), name_get(r, t->facts.name));
	}
	relay_event_send(r, &msg);
}

static void trace_tell(struct relay *r, struct tcp_conn_id conn, uint8_t leg, uint32_t request_id)
{
	struct tcp_event event;
	uint32_t at = 0, count = 0, skip;

	while (tcp_event_next(r->tcp, conn, &at, &event))
		count++;
	skip = count > EVENTS_MAX ? count - EVENTS_MAX : 0;
	at = 0;
	while (tcp_event_next(r->tcp, conn, &at, &event)) {
		struct ctl_msg msg = {
			.type = CTL_EVT_TRACE,
			.length = sizeof(msg.trace),
			.request_id = request_id,
			.trace = {.leg = leg, .age_ms = event.age_ms, .seq = event.seq},
		};

		if (skip > 0) {
			skip--;
			continue;
		}
		text_put(msg.trace.what, sizeof(msg.trace.what), event.what);
		text_put(msg.trace.state, sizeof(msg.trace.state), event.state);
		relay_event_send(r, &msg);
	}
}

bool relay_session_tell(struct relay *r, uint64_t id, uint32_t request_id, uint32_t *cursor)
{
	uint32_t i = *cursor > 0 ? *cursor : 1;
	uint32_t end = i < r->ids.count && r->ids.count - i > SLOTS_A_LOOK ? i + SLOTS_A_LOOK
									   : r->ids.count;

	for (; i < end; i++) {
		const struct session *s = session_of(r, i);

		if (s->id != id || r->ids.next[i] != UINT32_MAX)
			continue;
		session_report(r, s, request_id);
		if (s->client.v != 0) {
			connection_tell(r, s->client, CAPTURE_LEG_CLIENT, request_id);
			tls_tell(r, s->client_tls, CAPTURE_LEG_CLIENT, request_id);
			trace_tell(r, s->client, CAPTURE_LEG_CLIENT, request_id);
		}
		if (s->leg.v != 0) {
			connection_tell(r, s->leg, CAPTURE_LEG_BACKEND, request_id);
			tls_tell(r, s->leg_tls, CAPTURE_LEG_BACKEND, request_id);
			trace_tell(r, s->leg, CAPTURE_LEG_BACKEND, request_id);
		}
		*cursor = 0;
		return true;
	}
	*cursor = i < r->ids.count ? i : 0;
	return false;
}
