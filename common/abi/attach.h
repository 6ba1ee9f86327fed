// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The other processes' side of the dataplane's socket and segments: ask, map, find a section. What
// a segment says of itself is checked before it is used. Any process but the dataplane, any thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/shm_layout.h"

struct shm_view {
	uint8_t *base;
	uint64_t size;
	const struct shm_header *header;
};

// Asks for the statistics and maps them read-only. 0; -EPROTONOSUPPORT: another ABI version;
// -EPERM: not for this user; else -errno.
int attach_reader(struct shm_view *ret_stats, const char *socket_path);

struct attach_control {
	int fd; // the lease: closed means detached
	struct shm_view stats, control;
	uint32_t blob_length; // of the blob in force, in the arena; 0: none
	uint64_t boot_id;
};

// Attaches as the control process. Further errors: -EBUSY: another one is attached.
int attach_control(struct attach_control *ret, const char *socket_path);
void attach_control_close(struct attach_control *a);

// Does the header say what it is, with counts that can be? Part of attaching.
bool shm_view_ok(const struct shm_view *view, uint64_t magic);
void shm_view_unmap(struct shm_view *view);
// Entry i of a section, of at least need bytes, or NULL when the segment has no such.
void *shm_view_entry(const struct shm_view *view, uint32_t type, uint32_t i, uint64_t need);
