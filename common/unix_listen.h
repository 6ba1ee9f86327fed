// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A listening UNIX socket of a daemon. Start only.

#pragma once

#include <sys/types.h>

// Listens at path, non-blocking, close-on-exec; type: SOCK_STREAM or SOCK_SEQPACKET. Returns the
// descriptor; -EADDRINUSE when somebody living listens there; -ENOTSOCK when something else is
// there (it stays); else -errno. Only a socket that nobody listens on is replaced.
int unix_listen(const char *path, int type, mode_t mode);
