// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the API shows, as JSON: base units in the names (_seconds, _bytes), counters since the
// dataplane's start with _total. Each returns a new reference. Main thread of control.

#pragma once

#include <jansson.h>

#include "controlplane/control.h"

json_t *show_status(const struct control *c);
json_t *show_virtual_services(const struct control *c);
json_t *show_pools(const struct control *c);
json_t *show_ports(const struct control *c);
json_t *show_conflicts(const struct control *c);
json_t *show_certificates(const struct control *c);
json_t *show_tarpit(const struct control *c);
json_t *show_workers(const struct control *c);
json_t *show_counters(const struct control *c);
json_t *show_errors(const struct cfg_errors *errs);
// One entry of the session list; names come from the generation in force.
json_t *show_session(const struct control *c, unsigned worker, const struct ctl_session *s);
// Entries of lists that are sent in parts (parts.h): backend number i, its reply times.
bool show_backend(const struct control *c, unsigned i, json_t *out);
bool show_latency(const struct control *c, unsigned i, json_t *out);
// The counters of one slot over all workers; no histograms.
struct shm_backend_local backend_sum(const struct link *l, uint32_t slot);
