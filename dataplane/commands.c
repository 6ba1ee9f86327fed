// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What control asks of a worker between two turns: captures, pings, its tables; the relay takes the
// rest. Each command does bounded work. Worker thread.

#include <errno.h>
#include <string.h>

#include "dataplane/worker.h"

#define ENTRIES_A_COMMAND 64
#define PING_TIMEOUT_MAX_MS 60000

static void event_send(struct worker *w, struct ctl_msg *msg)
{
	if (w->event(w->up, msg))
		return;
	stat_inc(&w->env, STAT_CTL_EVENTS_LOST);
	if (w->shm != NULL)
		w->shm->events_lost++;
}

static void ping_tell(struct worker *w, uint32_t id, const struct ctl_ping_result *result)
{
	struct ctl_msg msg = {
		.type = CTL_EVT_PING,
		.length = sizeof(msg.ping_result),
		.request_id = id,
		.ping_result = *result,
	};

	event_send(w, &msg);
}

void worker_echo(void *up, const struct net_echo *echo)
{
	const struct ctl_ping_result result = {
		.code = echo->answered ? CTL_PING_REPLY : CTL_PING_TIMEOUT,
		.time_us = (uint32_t)(echo->time_ns / 1000),
		.hop_limit = echo->hop_limit,
	};

	ping_tell(up, echo->id, &result);
}

static void ping(struct worker *w, const struct ctl_msg *msg)
{
	uint32_t timeout = msg->ping.timeout_ms < PING_TIMEOUT_MAX_MS ? msg->ping.timeout_ms
								      : PING_TIMEOUT_MAX_MS;
	int err = w->env.id == 0 ? net_ping(w->net, &msg->ping.addr, msg->request_id, timeout)
				 : -ENOBUFS;
	const struct ctl_ping_result result = {
		.code = err == -EADDRINUSE     ? CTL_PING_OURS
			: err == -EHOSTUNREACH ? CTL_PING_NO_ROUTE
					       : CTL_PING_NO_RESOURCE,
	};

	if (err < 0)
		ping_tell(w, msg->request_id, &result);
}

static void memory_tell(
	struct worker *w,
	uint32_t id,
	const char *name,
	uint64_t used,
	uint64_t limit,
	uint64_t object_bytes
)
{
	struct ctl_msg msg = {
		.type = CTL_EVT_MEMORY,
		.length = sizeof(msg.memory),
		.request_id = id,
		.memory = {.used = used, .limit = limit, .object_bytes = object_bytes},
	};

	memcpy(msg.memory.name, name, strnlen(name, sizeof(msg.memory.name) - 1));
	event_send(w, &msg);
}

static void memory_list(struct worker *w, uint32_t id)
{
	struct tcp_usage u;
	uint32_t used, bytes, max = relay_sessions_max(w->relay, &bytes);

	tcp_usage_get(w->tcp, &u);
	memory_tell(w, id, "sessions", relay_sessions(w->relay), max, bytes);
	memory_tell(w, id, "connections", u.conns, u.max_conns, u.conn_bytes);
	memory_tell(w, id, "half-open", u.half_open, u.max_minis, u.mini_bytes);
	memory_tell(w, id, "time-wait", u.time_wait, u.max_minis, u.mini_bytes);
	memory_tell(w, id, "queue-entries", u.slices, u.max_slices, u.slice_bytes);
	max = relay_envelopes(w->relay, &used, &bytes);
	if (max > 0)
		memory_tell(w, id, "envelopes", used, max, bytes);
	if (w->env.id == 0) {
		used = net_neighbor_count(w->net, &max, &bytes);
		memory_tell(w, id, "neighbors", used, max, bytes);
	}
}

// Returns the cursor to go on from, 0: that was all.
static uint32_t neighbors_list(struct worker *w, uint32_t id, uint32_t cursor)
{
	struct ctl_msg msg = {
		.type = CTL_EVT_NEIGHBOR, .length = sizeof(msg.neighbor), .request_id = id
	};

	for (unsigned n = 0; n < ENTRIES_A_COMMAND; n++) {
		if (!net_neighbor_next(w->net, &cursor, &msg.neighbor))
			return 0;
		event_send(w, &msg);
	}
	return cursor;
}

static uint32_t routes_list(struct worker *w, uint32_t id, uint32_t cursor)
{
	struct ctl_msg msg = {.type = CTL_EVT_ROUTE, .length = sizeof(msg.route), .request_id = id};

	for (unsigned n = 0; n < ENTRIES_A_COMMAND; n++) {
		if (!net_route_next(w->net, &cursor, &msg.route))
			return 0;
		event_send(w, &msg);
	}
	return cursor;
}

static void table_list(struct worker *w, const struct ctl_msg *msg)
{
	struct ctl_msg end = {
		.type = CTL_EVT_TABLE_END,
		.length = sizeof(end.table),
		.request_id = msg->request_id,
		.table = {.table = msg->table.table},
	};

	if (msg->table.table == CTL_TABLE_SESSION) {
		end.table.cursor = msg->table.cursor;
		relay_session_tell(
			w->relay, msg->table.session, msg->request_id, &end.table.cursor
		);
	} else if (msg->table.table == CTL_TABLE_MEMORY)
		memory_list(w, msg->request_id);
	else if (msg->table.table == CTL_TABLE_NEIGHBORS && w->env.id == 0)
		end.table.cursor = neighbors_list(w, msg->request_id, msg->table.cursor);
	else if (msg->table.table == CTL_TABLE_ROUTES && w->env.id == 0)
		end.table.cursor = routes_list(w, msg->request_id, msg->table.cursor);
	else
		stat_inc(&w->env, STAT_CTL_UNKNOWN);
	event_send(w, &end);
}

void worker_command(struct worker *w, const struct ctl_msg *msg)
{
	switch (msg->type) {
	case CTL_CMD_CAPTURE:
	case CTL_CMD_CAPTURE_STOP:
		watch_command(w->watch, msg);
		worker_watch_apply(w);
		break;
	case CTL_CMD_PING:
		ping(w, msg);
		break;
	case CTL_CMD_TABLE:
		table_list(w, msg);
		break;
	default:
		relay_command(w->relay, msg);
		break;
	}
}
