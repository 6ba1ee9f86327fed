// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Files of the state folder (control.state_dir): each is one line that names version, checksum,
// length and the configuration it belongs to, and what is kept. Written whole or not at all
// (another name, fsync, rename). Main thread, but for writes in the background: a disk that is slow
// must not hold it up.

#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KEEP_MAX_BYTES (64U << 20)

enum keep_phase { KEEP_IDLE, KEEP_WRITING, KEEP_DONE };

struct keep {
	int dir_fd;     // -1: nothing is kept
	char path[512]; // the configuration's, absolute
	uid_t owner;    // of the folder
	pthread_t thread;
	_Atomic enum keep_phase phase; // main: IDLE, WRITING; the thread: DONE
	const char *name;              // being written, with data; the thread's while it writes
	void *data;
	size_t len;
	int err;
};

// Opens the folder. 0; -EPERM: others may write there; else -errno, and nothing is kept.
int keep_open(struct keep *keep, const char *dir, const char *config_path);
void keep_close(struct keep *keep); // waits for a write under way
// Makes the folder for a user if it is not there. 0 or -errno.
int keep_make_dir(const char *dir, uid_t owner);
// The contents of a file, NUL-terminated besides, for the caller to free. 0; -EINVAL: it is not
// what was written, or not for this configuration, or somebody else's; else -errno. The reason says
// which. private: only root or we may have written it, not merely the folder's owner.
int keep_read(
	const struct keep *keep,
	const char *name,
	bool private,
	void **ret,
	size_t *ret_len,
	const char **ret_reason
);
int keep_write(const struct keep *keep, const char *name, const void *data, size_t len);
// The same in the background; takes over malloc'ed data. -EBUSY while another one is under way.
int keep_write_begin(struct keep *keep, const char *name, void *data, size_t len);
// How the last one begun has ended; -EINPROGRESS: it has not (never with wait); -ENOENT: none was
// begun since the last answer.
int keep_write_end(struct keep *keep, bool wait);
