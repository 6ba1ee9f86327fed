// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Attaching to a running dataplane's statistics, read-only: for the exporter and the viewer. Any
// process, one thread.

#pragma once

#include <stdint.h>

#include "common/abi/shm_layout.h"

struct stats_view {
	const uint8_t *base;
	uint64_t size;
	const struct shm_header *header;
};

// 0, or -errno: -ENOENT/-ECONNREFUSED no dataplane there, -EPROTO an answer that is none,
// -EPROTONOSUPPORT another ABI.
int stats_attach(struct stats_view *view, const char *socket_path);
void stats_detach(struct stats_view *view);
// Entry i of a section, checked against the segment's size; NULL when it is not there.
const void *stats_entry(const struct stats_view *view, uint32_t type, uint32_t i, uint64_t need);
