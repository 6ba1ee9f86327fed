// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// `mailracectl tarpit compare FILE`: what an Exchange server's own log says of its delays beside
// what was counted here, by reason and hour. Single events are not kept, so sums are compared.

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "tools/ctl.h"
#include "tools/exchange_log.h"
#include "tools/table.h"

#define HOURS 26
#define LINE_ROOM 65536
#define SHORT_US 400000 // less cannot be told from the network

struct cell {
	double events, seconds;
};

struct compare {
	int64_t from, to; // what both know of, seconds since 1970
	uint64_t outside, too_short;
	struct cell server[TARPIT_REASONS][HOURS], here[TARPIT_REASONS][HOURS];
};

static const struct column columns[] = {
	{"REASON", "reason"},
	{"SERVER", "server_events"},
	{"HERE", "here_events"},
	{"SERVER-TIME", "server_seconds"},
	{"HERE-TIME", "here_seconds"},
	{"AGREEMENT-%", "agreement_percent"},
	{NULL, NULL},
};

static struct cell *cell_at(struct cell of[TARPIT_REASONS][HOURS], unsigned reason, int64_t unix_s)
{
	return &of[reason][unix_s / 3600 % HOURS];
}

static void event_take(void *up, const struct exchange_event *event)
{
	struct compare *c = up;
	struct cell *cell;

	if (event->unix_s < c->from || event->unix_s > c->to) {
		c->outside++;
		return;
	}
	if (event->us < SHORT_US && event->reason != TARPIT_BACK_PRESSURE_REJECT) {
		c->too_short++;
		return;
	}
	cell = cell_at(c->server, event->reason, event->unix_s);
	cell->events++;
	cell->seconds += (double)event->us / 1e6;
}

static unsigned reason_find(const char *label)
{
	for (unsigned i = 0; label != NULL && i < TARPIT_REASONS; i++)
		if (strcmp(tarpit_texts[i].label, label) == 0)
			return i;
	return TARPIT_UNKNOWN;
}

// Of one backend, or of all.
static void here_take(struct compare *c, const json_t *hours, const char *backend)
{
	const json_t *o;
	size_t i;

	json_array_foreach(hours, i, o)
	{
		const char *name = json_string_value(json_object_get(o, "name"));
		int64_t start = json_integer_value(json_object_get(o, "start"));
		struct cell *cell;

		if (start < c->from / 3600 * 3600 || start > c->to ||
		    (backend != NULL && (name == NULL || strcmp(name, backend) != 0)))
			continue;
		cell = cell_at(
			c->here, reason_find(json_string_value(json_object_get(o, "reason"))), start
		);
		cell->events += json_number_value(json_object_get(o, "events"));
		cell->seconds += json_number_value(json_object_get(o, "seconds"));
	}
}

// Of all events that either saw, those that both did, hour by hour.
static json_t *row_make(const struct compare *c, unsigned reason)
{
	struct cell server = {0}, here = {0};
	double both = 0, either = 0;
	json_t *o;

	for (unsigned h = 0; h < HOURS; h++) {
		const struct cell *s = &c->server[reason][h], *t = &c->here[reason][h];

		server.events += s->events;
		server.seconds += s->seconds;
		here.events += t->events;
		here.seconds += t->seconds;
		both += s->events < t->events ? s->events : t->events;
		either += s->events > t->events ? s->events : t->events;
	}
	if (either == 0)
		return NULL;
	o = json_object();
	json_object_set_new(o, "reason", json_string(tarpit_texts[reason].label));
	json_object_set_new(o, "server_events", json_integer((json_int_t)server.events));
	json_object_set_new(o, "here_events", json_integer((json_int_t)here.events));
	json_object_set_new(o, "server_seconds", json_real(server.seconds));
	json_object_set_new(o, "here_seconds", json_real(here.seconds));
	json_object_set_new(
		o, "agreement_percent", json_integer((json_int_t)(100 * both / either + 0.5))
	);
	return o;
}

static json_t *result_make(const struct compare *c, const struct exchange_log *log)
{
	json_t *list = json_array();

	for (unsigned reason = 0; reason < TARPIT_REASONS; reason++) {
		json_t *row = row_make(c, reason);

		if (row != NULL)
			json_array_append_new(list, row);
	}
	return json_pack(
		"{s:o,s:I,s:I,s:I,s:I,s:I}",
		"reasons",
		list,
		"lines",
		(json_int_t)log->lines,
		"malformed_lines",
		(json_int_t)log->malformed,
		"tarpits",
		(json_int_t)log->tarpits,
		"outside",
		(json_int_t)c->outside,
		"too_short",
		(json_int_t)c->too_short
	);
}

static void result_print(const json_t *o)
{
	const json_t *rows = json_object_get(o, "reasons");

	if (json_array_size(rows) > 0)
		table_print(stdout, rows, columns);
	printf("%lld lines, %lld of them malformed, %lld delays; %lld events at times that were "
	       "not looked at here, %lld too short to be told from the network\n"
	       "(counts of each hour are compared, not single events: these are not kept)\n",
	       (long long)json_integer_value(json_object_get(o, "lines")),
	       (long long)json_integer_value(json_object_get(o, "malformed_lines")),
	       (long long)json_integer_value(json_object_get(o, "tarpits")),
	       (long long)json_integer_value(json_object_get(o, "outside")),
	       (long long)json_integer_value(json_object_get(o, "too_short")));
}

// A line that is longer is none of the server's.
static int file_read(const char *path, struct exchange_log *log)
{
	static char line[LINE_ROOM];
	FILE *in = fopen(path, "r");
	bool rest = false; // of such a line

	if (in == NULL) {
		fprintf(stderr, "mailracectl: %s: %s\n", path, strerror(errno));
		return EX_NOINPUT;
	}
	while (fgets(line, sizeof(line), in) != NULL) {
		size_t len = strlen(line);
		bool ends = (len > 0 && line[len - 1] == '\n') || feof(in);

		if (ends && !rest)
			exchange_log_line(log, line, len);
		else
			log->malformed += ends;
		log->lines += ends && rest;
		rest = !ends;
	}
	exchange_log_end(log);
	fclose(in);
	return EX_OK;
}

int do_tarpit_compare(const struct options *opt, char **args)
{
	struct exchange_log *log = calloc(1, sizeof(*log));
	struct compare *c = calloc(1, sizeof(*c));
	struct api_answer a;
	int status = EX_OSERR;

	if (args[0] == NULL || (args[1] != NULL && args[2] != NULL))
		status = usage(EX_USAGE);
	else if (log != NULL && c != NULL)
		status = ask(opt, "GET", "/v1/tarpit", &a);
	if (status == EX_OK) {
		json_t *o;

		c->from = json_integer_value(json_object_get(a.body, "since"));
		c->to = c->from +
			(int64_t)json_number_value(json_object_get(a.body, "covers_seconds"));
		if (c->to / 3600 - c->from / 3600 >= 24)
			c->from = (c->to / 3600 - 23) * 3600; // what is kept of it
		exchange_log_init(log, event_take, c);
		status = file_read(args[0], log);
		here_take(c, json_object_get(a.body, "hours"), args[1]);
		o = result_make(c, log);
		if (status == EX_OK && opt->json)
			json_print(o);
		else if (status == EX_OK)
			result_print(o);
		json_decref(o);
		json_decref(a.body);
	}
	free(log);
	free(c);
	return status;
}
