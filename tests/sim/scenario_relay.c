// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The product between clients and backends.

#include "tests/sim/scenario.h"

void scenario_relay(struct sim *sim)
{
	scenario_direct(sim);
}
