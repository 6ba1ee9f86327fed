// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Configuration text that is no file, and the blob of a small one. One thread.

#pragma once

#include "config/cfg.h"

// Path under which the text can be read until the next call.
const char *conf_path(const void *text, size_t len);

#define CONF_SLOTS 16
// A good blob of generation 7 with rules, sources and both families; the caller frees it.
struct blob_header *conf_blob(size_t *ret_len);
