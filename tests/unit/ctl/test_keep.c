// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of the state folder: what was written comes back whole, and whatever else stands there
// is refused.

#include "dataplane/ctl/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], file[128];
static struct keep keep;
static const char *reason;

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/mailrace-keep-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/one", dir);
	return keep_open(&keep, dir, "/etc/of-this-name/mailrace.conf");
}

static int teardown(void **state)
{
	char path[128];

	keep_close(&keep);
	snprintf(path, sizeof(path), "%s/one.new", dir);
	unlink(path);
	unlink(file);
	return rmdir(dir); // nothing else is left
}

static void *got(bool private, size_t *len)
{
	void *data = NULL;
	int err = keep_read(&keep, "one", private, &data, len, &reason);

	assert_true(err == 0 || data == NULL);
	return err == 0 ? data : NULL;
}

static void comes_back(const void *data, size_t len)
{
	size_t n;
	char *back = got(true, &n);

	assert_non_null(back);
	assert_int_equal(n, len);
	assert_memory_equal(back, data, len);
	assert_int_equal(back[len], 0);
	free(back);
}

static void refused(const char *why)
{
	size_t len;

	assert_null(got(true, &len));
	assert_string_equal(reason, why);
}

static void written_is_read(void **state)
{
	uint8_t data[5000];

	refused("cannot be opened");
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (size_t len = 0; len <= sizeof(data); len += 1250) {
		assert_int_equal(keep_write(&keep, "one", data, len), 0);
		comes_back(data, len);
	}
}

static void background_write(void **state)
{
	assert_int_equal(keep_write_end(&keep, true), -ENOENT);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(keep_write_begin(&keep, "one", strdup("hello"), 5), 0);
		// another one may have to wait, but loses nothing of the first
		if (keep_write_end(&keep, false) == -EINPROGRESS) {
			assert_int_equal(keep_write_begin(&keep, "one", strdup("x"), 1), -EBUSY);
			assert_int_equal(keep_write_end(&keep, true), 0);
		}
		comes_back("hello", 5);
		assert_int_equal(keep_write_end(&keep, true), -ENOENT);
	}
	assert_int_equal(keep_write_begin(&keep, "one", strdup("bye"), 3), 0);
	// closing waits for it: the teardown finds no other file
}

static void a_failed_write_leaves_the_old_one(void **state)
{
	char path[128];

	assert_int_equal(keep_write(&keep, "one", "old", 3), 0);
	snprintf(path, sizeof(path), "%s/one.new", dir);
	assert_int_equal(mkdir(path, 0700), 0); // in the way
	assert_true(keep_write(&keep, "one", "new", 3) < 0);
	comes_back("old", 3);
	assert_int_equal(keep_write_begin(&keep, "one", strdup("new"), 3), 0);
	assert_true(keep_write_end(&keep, true) < 0);
	comes_back("old", 3);
	assert_int_equal(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/one.new", dir); // of a process that was killed
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(keep_write(&keep, "one", "new", 3), 0);
	comes_back("new", 3);
}

static void each_byte_matters(void **state)
{
	static const char text[] = "what is kept";
	char whole[512];
	size_t size, len;
	FILE *f;

	assert_int_equal(keep_write(&keep, "one", text, strlen(text)), 0);
	f = fopen(file, "r");
	size = fread(whole, 1, sizeof(whole), f);
	fclose(f);
	for (size_t i = 0; i < 2 * size; i++) {
		bool cut = i >= size;
		char *back;

		f = fopen(file, "w");
		if (!cut)
			whole[i] ^= 0x15;
		fwrite(whole, 1, cut ? i - size : size, f);
		fclose(f);
		if (!cut)
			whole[i] ^= 0x15;
		back = got(true, &len);
		// spaces and digits of the line may be told in more than one way, the contents not
		if (back != NULL)
			assert_true(
				!cut && i < size - strlen(text) && len == strlen(text) &&
				memcmp(back, text, len) == 0
			);
		free(back);
	}
	f = fopen(file, "w");
	fwrite(whole, 1, size, f);
	fputc('x', f);
	fclose(f);
	refused("has another length than it says");
}

static void of_others_is_refused(void **state)
{
	struct keep other;
	void *data;
	size_t len;

	assert_int_equal(keep_write(&keep, "one", "x", 1), 0);
	assert_int_equal(keep_open(&other, dir, "/etc/another/mailrace.conf"), 0);
	assert_int_equal(keep_read(&other, "one", true, &data, &len, &reason), -EINVAL);
	assert_string_equal(reason, "belongs to another configuration file");
	keep_close(&other);
	assert_int_equal(keep_read(&other, "one", true, &data, &len, &reason), -EBADF);
	assert_int_equal(keep_write(&other, "one", "y", 1), -EBADF);
	assert_int_equal(chmod(file, 0620), 0);
	refused("belongs to another user, or others may write it");
	assert_int_equal(chmod(file, 0600), 0);
	comes_back("x", 1);
	assert_int_equal(chmod(dir, 0702), 0);
	assert_int_equal(keep_open(&other, dir, "/etc/another/mailrace.conf"), -EPERM);
	assert_int_equal(chmod(dir, 0700), 0);
	if (geteuid() == 0) { // the folder's owner may keep a blob, but no devices and users
		assert_int_equal(chown(file, 65534, (gid_t)-1), 0);
		refused("belongs to another user, or others may write it");
		assert_int_equal(chown(dir, 65534, (gid_t)-1), 0);
		assert_int_equal(keep_open(&other, dir, "/etc/of-this-name/mailrace.conf"), 0);
		assert_int_equal(keep_read(&other, "one", true, &data, &len, &reason), -EINVAL);
		assert_int_equal(keep_read(&other, "one", false, &data, &len, &reason), 0);
		free(data);
		keep_close(&other);
	}
}

static void no_plain_file_is_refused(void **state)
{
	assert_int_equal(symlink("/etc/passwd", file), 0);
	refused("cannot be opened");
	unlink(file);
	assert_int_equal(mkfifo(file, 0600), 0);
	refused("is no plain file");
	unlink(file);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	refused("has a wrong length");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(written_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(background_write, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_write_leaves_the_old_one, setup, teardown),
		cmocka_unit_test_setup_teardown(each_byte_matters, setup, teardown),
		cmocka_unit_test_setup_teardown(of_others_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(no_plain_file_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
