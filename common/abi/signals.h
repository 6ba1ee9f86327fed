// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Names of what the traffic met at a backend, and of why one takes no sessions, as labels. Any
// process.

#pragma once

#include "common/abi/shm_layout.h"

extern const char *const reason_names[SHM_REASONS];
extern const char *const signal_names[SHM_SIGNALS];
