// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dataplane's UNIX socket. Main thread.

#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "common/abi/blob.h"
#include "dataplane/ctl/shm.h"

// Who may attach besides root and our own user; USER_NO_ID: nobody.
struct server_users {
	uid_t control;                 // as control, and read
	uid_t exporter;                // read
	gid_t read_group, admin_group; // read
};

struct server {
	int listen_fd;
	int control_fd; // the lease of the one control process, -1: none
	struct server_users users;
};

// What the server hands out and whom it asks.
struct server_view {
	const struct shm *shm;
	void *up;
	const struct blob_header *(*blob)(void *up); // the one handed to the workers last
	// 0, -EBUSY or -EINVAL with a reason.
	int (*publish)(void *up, const uint8_t *arena, uint32_t len, const char **ret_reason);
};

// Listens at path, for root and our own user until users says more. 0; -EADDRINUSE when a
// living dataplane holds it; -ENOTSOCK when something else is there; else -errno. A socket nobody
// listens on is replaced.
int server_open(struct server *server, const char *path);
// Answers whoever has connected or asks; bounded work, waits at most 20 ms for a request.
void server_run(struct server *server, const struct server_view *view);
void server_close(struct server *server, const char *path);
