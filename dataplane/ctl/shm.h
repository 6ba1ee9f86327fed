// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The two shared segments (common/abi/shm_layout.h), made at start as sealed memfds. Main thread
// makes them; workers write their own blocks of the statistics.

#pragma once

#include <stdint.h>

#include "common/abi/ring.h"
#include "common/abi/shm_layout.h"
#include "common/abi/stats.h"

#define SHM_PORTS 17 // CFG_MAX_PORTS and one without a name

struct shm {
	int stats_fd, stats_ro_fd, control_fd;
	uint8_t *stats, *control; // mappings
	size_t stats_bytes, control_bytes;
	struct shm_header *header;
	struct shm_header control_header;                                    // as it must be
	uint64_t control_off[SHM_SEC_LEDGER_RING - SHM_SEC_BACKEND_CTL + 1]; // of the sections:
									     // never read back from
									     // the segment
	uint32_t workers, backend_slots, service_slots;
};

// Control may have spoilt what stands before its sections: written anew for each one that attaches.
void shm_control_header_restore(const struct shm *shm);

int shm_init(
	struct shm *shm,
	uint32_t workers,
	uint32_t backend_slots,
	uint32_t service_slots
); // 0 or -errno
void shm_fini(struct shm *shm);

struct shm_worker *shm_worker_at(const struct shm *shm, unsigned worker);
// Worker number workers: the main thread.
uint64_t *shm_counters_at(const struct shm *shm, unsigned worker);
void shm_main_add(const struct shm *shm, enum stat_id stat, uint64_t n);
void shm_main_set(const struct shm *shm, enum stat_id stat, uint64_t value);
struct shm_backend_local *shm_backends_at(const struct shm *shm, unsigned worker);
struct shm_backend_signals *shm_signals_at(const struct shm *shm, unsigned worker);
struct shm_tarpit *shm_tarpit_backends_at(const struct shm *shm, unsigned worker);
struct shm_tarpit *shm_tarpit_services_at(const struct shm *shm, unsigned worker);
struct shm_tarpit_source *shm_tarpit_sources_at(const struct shm *shm, unsigned worker);
struct shm_backend_verdict *shm_verdicts(const struct shm *shm); // [backend_slots]
struct shm_service_local *shm_services_at(const struct shm *shm, unsigned worker);
struct shm_port *shm_ports(const struct shm *shm);                            // [SHM_PORTS]
struct shm_backend *shm_backend_names(const struct shm *shm);                 // [backend_slots]
struct shm_service *shm_service_names(const struct shm *shm);                 // [service_slots]
struct shm_certificate *shm_certificates(const struct shm *shm);              // [CREDS_MAX_CERTS]
struct shm_conflict *shm_conflicts(const struct shm *shm);                    // [SHM_CONFLICTS]
struct shm_port *shm_ports(const struct shm *shm);                            // [SHM_PORTS]
struct shm_port_link *shm_port_link_at(const struct shm *shm, unsigned port); // of SHM_PORTS
struct shm_backend *shm_backend_names(const struct shm *shm);                 // [backend_slots]
struct shm_service *shm_service_names(const struct shm *shm);                 // [service_slots]
// Written by control: read one field at a time and check it.
struct shm_backend_ctl *shm_backend_ctl_at(const struct shm *shm);
const struct shm_backend_verdict *shm_verdicts_ctl(const struct shm *shm);
const struct shm_control_state *shm_control_state_at(const struct shm *shm);
struct ctl_ring *shm_commands_at(const struct shm *shm, unsigned worker);
struct ctl_ring *shm_events_at(const struct shm *shm, unsigned worker);
uint8_t *shm_arena(const struct shm *shm); // BLOB_MAX_BYTES
struct capture_ring *shm_capture_at(const struct shm *shm, unsigned worker);
struct capture_ring *shm_ledger_at(const struct shm *shm, unsigned worker);
const struct ctl_test_mail *shm_test_mail(const struct shm *shm);
