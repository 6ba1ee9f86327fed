// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The application of the script vectors: keeps the events, reads and writes when the script says
// so.

#include "tests/vectors/vec.h"

#include "dataplane/tcp/tcp_types.h"

static const char *const reasons[] = {
	[TCP_CLOSE_DONE] = "done",
	[TCP_CLOSE_RESET] = "reset",
	[TCP_CLOSE_REFUSED] = "refused",
	[TCP_CLOSE_TIMEOUT] = "timeout",
	[TCP_CLOSE_UNREACHABLE] = "unreachable",
	[TCP_CLOSE_NO_MEMORY] = "no-memory",
};

static void event_add(struct vec *v, enum vec_event_kind kind, uint32_t flow, unsigned reason)
{
	if (v->event_tail - v->event_head == VEC_EVENTS_MAX) {
		vec_fail(v, "too many events");
		return;
	}
	v->event[v->event_tail++ % VEC_EVENTS_MAX] = (struct vec_event
	){.kind = kind, .flow = flow, .reason = (enum tcp_close_reason)reason};
}

static bool
on_syn(void *app,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	const struct vec *v = app;

	*ret = v->listen;
	return !v->deny && local->port == VEC_PORT;
}

static uint32_t on_accept(void *app, struct tcp_conn_id conn, uint32_t cookie)
{
	struct vec *v = app;
	struct tcp_info info;
	struct vec_flow *f;

	tcp_info_get(v->tcp, conn, &info);
	f = vec_flow_of(v, info.remote.port, info.local.port);
	f->conn = conn;
	event_add(v, VEC_EV_ACCEPT, (uint32_t)(f - v->flow), 0);
	return (uint32_t)(f - v->flow);
}

static void on_connect(void *app, struct tcp_conn_id conn, uint32_t user)
{
	event_add(app, VEC_EV_CONNECT, user, 0);
}

static void on_nothing(void *app, struct tcp_conn_id conn, uint32_t user)
{
}

static void on_fin(void *app, struct tcp_conn_id conn, uint32_t user)
{
	event_add(app, VEC_EV_FIN, user, 0);
}

static void
on_close(void *app, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	struct vec *v = app;

	v->flow[user].conn.v = 0;
	event_add(v, VEC_EV_CLOSE, user, reason);
}

const struct tcp_ops vec_tcp_ops = {
	.on_syn = on_syn,
	.on_accept = on_accept,
	.on_connect = on_connect,
	.on_data = on_nothing,
	.on_sent = on_nothing,
	.on_fin = on_fin,
	.on_close = on_close,
};

static void app_write(struct vec *v, struct vec_flow *f, uint32_t n)
{
	static uint8_t buf[4096];

	for (uint32_t done = 0; done < n;) {
		uint32_t part = n - done < sizeof(buf) ? n - done : (uint32_t)sizeof(buf);

		for (uint32_t i = 0; i < part; i++)
			buf[i] = vec_pattern(f->written + i);
		if (!tcp_tx_write(v->tcp, f->conn, buf, part)) {
			vec_fail(v, "the write of %u bytes was refused", part);
			return;
		}
		f->written += part;
		done += part;
	}
}

// Exactly n bytes must be there to read.
static void app_read(struct vec *v, struct vec_flow *f, uint32_t n)
{
	uint32_t have = tcp_rx_bytes(v->tcp, f->conn), at = 0, len;
	const uint8_t *p;

	if (have < n) {
		vec_fail(v, "only %u bytes to read", have);
		return;
	}
	while (at < n && tcp_rx_peek(v->tcp, f->conn, at, &p, &len)) {
		for (uint32_t i = 0; i < len && at < n; i++, at++)
			if (p[i] != vec_pattern(f->read + at))
				vec_fail(v, "byte %u of the stream is wrong", f->read + at);
	}
	tcp_rx_drop(v->tcp, f->conn, n);
	f->read += n;
}

static void app_connect(struct vec *v, struct vec_flow *f, uint32_t timeout_ms)
{
	const struct tcp_connect_args args = {
		.remote = {v->peer, VEC_PORT},
		.user = v->current,
		.rcv_window = v->listen.rcv_window,
		.syn_timeout_ms = timeout_ms,
		.mss_max = v->listen.mss_max,
	};

	f->peer_port = VEC_PORT;
	f->local_port = 0;
	f->peer_isn = v->isn;
	f->peer_ts = v->ts;
	if (tcp_connect(v->tcp, &args, &f->conn) != 0)
		vec_fail(v, "connect was refused");
}

static bool conn_call(struct vec *v, struct vec_flow *f, const char *what)
{
	if (strcmp(what, "shutdown") == 0)
		tcp_shutdown(v->tcp, f->conn);
	else if (strcmp(what, "release") == 0)
		tcp_release(v->tcp, f->conn, false);
	else if (strcmp(what, "drain") == 0)
		tcp_release(v->tcp, f->conn, true);
	else if (strcmp(what, "abort") == 0)
		tcp_abort(v->tcp, f->conn);
	else
		return false;
	if (strcmp(what, "shutdown") != 0)
		f->conn.v = 0;
	return true;
}

void vec_app(struct vec *v, char **word, unsigned n)
{
	struct vec_flow *f = &v->flow[v->current];
	uint32_t arg = n > 2 ? vec_number(v, word[2]) : 0;
	const char *what = n > 1 ? word[1] : "";

	if (strcmp(what, "connect") == 0)
		app_connect(v, f, arg);
	else if (f->conn.v == 0)
		vec_fail(v, "no connection");
	else if (strcmp(what, "write") == 0)
		app_write(v, f, arg);
	else if (strcmp(what, "read") == 0)
		app_read(v, f, arg);
	else if (strcmp(what, "window") == 0)
		tcp_rx_window_set(v->tcp, f->conn, arg);
	else if (!conn_call(v, f, what))
		vec_fail(v, "app what?");
	vec_settle(v);
}

void vec_event(struct vec *v, char **word, unsigned n)
{
	static const char *const kinds[] = {"accept", "connect", "fin", "close"};
	const struct vec_event *e = &v->event[v->event_head % VEC_EVENTS_MAX];

	if (v->event_head == v->event_tail) {
		vec_fail(v, "no such event");
		return;
	}
	v->event_head++;
	if (e->flow != v->current || n < 2 || strcmp(kinds[e->kind], word[1]) != 0)
		vec_fail(v, "event %s of flow %u", kinds[e->kind], e->flow);
	else if (e->kind == VEC_EV_CLOSE && (n < 3 || strcmp(reasons[e->reason], word[2]) != 0))
		vec_fail(v, "event close %s", reasons[e->reason]);
}

void vec_state(struct vec *v, const char *want)
{
	struct vec_flow *f = &v->flow[v->current];
	struct tcp_info info = {.state = "none"};

	if (f->conn.v != 0)
		tcp_info_get(v->tcp, f->conn, &info);
	if (strcmp(info.state, want) != 0)
		vec_fail(v, "state %s", info.state);
}

void vec_hold_blocks(struct vec *v)
{
	while (idpool_get(&v->tcp->losses) != 0)
		v->blocks_held = true;
}

void vec_hold(struct vec *v, unsigned n)
{
	while (v->held_count > 0)
		idpool_put(&v->tcp->slices, v->held[--v->held_count]);
	while (v->held_count < n && v->held_count < VEC_HOLD_MAX)
		v->held[v->held_count++] = idpool_get(&v->tcp->slices);
	vec_settle(v);
}
