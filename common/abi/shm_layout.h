// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The two segments (sealed memfds) that the dataplane makes at start and hands over its UNIX
// socket:
//   statistics: dataplane rw; control, exporter and CLI get a read-only descriptor
//   control:    dataplane rw, control rw; nobody else gets it
// Offsets only, found through the directory; a reader checks every entry once against the segment's
// size, skips unknown types, accepts larger strides, and maps anew when boot_id changes. What the
// other side wrote is data to be checked, never trusted. Layouts change only together with
// MR_ABI_MAJOR / MR_ABI_MINOR.

#pragma once

#include <stdint.h>

#include "common/abi/abi.h"
#include "common/abi/blob.h"
#include "common/abi/capture.h"
#include "common/abi/ctl_msg.h"
#include "common/abi/ledger.h"
#include "common/abi/shm_health.h"
#include "common/abi/tarpit.h"

#define SHM_STATS_MAGIC 0x5354415453524d31ULL   // statistics segment
#define SHM_CONTROL_MAGIC 0x4c52544e43524d31ULL // control segment
#define SHM_DIR_ENTRIES 32
#define SHM_WORKERS_MAX 64 // larger counts are refused at attach
#define SHM_BACKEND_SLOTS_MAX (2U * BLOB_MAX_BACKENDS + 64)
#define SHM_SERVICE_SLOTS_MAX (2U * BLOB_MAX_SERVICES + 64)
#define SHM_STATS_MAX 4096

enum shm_section {
	SHM_SEC_STAT_DESC = 1, // shm_stat_desc[]: names of the counters, in order
	SHM_SEC_WORKER = 2,    // shm_worker[] (statistics), one a worker
	SHM_SEC_COUNTERS = 3,  // uint64_t[stat count] a worker, and the main thread's after them
	SHM_SEC_BACKEND_LOCAL = 4, // shm_backend_local[slots] a worker, stride = one worker's block
	SHM_SEC_SERVICE_LOCAL = 5, // shm_service_local[slots] a worker, likewise
	SHM_SEC_PORT = 6,          // one entry: shm_port[], one a port, to the first without a name
	SHM_SEC_BACKEND = 7,       // one entry: shm_backend[slots] (statistics)
	SHM_SEC_SERVICE = 8,       // one entry: shm_service[slots] (statistics)
	SHM_SEC_CONFLICT = 9,      // one entry: shm_conflict[SHM_CONFLICTS] (statistics)
	SHM_SEC_PORT_LINK = 10,    // shm_port_link, one a port, in the order of SHM_SEC_PORT
	SHM_SEC_BACKEND_VERDICT = 12, // one entry: shm_backend_verdict[slots], as control wrote it
	SHM_SEC_BACKEND_SIGNALS = 13, // shm_backend_signals[slots] a worker (statistics), likewise;
				      // 11 was without slow networks
	SHM_SEC_CERTIFICATE = 14,     // one entry: shm_certificate[CREDS_MAX_CERTS] (statistics)
	SHM_SEC_BACKEND_CTL =
		16, // shm_backend_ctl[slots] (control): written by control, read by workers
	SHM_SEC_CMD_RING = 17,            // struct ctl_ring a worker, control -> worker
	SHM_SEC_EVT_RING = 18,            // struct ctl_ring a worker, worker -> control
	SHM_SEC_BLOB_ARENA = 19,          // one, of BLOB_MAX_BYTES: see sock.h
	SHM_SEC_CONTROL_STATE = 20,       // shm_control_state
	SHM_SEC_CAPTURE_RING = 21,        // struct capture_ring a worker, worker -> control
	SHM_SEC_TEST_MAIL = 22,           // ctl_test_mail: control: rw, workers: ro
	SHM_SEC_BACKEND_VERDICT_CTL = 24, // shm_backend_verdict[slots] (control)
	SHM_SEC_LEDGER_RING = 25,    // struct capture_ring a worker, worker -> control: ledger.h
	SHM_SEC_TARPIT_BACKEND = 26, // shm_tarpit[backend slots] a worker (statistics)
	SHM_SEC_TARPIT_SERVICE = 27, // shm_tarpit[service slots] a worker (statistics)
	SHM_SEC_TARPIT_SOURCE = 28,  // shm_tarpit_source[SHM_TARPIT_SOURCES] a worker (statistics)
};

struct shm_dir_entry {
	uint32_t type; // enum shm_section, 0 = unused
	uint32_t count;
	uint64_t off;
	uint64_t stride;
};

struct shm_header {
	uint64_t magic;
	uint16_t abi_major, abi_minor;
	uint32_t size_of_header;
	uint64_t size;    // of the segment
	uint64_t boot_id; // random, new at each start of the dataplane
	uint64_t started_unix_ns;
	char version[32];
	uint64_t heartbeat_ns; // CLOCK_MONOTONIC of the dataplane's main thread, dp: rw, others: ro
	uint64_t generation;   // configuration in force at all workers, dp: rw, others: ro
	uint32_t workers, backend_slots, service_slots, stat_count;
	uint64_t max_sessions;
	uint64_t session_bytes;        // reserved for sessions, tables and free lists included (T7)
	uint64_t control_heartbeat_ns; // CLOCK_MONOTONIC of control's last turn, 0: never attached;
				       // the age of the health view, dp: rw, others: ro
	uint32_t buffers_total, buffers_in_use; // of all pools; those in receive rings count as in
						// use, dp: rw (main thread), others: ro
	struct shm_dir_entry dir[SHM_DIR_ENTRIES];
};

struct shm_stat_desc {
	char group[16];
	char name[48];
	uint32_t kind; // enum stat_kind
	uint32_t reserved;
	char help[120];
};
static_assert(sizeof(struct shm_stat_desc) == 192, "ABI");

struct shm_worker { // dp: rw (its worker), others: ro
	uint64_t heartbeat_ns;
	uint64_t seen_generation;
	uint64_t events_lost;
	uint32_t sessions, connections, half_open, time_wait;
	uint32_t longest_turn_us;
	uint32_t reserved[3];
};

// Latency histogram: bucket i counts replies whose time is below SHM_HIST edge i and not below edge
// i - 1. Edges: four an octave from 64 us plus the policy edges of common/abi/hist.h; the last
// bucket is open.
#define SHM_HIST_BUCKETS 96

enum shm_verb_group {
	SHM_VERB_BANNER = 0, // SYN sent to 220
	SHM_VERB_EHLO = 1,
	SHM_VERB_MAIL = 2,
	SHM_VERB_RCPT = 3,
	SHM_VERB_END_OF_DATA =
		4, // last octet of the body taken from the client to the reply (BDAT LAST too)
	SHM_VERB_OTHER = 5, // DATA, BDAT, RSET, NOOP, AUTH, VRFY, QUIT ...
	SHM_VERB_GROUPS = 6,
};

struct shm_hist {
	uint32_t bucket[SHM_HIST_BUCKETS];
	uint64_t sum_us;
	uint64_t count;
};

struct shm_backend_local {    // dp: rw (its worker), others: ro
	uint32_t active;      // legs open, whatever their state
	uint32_t connecting;  // of these not greeted yet
	uint32_t orphans;     // of these without a client, until they can be left politely
	uint32_t probes_left; // probes (not among these) that are over and await a late reply, or
			      // 221
	uint64_t connects, connect_refused, connect_timeouts, resets;
	uint64_t sessions, messages, recipients, bytes;
	uint64_t replies_4xx, replies_5xx, replies_421;
	uint64_t eod_lost; // connection lost after the last octet of a body, before its reply (RFC
			   // 1047)
	uint64_t desync;   // more replies than commands (G5)
	struct shm_hist latency[SHM_VERB_GROUPS];
};

struct shm_service_local { // dp: rw (its worker), others: ro
	uint32_t active;
	uint32_t reserved;
	uint64_t sessions, refused, messages, recipients, bytes;
	uint64_t no_backend; // sessions told 421 because no backend could be had
};

// A certificate that the generation in force uses; others in the array are left from before.
struct shm_certificate { // dp: rw (main thread), others: ro
	char name[MR_NAME_LEN];
	int64_t not_after; // seconds since 1970
	uint64_t generation;
};

// What stands in a slot. The name stays when it has left the configuration, until the slot is taken
// by another.
struct shm_backend {         // dp: rw (main thread), others: ro
	uint64_t generation; // last one in which it stands; 0: the slot was never used
	char pool[MR_NAME_LEN];
	char name[MR_NAME_LEN];
	struct ip_addr addr;
	uint16_t port;
	uint8_t health; // enum shm_health, copied from control's segment
	uint8_t admin;  // enum blob_admin, the stricter of the blob's and control's
	uint32_t weight, max_connections;
	uint32_t reserved;
};
static_assert(sizeof(struct shm_backend) == 8 + 128 + 16 + 16, "ABI");

struct shm_service { // dp: rw (main thread), others: ro
	uint64_t generation;
	char name[MR_NAME_LEN];
	char pool[MR_NAME_LEN];
};

struct shm_port { // dp: rw (main thread), others: ro
	char name[MR_NAME_LEN];
	uint8_t mac[6];
	uint8_t link_up;
	uint8_t reserved;
	uint32_t queues;
	uint32_t speed_mbps; // 0: not known
	uint32_t mtu;
	uint64_t rx_packets, rx_bytes, rx_missed, rx_errors, rx_nombuf, tx_packets, tx_bytes,
		tx_errors;
};

#define SHM_CONFLICTS 64

enum shm_conflict_state {
	SHM_CONFLICT_NONE = 0,     // unused
	SHM_CONFLICT_OFF = 1,      // the other has it, we do not use it
	SHM_CONFLICT_DEFENDED = 2, // we had it first and keep it
	SHM_CONFLICT_OVER = 3,     // it was off and is ours now
};

// An address of ours that another station has, or claims. The first SHM_CONFLICTS since the start.
struct shm_conflict { // dp: rw (worker 0), others: ro
	struct ip_addr addr;
	uint8_t state; // enum shm_conflict_state
	uint8_t port;
	uint8_t mac[6];   // of the other
	uint64_t times;   // it was heard
	uint64_t last_ns; // CLOCK_MONOTONIC
};
static_assert(sizeof(struct shm_conflict) == 40, "ABI");
enum shm_spread {            // how the frames of a port find the worker that owns their tuple
	SHM_SPREAD_NONE = 0, // there is one worker
	SHM_SPREAD_RSS = 1,
	SHM_SPREAD_SOFTWARE = 2, // workers hand frames over
};

struct shm_port_link {    // dp: rw (main thread), others: ro
	uint64_t changes; // of the link, up or down, as seen five times a second
	uint32_t spread;  // enum shm_spread
	uint32_t reserved;
};

enum shm_health {
	SHM_HEALTH_UNKNOWN = 0,
	SHM_HEALTH_UP = 1,
	SHM_HEALTH_DOWN = 2,        // probes failed
	SHM_HEALTH_MAINTENANCE = 3, // told every session 421
	SHM_HEALTH_EJECTED = 4,     // by what the traffic met there
};

struct shm_backend_ctl {  // control: rw, dp: ro. Unknown counts as up (control not there yet).
	uint8_t health;   // enum shm_health
	uint8_t admin;    // enum blob_admin, by the API; the stricter of this and the blob's holds
	uint16_t changes; // of health, so that none is missed by a worker without traffic
	uint32_t weight_permille; // of the configured weight: slow start and the like; 0 is read as
				  // 1000
};

struct shm_control_state {     // control: rw, dp: ro (the exporter reads a copy that the dataplane
			       // keeps in statistics)
	uint64_t heartbeat_ns; // CLOCK_MONOTONIC of control
	uint32_t pid;
	uint32_t reserved;
};
