// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Lists in parts, see parts.h. libmicrohttpd asks for the next part when the last one is sent.

#include "controlplane/parts.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 65536U
#define ENTRIES_A_PART 64

struct parts {
	const struct control *control;
	parts_entry *entry;
	unsigned next;
	bool begun, ended;
	char *text; // the part being sent
	size_t len, at;
};

static void part_write(struct parts *s, FILE *out)
{
	size_t i;
	json_t *one;

	if (s->next == 0)
		fputs("[", out);
	for (unsigned n = 0; n < ENTRIES_A_PART && !s->ended; n++) {
		json_t *list = json_array();

		s->ended = list == NULL || !s->entry(s->control, s->next, list);
		s->next += !s->ended;
		json_array_foreach(list, i, one)
		{
			fputs(s->begun ? ",\n" : "\n", out);
			json_dumpf(one, out, JSON_COMPACT | JSON_REAL_PRECISION(9));
			s->begun = true;
		}
		json_decref(list);
	}
	if (s->ended)
		fputs("\n]\n", out);
}

static bool part_make(struct parts *s)
{
	FILE *out;

	free(s->text);
	s->text = NULL;
	s->at = s->len = 0;
	out = open_memstream(&s->text, &s->len);
	if (out == NULL)
		return false;
	part_write(s, out);
	return fclose(out) == 0;
}

static ssize_t on_read(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct parts *s = arg;
	size_t n;

	// a part may have nothing to say
	for (unsigned i = 0; s->at == s->len && !s->ended && i < ENTRIES_A_PART; i++)
		if (!part_make(s))
			return MHD_CONTENT_READER_END_WITH_ERROR;
	n = s->len - s->at < max ? s->len - s->at : max;
	if (n == 0)
		return s->ended ? MHD_CONTENT_READER_END_OF_STREAM : 0;
	memcpy(buf, s->text + s->at, n);
	s->at += n;
	return (ssize_t)n;
}

static void on_free(void *arg)
{
	free(((struct parts *)arg)->text);
	free(arg);
}

struct MHD_Response *parts_response(const struct control *c, parts_entry *entry)
{
	struct parts *s = calloc(1, sizeof(*s));
	struct MHD_Response *response = NULL;

	if (s == NULL)
		return NULL;
	s->control = c;
	s->entry = entry;
	response = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, BLOCK_BYTES, on_read, s, on_free
	);
	if (response == NULL)
		on_free(s);
	return response;
}
