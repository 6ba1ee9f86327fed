// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Struct bodies of the relay, for dataplane/proxy and its tests only. A session is 248 bytes in a
// flat array; what it refers to of the configuration are slots and copied policy, never pointers
// into a generation.

#pragma once

#include "common/bug.h"
#include "common/idpool.h"
#include "common/wheel.h"
#include "dataplane/proxy/relay.h"
#include "dataplane/proxy/session_flags.h"
#include "dataplane/smtp/dot.h"
#include "dataplane/smtp/judge.h"
#include "dataplane/smtp/own.h"
#include "dataplane/smtp/reply.h"
#include "dataplane/smtp/scan.h"
#include "dataplane/smtp/show.h"
#include "dataplane/smtp/verb.h"
#include "tls/tls.h"

#define SESSION_PENDING_MAX 14 // commands awaiting replies; more wait unread (back-pressure)
#define SESSION_EHLO_MAX 46    // octets of EHLO's argument kept in the session
#define SESSION_EHLO_HELO 0x10 // it was HELO
#define EHLO_NAME_MAX 250      // of a longer one no leg can be told later
#define EHLO_LINE_MAX 264
#define SESSION_WINDOW_COMMAND 16384 // receive window in the command phase
#define SESSION_WINDOW_TLS 40960     // a whole record beside the longest line
#define SESSION_TLS_LINE 2048        // of a line, beside a record: when memory is short
#define SESSION_WINDOW_BODY (256U << 10)
#define SESSION_WINDOW_REPLY (SMTP_REPLY_MAX + (32U << 10)) // a whole one, and what is behind it
#define SESSION_RETRY_MS 10                                 // no buffer: once more
#define SESSION_LEG_PATIENCE_MS 60000                       // over all backends tried
#define SESSION_ORPHAN_MS 600000                            // Z5
#define SESSION_QUIT_MS 30000
#define SESSION_FIN_MS \
	2000 // after 221: the backend closes first, so that no TIME_WAIT takes our port
#define SESSION_TURN_LOOPS 64  // commands or replies a call handles before it yields
#define SESSION_HEADER_MS 5000 // to the end of a PROXY header
#define RELAY_TIMER_QUOTA 256
#define RELAY_SCRATCH 16384
// What is written at once, in the smallest records that can be agreed on.
#define RELAY_RECORD (TLS_PLAIN_MAX + TLS_PLAIN_MAX / 512 * TLS_SEAL_OVERHEAD)
#define RELAY_HELLO 20480        // a ClientHello with its records' headers
#define TCP_USER_LEG 0x40000000U // in a connection's user word: the session's backend leg

// Meanings: common/abi/session_states.def.
#define CLIENT_STATE(sym, name) RELAY_S_##sym,
#define LEG_STATE(sym, name)
enum relay_state { // of the client side
#include "common/abi/session_states.def"
};
#undef CLIENT_STATE
#undef LEG_STATE

#define CLIENT_STATE(sym, name)
#define LEG_STATE(sym, name) LEG_S_##sym,
enum leg_state {
#include "common/abi/session_states.def"
};
#undef CLIENT_STATE
#undef LEG_STATE

struct probe {
	uint32_t request_id;
	uint32_t connect_us, banner_us, ehlo_us, tls_us;
	uint32_t mark_us;
	uint32_t timeout_ms;
	uint8_t stage; // enum ctl_probe_stage
	bool test;     // sends a test mail, see test_mail.c
};

struct session {
	struct wheel_entry timer;
	struct tcp_conn_id client, leg;
	uint32_t client_tls, leg_tls; // see wire.h; 0: plain
	uint64_t id;
	uint64_t swallow_left; // octets of a chunk
	uint32_t flags;
	uint8_t state, leg_state;
	uint8_t dot;       // enum smtp_dot_state
	uint8_t own_after; // reply after a swallowed body
	uint8_t pending_head, pending_count;
	uint8_t tried_count;
	uint8_t bare_lf : 2; // enum blob_bare_lf
	uint8_t errors : 6;  // of the client since its last mail, see stall.c
	uint32_t pending_us[SESSION_PENDING_MAX];
	uint8_t pending_verb[SESSION_PENDING_MAX]; // enum smtp_verb; SMTP_V_COUNT + enum smtp_own
						   // for a reply of ours in its turn
	uint16_t leg_flags;
	uint8_t leg_looks;             // for a connection to become free
	uint8_t rcpt_votes, eod_votes; // of this leg
	uint32_t tried[LB_MAX_TRIED];
	uint32_t backend_slot;
	uint16_t service_slot;
	uint16_t caps; // the leg's
	uint32_t started_ms, touched_ms, leg_since_ms;
	uint32_t leg_since_us;
	uint32_t reply_bytes; // of the reply being relayed
	uint32_t body_bytes;  // of the message being relayed
	uint32_t max_message_bytes;
	uint16_t reply_code;
	uint16_t messages;
	uint16_t recipients, max_recipients;
	uint32_t client_entry; // of clients.c, 0: not counted
	uint32_t named;        // of accept_header.c; 0: the client is who the connection comes from
	union {
		struct {
			uint8_t len;
			uint8_t verb; // SESSION_EHLO_HELO, and a bit for each small letter
			char name[SESSION_EHLO_MAX];
		} ehlo;                // what the client said, for a fresh leg
		struct probe probe;    // RELAY_S_PROBE
		struct smtp_scan scan; // RELAY_S_PASS...
	};
};
static_assert(sizeof(struct session) <= 248, "part of the 768 bytes an idle session (T7)");
static_assert(SMTP_CAP_FUTURERELEASE <= UINT16_MAX, "caps");
static_assert(64 + 2 * BLOB_MAX_SERVICES <= UINT16_MAX, "as many slots as a file of services has");
static_assert(sizeof(struct smtp_scan) <= SESSION_EHLO_MAX + 2, "in its place");

// Where a client comes from and what it connected to.
struct session_client {
	struct ip_endpoint remote, local;
};
static_assert(sizeof(struct session_client) == 36, "of a session that began with a header (T7)");

#define LOCALS_SIZE 16384

struct wire_tls;
struct wire_shake;
struct ehlo_long;
struct profile;
struct delay_backend;
struct delay_track;
struct names;
struct ledger;

struct relay {
	struct worker_env *env;
	struct tcp_stack *tcp;
	struct relay_config config;
	const struct blob_header *blob;
	const struct tls_set *tls; // of the same generation
	struct lb *lb;
	struct {
		uint32_t addr[LOCALS_SIZE], listener[LOCALS_SIZE];
	} locals;
	uint32_t *service_index; // [service_slots]: of the generation in force, UINT32_MAX: gone
	uint32_t *backend_index; // [backend_slots]: likewise
	struct session *session;
	struct idpool ids;
	struct wheel wheel;
	struct client_table *clients;
	const struct client_table **clients_of; // [workers]
	struct names *names;                    // NULL: no TLS
	struct client_table *shakers;           // NULL: no TLS
	const struct client_table **shakers_of; // [workers]
	uint64_t id_count;
	uint32_t probes;               // sessions that are one
	uint32_t *waiting_of;          // [service_slots]: of these
	uint32_t waiting;              // sessions that wait for a connection to become free
	struct wire_tls *wire_tls;     // [max_tls + 1]
	struct wire_shake *wire_shake; // [max_tls + 1], 0: head of the list
	struct idpool wire_ids;
	uint32_t *tls_ready; // [max_tls + 1]: indices of sides that are WIRE_READY
	uint32_t tls_ready_count, tls_waiting;
	uint32_t shakes, contexts;   // sides in their handshake; of these with a context
	uint32_t shakes_held;        // sessions with SESSION_F_TLS_WAIT
	struct ehlo_long *ehlo_long; // ehlo.c
	struct idpool ehlo_ids;
	struct delay_backend *delay; // [backend_slots]
	struct delay_track *track;   // [delay_mask + 1]
	uint32_t delay_mask;
	struct profile *profile;      // [backend_slots]
	struct ledger *ledger;        // NULL: none
	struct session_client *named; // [max_named + 1]
	struct idpool named_ids;
	uint32_t alarm_ms, alarms; // told since
	bool draining;
	struct relay_listener listener; // dialogue.c
	struct ctl_test_mail test_mail; // our checked copy
	uint32_t test_id;               // request whose mail it is
	uint32_t tests;                 // sessions that send it
	char probe_text[96];            // reply under judgement, else empty
	char scratch[RELAY_SCRATCH];
	char out[RELAY_SCRATCH];
	uint8_t record[RELAY_RECORD]; // wire.c
	uint8_t hello[RELAY_HELLO];   // shake.c
};

// Unique over all workers of this run; never 0.
static inline uint64_t session_id_new(struct relay *r)
{
	r->id_count++;
	return (r->id_count - 1) * r->env->count + r->env->id + 1;
}

// Is its leg not yet where a command of the client may go?
static inline bool leg_is_greeting(const struct session *s)
{
	return s->leg_state == LEG_S_CONNECTING || s->leg_state == LEG_S_BANNER ||
	       s->leg_state == LEG_S_TLS_EHLO || s->leg_state == LEG_S_TLS_ASKED ||
	       s->leg_state == LEG_S_TLS || s->leg_state == LEG_S_XCLIENT_EHLO ||
	       s->leg_state == LEG_S_XCLIENT;
}

// Does its backend know who the client is? What it says to the greeting is said of the client then.
static inline bool leg_is_named(const struct session *s)
{
	return (s->leg_flags & SESSION_LEG_F_NAMED) != 0;
}

// Must its client begin TLS before anything else?
static inline bool offers_tls_only(const struct session *s)
{
	return (s->flags & SESSION_F_TLS_ONLY) != 0 && s->client_tls == 0;
}

// Is its client in plain text where it could be in TLS (P11)?
static inline bool offers_tls(const struct session *s)
{
	return (s->flags & SESSION_F_OFFERED) != 0 && s->client_tls == 0;
}

static inline struct session *session_of(struct relay *r, uint32_t idx)
{
	return &r->session[idx];
}

static inline uint32_t session_index(const struct relay *r, const struct session *s)
{
	return (uint32_t)(s - r->session);
}

static inline uint32_t relay_now_us(const struct relay *r)
{
	return (uint32_t)(r->env->now_ns / 1000U);
}

static inline struct shm_backend_local *session_backend(struct relay *r, const struct session *s)
{
	return &r->config.shm.backends[s->backend_slot];
}
