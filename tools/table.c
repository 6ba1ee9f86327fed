// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Tables for people, see table.h. Text comes from the network in part (replies of servers): only
// printable ASCII is shown.

#include "tools/table.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define CELL_MAX 160
#define COLUMNS_MAX 24

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

static void seconds_format(double s, char cell[CELL_MAX])
{
	if (s < 0.001)
		snprintf(cell, CELL_MAX, "%.0fus", s * 1e6);
	else if (s < 1)
		snprintf(cell, CELL_MAX, "%.1fms", s * 1e3);
	else if (s < 120)
		snprintf(cell, CELL_MAX, "%.2fs", s);
	else if (s < 7200)
		snprintf(cell, CELL_MAX, "%.0fm", s / 60);
	else
		snprintf(cell, CELL_MAX, "%.1fh", s / 3600);
}

static void scalar_format(const json_t *v, const char *key, char cell[CELL_MAX])
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		snprintf(cell, CELL_MAX, "%s", json_string_value(v));
		break;
	case JSON_INTEGER:
		snprintf(cell, CELL_MAX, "%" PRId64, (int64_t)json_integer_value(v));
		break;
	case JSON_REAL:
		if (ends_with(key, "_seconds"))
			seconds_format(json_real_value(v), cell);
		else
			snprintf(cell, CELL_MAX, "%.3f", json_real_value(v));
		break;
	case JSON_TRUE:
		snprintf(cell, CELL_MAX, "yes");
		break;
	case JSON_FALSE:
		snprintf(cell, CELL_MAX, "no");
		break;
	default:
		cell[0] = '\0';
		break;
	}
}

// Arrays of scalars: joined by commas.
static void cell_format(const json_t *v, const char *key, char cell[CELL_MAX])
{
	size_t used = 0, i;
	const json_t *item;

	cell[0] = '\0';
	if (v == NULL)
		return;
	if (!json_is_array(v))
		scalar_format(v, key, cell);
	json_array_foreach(v, i, item)
	{
		char one[CELL_MAX];

		scalar_format(item, key, one);
		used += (size_t
		)snprintf(cell + used, CELL_MAX - used, "%s%s", i > 0 ? "," : "", one);
		if (used >= CELL_MAX)
			break;
	}
	for (char *c = cell; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static const json_t *member(const json_t *o, const char *key)
{
	const char *dot = strchr(key, '.');
	char outer[64];

	if (dot == NULL)
		return json_object_get(o, key);
	snprintf(outer, sizeof(outer), "%.*s", (int)(dot - key), key);
	return json_object_get(json_object_get(o, outer), dot + 1);
}

static bool is_number(const json_t *v)
{
	return v == NULL || json_is_number(v);
}

void table_print(FILE *out, const json_t *rows, const struct column *columns)
{
	int width[COLUMNS_MAX];
	bool number[COLUMNS_MAX];
	char cell[CELL_MAX];
	unsigned n = 0;
	size_t i;
	const json_t *row;

	for (; n < COLUMNS_MAX && columns[n].title != NULL; n++) {
		width[n] = (int)strlen(columns[n].title);
		number[n] = json_array_size(rows) > 0;
		json_array_foreach(rows, i, row)
		{
			const json_t *v = member(row, columns[n].key);

			cell_format(v, columns[n].key, cell);
			number[n] = number[n] && is_number(v);
			if ((int)strlen(cell) > width[n])
				width[n] = (int)strlen(cell);
		}
	}
	for (unsigned k = 0; k < n; k++)
		fprintf(out,
			"%*s%s",
			number[k] ? width[k] : -width[k],
			columns[k].title,
			k + 1 < n ? "  " : "\n");
	json_array_foreach(rows, i, row)
	{
		for (unsigned k = 0; k < n; k++) {
			cell_format(member(row, columns[k].key), columns[k].key, cell);
			fprintf(out,
				"%*s%s",
				number[k] ? width[k] : -width[k],
				cell,
				k + 1 < n ? "  " : "\n");
		}
	}
}

void members_print(FILE *out, const json_t *object, const char *prefix)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)object, key, v)
	{
		char name[128], cell[CELL_MAX];
		json_t *inner;
		const char *k;

		snprintf(name, sizeof(name), "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", key);
		if (!json_is_object(v)) {
			cell_format(v, key, cell);
			fprintf(out, "%-40s %s\n", name, cell);
			continue;
		}
		json_object_foreach(v, k, inner)
		{
			cell_format(inner, k, cell);
			fprintf(out, "%s.%-*s %s\n", name, 39 - (int)strlen(name), k, cell);
		}
	}
}
