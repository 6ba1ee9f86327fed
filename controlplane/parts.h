// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Long lists of the API, made and sent a part at a time: neither memory nor the time between two
// turns of control grows with them. Main thread of control.

#pragma once

#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>

#include "controlplane/control.h"

// Appends what there is to say of number i, which may be nothing; false: i is beyond the last one.
typedef bool parts_entry(const struct control *c, unsigned i, json_t *out);

// A JSON array of all entries, one a line. A reload in the middle may show one twice or not at all.
// NULL: no memory.
struct MHD_Response *parts_response(const struct control *c, parts_entry *entry);
