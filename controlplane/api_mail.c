// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The ledger over the API: the conditions of a search, and its answer as it is found, a part at a
// time. One search's memory is some 300 KiB; so many at once.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/api_types.h"
#include "controlplane/journal_find.h"

#define SEARCHES_MAX 4
#define LIMIT_DEFAULT 20
#define LIMIT_MAX 100000
#define BLOCK_BYTES 65536U
#define TAIL_MAX 256

static unsigned searches; // under way

struct search {
	struct find *find;
	char text[JOURNAL_LINE_MAX + TAIL_MAX]; // of the answer, not sent yet
	size_t len, at;
	bool begun, ended;
};

static void search_free(void *arg)
{
	struct search *s = arg;

	find_end(s->find);
	free(s);
	searches--;
}

static void tail_make(struct search *s)
{
	const struct find *f = s->find;

	s->len = (size_t)snprintf(
		s->text,
		sizeof(s->text),
		"%s],\n\"reaches_back_to\":%s%s%s,\"truncated\":%s,\"octets_read\":%llu}\n",
		s->begun ? "\n" : "{\"mails\":[",
		f->oldest[0] != '\0' ? "\"" : "",
		f->oldest[0] != '\0' ? f->oldest : "null",
		f->oldest[0] != '\0' ? "\"" : "",
		f->limited ? "true" : "false",
		(unsigned long long)f->octets
	);
	s->ended = true;
}

static void part_make(struct search *s)
{
	size_t len;
	const char *line = find_next(s->find, &len);

	s->at = s->len = 0;
	if (line != NULL && len < JOURNAL_LINE_MAX) {
		s->len = (size_t)snprintf(
			s->text,
			sizeof(s->text),
			"%s%.*s",
			s->begun ? ",\n" : "{\"mails\":[\n",
			(int)len,
			line
		);
		s->begun = true;
	} else if (line == NULL && s->find->done) {
		tail_make(s);
	}
}

// 0: nothing found yet; the library asks again after control's other work.
static ssize_t on_read(void *arg, uint64_t position, char *out, size_t room)
{
	struct search *s = arg;
	size_t used = 0, n;

	while (used < room) {
		if (s->at == s->len && s->ended)
			break;
		if (s->at == s->len)
			part_make(s);
		n = s->len - s->at < room - used ? s->len - s->at : room - used;
		if (n == 0)
			break;
		memcpy(out + used, s->text + s->at, n);
		s->at += n;
		used += n;
	}
	return used == 0 && s->ended ? MHD_CONTENT_READER_END_OF_STREAM : (ssize_t)used;
}

static bool limit_parse(const char *text, uint32_t *ret)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*ret = (uint32_t)n;
	return *text >= '0' && *text <= '9' && *end == '\0' && n >= 1 && n <= LIMIT_MAX;
}

struct parse {
	struct find_query query;
	char error[80];
};

// An unknown one is refused: a condition misspelt would show the mail of others.
static enum MHD_Result
parameter_take(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct parse *p = arg;
	struct find_query *q = &p->query;
	const struct {
		const char *name;
		char *to;
		size_t room;
	} texts[] = {
		{"from", q->from, sizeof(q->from)},
		{"to", q->to, sizeof(q->to)},
		{"queue_id", q->queue_id, sizeof(q->queue_id)},
		{"backend", q->backend, sizeof(q->backend)},
	};
	bool good = false;

	value = value != NULL ? value : "";
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(key, texts[i].name) != 0)
			continue;
		good = value[0] != '\0' && strlen(value) < texts[i].room;
		if (good)
			snprintf(texts[i].to, texts[i].room, "%s", value);
	}
	if (strcmp(key, "client") == 0)
		good = q->has_client = ip_prefix_parse(value, &q->client) == 0;
	if (strcmp(key, "since") == 0)
		good = find_time_parse(value, q->since) && q->since[0] != '\0';
	if (strcmp(key, "until") == 0)
		good = find_time_parse(value, q->until) && q->until[0] != '\0';
	if (strcmp(key, "limit") == 0)
		good = limit_parse(value, &q->limit);
	if (!good)
		snprintf(p->error, sizeof(p->error), "%.40s: no such parameter, or not one", key);
	return good ? MHD_YES : MHD_NO;
}

enum MHD_Result api_mail_answer(struct api *api, struct MHD_Connection *connection)
{
	struct parse p = {.query.limit = LIMIT_DEFAULT};
	int dir_fd = api->control->journal->dir_fd;
	struct search *s;
	struct MHD_Response *response;
	enum MHD_Result result;

	MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, parameter_take, &p);
	if (p.error[0] != '\0')
		return api_send_error(connection, MHD_HTTP_BAD_REQUEST, p.error);
	if (dir_fd < 0)
		return api_send_error(
			connection, MHD_HTTP_SERVICE_UNAVAILABLE, "no ledger is configured"
		);
	s = searches < SEARCHES_MAX ? calloc(1, sizeof(*s)) : NULL;
	if (s == NULL)
		return api_send_error(
			connection, MHD_HTTP_SERVICE_UNAVAILABLE, "too many searches under way"
		);
	s->find = calloc(1, sizeof(*s->find));
	if (s->find == NULL || find_begin(s->find, dir_fd, &p.query) < 0) {
		free(s->find);
		free(s);
		return api_send_error(
			connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "the files cannot be read"
		);
	}
	searches++;
	response = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, BLOCK_BYTES, on_read, s, search_free
	);
	if (response == NULL) {
		search_free(s);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", "application/json");
	result = MHD_queue_response(connection, MHD_HTTP_OK, response);
	MHD_destroy_response(response);
	return result;
}
