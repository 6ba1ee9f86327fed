// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// From the workers' rings into the ledger's files, see journal.h.

#include "controlplane/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/user.h"

#define BATCHES_A_TURN 16 // of sizeof(out), for each worker
#define SWEEP_NS (600ULL * 1000000000ULL)
#define DAY_S 86400
#define FILES_SHARE 16 // of the size of all
#define DIR_MODE 02750 // files are of the folder's group

struct journal *journal_new(void)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (j != NULL) {
		j->dir_fd = j->fd = -1;
		j->group = USER_NO_ID;
	}
	return j;
}

void journal_free(struct journal *j)
{
	if (j == NULL)
		return;
	if (j->fd >= 0)
		close(j->fd);
	if (j->dir_fd >= 0)
		close(j->dir_fd);
	free(j);
}

// Once until it works again.
static void failed(struct journal *j, const char *what, int err)
{
	if (!j->failing)
		log_line(LOG_ERROR, "ledger: %s: %s", what, strerror(-err));
	j->failing = true;
}

static int folder_open(struct journal *j, const struct cfg *cfg)
{
	bool made = mkdir(cfg->ledger.directory, DIR_MODE & 0777) == 0;
	uid_t owner = USER_NO_ID;
	struct stat st;

	if (!made && errno != EEXIST)
		return -errno;
	j->dir_fd = open(cfg->ledger.directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (j->dir_fd < 0 || fstat(j->dir_fd, &st) < 0)
		return -errno;
	if (!user_find(cfg->control.user, &owner) ||
	    !group_find(cfg->control.admin_group, &j->group))
		return -ENOENT;
	if (made && (fchown(j->dir_fd, owner, j->group) < 0 || fchmod(j->dir_fd, DIR_MODE) < 0))
		return -errno;
	return !made && (st.st_mode & S_IWOTH) != 0 ? -EPERM : 0;
}

void journal_configure(struct journal *j, const struct cfg *cfg)
{
	int err;

	if (cfg->ledger.keep == BLOB_LEDGER_OFF)
		return; // what is there goes on to grow older, and what is under way is written
	j->max_bytes = cfg->ledger.bytes;
	j->days = cfg->ledger.days;
	j->swept_ns = 0;
	if (j->dir_fd >= 0)
		return;
	err = folder_open(j, cfg);
	if (err < 0) {
		failed(j, cfg->ledger.directory, err);
		if (j->dir_fd >= 0)
			close(j->dir_fd);
		j->dir_fd = -1;
	}
}

static bool rings_find(struct journal *j, const struct link *l)
{
	if (j->boot_id == l->at.boot_id && j->base == l->at.control.base)
		return true;
	j->boot_id = 0;
	for (uint32_t i = 0; i < l->workers; i++) {
		struct capture_ring *ring = shm_view_entry(
			&l->at.control, SHM_SEC_LEDGER_RING, i, sizeof(struct capture_ring)
		);

		if (ring == NULL || (uintptr_t)ring % _Alignof(struct capture_ring) != 0)
			return false; // a dataplane before ours
		capture_reader_resume(&j->reader[i], ring);
	}
	j->boot_id = l->at.boot_id;
	j->base = l->at.control.base;
	return true;
}

static bool file_ready(struct journal *j)
{
	int err = 0;

	if (j->fd < 0)
		err = journal_file_open(j);
	else if (j->bytes >= j->max_bytes / FILES_SHARE || time(NULL) - j->begun > DAY_S)
		err = journal_file_next(j);
	if (err < 0)
		failed(j, "no file", err);
	return err == 0;
}

// All of it or nothing.
static bool out_write(struct journal *j)
{
	size_t at = 0;

	while (at < j->used) {
		ssize_t n = write(j->fd, j->out + at, j->used - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			failed(j, j->name, n < 0 ? -errno : -EIO);
			if (ftruncate(j->fd, (off_t)j->bytes) < 0)
				journal_file_next(j);
			return false;
		}
		at += (size_t)n;
	}
	j->bytes += j->used;
	j->failing = false;
	return true;
}

// Is it in the file that was found already?
static bool is_written(const struct journal *j, unsigned worker, uint64_t seq)
{
	return j->seen_boot == j->boot_id && seq <= j->seen_seq[worker];
}

// As much of a worker's ring as fits into out. False: nothing more there, or no file.
static bool batch(struct journal *j, const struct journal_source *source, unsigned *count)
{
	struct capture_reader *reader = &j->reader[source->worker];
	const struct capture_reader before = *reader;
	struct capture_record record;
	unsigned n = 0;
	bool more;

	j->used = 0;
	while ((more = capture_peek(reader, &record)) &&
	       j->used + JOURNAL_LINE_MAX <= sizeof(j->out)) {
		uint64_t seq = 0;
		size_t len = journal_line(source, reader, &record, j->out + j->used, &seq);

		capture_pass(reader, &record);
		if (is_written(j, source->worker, seq))
			continue;
		j->used += len;
		n += len > 0;
	}
	if (j->used > 0 && !out_write(j)) {
		*reader = before; // stays in the ring
		return false;
	}
	capture_release(reader);
	*count += n;
	j->written += n;
	return more;
}

static uint64_t wall_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

unsigned journal_run(struct journal *j, const struct link *l, uint64_t now_ns)
{
	struct journal_source source = {.link = l, .wall_ns = wall_clock_ns() - control_clock_ns()};
	unsigned count = 0;

	if (j->dir_fd < 0 || !link_is_open(l) || !rings_find(j, l) || !file_ready(j))
		return 0;
	for (source.worker = 0; source.worker < l->workers; source.worker++)
		for (unsigned k = 0; k < BATCHES_A_TURN && batch(j, &source, &count); k++)
			;
	if (j->swept_ns == 0 || now_ns - j->swept_ns > SWEEP_NS) {
		j->swept_ns = now_ns;
		journal_sweep(j);
	}
	return count;
}
