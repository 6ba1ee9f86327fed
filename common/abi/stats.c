// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The table of all counters, made from stats.def: written into the statistics segment at start, so
// that readers need no list of their own.

#include "common/abi/stats.h"

const struct stat_desc stat_descs[STAT_COUNT] = {
#define STAT(sym, group, name, kind, help) [STAT_##sym] = {group, name, STAT_KIND_##kind, help},
#include "common/abi/stats.def"
#undef STAT
};
