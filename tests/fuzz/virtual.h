// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Virtual time for fuzzers that run hosts of the simulator.

#pragma once

#include "tests/sim/sim.h"

void virtual_settle(struct sim *sim);               // until no host has anything left to do
void virtual_advance(struct sim *sim, uint32_t ms); // and so long
// A simulation with the fuzzers' buffers, at its first second.
void virtual_init(struct sim *sim);
