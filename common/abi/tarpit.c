// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See tarpit.h. Constants; any thread.

#include "common/abi/tarpit.h"

const struct tarpit_text tarpit_texts[TARPIT_REASONS] = {
#define TARPIT(sym, label, what, server, here) [TARPIT_##sym] = {label, what, server, here},
#include "common/abi/tarpit.def"
#undef TARPIT
};
