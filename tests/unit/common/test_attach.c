// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Attaching, against a dataplane that answers anything: every answer but a good one is refused with
// its error, and no descriptor and no mapping is left behind. Sections of a segment that lies.

#include "common/abi/attach.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/abi/sock.h"
#include "common/unix_listen.h"

#define SEGMENT 8192

// How the dataplane answers the next one that asks.
static struct {
	struct sock_answer answer;
	size_t length;
	int fds[2];
	unsigned fd_count;
	struct sock_request asked;
} plan;

static char dir[] = "/tmp/mailrace-attach-XXXXXX", path[64];
static int listener;
static int stats_fd, control_fd;

static int segment_new(uint64_t magic, uint64_t size_said, size_t size)
{
	const struct shm_header head = {
		.magic = magic, .size = size_said, .size_of_header = sizeof(head)
	};
	int fd = memfd_create("segment", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (size >= sizeof(head))
		assert_int_equal(pwrite(fd, &head, sizeof(head), 0), sizeof(head));
	return fd;
}

static void *answer_one(void *arg)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = {0};
	struct iovec iov = {&plan.answer, plan.length};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fd = accept(listener, NULL, NULL);

	if (recv(fd, &plan.asked, sizeof(plan.asked), 0) < 0)
		plan.asked.magic = 0;
	if (plan.fd_count > 0) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(plan.fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(plan.fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), plan.fds, plan.fd_count * sizeof(int));
	}
	if (plan.length > 0)
		(void)sendmsg(fd, &msg, MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void plan_good(unsigned fds)
{
	memset(&plan, 0, sizeof(plan));
	plan.answer = (struct sock_answer
	){.magic = SOCK_MAGIC, .abi_major = MR_ABI_MAJOR, .blob_length = 123, .boot_id = 77};
	plan.length = sizeof(plan.answer);
	plan.fds[0] = stats_fd;
	plan.fds[1] = control_fd;
	plan.fd_count = fds;
}

// What the planned answer gives; nothing stays open of what is refused.
static int attach_as(uint32_t role)
{
	struct shm_view view = {0};
	struct attach_control control = {.fd = -1};
	unsigned before = open_files();
	pthread_t thread;
	int err;

	assert_int_equal(pthread_create(&thread, NULL, answer_one, NULL), 0);
	err = role == SOCK_ROLE_READER ? attach_reader(&view, path)
				       : attach_control(&control, path);
	pthread_join(thread, NULL);
	assert_int_equal(plan.asked.magic, SOCK_MAGIC);
	assert_int_equal(plan.asked.abi_major, MR_ABI_MAJOR);
	assert_int_equal(plan.asked.role, role);
	if (err == 0 && role == SOCK_ROLE_READER) {
		assert_int_equal(view.size, SEGMENT);
		assert_int_equal(view.header->magic, SHM_STATS_MAGIC);
		shm_view_unmap(&view);
	} else if (err == 0) {
		assert_int_equal(control.blob_length, 123);
		assert_int_equal(control.boot_id, 77);
		control.control.base[SEGMENT - 1] = 1;      // may be written
		assert_int_equal(open_files(), before + 1); // the lease
		attach_control_close(&control);
	}
	if (role == SOCK_ROLE_CONTROL) {
		assert_int_equal(control.fd < 0, true);
		assert_null(control.control.base);
	}
	assert_int_equal(open_files(), before);
	return err;
}

static void good_answers(void **state)
{
	plan_good(1);
	assert_int_equal(attach_as(SOCK_ROLE_READER), 0);
	plan_good(2);
	assert_int_equal(attach_as(SOCK_ROLE_READER), 0); // one too many is closed
	assert_int_equal(attach_as(SOCK_ROLE_CONTROL), 0);
	plan.answer.abi_minor = MR_ABI_MINOR + 9; // a later one is read as far as it is known
	assert_int_equal(attach_as(SOCK_ROLE_CONTROL), 0);
}

static void refusals_have_their_errors(void **state)
{
	static const struct {
		uint32_t code;
		int err;
	} codes[] = {
		{SOCK_BAD_REQUEST, -EPROTO},
		{SOCK_BAD_ABI, -EPROTONOSUPPORT},
		{SOCK_REFUSED, -EPERM},
		{SOCK_BUSY, -EBUSY},
		{SOCK_BAD_BLOB, -EPROTO},
		{4711, -EPROTO},
	};

	for (unsigned i = 0; i < 2 * sizeof(codes) / sizeof(codes[0]); i++) {
		plan_good(i % 2 == 0 ? 0 : 2); // also with descriptors that nobody asked for
		plan.answer.code = codes[i / 2].code;
		assert_int_equal(attach_as(SOCK_ROLE_READER), codes[i / 2].err);
		assert_int_equal(attach_as(SOCK_ROLE_CONTROL), codes[i / 2].err);
	}
}

static void answers_that_are_none(void **state)
{
	for (unsigned role = SOCK_ROLE_READER; role <= SOCK_ROLE_CONTROL; role++) {
		plan_good(2);
		plan.answer.magic++;
		assert_int_equal(attach_as(role), -EPROTO);
		plan_good(2);
		plan.answer.abi_major++;
		assert_int_equal(attach_as(role), -EPROTONOSUPPORT);
		plan_good(2);
		plan.length--;
		assert_int_equal(attach_as(role), -EPROTO);
		plan.length = 0; // closed without one
		assert_int_equal(attach_as(role), -EPROTO);
		plan_good(role - 1); // a descriptor too few
		assert_int_equal(attach_as(role), -EPROTO);
	}
}

static void segments_that_are_none(void **state)
{
	const int bad[] = {
		segment_new(SHM_STATS_MAGIC, SEGMENT, sizeof(struct shm_header) - 1),
		segment_new(SHM_STATS_MAGIC, 0, 0),
		segment_new(SHM_STATS_MAGIC, SEGMENT + 1, SEGMENT),
		segment_new(SHM_STATS_MAGIC, SEGMENT - 1, SEGMENT),
		segment_new(SHM_STATS_MAGIC + 1, SEGMENT, SEGMENT),
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		plan_good(2);
		plan.fds[0] = bad[i];
		assert_int_equal(attach_as(SOCK_ROLE_READER), -EPROTO);
		assert_int_equal(attach_as(SOCK_ROLE_CONTROL), -EPROTO);
		plan_good(2);
		plan.fds[1] = bad[i];
		assert_int_equal(attach_as(SOCK_ROLE_CONTROL), -EPROTO);
		close(bad[i]);
	}
}

static void nobody_there(void **state)
{
	struct shm_view view;
	char longer[200];

	assert_int_equal(attach_reader(&view, "/tmp/no-such-socket-here"), -ENOENT);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(attach_reader(&view, longer), -ENAMETOOLONG);
}

static void sections_stay_inside(void **state)
{
	static _Alignas(64) uint8_t memory[SEGMENT];
	struct shm_header *h = (struct shm_header *)memory;
	const struct shm_view view = {memory, sizeof(memory), h};
	const struct shm_dir_entry good = {7, 4, 4096, 1024};
	struct shm_dir_entry *e = &h->dir[SHM_DIR_ENTRIES - 1];

	*e = good;
	assert_ptr_equal(shm_view_entry(&view, 7, 0, 1024), memory + 4096);
	assert_ptr_equal(shm_view_entry(&view, 7, 3, 8), memory + 7168); // ends with the segment
	assert_null(shm_view_entry(&view, 7, 4, 8));
	assert_null(shm_view_entry(&view, 7, 0, 1025)); // an entry smaller than ours
	assert_null(shm_view_entry(&view, 8, 0, 8));
	e->count = UINT32_MAX;
	assert_null(shm_view_entry(&view, 7, 4, 8));
	assert_null(shm_view_entry(&view, 7, UINT32_MAX - 1, 8));
	*e = good;
	e->off = SEGMENT;
	assert_null(shm_view_entry(&view, 7, 0, 8));
	e->off = UINT64_MAX - 1023;
	assert_null(shm_view_entry(&view, 7, 1, 8));
	*e = good;
	e->stride = UINT64_MAX / 2;
	assert_null(shm_view_entry(&view, 7, 2, 8));
	e->stride = SEGMENT;
	assert_null(shm_view_entry(&view, 7, 0, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_answers),
		cmocka_unit_test(refusals_have_their_errors),
		cmocka_unit_test(answers_that_are_none),
		cmocka_unit_test(segments_that_are_none),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(sections_stay_inside),
	};
	int failed;

	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/s", dir);
	listener = unix_listen(path, SOCK_SEQPACKET, 0600);
	if (listener < 0 || fcntl(listener, F_SETFL, 0) < 0) // its thread waits
		return 1;
	stats_fd = segment_new(SHM_STATS_MAGIC, SEGMENT, SEGMENT);
	control_fd = segment_new(SHM_CONTROL_MAGIC, SEGMENT, SEGMENT);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(dir);
	return failed;
}
