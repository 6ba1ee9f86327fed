// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The line that tells the cycles of a worker's stages. Main thread, at the end.

#include "dataplane/turn_meter.h"

#include <stdio.h>

#include "common/log.h"

static const char *const names[TURN_S_COUNT] = {
#define X(sym, name) name,
	TURN_STAGES(X)
#undef X
};

void turn_meter_show(const struct turn_meter *m, unsigned worker, uint64_t sessions)
{
	char text[256];
	uint64_t sum = 0;
	size_t n = 0;

	for (unsigned i = 0; i < TURN_S_COUNT && n < sizeof(text); i++) {
		sum += m->sum[i];
		n += (size_t)snprintf(
			text + n,
			sizeof(text) - n,
			" %s %llu",
			names[i],
			(unsigned long long)(sessions > 0 ? m->sum[i] / sessions : m->sum[i])
		);
	}
	log_line(
		LOG_NOTICE,
		"worker %u: %llu turns with work (%llu long ones left out), %llu sessions; cycles "
		"a session: %llu =%s",
		worker,
		(unsigned long long)m->turns,
		(unsigned long long)m->left_out,
		(unsigned long long)sessions,
		(unsigned long long)(sessions > 0 ? sum / sessions : sum),
		text
	);
}
