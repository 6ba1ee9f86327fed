// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dataplane's socket: statistics for readers, both segments and publications for control. Who
// is who is told by the peer's credentials, not by the file's mode. Main thread; never waits.

#include "dataplane/ctl/server.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/abi/sock.h"
#include "common/log.h"
#include "common/unix_listen.h"
#include "common/user.h"

#define REQUESTS_A_RUN 8
#define REQUEST_WAIT_NS 2000000000ULL

int server_open(struct server *server, const char *path)
{
	int fd = unix_listen(path, SOCK_SEQPACKET, 0666);

	*server = (struct server){
		.listen_fd = fd,
		.control_fd = -1,
		.users = {USER_NO_ID, USER_NO_ID, USER_NO_ID, USER_NO_ID},
	};
	return fd < 0 ? fd : 0;
}

static bool is_allowed(const struct server *server, int fd, uint32_t role)
{
	const struct server_users *u = &server->users;
	uid_t peer = peer_user(fd);

	if (peer == USER_NO_ID)
		return false;
	if (peer == 0 || peer == geteuid() || peer == u->control)
		return true;
	return role == SOCK_ROLE_READER &&
	       (peer == u->exporter || peer_in_group(fd, u->read_group) ||
		peer_in_group(fd, u->admin_group));
}

static void answer(int fd, struct sock_answer *a, const int *fds, unsigned count)
{
	struct iovec iov = {a, sizeof(*a)};
	char control[CMSG_SPACE(2 * sizeof(int))] = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count > 0) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	(void)sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT); // who has left needs no answer
}

static uint32_t request_judge(const struct server *server, int fd, struct sock_request *req)
{
	if (recv(fd, req, sizeof(*req), MSG_DONTWAIT) != sizeof(*req) || req->magic != SOCK_MAGIC ||
	    (req->role != SOCK_ROLE_READER && req->role != SOCK_ROLE_CONTROL))
		return SOCK_BAD_REQUEST;
	if (req->abi_major != MR_ABI_MAJOR)
		return SOCK_BAD_ABI;
	if (!is_allowed(server, fd, req->role))
		return SOCK_REFUSED;
	if (req->role == SOCK_ROLE_CONTROL && server->control_fd >= 0)
		return SOCK_BUSY;
	return SOCK_OK;
}

static struct sock_answer answer_make(uint32_t code, const struct server_view *view)
{
	return (struct sock_answer){
		.magic = SOCK_MAGIC,
		.abi_major = MR_ABI_MAJOR,
		.abi_minor = MR_ABI_MINOR,
		.code = code,
		.boot_id = view->shm->header->boot_id,
	};
}

static void refusal_count(const struct server_view *view, uint32_t code)
{
	bool bad = code == SOCK_BAD_REQUEST || code == SOCK_BAD_ABI;

	shm_main_add(view->shm, bad ? STAT_CTL_BAD_REQUEST : STAT_CTL_NOT_ALLOWED, 1);
}

// Returns whether the connection is kept.
static bool serve(struct server *server, int fd, const struct server_view *view)
{
	struct sock_request req = {0};
	struct sock_answer a = answer_make(request_judge(server, fd, &req), view);
	const int fds[2] = {view->shm->stats_ro_fd, view->shm->control_fd};

	if (a.code != SOCK_OK)
		refusal_count(view, a.code);
	if (a.code != SOCK_OK || req.role == SOCK_ROLE_READER) {
		answer(fd, &a, fds, a.code == SOCK_OK ? 1 : 0);
		return false;
	}
	shm_control_header_restore(view->shm);
	a.blob_length = view->blob(view->up)->length;
	memcpy(shm_arena(view->shm), view->blob(view->up), a.blob_length);
	server->control_fd = fd;
	log_line(LOG_NOTICE, "control is attached");
	answer(fd, &a, fds, 2);
	return true;
}

static void control_gone(struct server *server)
{
	close(server->control_fd);
	server->control_fd = -1;
	log_line(LOG_NOTICE, "control has left: its configuration and view of health stay");
}

// Descriptors that came along: the first is kept, further ones are closed and told by the count.
static unsigned descriptors_take(struct msghdr *msg, int *ret_fd)
{
	unsigned count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		unsigned n = 0;

		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < n; i++, count++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (count == 0)
				*ret_fd = fd;
			else
				close(fd);
		}
	}
	return count;
}

// As recv, with at most one descriptor; -EBADMSG: more came, or some were cut off.
static ssize_t request_take(int from, struct sock_publish *in, int *ret_fd)
{
	struct iovec iov = {in, sizeof(*in)};
	char control[CMSG_SPACE(4 * sizeof(int))];
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(from, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*ret_fd = -1;
	if (n < 0)
		return -errno;
	if (descriptors_take(&msg, ret_fd) > 1 || (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0)
		return -EBADMSG;
	return n;
}

// One request of control; it waits for the answer, so a second one cannot be there.
static void control_run(struct server *server, const struct server_view *view)
{
	struct sock_published out = {.magic = SOCK_MAGIC};
	struct sock_publish in = {0};
	const char *reason = "";
	int fd, err;
	ssize_t n = request_take(server->control_fd, &in, &fd);

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n != sizeof(in) || in.magic != SOCK_MAGIC) {
		if (n > 0 || n == -EBADMSG)
			refusal_count(view, SOCK_BAD_REQUEST);
		if (fd >= 0)
			close(fd);
		control_gone(server);
		return;
	}
	err = view->publish(view->up, shm_arena(view->shm), in.length, fd, &reason);
	if (fd >= 0)
		close(fd);
	out.code = err == 0 ? SOCK_OK : err == -EBUSY ? SOCK_BUSY : SOCK_BAD_BLOB;
	out.generation = view->blob(view->up)->generation;
	snprintf(out.reason, sizeof(out.reason), "%s", reason);
	if (send(server->control_fd, &out, sizeof(out), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		control_gone(server);
}

static void stranger_refuse(int fd, const struct server_view *view)
{
	struct sock_answer a = answer_make(SOCK_REFUSED, view);

	refusal_count(view, a.code);
	answer(fd, &a, NULL, 0);
	close(fd);
}

// The oldest one makes room.
static void pending_add(struct server *server, int fd, uint64_t now_ns)
{
	unsigned at = 0;

	for (unsigned i = 0; i < SERVER_PENDING_MAX; i++) {
		if (server->pending[i].fd == 0) {
			at = i;
			break;
		}
		if (server->pending[i].since_ns < server->pending[at].since_ns)
			at = i;
	}
	if (server->pending[at].fd != 0)
		close(server->pending[at].fd);
	server->pending[at].fd = fd;
	server->pending[at].since_ns = now_ns;
}

static void pending_run(struct server *server, const struct server_view *view, uint64_t now_ns)
{
	for (unsigned i = 0; i < SERVER_PENDING_MAX; i++) {
		int fd = server->pending[i].fd;
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (fd == 0)
			continue;
		if (poll(&p, 1, 0) == 0 && now_ns - server->pending[i].since_ns < REQUEST_WAIT_NS)
			continue;
		server->pending[i].fd = 0;
		if (!serve(server, fd, view))
			close(fd);
	}
}

unsigned server_fds(const struct server *server, struct pollfd out[SERVER_FDS_MAX])
{
	unsigned n = 0;

	out[n++] = (struct pollfd){.fd = server->listen_fd, .events = POLLIN};
	out[n++] = (struct pollfd){.fd = server->control_fd, .events = POLLIN};
	for (unsigned i = 0; i < SERVER_PENDING_MAX; i++)
		if (server->pending[i].fd != 0)
			out[n++] = (struct pollfd){.fd = server->pending[i].fd, .events = POLLIN};
	return n;
}

void server_run(struct server *server, const struct server_view *view, uint64_t now_ns)
{
	for (unsigned i = 0; i < REQUESTS_A_RUN; i++) {
		int client = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (client < 0)
			break;
		if (is_allowed(server, client, SOCK_ROLE_READER))
			pending_add(server, client, now_ns);
		else
			stranger_refuse(client, view); // takes nobody's place
	}
	// after accepting: who attaches in the place of one that has left finds it gone
	if (server->control_fd >= 0)
		control_run(server, view);
	pending_run(server, view, now_ns);
}

void server_close(struct server *server, const char *path)
{
	if (server->listen_fd < 0)
		return;
	if (server->control_fd >= 0)
		close(server->control_fd);
	for (unsigned i = 0; i < SERVER_PENDING_MAX; i++)
		if (server->pending[i].fd != 0)
			close(server->pending[i].fd);
	close(server->listen_fd);
	unlink(path);
}
