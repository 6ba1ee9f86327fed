// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The view of the time lost to tarpits, see show.h and tarpit.h.

#include "controlplane/json_set.h"
#include "controlplane/show.h"
#include "controlplane/tarpit.h"

static const char *const by_names[TARPIT_BYS] = {
	[TARPIT_BY_BACKEND] = "backend",
	[TARPIT_BY_SERVICE] = "virtual-service",
	[TARPIT_BY_SOURCE] = "source-address",
};

struct windows {
	struct tarpit_part now, hour, day;
};

static void
windows_get(const struct tarpit_log *log, const struct tarpit_row *row, struct windows *ret)
{
	tarpit_row_minutes(log, row, 2, &ret->now);
	tarpit_row_minutes(log, row, TARPIT_MINUTES, &ret->hour);
	tarpit_row_hours(log, row, TARPIT_HOURS, &ret->day);
}

static void windows_set(json_t *o, const struct windows *w, unsigned reason)
{
	set_uint(o, "now_events", w->now.events[reason]);
	set_seconds(o, "now_seconds", (double)w->now.ms[reason] / 1e3);
	set_uint(o, "hour_events", w->hour.events[reason]);
	set_seconds(o, "hour_seconds", (double)w->hour.ms[reason] / 1e3);
	set_uint(o, "day_events", w->day.events[reason]);
	set_seconds(o, "day_seconds", (double)w->day.ms[reason] / 1e3);
}

static bool is_empty(const struct windows *w, unsigned reason)
{
	return w->now.events[reason] + w->hour.events[reason] + w->day.events[reason] == 0;
}

static json_t *rows_show(const struct tarpit_log *log)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < log->rows; i++) {
		struct windows w;

		windows_get(log, &log->row[i], &w);
		for (unsigned reason = 0; reason < TARPIT_REASONS; reason++) {
			json_t *o;

			if (is_empty(&w, reason))
				continue;
			o = json_object();
			set_text(o, "by", by_names[log->row[i].by]);
			set_text(o, "name", log->row[i].name);
			set_text(o, "reason", tarpit_texts[reason].label);
			windows_set(o, &w, reason);
			json_array_append_new(list, o);
		}
	}
	return list;
}

static void windows_add(struct windows *to, const struct windows *from)
{
	for (unsigned i = 0; i < TARPIT_REASONS; i++) {
		to->now.events[i] += from->now.events[i];
		to->now.ms[i] += from->now.ms[i];
		to->hour.events[i] += from->hour.events[i];
		to->hour.ms[i] += from->hour.ms[i];
		to->day.events[i] += from->day.events[i];
		to->day.ms[i] += from->day.ms[i];
	}
}

// Over all backends, with what to do about it.
static json_t *reasons_show(const struct tarpit_log *log)
{
	json_t *list = json_array();
	struct windows sum = {0};

	for (uint32_t i = 0; i < log->rows; i++) {
		struct windows w;

		if (log->row[i].by != TARPIT_BY_BACKEND)
			continue;
		windows_get(log, &log->row[i], &w);
		windows_add(&sum, &w);
	}
	for (unsigned reason = 0; reason < TARPIT_REASONS; reason++) {
		json_t *o;

		if (is_empty(&sum, reason))
			continue;
		o = json_object();
		set_text(o, "reason", tarpit_texts[reason].label);
		windows_set(o, &sum, reason);
		set_text(o, "what", tarpit_texts[reason].what);
		set_text(o, "on_the_server", tarpit_texts[reason].server);
		set_text(o, "here", tarpit_texts[reason].here);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *intervals_show(const struct tarpit_log *log)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < log->rows; i++) {
		json_t *o;

		if (log->row[i].by != TARPIT_BY_BACKEND || log->row[i].interval_ms == 0)
			continue;
		o = json_object();
		set_text(o, "name", log->row[i].name);
		set_seconds(o, "interval_seconds", (double)log->row[i].interval_ms / 1e3);
		json_array_append_new(list, o);
	}
	return list;
}

// The day by hours, for a comparison with a server's own log.
static void hours_show(const struct tarpit_log *log, const struct tarpit_row *row, json_t *list)
{
	for (unsigned k = 0; k < TARPIT_HOURS && k <= log->now_s / 3600; k++) {
		uint64_t hour = log->now_s / 3600 - k;
		const struct tarpit_part *part = &row->hour[hour % TARPIT_HOURS];

		for (unsigned reason = 0; reason < TARPIT_REASONS; reason++) {
			json_t *o;

			if (part->events[reason] == 0)
				continue;
			o = json_object();
			set_uint(o, "start", hour * 3600);
			set_text(o, "name", row->name);
			set_text(o, "reason", tarpit_texts[reason].label);
			set_uint(o, "events", part->events[reason]);
			set_seconds(o, "seconds", (double)part->ms[reason] / 1e3);
			json_array_append_new(list, o);
		}
	}
}

json_t *show_tarpit(const struct control *c)
{
	const struct tarpit_log *log = c->tarpit;
	json_t *o = json_object(), *hours = json_array();

	set_uint(o, "since", log->since_s);
	set_seconds(o, "covers_seconds", (double)(log->now_s - log->since_s));
	set_uint(o, "unkept_total", log->unkept);
	json_object_set_new(o, "reasons", reasons_show(log));
	json_object_set_new(o, "rows", rows_show(log));
	json_object_set_new(o, "intervals", intervals_show(log));
	for (uint32_t i = 0; i < log->rows; i++)
		if (log->row[i].by == TARPIT_BY_BACKEND)
			hours_show(log, &log->row[i], hours);
	json_object_set_new(o, "hours", hours);
	return o;
}
