// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See tarpit.h. Constants; any thread.

#include "common/abi/tarpit.h"

const struct tarpit_text tarpit_texts[TARPIT_REASONS] = {
#define TARPIT(sym, label, what, server, here) [TARPIT_##sym] = {label, what, server, here},
#include "common/abi/tarpit.def"
#undef TARPIT
};

bool shm_tarpit_add(struct shm_tarpit *to, const struct shm_tarpit *from)
{
	bool any = false;

	for (unsigned i = 0; i < TARPIT_REASONS; i++) {
		to->events[i] += __atomic_load_n(&from->events[i], __ATOMIC_RELAXED);
		to->us[i] += __atomic_load_n(&from->us[i], __ATOMIC_RELAXED);
		any = any || to->events[i] != 0;
	}
	if (from->interval_ms > to->interval_ms)
		to->interval_ms = from->interval_ms;
	return any;
}
