// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See virtual.h.

#include "tests/fuzz/virtual.h"

#include "tests/fuzz/eal.h"
#include "tests/fuzz/fuzz.h"

void virtual_settle(struct sim *sim)
{
	unsigned work = 1;

	for (unsigned i = 0; work > 0; i++) {
		FUZZ_CHECK(i < 10000); // never out of work
		work = sim_wire_deliver(sim);
		for (unsigned h = 0; h < sim->host_count; h++)
			work += sim->host[h]->turn(sim->host[h]);
	}
	for (unsigned h = 0; h < sim->host_count; h++)
		sim->host[h]->check(sim->host[h]);
	FUZZ_CHECK(sim->failed == NULL);
}

void virtual_advance(struct sim *sim, uint32_t ms)
{
	virtual_settle(sim);
	while (ms > 0) {
		uint32_t step = ms;

		for (unsigned h = 0; h < sim->host_count; h++)
			step = sim->host[h]->next_ms(sim->host[h], step);
		step = step > 0 ? step : 1;
		sim->now_ns += step * SIM_MS;
		ms -= step;
		virtual_settle(sim);
	}
}

void virtual_init(struct sim *sim)
{
	sim->now_ns = 1000 * SIM_MS;
	sim->pool = eal_pool;
	sim->small_pool = eal_small_pool;
	sim->ref_pool = eal_ref_pool;
	rng_seed(&sim->rng, 1);
}
