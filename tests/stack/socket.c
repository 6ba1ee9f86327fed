// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The application of a stack under test: descriptors.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/stack/stack_types.h"

static const int close_errors[] = {
	[TCP_CLOSE_DONE] = 0,
	[TCP_CLOSE_RESET] = -ECONNRESET,
	[TCP_CLOSE_REFUSED] = -ECONNREFUSED,
	[TCP_CLOSE_TIMEOUT] = -ETIMEDOUT,
	[TCP_CLOSE_UNREACHABLE] = -EHOSTUNREACH,
	[TCP_CLOSE_NO_MEMORY] = -ENOBUFS,
};

static int socket_new(struct stack *s, enum socket_kind kind)
{
	for (int fd = 0; fd < STACK_SOCKETS; fd++)
		if (s->socket[fd].kind == SOCKET_FREE) {
			s->socket[fd] = (struct stack_socket){.kind = kind, .listener = -1};
			return fd;
		}
	return -EMFILE;
}

static struct stack_socket *socket_of(const struct stack *s, int fd)
{
	if (fd < 0 || fd >= STACK_SOCKETS || s->socket[fd].kind == SOCKET_FREE)
		return NULL;
	return (struct stack_socket *)&s->socket[fd];
}

static bool
on_syn(void *app,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	const struct stack *s = app;

	for (uint32_t fd = 0; fd < STACK_SOCKETS; fd++)
		if (s->socket[fd].kind == SOCKET_LISTENER && s->socket[fd].port == local->port) {
			*ret = (struct tcp_listen_info){
				.cookie = fd,
				.rcv_window = s->rcv_window,
				.mss_max = (uint16_t)s->mss_max,
			};
			return true;
		}
	return false;
}

static uint32_t on_accept(void *app, struct tcp_conn_id conn, uint32_t cookie)
{
	struct stack *s = app;
	int fd = socket_new(s, SOCKET_OPEN);

	if (fd < 0)
		return TCP_USER_REFUSE;
	s->socket[fd].listener = (int)cookie;
	s->socket[fd].conn = conn;
	return (uint32_t)fd;
}

static void on_connect(void *app, struct tcp_conn_id conn, uint32_t user)
{
	((struct stack *)app)->socket[user].kind = SOCKET_OPEN;
}

static void on_nothing(void *app, struct tcp_conn_id conn, uint32_t user)
{
}

static void on_fin(void *app, struct tcp_conn_id conn, uint32_t user)
{
	((struct stack *)app)->socket[user].fin = true;
}

static uint32_t take(struct stack *s, struct tcp_conn_id conn, uint8_t *data, uint32_t size)
{
	uint32_t have = 0, len;
	const uint8_t *p;

	while (have < size && tcp_rx_peek(s->tcp, conn, have, &p, &len)) {
		len = len < size - have ? len : size - have;
		memcpy(data + have, p, len);
		have += len;
	}
	return have;
}

static void
on_close(void *app, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	struct stack *s = app;
	struct stack_socket *k = &s->socket[user];

	k->rest_len = tcp_rx_bytes(s->tcp, conn);
	k->rest = malloc(k->rest_len + 1);
	if (k->rest == NULL)
		abort();
	take(s, conn, k->rest, k->rest_len);
	k->kind = SOCKET_OVER;
	k->error = close_errors[reason];
	k->conn.v = 0;
}

const struct tcp_ops stack_tcp_ops = {
	.on_syn = on_syn,
	.on_accept = on_accept,
	.on_connect = on_connect,
	.on_data = on_nothing,
	.on_sent = on_nothing,
	.on_fin = on_fin,
	.on_close = on_close,
};

int stack_listen(struct stack *s, uint16_t port)
{
	int fd;

	for (fd = 0; fd < STACK_SOCKETS; fd++)
		if (s->socket[fd].kind == SOCKET_LISTENER && s->socket[fd].port == port)
			return -EADDRINUSE;
	fd = socket_new(s, SOCKET_LISTENER);
	if (fd >= 0)
		s->socket[fd].port = port;
	return fd;
}

int stack_accept(struct stack *s, int listener)
{
	const struct stack_socket *l = socket_of(s, listener);

	if (l == NULL || l->kind != SOCKET_LISTENER)
		return l == NULL ? -EBADF : -EINVAL;
	for (int fd = 0; fd < STACK_SOCKETS; fd++)
		if (s->socket[fd].kind != SOCKET_FREE && s->socket[fd].listener == listener) {
			s->socket[fd].listener = -1;
			return fd;
		}
	return -EAGAIN;
}

int stack_connect(struct stack *s, const struct ip_endpoint *remote)
{
	int fd = socket_new(s, SOCKET_OPENING), err;
	struct tcp_connect_args args = {
		.remote = *remote,
		.user = (uint32_t)fd,
		.rcv_window = s->rcv_window,
		.syn_timeout_ms = s->syn_timeout_ms,
		.mss_max = (uint16_t)s->mss_max,
	};

	if (fd < 0)
		return fd;
	s->called = true;
	err = tcp_connect(s->tcp, &args, &s->socket[fd].conn);
	if (err < 0)
		s->socket[fd].kind = SOCKET_FREE;
	return err < 0 ? err : fd;
}

// Why a descriptor cannot be read or written now; 0: it can.
static int obstacle(const struct stack_socket *k)
{
	if (k == NULL)
		return -EBADF;
	switch (k->kind) {
	case SOCKET_LISTENER:
		return -ENOTCONN;
	case SOCKET_OPENING:
		return -EINPROGRESS;
	default:
		return 0;
	}
}

int stack_send(struct stack *s, int fd, const void *data, uint32_t len)
{
	struct stack_socket *k = socket_of(s, fd);
	int err = obstacle(k);

	if (err < 0)
		return err;
	if (k->kind == SOCKET_OVER)
		return k->error != 0 ? k->error : -EPIPE;
	s->called = true;
	return tcp_tx_write(s->tcp, k->conn, data, len) ? (int)len : -EAGAIN;
}

int stack_recv(struct stack *s, int fd, void *data, uint32_t size)
{
	struct stack_socket *k = socket_of(s, fd);
	int err = obstacle(k);
	uint32_t have;

	if (err < 0)
		return err;
	if (k->kind == SOCKET_OVER) {
		have = k->rest_len < size ? k->rest_len : size;
		memcpy(data, k->rest, have);
		k->rest_len -= have;
		memmove(k->rest, k->rest + have, k->rest_len);
		return have > 0 ? (int)have : k->error;
	}
	have = take(s, k->conn, data, size);
	if (have > 0) {
		s->called = true; // the window opens
		tcp_rx_drop(s->tcp, k->conn, have);
	}
	return have > 0 ? (int)have : k->fin ? 0 : -EAGAIN;
}

int stack_shutdown(struct stack *s, int fd)
{
	struct stack_socket *k = socket_of(s, fd);

	if (k == NULL || k->kind != SOCKET_OPEN)
		return k == NULL ? -EBADF : -ENOTCONN;
	s->called = true;
	tcp_shutdown(s->tcp, k->conn);
	return 0;
}

static void conn_abort(struct stack *s, struct tcp_conn_id conn)
{
	tcp_abort(s->tcp, conn);
}

static int socket_end(struct stack *s, int fd, void (*end)(struct stack *, struct tcp_conn_id))
{
	struct stack_socket *k = socket_of(s, fd);

	if (k == NULL)
		return -EBADF;
	s->called = true;
	for (int i = 0; k->kind == SOCKET_LISTENER && i < STACK_SOCKETS; i++)
		if (s->socket[i].kind != SOCKET_FREE && s->socket[i].listener == fd)
			socket_end(s, i, conn_abort);
	if (k->conn.v != 0)
		end(s, k->conn);
	free(k->rest);
	*k = (struct stack_socket){.listener = -1};
	return 0;
}

static void conn_release(struct stack *s, struct tcp_conn_id conn)
{
	tcp_release(s->tcp, conn, false);
}

int stack_close(struct stack *s, int fd)
{
	return socket_end(s, fd, conn_release);
}

int stack_abort(struct stack *s, int fd)
{
	return socket_end(s, fd, conn_abort);
}

const char *stack_state(const struct stack *s, int fd)
{
	const struct stack_socket *k = socket_of(s, fd);
	struct tcp_info info = {.state = "CLOSED"};

	if (k != NULL && k->kind == SOCKET_LISTENER)
		return "LISTEN";
	if (k != NULL && k->conn.v != 0)
		tcp_info_get(s->tcp, k->conn, &info);
	return info.state;
}
