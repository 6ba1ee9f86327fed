// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dataplane's UNIX socket. Main thread.

#pragma once

#include <poll.h>
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

#define SERVER_PENDING_MAX 16

struct server {
	int listen_fd;
	int control_fd; // the lease of the one control process, -1: none
	struct {
		int fd; // connected, has not asked yet; 0: free
		uint64_t since_ns;
	} pending[SERVER_PENDING_MAX];
	struct server_users users;
};

// What the server hands out and whom it asks.
struct server_view {
	const struct shm *shm;
	void *up;
	const struct blob_header *(*blob)(void *up); // the one handed to the workers last
	// 0, -EBUSY or -EINVAL with a reason. creds_fd: as it came, -1: none; stays the server's.
	int (*publish)(
		void *up,
		const uint8_t *arena,
		uint32_t len,
		int creds_fd,
		const char **ret_reason
	);
};

// Listens at path, for root and our own user until users says more. 0; -EADDRINUSE when a
// living dataplane holds it; -ENOTSOCK when something else is there; else -errno. A socket nobody
// listens on is replaced.
int server_open(struct server *server, const char *path);
#define SERVER_FDS_MAX (SERVER_PENDING_MAX + 2)
// What to poll for. Returns how many.
unsigned server_fds(const struct server *server, struct pollfd out[SERVER_FDS_MAX]);
// Answers whoever has connected and asked; bounded work, never waits. Who asks nothing within two
// seconds is sent away.
void server_run(struct server *server, const struct server_view *view, uint64_t now_ns);
void server_close(struct server *server, const char *path);
