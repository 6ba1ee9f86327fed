// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// JSON objects as lines of a table for people. Any process, one thread.

#pragma once

#include <jansson.h>
#include <stdio.h>

struct column {
	const char *title;
	const char *key; // "probe.result": a member of a member; *_seconds are shown with a unit
};

// One line an object of the array, columns as wide as they must be. columns end with a NULL title.
void table_print(FILE *out, const json_t *rows, const struct column *columns);
// One line a member, nested objects by dotted names.
void members_print(FILE *out, const json_t *object, const char *prefix);
