// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The session pair: client leg and backend leg of one SMTP session on one worker, relayed by the
// rules of the service's policy (design: statements C, P, G, Z). Above TCP, calls smtp/ and lb/
// leaves. One worker's thread; no rte_ header, no allocation after relay_new, no clock but the
// env's.

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/abi/blob.h"
#include "common/abi/capture.h"
#include "common/abi/ctl_msg.h"
#include "common/abi/shm_layout.h"
#include "common/env.h"
#include "common/hash.h"
#include "dataplane/lb/lb.h"
#include "dataplane/tcp/tcp.h"

struct relay;
struct tls_engine;
struct tls_set;

// Shared-memory blocks of this worker (or plain arrays in tests).
struct relay_shm {
	struct shm_worker *worker;
	struct shm_backend_local *backends;        // [backend_slots]
	struct shm_service_local *services;        // [service_slots]
	struct shm_backend_signals *signals;       // [backend_slots], NULL: not counted
	struct shm_tarpit *tarpit_backends;        // [backend_slots], NULL: not counted
	struct shm_tarpit *tarpit_services;        // [service_slots], of the same worker
	struct shm_tarpit_source *tarpit_sources;  // [SHM_TARPIT_SOURCES]
	const struct shm_backend_ctl *backend_ctl; // [backend_slots]
	const struct ctl_test_mail *test_mail;     // written by control; NULL: no test mails
	const uint32_t *others_active;             // [backend_slots], see lb_view
	struct lb_leases *leases;                  // of all workers; NULL: of this one alone
	struct capture_ring *ledger;               // NULL: no mail is recorded
	uint32_t backend_slots, service_slots;
};

struct relay_config {
	struct worker_env *env;
	struct relay_shm shm;
	uint32_t max_sessions;      // of this worker
	struct hash_key client_key; // the same for all workers
	struct tls_engine *tls;     // this worker's; NULL: no TLS
	uint32_t max_tls;   // TLS connections of this worker, of clients and backends together
	uint32_t max_named; // sessions of this worker that may begin with a PROXY header
	// Answers and events for control: returns false when the ring is full (counted,
	// level-triggered).
	bool (*event)(void *up, const struct ctl_msg *msg);
	void *up;
};

struct relay *relay_new(const struct relay_config *config); // NULL + errno
void relay_free(struct relay *relay);
// Once, after both exist (TCP's app is the relay).
void relay_attach(struct relay *relay, struct tcp_stack *tcp);
// Once for each other worker: its sessions count for sessions_per_client too.
void relay_neighbor_set(struct relay *relay, uint16_t worker, const struct relay *other);
size_t relay_bytes(const struct relay *relay); // reserved for sessions (T7)
extern const struct tcp_ops relay_tcp_ops;

// Publishes a validated generation. Sessions keep slots, not pointers: the old blob may be freed
// when this returns. tls: the credentials that go with it, NULL: it needs none.
void relay_generation(
	struct relay *relay,
	const struct blob_header *blob,
	const struct tls_set *tls
);
// Is addr a virtual service's or a source address? For net_ops.is_local.
bool relay_is_local(const struct relay *relay, const struct ip_addr *addr);

// A session as captures see it.
struct relay_view {
	uint64_t id;
	struct ip_addr client;      // unspecified: none, or gone
	struct ip_endpoint backend; // likewise
	uint32_t service_slot;
	bool is_leg; // the connection asked for is the backend's
};
// Of a connection's user word (tcp_user_find).
void relay_view_get(struct relay *relay, uint32_t user, struct relay_view *ret);
// Is told the lines of the dialogues, secrets and bodies left out, while one listens; NULL: none.
struct relay_listener {
	void *up;
	void (*line)(
		void *up,
		const struct relay_view *view,
		enum capture_kind kind,
		const char *text,
		uint32_t len
	);
};
void relay_listener_set(struct relay *relay, const struct relay_listener *listener);
// Tells a session and its connections to control as events, if it is among the slots from *cursor
// on that one call looks at. False: not there; *cursor to go on from, 0: nowhere.
bool relay_session_tell(struct relay *relay, uint64_t id, uint32_t request_id, uint32_t *cursor);
// Slot of the service that listens there, 0: none.
uint32_t relay_listener_service(const struct relay *relay, const struct ip_endpoint *local);

void relay_command(
	struct relay *relay,
	const struct ctl_msg *msg
); // from control: unknown ones counted
unsigned relay_timers_run(struct relay *relay);
// Public-key work of handshakes, and what waited for it: at the end of a turn, before TCP's output.
unsigned relay_tls_run(struct relay *relay);
uint32_t relay_next_timer_ms(const struct relay *relay, uint32_t limit_ms);
// Box-wide drain: no new session (421 4.3.2), sessions between mails end with 421 at their next
// command.
void relay_drain(struct relay *relay);
// The process ends: drains, and sessions between mails are told 421 4.3.2 now (RFC 5321 3.8).
// Visits all sessions: once.
void relay_stop(struct relay *relay);
uint32_t relay_sessions(const struct relay *relay);
uint32_t relay_sessions_max(const struct relay *relay, uint32_t *ret_bytes); // bytes of one
// Buffers of the ledger: how many, how many of them are in use, and the bytes of one.
uint32_t relay_envelopes(const struct relay *relay, uint32_t *ret_used, uint32_t *ret_bytes);
// Debug builds and the simulator: aborts on a broken invariant (counts, free lists, "no state
// without a timer").
void relay_check(const struct relay *relay);
