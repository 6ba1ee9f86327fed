// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The shipped sample with pieces of its text replaced, loaded out of a file as operators do.

#pragma once

#include "config/cfg.h"

extern const char *sample;     // path, set by main()
extern struct cfg_errors errs; // of the last file

struct cfg *load_text(const char *text);
struct cfg *
load_two(const char *from, const char *to, const char *other_from, const char *other_to);
struct cfg *load_with(const char *from, const char *to);
// With this replaced the file is refused, by this key and at a line.
void refused(const char *from, const char *to, const char *key, const char *reason);
