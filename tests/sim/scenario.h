// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a seed plays: drawn from its numbers, run, and judged. Sets sim->failed.

#pragma once

#include "tests/sim/sim.h"

void scenario_direct(struct sim *sim); // clients and a backend without anything between: proves TCP
// The product between them; tls: clients that begin TLS, or try to.
void scenario_relay(struct sim *sim, bool tls);
void scenario_offer(struct sim *sim); // dialogues before and in TLS, line by line
void scenario_pass(struct sim *sim);  // passthrough, octet by octet
void scenario_cost(struct sim *sim);  // plain sessions on a good wire, for counting instructions
