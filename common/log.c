// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// One line, one write.

#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *log_program = "mailrace";
static enum log_level log_most_verbose = LOG_INFO;

void log_init(const char *program, enum log_level most_verbose)
{
	log_program = program;
	log_most_verbose = most_verbose;
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[1024];
	va_list ap;
	int n = 0, m;

	if (level > log_most_verbose)
		return;
	if (getenv("JOURNAL_STREAM") != NULL)
		n = snprintf(line, sizeof(line), "<%d>", (int)level);
	n += snprintf(line + n, sizeof(line) - (size_t)n, "%s: ", log_program);
	va_start(ap, format);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, ap);
	va_end(ap);
	n = n + m < (int)sizeof(line) - 2 ? n + m : (int)sizeof(line) - 2;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; // nowhere to tell
}
