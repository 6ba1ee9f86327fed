// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What may stand at a daemon's socket path already, and what becomes of it.

#include "common/unix_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void what_stands_at_the_path(void **state)
{
	char dir[] = "/tmp/unix-listen-XXXXXX", path[64], longer[300];
	struct stat st;
	int fd, file;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	fd = unix_listen(path, SOCK_STREAM, 0640);
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0640), -EADDRINUSE); // somebody lives there
	close(fd);
	fd = unix_listen(path, SOCK_STREAM, 0600); // nobody any more: replaced
	assert_true(fd >= 0);
	// of another type: connect() says so, and it is not ours to take away
	assert_true(unix_listen(path, SOCK_SEQPACKET, 0600) < 0);
	assert_int_equal(stat(path, &st), 0);
	close(fd);
	unlink(path);
	file = creat(path, 0600);
	assert_true(file >= 0);
	close(file);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0600), -ENOTSOCK);
	assert_int_equal(stat(path, &st), 0); // still there
	unlink(path);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[0] = '/';
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(unix_listen(longer, SOCK_STREAM, 0600), -ENAMETOOLONG);
	snprintf(path, sizeof(path), "%s/none/s", dir);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0600), -ENOENT);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_stands_at_the_path)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
