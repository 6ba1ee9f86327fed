// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Names of the counters in shared memory, made from stats.def. Shared by all processes; the order
// of the rows is part of the ABI (readers take names from the segment's own table, not from this
// list).

#pragma once

#include <stdint.h>

enum stat_kind {
	STAT_KIND_EVENT, // mailrace_<group>_<name>_total
	STAT_KIND_DROP,  // mailrace_<group>_drops_total{reason="<name>"}: a packet we did not take
	STAT_KIND_REFUSAL, // mailrace_<group>_refusals_total{reason="<name>"}: a peer, command or
			   // request we turned away
	STAT_KIND_GAUGE,   // mailrace_<group>_<name>
	STAT_KIND_COMMAND, // mailrace_backend_<group>_commands_total{verb,cause}, name
			   // <verb>_<cause>
};

enum stat_id {
#define STAT(sym, group, name, kind, help) STAT_##sym,
#include "common/abi/stats.def"
#undef STAT
	STAT_COUNT
};

struct stat_desc {
	const char *group;
	const char *name;
	enum stat_kind kind;
	const char *help; // one sentence, for HELP lines and the man page
};

extern const struct stat_desc stat_descs[STAT_COUNT];
