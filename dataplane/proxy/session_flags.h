// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a session and its leg are in the middle of: SESSION_F_* and SESSION_LEG_F_*, whose meaning
// stands in session_flags.def. For this folder and its tests.

#pragma once

#include <assert.h>

enum {
#define SESSION_FLAG(name) SESSION_BIT_##name,
#define LEG_FLAG(name)
#include "dataplane/proxy/session_flags.def"
#undef SESSION_FLAG
#undef LEG_FLAG
	SESSION_BITS
};

enum {
#define SESSION_FLAG(name)
#define LEG_FLAG(name) SESSION_LEG_BIT_##name,
#include "dataplane/proxy/session_flags.def"
#undef SESSION_FLAG
#undef LEG_FLAG
	SESSION_LEG_BITS
};

enum {
#define SESSION_FLAG(name) SESSION_F_##name = 1 << SESSION_BIT_##name,
#define LEG_FLAG(name) SESSION_LEG_F_##name = 1 << SESSION_LEG_BIT_##name,
#include "dataplane/proxy/session_flags.def"
#undef SESSION_FLAG
#undef LEG_FLAG
};

// Begins with either header.
#define SESSION_LEG_F_HEADER (SESSION_LEG_F_PROXY_V1 | SESSION_LEG_F_PROXY_V2)

// One bit each, by their order; both words of a session hold theirs.
static_assert(SESSION_BITS <= 31 && SESSION_LEG_BITS <= 16, "the flags outgrow their words");
