// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Users and groups by name, the peer of a socket, and that a user taken is taken for good.

#include "common/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void names_are_found(void **state)
{
	uid_t id = 7;

	assert_true(user_find("root", &id));
	assert_int_equal(id, 0);
	assert_true(user_find("", &id));
	assert_int_equal(id, USER_NO_ID);
	id = 7;
	assert_false(user_find("no-such-user-here", &id));
	assert_int_equal(id, USER_NO_ID);
	assert_true(group_find("root", &id));
	assert_int_equal(id, 0);
	assert_true(group_find("", &id));
	assert_int_equal(id, USER_NO_ID);
	assert_false(group_find("no-such-group-here", &id));
	assert_int_equal(id, USER_NO_ID);
}

static void the_peer_of_a_socket(void **state)
{
	int pair[2], pipes[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(peer_user(pair[0]), geteuid());
	assert_true(peer_in_group(pair[0], getegid()));
	assert_false(peer_in_group(pair[0], 54321));
	assert_false(peer_in_group(pair[0], USER_NO_ID));  // no group configured: nobody is in it
	assert_int_equal(peer_user(pipes[0]), USER_NO_ID); // what is no socket has no peer
	assert_false(peer_in_group(pipes[0], getegid()));
	assert_int_equal(peer_user(-1), USER_NO_ID);
	for (unsigned i = 0; i < 2; i++) {
		close(pair[i]);
		close(pipes[i]);
	}
}

// Also the groups that are not the peer's first one.
static void further_groups_count(void **state)
{
	const gid_t groups[] = {54321, 54322};
	int pair[2];

	if (geteuid() != 0)
		return;
	assert_int_equal(setgroups(2, groups), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_true(peer_in_group(pair[0], 54321));
	assert_true(peer_in_group(pair[0], 54322));
	assert_false(peer_in_group(pair[0], 54323));
	assert_int_equal(setgroups(0, NULL), 0);
	close(pair[0]);
	close(pair[1]);
}

// Exit status of a child that becomes the user and tries to come back.
static int become_and_return(const char *name)
{
	const struct passwd *pw;
	gid_t groups[64];

	if (user_become(name) != 0)
		return 2;
	pw = getpwnam(name);
	if (pw == NULL || getuid() != pw->pw_uid || geteuid() != pw->pw_uid ||
	    getgid() != pw->pw_gid || getegid() != pw->pw_gid)
		return 3;
	for (int i = getgroups(64, groups) - 1; i >= 0; i--)
		if (groups[i] == 0)
			return 4; // root's group was left
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0)
		return 5;
	return 0;
}

static void a_user_is_taken_for_good(void **state)
{
	uid_t before = getuid();
	int status;
	pid_t child;

	assert_int_equal(user_become(""), 0);
	assert_int_equal(user_become("no-such-user-here"), -ENOENT);
	assert_int_equal(getuid(), before);
	if (before != 0) {
		assert_int_equal(user_become("root"), -EPERM);
		return;
	}
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(become_and_return("nobody"));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_found),
		cmocka_unit_test(the_peer_of_a_socket),
		cmocka_unit_test(further_groups_count),
		cmocka_unit_test(a_user_is_taken_for_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
