// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The generation blob: one immutable, self-contained picture of the reloadable configuration
// (services, pools, backends, networks). Control compiles it from the checked model
// (config/cfg_blob.c); the dataplane copies it to private memory, validates the copy
// (config/blob_check.c) and swaps one pointer a worker. Offsets from the start of the blob, fixed
// widths, little-endian, no pointers. Private keys never stand in it.
//
// Slots: backends and services keep a stable slot number across generations (assigned by control,
// by name), so sessions, health and statistics refer to slots and a reload touches no session. Slot
// 0 is never used.

#pragma once

#include <stdint.h>

#include "common/abi/abi.h"
#include "common/addr.h"

#define BLOB_MAGIC 0x42524d31U // "1MRB"
#define BLOB_MAX_BYTES (16U << 20)
#define BLOB_MAX_SERVICES 1024
#define BLOB_MAX_LISTENERS 4096
#define BLOB_MAX_POOLS 1024
#define BLOB_MAX_BACKENDS 16384
#define BLOB_MAX_SOURCES 4096
#define BLOB_MAX_PREFIXES 65536
#define BLOB_MAX_RULES 16384

struct blob_array {
	uint32_t off;   // from the start of the blob, multiple of 8
	uint32_t count; // entries; size is fixed by the ABI version
};

// The credentials that a generation needs; they themselves come beside it (creds.h).
struct blob_tls {
	uint32_t servers, clients; // credentials of either kind; both 0: no TLS
	uint8_t digest[32];        // SHA-256 of the bundle that holds them
	uint64_t recipe;           // of files and settings they are made from
};

struct blob_header {
	uint32_t magic;
	uint16_t abi_major, abi_minor;
	uint64_t generation;         // rises with each publication, by 1 to 2^20
	uint32_t length;             // whole blob
	uint32_t crc32;              // zlib crc32 of the whole blob with this field 0
	char hostname[256];          // banner, EHLO reply and 421 of every service
	struct blob_array listeners; // struct blob_listener
	struct blob_array services;  // struct blob_service
	struct blob_array pools;     // struct blob_pool
	struct blob_array backends;  // struct blob_backend, those of a pool adjacent
	struct blob_array sources; // struct blob_source, those of a source_addresses group adjacent
	struct blob_array prefixes; // struct blob_prefix, those of a network adjacent
	struct blob_array rules;    // struct blob_rule, those of a service adjacent and in order,
				    // and behind them its header_rules
	struct blob_tls tls;
	uint32_t ledger; // enum blob_ledger
	uint32_t reserved;
};
static_assert(sizeof(struct blob_header) == 24 + 256 + 7 * 8 + 48 + 8, "ABI");

// What the ledger keeps of the addresses of a mail (ledger.h).
enum blob_ledger {
	BLOB_LEDGER_OFF = 0, // nothing at all is told of any mail
	BLOB_LEDGER_NONE = 1,
	BLOB_LEDGER_DOMAIN = 2, // "@" and what is behind it
	BLOB_LEDGER_FULL = 3,
};

enum blob_tls_mode {
	BLOB_TLS_OFF = 0,
	BLOB_TLS_PASSTHROUGH = 1,
	BLOB_TLS_STARTTLS_OPTIONAL = 2,
	BLOB_TLS_STARTTLS_REQUIRED = 3,
	BLOB_TLS_IMPLICIT = 4,
};
// Towards the backends.
enum blob_leg_tls { BLOB_LEG_PLAIN = 0, BLOB_LEG_STARTTLS = 1, BLOB_LEG_IMPLICIT = 2 };
// STARTTLS beyond a limit.
enum blob_tls_overflow { BLOB_OVERFLOW_HOLD = 0, BLOB_OVERFLOW_PLAINTEXT = 1 };
#define BLOB_MAX_SHAKES_PER_SECOND 4000
#define BLOB_MAX_TARPIT_DELAY_MS 60000
#define BLOB_MAX_TARPIT_ERRORS 60
// How backends learn who the client is.
enum blob_client_address {
	BLOB_CLIENT_SNAT = 0, // they see an address of ours
	BLOB_CLIENT_PROXY_V1 = 1,
	BLOB_CLIENT_PROXY_V2 = 2,
	BLOB_CLIENT_XCLIENT = 3,
};
enum blob_bare_lf { BLOB_BARE_LF_REJECT = 0, BLOB_BARE_LF_RESTUFF = 1, BLOB_BARE_LF_PASS = 2 };
enum blob_early_talker { BLOB_EARLY_REJECT = 0, BLOB_EARLY_COUNT = 1 };
enum blob_scheduler { BLOB_SCHED_WRR = 0, BLOB_SCHED_WLC = 1 };
enum blob_admin { BLOB_ADMIN_ENABLED = 0, BLOB_ADMIN_DRAIN = 1 };

struct blob_listener {
	struct ip_addr addr;
	uint16_t port;
	uint16_t service; // index into services
	uint32_t reserved;
};
static_assert(sizeof(struct blob_listener) == 24, "ABI");

// What a service does with a client; a rule repeats it whole for the clients of one network.
struct blob_policy {
	uint8_t tls_mode;       // enum blob_tls_mode
	uint8_t bare_lf;        // enum blob_bare_lf
	uint8_t early_talker;   // enum blob_early_talker
	uint8_t client_address; // 1 + enum blob_client_address; 0: the pool's
	uint32_t sources;       // first index into blob sources, UINT32_MAX: the pool's
	uint32_t source_count;
	uint32_t tls_server; // 1 + index of the server credentials; 0: none
};
static_assert(sizeof(struct blob_policy) == 16, "ABI");

struct blob_service {
	char name[MR_NAME_LEN];
	uint32_t slot;
	uint32_t pool; // index into pools
	struct blob_policy policy;
	uint32_t rules, rule_count;   // index into rules; first match wins
	uint32_t sessions_per_client; // 0: no limit of ours
	uint32_t max_message_bytes;   // 0: no limit of ours (P9)
	uint32_t max_recipients;      // 0: no limit of ours (C13)
	uint32_t client_idle_ms;      // between commands, default 300 000
	uint32_t data_idle_ms;        // between segments of a body, default 180 000
	uint32_t shakes_per_client;   // handshakes of a client at once; 0: no limit of ours
	uint32_t shakes_per_second;   // of a client, at most BLOB_MAX_SHAKES_PER_SECOND; likewise
	uint32_t tls_queue_ms;        // STARTTLS waits so long for its turn, default 30 000
	uint32_t tls_overflow;        // enum blob_tls_overflow
	// So many entries of rules behind the service's own: networks whose connections begin with
	// a PROXY header. Nothing else of them counts.
	uint32_t header_rules;
	// Behind these: networks whose clients wait in our tarpit, then those it spares.
	uint32_t tarpit_rules, tarpit_spared;
	uint32_t tarpit_delay_ms; // at most BLOB_MAX_TARPIT_DELAY_MS; 0: no tarpit
	uint32_t tarpit_errors;   // of a session, at most BLOB_MAX_TARPIT_ERRORS; 0: not by errors
};
static_assert(sizeof(struct blob_service) == 64 + 8 + 16 + 8 + 40 + 16, "ABI");

struct blob_rule {
	uint32_t prefixes, prefix_count; // the network, index into prefixes
	struct blob_policy policy;
};
static_assert(sizeof(struct blob_rule) == 24, "ABI");

struct blob_prefix {
	struct ip_addr addr; // host bits zero
	uint8_t len;         // of the 128-bit form
	uint8_t reserved[7];
};
static_assert(sizeof(struct blob_prefix) == 24, "ABI");

struct blob_source {
	struct ip_addr addr;
};
static_assert(sizeof(struct blob_source) == 16, "ABI");

enum {
	BLOB_POOL_F_SOFT_BOUNCE = 1 << 0, // the backends' 5xx to the envelope and body become 4xx
};

struct blob_pool {
	char name[MR_NAME_LEN];
	uint32_t backends, backend_count; // index into backends; may be 0 backends
	uint32_t sources, source_count;   // 0: the address of the port that routes to the backend
	uint8_t scheduler;                // enum blob_scheduler
	uint8_t flags;                    // BLOB_POOL_F_*
	uint16_t backup;             // index into pools + 1: for when nothing is up here; 0: none
	uint32_t connect_timeout_ms; // default 3 000
	uint32_t banner_timeout_ms;  // default 30 000
	uint32_t reply_timeout_ms;   // default 660 000
	uint32_t end_of_data_timeout_ms; // default 720 000
	uint32_t slow_start_ms;          // 0: off
	uint32_t tls_client;             // 1 + index of the client credentials; 0: plain legs
	uint8_t tls_mode;                // enum blob_leg_tls
	uint8_t client_address;          // enum blob_client_address
	uint8_t reserved[2];
};
static_assert(sizeof(struct blob_pool) == 64 + 16 + 32, "ABI");

struct blob_backend {
	char name[MR_NAME_LEN];
	struct ip_addr addr;
	uint16_t port;
	uint8_t admin; // enum blob_admin
	uint8_t reserved;
	uint32_t slot;            // stable across generations; < the segment's backend slots
	uint32_t weight;          // 1 .. 65535; 0 takes no new sessions
	uint32_t max_connections; // 0: no limit
	uint32_t pool;            // index into pools
	uint32_t reserved2;
};
static_assert(sizeof(struct blob_backend) == 64 + 16 + 24, "ABI");
