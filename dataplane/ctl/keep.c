// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Files of the state folder, see keep.h. Whatever stands in them is judged before it is used: who
// owns it, whether others may write it, length and checksum.

#include "dataplane/ctl/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "common/user.h"

#define KEEP_VERSION 1
#define LINE_MAX_LEN 640
#define OTHERS_WRITE (S_IWGRP | S_IWOTH)

static bool is_ours(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

int keep_make_dir(const char *dir, uid_t owner)
{
	int fd, err = 0;

	if (mkdir(dir, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	if (owner == USER_NO_ID)
		return 0;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fchown(fd, owner, (gid_t)-1) < 0)
		err = -errno;
	close(fd);
	return err;
}

int keep_open(struct keep *keep, const char *dir, const char *config_path)
{
	char *path = realpath(config_path, NULL);
	struct stat st = {0};
	int err = 0;

	*keep = (struct keep){.dir_fd = -1};
	snprintf(keep->path, sizeof(keep->path), "%s", path != NULL ? path : config_path);
	free(path);
	keep->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (keep->dir_fd < 0)
		return -errno;
	if (fstat(keep->dir_fd, &st) < 0)
		err = -errno;
	else if ((st.st_mode & OTHERS_WRITE) != 0)
		err = -EPERM;
	keep->owner = st.st_uid;
	if (err < 0)
		keep_close(keep);
	return err;
}

void keep_close(struct keep *keep)
{
	keep_write_end(keep, true);
	if (keep->dir_fd >= 0)
		close(keep->dir_fd);
	keep->dir_fd = -1;
}

static int all_write(int fd, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int keep_write(const struct keep *keep, const char *name, const void *data, size_t len)
{
	char line[LINE_MAX_LEN], other[64];
	int fd, err, n;

	if (keep->dir_fd < 0)
		return -EBADF;
	n = snprintf(
		line,
		sizeof(line),
		"# mailrace %d %08lx %zu %s\n",
		KEEP_VERSION,
		crc32(0, data, (uInt)len),
		len,
		keep->path
	);
	snprintf(other, sizeof(other), "%.50s.new", name);
	if (unlinkat(keep->dir_fd, other, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(
		keep->dir_fd, other, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600
	);
	if (fd < 0)
		return -errno;
	err = all_write(fd, line, (size_t)n);
	if (err == 0)
		err = all_write(fd, data, len);
	if (err == 0 && fsync(fd) < 0)
		err = -errno;
	if (close(fd) < 0 && err == 0)
		err = -errno;
	if (err == 0 && renameat(keep->dir_fd, other, keep->dir_fd, name) < 0)
		err = -errno;
	if (err < 0)
		unlinkat(keep->dir_fd, other, 0);
	else if (fsync(keep->dir_fd) < 0)
		err = -errno;
	return err;
}

static int file_open(
	const struct keep *keep,
	const char *name,
	bool private,
	struct stat *st,
	const char **ret_reason
)
{
	int fd = openat(keep->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	*ret_reason = "cannot be opened";
	if (fd < 0)
		return -errno;
	*ret_reason = "is no plain file";
	if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode)) {
		close(fd);
		return -EINVAL;
	}
	*ret_reason = "belongs to another user, or others may write it";
	if ((st->st_mode & OTHERS_WRITE) != 0 ||
	    (!is_ours(st->st_uid) && (private || st->st_uid != keep->owner))) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

// The whole file; its length is known before.
static char *all_read(int fd, size_t len)
{
	char *text = malloc(len + 1);
	size_t done = 0;

	while (text != NULL && done < len) {
		ssize_t n = read(fd, text + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(text);
			return NULL;
		}
		done += (size_t)n;
	}
	if (text != NULL)
		text[len] = '\0';
	return text;
}

// Returns where the contents begin, 0 with a reason when they are not what the first line says.
static size_t
contents_check(const struct keep *keep, const char *text, size_t len, const char **ret_reason)
{
	const char *end = memchr(text, '\n', len < LINE_MAX_LEN ? len : LINE_MAX_LEN);
	unsigned version;
	unsigned long crc;
	size_t length, head;
	int at = 0;

	*ret_reason = "has no first line of ours";
	if (end == NULL ||
	    sscanf(text, "# mailrace %u %lx %zu %n", &version, &crc, &length, &at) != 3 || at == 0)
		return 0;
	head = (size_t)(end - text) + 1;
	*ret_reason = "is of another version";
	if (version != KEEP_VERSION)
		return 0;
	*ret_reason = "belongs to another configuration file";
	if (head != (size_t)at + strlen(keep->path) + 1 ||
	    memcmp(text + at, keep->path, strlen(keep->path)) != 0)
		return 0;
	*ret_reason = "has another length than it says";
	if (length != len - head)
		return 0;
	*ret_reason = "has another checksum than it says";
	if (crc32(0, (const Bytef *)text + head, (uInt)length) != crc)
		return 0;
	return head;
}

int keep_read(
	const struct keep *keep,
	const char *name,
	bool private,
	void **ret,
	size_t *ret_len,
	const char **ret_reason
)
{
	struct stat st;
	size_t head = 0, len;
	char *text;
	int fd;

	*ret_reason = "no state folder";
	if (keep->dir_fd < 0)
		return -EBADF;
	fd = file_open(keep, name, private, &st, ret_reason);
	if (fd < 0)
		return fd;
	*ret_reason = "has a wrong length";
	len = (size_t)st.st_size;
	text = len > 0 && len <= KEEP_MAX_BYTES ? all_read(fd, len) : NULL;
	close(fd);
	if (text != NULL)
		head = contents_check(keep, text, len, ret_reason);
	if (head == 0) {
		free(text);
		return -EINVAL;
	}
	memmove(text, text + head, len - head + 1); // aligned, with the NUL
	*ret = text;
	*ret_len = len - head;
	return 0;
}

static void *thread_run(void *arg)
{
	struct keep *keep = arg;

	keep->err = keep_write(keep, keep->name, keep->data, keep->len);
	atomic_store(&keep->phase, KEEP_DONE);
	return NULL;
}

int keep_write_begin(struct keep *keep, const char *name, void *data, size_t len)
{
	int err = -EBUSY;

	if (keep->dir_fd < 0)
		err = -EBADF;
	else if (atomic_load(&keep->phase) == KEEP_IDLE) {
		keep->name = name;
		keep->data = data;
		keep->len = len;
		atomic_store(&keep->phase, KEEP_WRITING);
		err = -pthread_create(&keep->thread, NULL, thread_run, keep);
	}
	if (err == 0)
		return 0;
	if (err != -EBUSY && err != -EBADF)
		atomic_store(&keep->phase, KEEP_IDLE);
	free(data);
	return err;
}

int keep_write_end(struct keep *keep, bool wait)
{
	enum keep_phase phase = atomic_load(&keep->phase);

	if (phase == KEEP_IDLE)
		return -ENOENT;
	if (phase == KEEP_WRITING && !wait)
		return -EINPROGRESS;
	pthread_join(keep->thread, NULL);
	free(keep->data);
	keep->data = NULL;
	atomic_store(&keep->phase, KEEP_IDLE);
	return keep->err;
}
