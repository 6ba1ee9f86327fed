// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// `mailracectl tarpit`: who waited for what, in the last minutes, hour and day, and what an
// operator would do about it.

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "tools/ctl.h"
#include "tools/table.h"

static const struct column reason_columns[] = {
	{"REASON", "reason"},
	{"NOW", "now_seconds"},
	{"HOUR", "hour_seconds"},
	{"DAY", "day_seconds"},
	{"REPLIES-NOW", "now_events"},
	{"HOUR", "hour_events"},
	{"DAY", "day_events"},
	{NULL, NULL},
};
static const struct column row_columns[] = {
	{"BY", "by"},
	{"NAME", "name"},
	{"REASON", "reason"},
	{"NOW", "now_seconds"},
	{"HOUR", "hour_seconds"},
	{"DAY", "day_seconds"},
	{"REPLIES", "day_events"},
	{NULL, NULL},
};

static void span_print(double seconds)
{
	if (seconds >= 3600)
		printf("%.0f h %.0f min",
		       (double)(long)(seconds / 3600),
		       (double)((long)seconds / 60 % 60));
	else if (seconds >= 60)
		printf("%ld min %ld s", (long)seconds / 60, (long)seconds % 60);
	else
		printf("%.1f s", seconds);
}

static double number(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static const char *text(const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));

	return t != NULL ? t : "";
}

static void summary_print(const json_t *reasons)
{
	const json_t *most = NULL, *o;
	double hour = 0, day = 0;
	size_t i;

	json_array_foreach(reasons, i, o)
	{
		hour += number(o, "hour_seconds");
		day += number(o, "day_seconds");
		if (most == NULL || number(o, "day_seconds") > number(most, "day_seconds"))
			most = o;
	}
	printf("Clients waited for slow replies: ");
	span_print(hour);
	printf(" in the last hour, ");
	span_print(day);
	printf(" in the last day");
	if (day > 0)
		printf(" (%.0f %% %s)",
		       100 * number(most, "day_seconds") / day,
		       text(most, "reason"));
	printf(".\n");
}

static void remedies_print(const json_t *reasons)
{
	const json_t *o;
	size_t i;

	json_array_foreach(reasons, i, o)
	{
		printf("\n%s: %s\n  on the server: %s\n  here: %s\n",
		       text(o, "reason"),
		       text(o, "what"),
		       text(o, "on_the_server"),
		       text(o, "here"));
	}
}

static void intervals_print(const json_t *intervals)
{
	const json_t *o;
	size_t i;

	json_array_foreach(intervals, i, o)
	{
		printf("%s delays refusals by %.3g s\n",
		       text(o, "name"),
		       number(o, "interval_seconds"));
	}
}

int do_tarpit(const struct options *opt, char **args)
{
	struct api_answer a;
	const json_t *reasons;
	int status;

	if (args[0] != NULL && strcmp(args[0], "compare") == 0)
		return do_tarpit_compare(opt, args + 1);
	if (args[0] != NULL)
		return usage(EX_USAGE);
	status = ask(opt, "GET", "/v1/tarpit", &a);
	if (status != 0)
		return status;
	reasons = json_object_get(a.body, "reasons");
	if (opt->json) {
		json_print(a.body);
	} else {
		summary_print(reasons);
		if (json_array_size(reasons) > 0) {
			printf("\n");
			table_print(stdout, reasons, reason_columns);
			printf("\n");
			table_print(stdout, json_object_get(a.body, "rows"), row_columns);
			remedies_print(reasons);
			printf("\n");
		}
		intervals_print(json_object_get(a.body, "intervals"));
		if (number(a.body, "covers_seconds") < 86400) {
			printf("(this reaches back ");
			span_print(number(a.body, "covers_seconds"));
			printf(": since the control process began)\n");
		}
	}
	json_decref(a.body);
	return EX_OK;
}
