// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The search for mails, see journal_find.h. Lines are ours (journal_line.c), so a member is found
// by its name in quotes: no text of others can hold one that is not escaped.

#include "controlplane/journal_find.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCKS_A_CALL 16
#define SLACK_S 60 // lines of several workers stand in order but for as much
#define STAMP_AT 5 // of a file's name

static char small(char c)
{
	return (char)tolower((unsigned char)c);
}

static void stamp_make(time_t t, char ret[FIND_TIME_LEN])
{
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(ret, FIND_TIME_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
}

bool find_time_parse(const char *text, char ret[FIND_TIME_LEN])
{
	static const char units[] = "smhd";
	static const time_t seconds[] = {1, 60, 3600, 86400};
	size_t digits = strspn(text, "0123456789");
	const char *unit = digits > 0 && text[digits] != '\0' ? strchr(units, text[digits]) : NULL;
	struct tm tm = {0};

	if (digits > 12 || strlen(text) >= FIND_TIME_LEN)
		return false;
	if (text[0] == '\0') {
		ret[0] = '\0';
	} else if (unit != NULL && text[digits + 1] == '\0') {
		stamp_make(time(NULL) - strtol(text, NULL, 10) * seconds[unit - units], ret);
	} else if (digits > 8 && text[digits] == '\0') {
		stamp_make(strtol(text, NULL, 10), ret);
	} else {
		if (strptime(text, "%Y-%m-%d", &tm) == NULL ||
		    strspn(text, "0123456789-T:.Z") != strlen(text))
			return false;
		snprintf(ret, FIND_TIME_LEN, "%s", text);
		if (ret[strlen(ret) - 1] == 'Z' && strlen(ret) < FIND_TIME_LEN - 1)
			ret[strlen(ret) - 1] = '\0'; // a part of a time is before all it begins
	}
	return true;
}

static bool needs_escape(const char *text)
{
	bool plain = true;

	for (; *text != '\0'; text++)
		plain = plain && *text >= ' ' && *text != 0x7f && *text != '"' && *text != '\\';
	return !plain;
}

// What must stand in every line asked for, as it stands there.
static void needle_choose(struct find *f)
{
	const struct find_query *q = &f->query;
	char client[IP_ADDR_STRLEN] = "";
	const char *const texts[] = {q->queue_id, q->to, q->from, client, q->backend};
	const char *text = "";

	if (q->has_client && q->client.len == 128)
		ip_addr_format(&q->client.addr, client);
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]) && text[0] == '\0'; i++)
		if (strcmp(texts[i], "<>") != 0)
			text = texts[i];
	if (needs_escape(text)) // stands there otherwise
		text = "";
	f->needle_len = strlen(text);
	for (size_t i = 0; i <= f->needle_len; i++)
		f->needle[i] = small(text[i]);
	for (unsigned i = 0; i < 256; i++)
		f->skip[i] = (uint32_t)f->needle_len;
	for (size_t i = 0; i + 1 < f->needle_len; i++) {
		f->skip[(uint8_t)f->needle[i]] = (uint32_t)(f->needle_len - 1 - i);
		f->skip[(uint8_t)toupper((unsigned char)f->needle[i])] =
			(uint32_t)(f->needle_len - 1 - i);
	}
}

static bool needle_is_in(const struct find *f, const char *text, size_t len)
{
	size_t n = f->needle_len;

	if (n == 0)
		return true;
	for (size_t at = n - 1; at < len; at += f->skip[(uint8_t)text[at]])
		if (small(text[at]) == f->needle[n - 1] &&
		    strncasecmp(text + at + 1 - n, f->needle, n) == 0)
			return true;
	return false;
}

// The text behind `"key":"`; NULL: there is none.
static const char *member(const char *line, size_t len, const char *key, size_t *ret_len)
{
	size_t n = strlen(key);
	const char *at = memmem(line, len, key, n), *end;

	if (at == NULL)
		return NULL;
	at += n;
	for (end = at; end < line + len && *end != '"'; end++)
		if (*end == '\\')
			end++;
	*ret_len = (size_t)(end - at);
	return at;
}

// As it stood before it was escaped; only quotes and backslashes are of interest.
static size_t unescape(const char *text, size_t len, char out[FIND_TEXT_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < len && n < FIND_TEXT_MAX - 1; i++) {
		if (text[i] == '\\' && i + 1 < len && (text[i + 1] == '"' || text[i + 1] == '\\'))
			i++;
		out[n++] = text[i];
	}
	return n;
}

static bool address_is(const char *text, size_t len, const char *want)
{
	char plain[FIND_TEXT_MAX];
	size_t n = strlen(want), have = unescape(text, len, plain);

	if (strcmp(want, "<>") == 0)
		return have == 0;
	if (want[0] == '@')
		return have >= n && strncasecmp(plain + have - n, want, n) == 0;
	return have == n && strncasecmp(plain, want, n) == 0;
}

static bool recipient_is(const char *line, size_t len, const char *want)
{
	const char *end = line + len, *at = line;
	size_t n;

	while ((at = member(at, (size_t)(end - at), "{\"address\":\"", &n)) != NULL) {
		if (address_is(at, n, want))
			return true;
		at += n;
	}
	return false;
}

static bool text_is(const char *text, size_t len, const char *want)
{
	return text != NULL && len == strlen(want) && strncasecmp(text, want, len) == 0;
}

static bool backend_is(const char *line, size_t len, const char *want)
{
	size_t n = 0;
	const char *at = member(line, len, "\"backend\":\"", &n);
	const char *slash = at != NULL ? memchr(at, '/', n) : NULL;

	return text_is(at, n, want) ||
	       (slash != NULL && text_is(slash + 1, n - (size_t)(slash + 1 - at), want));
}

static bool client_is(const char *line, size_t len, const struct ip_prefix *want)
{
	char text[IP_ADDR_STRLEN];
	struct ip_addr addr;
	size_t n = 0;
	const char *at = member(line, len, "\"client\":\"", &n);

	if (at == NULL || n >= sizeof(text))
		return false;
	memcpy(text, at, n);
	text[n] = '\0';
	return ip_addr_parse(text, &addr) == 0 && ip_prefix_contains(want, &addr);
}

static bool id_is(const char *line, size_t len, const char *want)
{
	size_t n = 0;
	const char *at = member(line, len, "\"queue_id\":\"", &n);

	if (text_is(at, n, want))
		return true;
	at = member(line, len, "\"message_id\":\"", &n);
	return text_is(at, n, want);
}

static bool matches(struct find *f, const char *line, size_t len)
{
	const struct find_query *q = &f->query;
	const char *time, *from;
	size_t n = 0;

	time = member(line, len, "\"time\":\"", &n);
	if (time == NULL || n >= FIND_TIME_LEN)
		return false;
	if (q->since[0] != '\0' && strncmp(time, q->since, n) < 0)
		return false;
	if (q->until[0] != '\0' && strncmp(time, q->until, strlen(q->until)) > 0)
		return false;
	if (!needle_is_in(f, line, len))
		return false;
	if (q->queue_id[0] != '\0' && !id_is(line, len, q->queue_id))
		return false;
	if (q->from[0] != '\0') {
		from = member(line, len, "\"from\":\"", &n);
		if (from == NULL || !address_is(from, n, q->from))
			return false;
	}
	return (q->to[0] == '\0' || recipient_is(line, len, q->to)) &&
	       (q->backend[0] == '\0' || backend_is(line, len, q->backend)) &&
	       (!q->has_client || client_is(line, len, &q->client));
}

static void oldest_learn(struct find *f)
{
	char text[64];
	size_t n = 0;
	const char *time;
	ssize_t got;
	int fd;

	for (int i = 0; f->names != NULL && i <= f->file && f->oldest[0] == '\0'; i++) {
		fd = openat(f->dir_fd, f->names[i], O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		got = fd >= 0 ? pread(fd, text, sizeof(text), 0) : 0;
		if (fd >= 0)
			close(fd);
		time = got > 0 ? member(text, (size_t)got, "\"time\":\"", &n) : NULL;
		if (time != NULL && n < FIND_TIME_LEN)
			snprintf(f->oldest, sizeof(f->oldest), "%.*s", (int)n, time);
	}
}

// until, and what its lines' order may be off by, as it stands in names of files.
static void stamp_of(const char *time, int more_s, char ret[FIND_TIME_LEN])
{
	struct tm tm = {.tm_mday = 1};
	time_t t;

	ret[0] = '\0';
	if (strptime(time, "%Y-%m-%dT%H:%M:%S", &tm) == NULL)
		return;
	t = timegm(&tm) + more_s;
	gmtime_r(&t, &tm);
	strftime(ret, FIND_TIME_LEN, "%Y%m%dT%H%M%SZ", &tm);
}

// All of it was written later than what is asked for.
static bool file_is_later(const struct find *f, int i)
{
	char stamp[FIND_TIME_LEN];

	stamp_of(f->query.until, SLACK_S, stamp);
	return stamp[0] != '\0' && strncmp(f->names[i] + STAMP_AT, stamp, strlen(stamp)) > 0;
}

// What comes was written before what is asked for: nothing more is.
static bool line_is_earlier(const struct find *f, const char *line, size_t len)
{
	char stamp[FIND_TIME_LEN], since[FIND_TIME_LEN];
	size_t n = 0;
	const char *time = member(line, len, "\"time\":\"", &n);
	char text[FIND_TIME_LEN];

	if (f->query.since[0] == '\0' || time == NULL || n >= sizeof(text) ||
	    strncmp(time, f->query.since, n) >= 0)
		return false;
	memcpy(text, time, n);
	text[n] = '\0';
	stamp_of(text, SLACK_S, stamp);
	stamp_of(f->query.since, 0, since);
	return stamp[0] != '\0' && since[0] != '\0' && strcmp(stamp, since) < 0;
}

int find_begin(struct find *f, int dir_fd, const struct find_query *query)
{
	int n;

	f->query = *query;
	f->dir_fd = dir_fd;
	f->fd = -1;
	n = journal_list(dir_fd, &f->names);
	if (n < 0)
		return n;
	f->file = n - 1;
	needle_choose(f);
	oldest_learn(f);
	return 0;
}

static bool file_begin(struct find *f)
{
	struct stat st;

	while (f->file >= 0 && file_is_later(f, f->file))
		f->file--;
	if (f->file < 0)
		return false;
	f->fd = openat(f->dir_fd, f->names[f->file--], O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	f->end = f->fd >= 0 && fstat(f->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	return true;
}

// The block that ends at f->end, from the first line that begins in it. False: the file is read.
static bool block_read(struct find *f)
{
	uint64_t begin = f->end > sizeof(f->block) ? f->end - sizeof(f->block) : 0;
	size_t want = (size_t)(f->end - begin), first = 0;
	ssize_t n = want > 0 ? pread(f->fd, f->block, want, (off_t)begin) : 0;
	const char *lf;

	f->at = 0;
	if (n != (ssize_t)want || want == 0)
		return false; // shorter than it was: somebody else's doing
	f->octets += want;
	if (begin > 0) {
		lf = memchr(f->block, '\n', want - 1);
		if (lf == NULL)
			return false; // no line of ours
		first = (size_t)(lf - f->block) + 1;
	}
	f->end = begin + first;
	f->at = needle_is_in(f, f->block + first, want - first) ? want - first : 0;
	memmove(f->block, f->block + first, f->at);
	return true;
}

// The last line before f->at.
static const char *line_take(struct find *f, size_t *ret_len)
{
	size_t end = f->at - (f->block[f->at - 1] == '\n');
	const char *lf = end > 0 ? memrchr(f->block, '\n', end) : NULL;
	size_t begin = lf != NULL ? (size_t)(lf - f->block) + 1 : 0;

	f->at = begin;
	*ret_len = end - begin;
	return f->block + begin;
}

static bool block_next(struct find *f)
{
	if (f->fd >= 0 && f->end > 0 && block_read(f))
		return true;
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	f->at = 0;
	f->done = !file_begin(f);
	return !f->done;
}

const char *find_next(struct find *f, size_t *ret_len)
{
	for (unsigned blocks = 0; !f->done;) {
		while (f->at > 0) {
			const char *line = line_take(f, ret_len);

			if (matches(f, line, *ret_len)) {
				f->limited = f->found == f->query.limit;
				f->done = f->limited;
				f->found += !f->limited;
				return f->limited ? NULL : line;
			}
			if (line_is_earlier(f, line, *ret_len)) {
				f->done = true;
				return NULL;
			}
		}
		if (blocks++ == BLOCKS_A_CALL || !block_next(f))
			return NULL;
	}
	return NULL;
}

void find_end(struct find *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->names);
	free(f);
}
