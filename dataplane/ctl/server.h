// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dataplane's UNIX socket. Main thread.

#pragma once

#include <stdint.h>

#include "dataplane/ctl/shm.h"

// Listens at path. 0; -EADDRINUSE when a living dataplane holds it; -ENOTSOCK when something else
// is there; else -errno. A socket nobody listens on is replaced.
int server_open(const char *path, int *ret_fd);
// Answers whoever has connected; bounded work, never blocks.
void server_run(int fd, const struct shm *shm);
void server_close(int fd, const char *path);
