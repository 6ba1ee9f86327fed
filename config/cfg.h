// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The configuration model: immutable once cfg_load() gave it out, validated whole, in host form.
// Loaded by control, by the dataplane at start (ports, memory, first generation) and by
// `mailracectl check`, all through the same code. Nothing here runs on a worker. Keys are rows of
// config/cfg_keys.def; a key that is not built yet is refused by name.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/abi/blob.h"
#include "common/addr.h"
#include "config/cfg_tls.h"

#define CFG_DEFAULT_PATH "/etc/mailrace/mailrace.conf"
#define CFG_DEFAULT_STATE_DIR "/var/lib/mailrace"
#define CFG_MAX_PORTS 16
#define CFG_MAX_WORKERS 64
#define CFG_MAX_ADDRESSES 64 // a port
#define CFG_MAX_ERRORS 64    // kept; further ones only counted

struct cfg_error {
	char file[256];
	unsigned line;    // 0: the file as a whole
	char key[128];    // path such as "pools.exchange.backends[1].address"
	char reason[256]; // a sentence an operator can act on
	bool warning;     // does not refuse the file
};

struct cfg_errors {
	struct cfg_error item[CFG_MAX_ERRORS];
	unsigned count;      // all, may exceed CFG_MAX_ERRORS
	unsigned errors;     // those that are not warnings
	char state_dir[108]; // control.state_dir, also of a file that is refused, if it could be
			     // read; else ""
};

struct cfg_port {
	char name[MR_NAME_LEN];
	char device[128]; // PCI address, or a vdev string: "net_tap0,iface=mr0",
			  // "net_af_packet0,iface=veth0,qpairs=2"
	uint16_t vlan;    // 0: untagged
	uint16_t mtu;
	uint16_t queues; // 0: as many as workers, or what the device has
	struct ip_prefix addresses[CFG_MAX_ADDRESSES];
	unsigned address_count;
	struct ip_addr gateways[2]; // at most one a family
	unsigned gateway_count;
};

struct cfg_dataplane {
	unsigned workers;
	uint32_t max_sessions;    // all workers together
	uint64_t hugepages_bytes; // 0: none, run on ordinary memory
	uint64_t memory_bytes;    // for buffers when there are no hugepages
	uint32_t buffers;         // packet buffers; 0: derived
	bool idle_sleep;          // default true
	char user[32];    // switched to once ports are open; "" keeps the one it was started by
	char socket[108]; // default /run/mailrace/dataplane.sock
	unsigned backend_slots, service_slots; // sized from the file with room to grow
	uint32_t max_tls_connections; // all workers together; 0: none, the dataplane takes no TLS
	bool max_tls_derived;         // the file does not say how many
	bool headers;                 // a service has proxy_protocol_from
	uint32_t max_tls_handshakes;  // likewise, of each of the credentials
	unsigned crypto_threads;      // beside the workers
	bool tls_engine_strict;
};

struct cfg_probe {
	bool enabled; // type = "smtp"
	uint32_t interval_ms, timeout_ms;
	unsigned rise, fall;
	struct ip_addr source[2]; // towards IPv6, IPv4; unspecified: the routing port's own
};

struct cfg_backend {
	char name[MR_NAME_LEN];
	struct ip_endpoint address;
	uint32_t weight, max_connections;
	enum blob_admin admin;
};

struct cfg_sources { // a group of source_addresses
	char name[MR_NAME_LEN];
	struct ip_addr *addresses;
	unsigned count;
};

struct cfg_network {
	char name[MR_NAME_LEN];
	struct ip_prefix *prefixes;
	unsigned count;
};

struct cfg_pool {
	char name[MR_NAME_LEN];
	enum blob_scheduler scheduler;
	int source; // index into sources, -1: the port's address
	struct cfg_probe probe;
	uint32_t connect_timeout_ms, banner_timeout_ms, reply_timeout_ms, end_of_data_timeout_ms,
		slow_start_ms, ejection_ms;
	int backup; // index into pools, -1: none
	bool soft_bounce, passive_health, bounce_guard;
	bool strict; // the backends know no end of data but CRLF . CRLF
	struct cfg_backend *backends;
	unsigned backend_count;
	enum blob_leg_tls tls_mode;
	unsigned tls_client; // 1 + index into tls_clients; 0: plain legs
	enum blob_client_address client_address;
};

struct cfg_policy {
	enum blob_tls_mode tls_mode;
	enum blob_bare_lf bare_lf;
	enum blob_early_talker early_talker;
	int source;              // index into sources, -1: the pool's
	unsigned tls_server;     // 1 + index into tls_servers; 0: none named
	unsigned client_address; // 1 + enum blob_client_address; 0: the pool's
};

struct cfg_rule {
	unsigned network; // index into networks
	struct cfg_policy policy;
};

struct cfg_service {
	char name[MR_NAME_LEN];
	struct ip_endpoint *listen;
	unsigned listen_count;
	unsigned pool; // index into pools
	struct cfg_policy policy;
	struct cfg_rule *rules;
	unsigned rule_count;
	unsigned *header_networks; // indices into networks: they send a PROXY header first
	unsigned header_count, tarpit_listed, tarpit_spared;
	unsigned *tarpit_networks; // likewise: those that wait, then those that are spared
	uint32_t sessions_per_client, max_message_bytes, max_recipients, client_idle_ms,
		data_idle_ms, shakes_per_client, shakes_per_second, tls_queue_ms, tarpit_delay_ms,
		tarpit_errors;
	enum blob_tls_overflow tls_overflow;
};

struct cfg {
	char path[256];
	char hostname[256];
	struct cfg_dataplane dataplane;
	struct {
		char socket[108]; // API, default /run/mailrace/control.sock
		char admin_group[32], read_group[32];
		char user[32];
		char state_dir[108]; // default /var/lib/mailrace
	} control;
	struct {
		struct ip_endpoint listen; // default 127.0.0.1:9825
		char user[32];
	} exporter;
	struct {
		enum blob_ledger keep;
		char directory[108];
		uint64_t bytes; // of all files
		unsigned days;
	} ledger;
	struct cfg_port ports[CFG_MAX_PORTS];
	unsigned port_count;
	struct cfg_sources *sources;
	unsigned source_count;
	struct cfg_network *networks;
	unsigned network_count;
	struct cfg_certificate *certificates;
	unsigned certificate_count;
	struct cfg_tickets tickets;
	struct cfg_tls_server *tls_servers; // each once, however many services use it
	unsigned tls_server_count;
	struct cfg_tls_client *tls_clients;
	unsigned tls_client_count;
	struct cfg_pool *pools;
	unsigned pool_count;
	struct cfg_service *services;
	unsigned service_count;
};

// Reads and checks a file. NULL when it has any error; errs (cleared first) then says what, where,
// and which key. With warnings only, the model is returned. The caller owns it.
struct cfg *cfg_load(const char *path, struct cfg_errors *errs);
// The same, and the whole file's text with what it includes, for the caller to free (NULL: no
// memory).
struct cfg *cfg_load_text(const char *path, struct cfg_errors *errs, char **ret_text);
// As cfg_load from such a text; path: whence it came, for errors and for the model.
struct cfg *cfg_parse(const char *text, const char *path, struct cfg_errors *errs);
void cfg_free(struct cfg *cfg);
// "file:line: key: reason" into buf; returns buf.
const char *cfg_error_format(const struct cfg_error *err, char *buf, size_t len);

// One log line each.
void cfg_errors_log(const struct cfg_errors *errs);

#define CFG_START_ONLY_MAX 15
// Names of the keys that differ and that a reload leaves as they are. Returns how many.
unsigned cfg_diff_start_only(
	const struct cfg *running,
	const struct cfg *next,
	const char *ret_keys[CFG_START_ONLY_MAX]
);

// Does a service name certificates, or a pool begin TLS?
bool cfg_has_tls(const struct cfg *cfg);
// Of what all workers together may have, this one's part: as even as can be, one at least.
uint32_t cfg_share(uint32_t total, unsigned workers, unsigned worker);
// What a blob says of its credentials: set by whoever has them.
void blob_tls_set(struct blob_header *blob, const uint8_t digest[32], uint64_t recipe);

// Stable slot numbers by name ("pool/backend" and service names), kept across generations. Whoever
// compiles next adopts those of the generation in force first, so control and dataplane may restart
// and take turns. A slot whose name is gone is reused only after all free ones.
struct cfg_slots;
struct cfg_slots *cfg_slots_new(unsigned backend_slots, unsigned service_slots);
void cfg_slots_free(struct cfg_slots *slots);
// The names of a blob that blob_check has passed, and of slots that are not in it but whose names
// are still known.
void cfg_slots_adopt(struct cfg_slots *slots, const struct blob_header *blob);
enum cfg_slot_kind { CFG_SLOT_BACKEND, CFG_SLOT_SERVICE };
// A slot in use by sessions is given to no other name.
void cfg_slots_hold(struct cfg_slots *slots, enum cfg_slot_kind kind, uint32_t slot, bool held);

// Compiles the reloadable part. 0 and a malloc'ed blob of *ret_len bytes, or -errno (-ENOSPC: more
// backends or services than slots, told in errs).
int cfg_blob_build(
	const struct cfg *cfg,
	struct cfg_slots *slots,
	uint64_t generation,
	void **ret_blob,
	size_t *ret_len,
	struct cfg_errors *errs
);

// Checks every field of an untrusted blob that the caller has already copied to private memory:
// magic, version, length, crc, array bounds and alignment, indices, enums, NUL-terminated names,
// slots below the given numbers. 0, or -EINVAL and a reason that names the field. Never reads
// beyond len. Any thread.
int blob_check(
	const void *blob,
	size_t len,
	unsigned backend_slots,
	unsigned service_slots,
	const char **ret_reason
);
