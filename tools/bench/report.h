// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a run found: for people on stdout, as JSON in a file. Main thread, at the end.

#pragma once

#include <stdbool.h>

struct bench;

// False: something failed, was lost, doubled or left over.
bool report_judge(struct bench *b);
void report_print(const struct bench *b);
// False: the file could not be written.
bool report_write(const struct bench *b, const char *path);
