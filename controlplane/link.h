// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The connection to the running dataplane: its segments, its rings, publications. Main thread of
// control.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/abi/attach.h"
#include "common/abi/blob.h"
#include "common/abi/ring.h"
#include "config/cfg.h"

struct link {
	struct attach_control at; // at.fd -1: detached, and nothing below may be used
	uint32_t workers, backend_slots, service_slots;
	struct ctl_ring *commands[CFG_MAX_WORKERS], *events[CFG_MAX_WORKERS];
	const struct shm_backend_local *backends[CFG_MAX_WORKERS]; // [backend_slots] each
	const struct shm_service_local *services[CFG_MAX_WORKERS]; // [service_slots] each
	struct shm_backend_ctl *backend_ctl;                       // [backend_slots]
	struct shm_backend_verdict *verdicts; // [backend_slots]; NULL: a dataplane without them
	struct shm_control_state *state;
	struct ctl_test_mail *test_mail; // NULL: a dataplane before ours
	uint8_t *arena;                  // BLOB_MAX_BYTES
	struct blob_header *blob;        // in force: our own checked copy
};

// Attaches and copies the generation in force. 0; -EBUSY: another control process is attached;
// -EPERM, -EPROTONOSUPPORT, -ENOENT, -ECONNREFUSED ...: see attach.h.
int link_open(struct link *link, const char *socket_path);
// Finds the sections in both segments: false when something is missing. Part of opening.
bool link_sections(struct link *link);
void link_close(struct link *link);
static inline bool link_is_open(const struct link *link)
{
	return link->at.fd >= 0;
}
// False when the dataplane has gone; the link is closed then.
bool link_check(struct link *link);

// Publishes a blob with the credentials it names (creds_fd -1: none) and takes the blob over on
// success (the caller frees it otherwise). 0; -EINVAL:
// refused, reason says why; -EBUSY: the workers still take over the last one after a second;
// -ENOTCONN: the dataplane has gone.
int link_publish(
	struct link *link,
	struct blob_header *blob,
	int creds_fd,
	char *reason,
	size_t reason_len
);

// Has the dataplane started with the last good configuration, since its file was refused, and got
// no generation since?
bool link_has_last_good(const struct link *link);
// Does a session of any worker use the slot? False when detached.
bool link_backend_is_held(const struct link *link, uint32_t slot);
bool link_service_is_held(const struct link *link, uint32_t slot);
// One worker's block, or NULL.
const struct shm_backend_local *
link_backend(const struct link *link, uint32_t worker, uint32_t slot);
const struct shm_backend_signals *
link_signals(const struct link *link, uint32_t worker, uint32_t slot);
const struct shm_service_local *
link_service(const struct link *link, uint32_t worker, uint32_t slot);
