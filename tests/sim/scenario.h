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
void scenario_loss(struct sim *sim);  // streams over bad wires
bool scenario_loss_judge(void);       // of all its seeds: false when time-outs were too many
void scenario_cost(struct sim *sim);  // plain sessions on a good wire, for counting instructions
