// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Hands the statistics segment to readers: root, our own user, or a member of the socket's group
// (file mode). Main thread.

#include "dataplane/ctl/server.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/abi/sock.h"

#define REQUESTS_A_RUN 8
#define REQUEST_WAIT_MS 20

static int address_of(const char *path, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	memcpy(ret->sun_path, path, strlen(path) + 1);
	return 0;
}

// Nobody answers there any more: take it away. Anything but a socket stays (connect() to a plain
// file is refused too).
static int stale_remove(const struct sockaddr_un *addr)
{
	struct stat st;
	int err = 0;
	int fd;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		err = -EADDRINUSE;
	else if (errno == ECONNREFUSED)
		unlink(addr->sun_path);
	close(fd);
	return err;
}

int server_open(const char *path, int *ret_fd)
{
	struct sockaddr_un addr;
	int fd, err = address_of(path, &addr);

	if (err == 0)
		err = stale_remove(&addr);
	if (err < 0)
		return err;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(path, 0660) < 0 ||
	    listen(fd, 16) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

static void answer(int fd, uint32_t code, const struct shm *shm)
{
	struct sock_answer a = {
		.magic = SOCK_MAGIC,
		.abi_major = MR_ABI_MAJOR,
		.abi_minor = MR_ABI_MINOR,
		.code = code,
		.boot_id = shm->header->boot_id,
	};
	struct iovec iov = {&a, sizeof(a)};
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (code == SOCK_OK) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &shm->stats_ro_fd, sizeof(int));
	}
	(void)sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT); // a reader that left needs no answer
}

static void serve(int fd, const struct shm *shm)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct sock_request req;

	if (poll(&p, 1, REQUEST_WAIT_MS) != 1 ||
	    recv(fd, &req, sizeof(req), MSG_DONTWAIT) != sizeof(req) || req.magic != SOCK_MAGIC ||
	    req.role != SOCK_ROLE_READER)
		answer(fd, SOCK_BAD_REQUEST, shm);
	else if (req.abi_major != MR_ABI_MAJOR)
		answer(fd, SOCK_BAD_ABI, shm);
	else
		answer(fd, SOCK_OK, shm);
}

void server_run(int fd, const struct shm *shm)
{
	for (unsigned i = 0; i < REQUESTS_A_RUN; i++) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (client < 0)
			return;
		serve(client, shm);
		close(client);
	}
}

void server_close(int fd, const char *path)
{
	if (fd < 0)
		return;
	close(fd);
	unlink(path);
}
