// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The reader's side of the dataplane's socket and segment. What the segment says of itself is
// checked before it is used.

#include "tools/stats_attach.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/abi/sock.h"

static int ask(int fd, int *ret_fd)
{
	const struct sock_request req = {
		.magic = SOCK_MAGIC,
		.abi_major = MR_ABI_MAJOR,
		.abi_minor = MR_ABI_MINOR,
		.role = SOCK_ROLE_READER,
	};
	struct sock_answer answer;
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {&answer, sizeof(answer)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;

	if (send(fd, &req, sizeof(req), MSG_NOSIGNAL) != sizeof(req))
		return -errno;
	if (recvmsg(fd, &msg, MSG_CMSG_CLOEXEC) != sizeof(answer) || answer.magic != SOCK_MAGIC)
		return -EPROTO;
	if (answer.abi_major != MR_ABI_MAJOR || answer.code == SOCK_BAD_ABI)
		return -EPROTONOSUPPORT;
	c = CMSG_FIRSTHDR(&msg);
	if (answer.code != SOCK_OK || c == NULL || c->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return 0;
}

static int map(struct stats_view *view, int fd)
{
	struct stat st;
	void *base;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)sizeof(struct shm_header))
		return -EPROTO;
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	*view = (struct stats_view){.base = base, .size = (uint64_t)st.st_size, .header = base};
	if (view->header->magic == SHM_STATS_MAGIC && view->header->size == view->size)
		return 0;
	stats_detach(view);
	return -EPROTO;
}

int stats_attach(struct stats_view *view, const char *socket_path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, segment = -1, err;

	if (strlen(socket_path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, socket_path, strlen(socket_path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno
									    : ask(fd, &segment);
	close(fd);
	if (err == 0) {
		err = map(view, segment);
		close(segment);
	}
	return err;
}

void stats_detach(struct stats_view *view)
{
	munmap((void *)(uintptr_t)view->base, view->size);
	*view = (struct stats_view){0};
}

const void *stats_entry(const struct stats_view *view, uint32_t type, uint32_t i, uint64_t need)
{
	for (unsigned d = 0; d < SHM_DIR_ENTRIES; d++) {
		const struct shm_dir_entry e = view->header->dir[d];

		if (e.type != type)
			continue;
		if (i >= e.count || need > e.stride || e.off > view->size ||
		    e.stride > view->size || (uint64_t)(i + 1) > (view->size - e.off) / e.stride)
			return NULL;
		return view->base + e.off + i * e.stride;
	}
	return NULL;
}
