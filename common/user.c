// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Users and groups, see user.h.

#include "common/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#define GROUPS_MAX 1024

bool user_find(const char *name, uid_t *ret)
{
	const struct passwd *pw = name[0] != '\0' ? getpwnam(name) : NULL;

	*ret = pw != NULL ? pw->pw_uid : USER_NO_ID;
	return pw != NULL || name[0] == '\0';
}

bool group_find(const char *name, gid_t *ret)
{
	const struct group *gr = name[0] != '\0' ? getgrnam(name) : NULL;

	*ret = gr != NULL ? gr->gr_gid : USER_NO_ID;
	return gr != NULL || name[0] == '\0';
}

int user_become(const char *name)
{
	const struct passwd *pw;

	if (name[0] == '\0')
		return 0;
	errno = 0;
	pw = getpwnam(name);
	if (pw == NULL)
		return errno != 0 ? -errno : -ENOENT;
	if (initgroups(name, pw->pw_gid) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
		return -errno;
	return 0;
}

static bool peer_get(int fd, struct ucred *ret)
{
	socklen_t len = sizeof(*ret);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &len) == 0;
}

uid_t peer_user(int fd)
{
	struct ucred peer;

	return peer_get(fd, &peer) ? peer.uid : USER_NO_ID;
}

bool peer_in_group(int fd, gid_t gid)
{
	gid_t groups[GROUPS_MAX];
	socklen_t len = sizeof(groups);
	struct ucred peer;

	if (gid == USER_NO_ID || !peer_get(fd, &peer))
		return false;
	if (peer.gid == gid)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (unsigned i = 0; i < len / sizeof(gid_t); i++)
		if (groups[i] == gid)
			return true;
	return false;
}
