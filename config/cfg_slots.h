// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Slot numbers while a blob is built: for cfg_blob.c and its tests. Main thread.

#pragma once

#include "config/cfg.h"

#define CFG_SLOT_NAME_LEN (2 * MR_NAME_LEN)
// "pool/backend", the name under which a backend has its slot. Returns ret.
char *cfg_slot_name(const char *pool, const char *backend, char ret[CFG_SLOT_NAME_LEN]);
void cfg_slots_begin(struct cfg_slots *slots);
// Before the first cfg_slots_get: a name of the generation to come keeps its slot, if it has one.
void cfg_slots_keep(struct cfg_slots *slots, enum cfg_slot_kind kind, const char *name);
// The slot of a name, its old one where it had one; 0: none is left.
uint32_t cfg_slots_get(struct cfg_slots *slots, enum cfg_slot_kind kind, const char *name);
