// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Log lines to standard error with the priority prefix that journald reads (sd-daemon(3)). Workers
// log only at start and stop. Any thread.

#pragma once

enum log_level { LOG_ERROR = 3, LOG_WARNING = 4, LOG_NOTICE = 5, LOG_INFO = 6 };

// program: name in front of each line, static.
void log_init(const char *program, enum log_level most_verbose);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
