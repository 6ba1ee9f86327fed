// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Attaching to the dataplane, see attach.h. Waits at most ANSWER_WAIT_S for an answer.

#include "common/abi/attach.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/abi/sock.h"

#define ANSWER_WAIT_S 5
#define FDS_MAX 2

static int code_error(uint32_t code)
{
	switch (code) {
	case SOCK_OK:
		return 0;
	case SOCK_BAD_ABI:
		return -EPROTONOSUPPORT;
	case SOCK_REFUSED:
		return -EPERM;
	case SOCK_BUSY:
		return -EBUSY;
	default:
		return -EPROTO;
	}
}

static void fds_close(const int fds[FDS_MAX])
{
	for (unsigned i = 0; i < FDS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int answer_take(int fd, struct sock_answer *answer, int fds[FDS_MAX])
{
	char control[CMSG_SPACE(FDS_MAX * sizeof(int))];
	struct iovec iov = {answer, sizeof(*answer)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);

	if (n < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	if (n != sizeof(*answer) || answer->magic != SOCK_MAGIC)
		return -EPROTO;
	if (answer->abi_major != MR_ABI_MAJOR)
		return -EPROTONOSUPPORT;
	return code_error(answer->code);
}

// The connection, or -errno with everything closed.
static int ask(const char *path, uint32_t role, struct sock_answer *answer, int fds[FDS_MAX])
{
	const struct sock_request req = {
		.magic = SOCK_MAGIC,
		.abi_major = MR_ABI_MAJOR,
		.abi_minor = MR_ABI_MINOR,
		.role = role,
	};
	const struct timeval wait = {.tv_sec = ANSWER_WAIT_S};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err = 0;

	fds[0] = fds[1] = -1;
	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0 ||
	    connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    (send(fd, &req, sizeof(req), MSG_NOSIGNAL) != sizeof(req) && errno != EPIPE))
		err = -errno; // EPIPE: refused before we asked, the answer waits
	if (err == 0)
		err = answer_take(fd, answer, fds);
	if (err == 0)
		return fd;
	fds_close(fds);
	close(fd);
	return err;
}

// What no dataplane has: loops over such counts would not end.
static bool counts_ok(const struct shm_header *h)
{
	return h->workers <= SHM_WORKERS_MAX && h->backend_slots <= SHM_BACKEND_SLOTS_MAX &&
	       h->service_slots <= SHM_SERVICE_SLOTS_MAX && h->stat_count <= SHM_STATS_MAX;
}

bool shm_view_ok(const struct shm_view *view, uint64_t magic)
{
	const struct shm_header *h = view->header;

	return view->size >= sizeof(*h) && h->magic == magic && h->size == view->size &&
	       h->size_of_header >= sizeof(*h) && counts_ok(h);
}

static int view_map(struct shm_view *view, int fd, bool writable, uint64_t magic)
{
	int prot = PROT_READ | (writable ? PROT_WRITE : 0);
	struct stat st;
	void *base;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)sizeof(struct shm_header))
		return -EPROTO;
	base = mmap(NULL, (size_t)st.st_size, prot, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	*view = (struct shm_view){.base = base, .size = (uint64_t)st.st_size, .header = base};
	if (shm_view_ok(view, magic))
		return 0;
	shm_view_unmap(view);
	return -EPROTO;
}

int attach_reader(struct shm_view *ret_stats, const char *socket_path)
{
	struct sock_answer answer;
	int fds[FDS_MAX];
	int fd = ask(socket_path, SOCK_ROLE_READER, &answer, fds);
	int err;

	if (fd < 0)
		return fd;
	err = fds[0] >= 0 ? view_map(ret_stats, fds[0], false, SHM_STATS_MAGIC) : -EPROTO;
	fds_close(fds);
	close(fd);
	return err;
}

int attach_control(struct attach_control *ret, const char *socket_path)
{
	struct sock_answer answer;
	int fds[FDS_MAX];
	int fd = ask(socket_path, SOCK_ROLE_CONTROL, &answer, fds);
	int err = -EPROTO;

	*ret = (struct attach_control){.fd = fd};
	if (fd < 0)
		return fd;
	ret->blob_length = answer.blob_length;
	ret->boot_id = answer.boot_id;
	if (fds[0] >= 0 && fds[1] >= 0)
		err = view_map(&ret->stats, fds[0], false, SHM_STATS_MAGIC);
	if (err == 0)
		err = view_map(&ret->control, fds[1], true, SHM_CONTROL_MAGIC);
	fds_close(fds);
	if (err < 0)
		attach_control_close(ret);
	return err;
}

void attach_control_close(struct attach_control *a)
{
	if (a->stats.base != NULL)
		shm_view_unmap(&a->stats);
	if (a->control.base != NULL)
		shm_view_unmap(&a->control);
	if (a->fd >= 0)
		close(a->fd);
	*a = (struct attach_control){.fd = -1};
}

void shm_view_unmap(struct shm_view *view)
{
	munmap(view->base, view->size);
	*view = (struct shm_view){0};
}

void *shm_view_entry(const struct shm_view *view, uint32_t type, uint32_t i, uint64_t need)
{
	for (unsigned k = 0; k < SHM_DIR_ENTRIES; k++) {
		const struct shm_dir_entry e = view->header->dir[k];

		if (e.type != type)
			continue;
		if (i >= e.count || need > e.stride || e.stride == 0 ||
		    (e.off | e.stride) % sizeof(uint64_t) != 0 || e.off > view->size ||
		    e.stride > view->size || i + 1ULL > (view->size - e.off) / e.stride)
			return NULL;
		return view->base + e.off + i * e.stride;
	}
	return NULL;
}
