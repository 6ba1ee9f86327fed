// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Users and groups by name: of this process, and of the peer of a UNIX socket. Start and main
// threads.

#pragma once

#include <stdbool.h>
#include <sys/types.h>

#define USER_NO_ID ((uid_t) - 1)

// The id of a name; USER_NO_ID for "". False when there is no such user or group.
bool user_find(const char *name, uid_t *ret);
bool group_find(const char *name, gid_t *ret);
// Becomes the user with its groups for good; "" changes nothing. 0, -ENOENT: no such user, or
// -errno.
int user_become(const char *name);
// The user at the other end of a connected UNIX socket, USER_NO_ID when it cannot be told.
uid_t peer_user(int fd);
// Is the group the peer's own or one of its others? Never true for USER_NO_ID.
bool peer_in_group(int fd, gid_t gid);
