// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Files of the ledger: their names say when each was begun, and sort by it. Main thread of control.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "controlplane/journal.h"

#define FILES_MAX 16384U
#define FILE_MODE 0640
#define NAME_HEAD "mail-"
#define NAME_TAIL ".json"
#define STAMP_LEN 16    // 20261127T085333Z
#define NAMES_TRIED 100 // of one second
// What a control process that died may have written without giving its room back is less.
#define TAIL_BYTES (sizeof(((struct journal *)0)->out) * 2)

static bool is_name(const char *name)
{
	return strlen(name) < JOURNAL_NAME_LEN &&
	       strncmp(name, NAME_HEAD, strlen(NAME_HEAD)) == 0 &&
	       strlen(name) > strlen(NAME_TAIL) &&
	       strcmp(name + strlen(name) - strlen(NAME_TAIL), NAME_TAIL) == 0;
}

static int names_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

int journal_list(int dir_fd, char (**ret_names)[JOURNAL_NAME_LEN])
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	char(*names)[JOURNAL_NAME_LEN] = NULL, (*more)[JOURNAL_NAME_LEN];
	const struct dirent *e;
	unsigned n = 0, room = 0;

	*ret_names = NULL;
	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return -errno;
	}
	while (n < FILES_MAX && (e = readdir(dir)) != NULL) {
		if (!is_name(e->d_name))
			continue;
		if (n == room) {
			room = room == 0 ? 64 : room * 2;
			more = realloc(names, room * sizeof(*names));
			if (more == NULL)
				break;
			names = more;
		}
		snprintf(names[n++], sizeof(*names), "%.39s", e->d_name);
	}
	closedir(dir);
	if (n > 0)
		qsort(names, n, sizeof(*names), names_compare);
	*ret_names = names;
	return (int)n;
}

// Behind all names there are, also when the clock went back.
static void name_make(char ret[JOURNAL_NAME_LEN], const char *last, unsigned number)
{
	size_t head = strlen(NAME_HEAD);
	char stamp[STAMP_LEN + 1];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	if (strlen(last) > head + STAMP_LEN && strncmp(stamp, last + head, STAMP_LEN) < 0)
		memcpy(stamp, last + head, STAMP_LEN);
	snprintf(ret, JOURNAL_NAME_LEN, NAME_HEAD "%s-%02u" NAME_TAIL, stamp, number);
}

static time_t begun_of(const char *name)
{
	struct tm tm = {0};

	return strptime(name + strlen(NAME_HEAD), "%Y%m%dT%H%M%SZ", &tm) != NULL ? timegm(&tm) : 0;
}

int journal_file_next(struct journal *j)
{
	char name[JOURNAL_NAME_LEN];
	int fd = -1;

	for (unsigned i = 0; i < NAMES_TRIED && fd < 0; i++) {
		name_make(name, j->name, i);
		if (strcmp(name, j->name) <= 0)
			continue;
		fd =
			openat(j->dir_fd,
			       name,
			       O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			       FILE_MODE);
		if (fd < 0 && errno != EEXIST)
			return -errno;
	}
	if (fd < 0)
		return -EEXIST;
	if (fchmod(fd, FILE_MODE) < 0 || (j->group != (gid_t)-1 && fchown(fd, -1, j->group) < 0))
		log_line(LOG_WARNING, "ledger: %s: %s", name, strerror(errno));
	if (j->fd >= 0)
		close(j->fd);
	j->fd = fd;
	j->bytes = 0;
	memcpy(j->name, name, sizeof(name));
	j->begun = begun_of(name);
	journal_sweep(j);
	return 0;
}

static uint64_t member(const char *line, const char *key, int base)
{
	const char *at = strstr(line, key);

	return at != NULL ? strtoull(at + strlen(key), NULL, base) : 0;
}

// Lines of the dataplane that wrote the last one.
static void tail_learn(struct journal *j, char *text)
{
	char *line, *rest = text;
	uint64_t boot = 0;

	for (char *at = text; (at = strstr(at, "\"boot\":\"")) != NULL; at++)
		boot = member(at, "\"boot\":\"", 16);
	j->seen_boot = boot;
	while (boot != 0 && (line = strsep(&rest, "\n")) != NULL) {
		uint64_t worker = member(line, "\"worker\":", 10);
		uint64_t seq = member(line, "\"seq\":", 10);

		if (member(line, "\"boot\":\"", 16) == boot && worker < CFG_MAX_WORKERS &&
		    seq > j->seen_seq[worker])
			j->seen_seq[worker] = seq;
	}
}

// A line that was not written whole was not given back either.
static int tail_read(struct journal *j)
{
	struct stat st;
	size_t want, cut = 0;
	ssize_t n;
	char *text;

	if (fstat(j->fd, &st) < 0)
		return -errno;
	want = (uint64_t)st.st_size < TAIL_BYTES ? (size_t)st.st_size : TAIL_BYTES;
	text = malloc(want + 1);
	if (text == NULL)
		return -ENOMEM;
	n = pread(j->fd, text, want, st.st_size - (off_t)want);
	want = n > 0 ? (size_t)n : 0;
	while (want > 0 && text[want - 1] != '\n') {
		want--;
		cut++;
	}
	text[want] = '\0';
	tail_learn(j, text);
	free(text);
	if (cut > 0 && ftruncate(j->fd, st.st_size - (off_t)cut) < 0)
		return -errno;
	j->bytes = (uint64_t)st.st_size - cut;
	return 0;
}

int journal_file_open(struct journal *j)
{
	char(*names)[JOURNAL_NAME_LEN];
	int n = journal_list(j->dir_fd, &names), err;

	if (n > 0) {
		memcpy(j->name, names[n - 1], sizeof(j->name));
		j->fd = openat(j->dir_fd, j->name, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	}
	free(names);
	if (n < 0)
		return n;
	if (j->fd < 0)
		return journal_file_next(j);
	err = tail_read(j);
	if (err < 0) {
		close(j->fd);
		j->fd = -1;
		return err;
	}
	j->begun = begun_of(j->name);
	return 0;
}

void journal_sweep(struct journal *j)
{
	char(*names)[JOURNAL_NAME_LEN];
	int n = journal_list(j->dir_fd, &names);
	time_t oldest = time(NULL) - (time_t)j->days * 86400;
	uint64_t total = 0;
	struct stat st;

	for (int i = n - 1; i >= 0; i--) {
		if (fstatat(j->dir_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode) || strcmp(names[i], j->name) == 0)
			continue;
		total += (uint64_t)st.st_size;
		// the one that is written may grow to its share
		if ((total + j->max_bytes / 16 > j->max_bytes || st.st_mtime < oldest) &&
		    unlinkat(j->dir_fd, names[i], 0) < 0)
			log_line(LOG_WARNING, "ledger: %s: %s", names[i], strerror(errno));
	}
	free(names);
}
