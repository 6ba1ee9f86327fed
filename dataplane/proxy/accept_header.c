// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Connections from the networks of proxy_protocol_from: the first octets are a PROXY header, which
// is required there, and the client is whom it names, in all that follows (X6). Nothing is said to
// who sends none, a wrong one or half of one: a reset. From all others such octets are a command
// like any, and refused. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "dataplane/smtp/haproxy.h"

static_assert(HAPROXY_IN_MAX <= RELAY_SCRATCH && HAPROXY_IN_MAX < SESSION_WINDOW_COMMAND, "whole");

bool named_init(struct relay *r)
{
	uint32_t n = r->config.max_named;
	uint32_t *ids = array_new(n + 1, sizeof(uint32_t));

	r->named = array_new(n + 1, sizeof(struct session_client));
	if (r->named == NULL || ids == NULL) {
		free(ids);
		return false;
	}
	idpool_init(&r->named_ids, ids, n + 1);
	return true;
}

size_t named_bytes(const struct relay *r)
{
	return r->named_ids.count * (sizeof(struct session_client) + sizeof(uint32_t));
}

void named_free(struct relay *r)
{
	free(r->named);
	free(r->named_ids.next);
}

void named_forget(struct relay *r, struct session *s)
{
	if (s->named != 0)
		idpool_put(&r->named_ids, s->named);
	s->named = 0;
}

void session_client_get(const struct relay *r, const struct session *s, struct session_client *ret)
{
	struct tcp_info info;

	if (s->named != 0) {
		*ret = r->named[s->named];
		return;
	}
	tcp_info_get(r->tcp, s->client, &info);
	*ret = (struct session_client){info.remote, info.local};
}

static void header_refuse(struct relay *r, struct session *s, enum stat_id why)
{
	struct tcp_conn_id client = s->client;

	stat_inc(r->env, why);
	dialogue_note(r, s, "no PROXY header, or a wrong one", 0);
	client_forget(r, s);
	tcp_abort(r->tcp, client);
	session_free(r, s);
}

void header_late(struct relay *r, struct session *s)
{
	header_refuse(r, s, STAT_PROXY_IN_LATE);
}

// The client is known. False: not kept, so that it must not go on as somebody else.
static bool
client_take(struct relay *r, struct session *s, const struct haproxy_header *h, bool named)
{
	if (!named) {
		stat_inc(r->env, STAT_PROXY_IN_OWN);
		return true;
	}
	s->named = idpool_get(&r->named_ids);
	if (s->named == 0)
		return false;
	r->named[s->named] = (struct session_client){h->client, h->local};
	stat_inc(r->env, h->version == 1 ? STAT_PROXY_IN_V1 : STAT_PROXY_IN_V2);
	return true;
}

static uint32_t gather(struct relay *r, const struct session *s)
{
	const uint8_t *p;
	uint32_t n = 0, len;

	while (n < HAPROXY_IN_MAX && tcp_rx_peek(r->tcp, s->client, n, &p, &len)) {
		len = len < HAPROXY_IN_MAX - n ? len : HAPROXY_IN_MAX - n;
		memcpy(r->scratch + n, p, len);
		n += len;
	}
	return n;
}

bool header_step(struct relay *r, struct session *s)
{
	static const enum stat_id refusals[] = {
		[HAPROXY_NONE] = STAT_PROXY_IN_NONE,
		[HAPROXY_MALFORMED] = STAT_PROXY_IN_MALFORMED,
		[HAPROXY_LONG] = STAT_PROXY_IN_LONG,
		[HAPROXY_CHECKSUM] = STAT_PROXY_IN_CHECKSUM,
		[HAPROXY_FAMILY] = STAT_PROXY_IN_FAMILY,
	};
	struct haproxy_header h;
	uint32_t n = gather(r, s);
	enum haproxy_result result = haproxy_read((const uint8_t *)r->scratch, n, &h);
	uint64_t id = s->id;

	if (result == HAPROXY_MORE) {
		if ((s->flags & SESSION_F_CLIENT_FIN) != 0)
			header_refuse(r, s, STAT_PROXY_IN_GONE);
		return false;
	}
	if (result > HAPROXY_UNNAMED) {
		header_refuse(r, s, refusals[result]);
		return false;
	}
	if (!client_take(r, s, &h, result == HAPROXY_NAMED)) {
		header_refuse(r, s, STAT_PROXY_IN_NO_ROOM);
		return false;
	}
	tcp_rx_drop(r->tcp, s->client, h.len);
	s->state = RELAY_S_COMMAND;
	dialogue_note(r, s, "a PROXY header", h.len);
	session_admit(r, s);
	return s->id == id;
}
