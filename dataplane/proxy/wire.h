// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A side of a session as the relay reads and writes it: bytes of TCP, or what TLS records carry.
// Received records are opened where they lie (wire.c), so that plaintext stands at the head of
// TCP's receive queue and is moved on like any other; the rest of the queue is records not opened
// yet. A plain side costs one look at an index. For this folder and its tests. Worker thread.

#pragma once

#include "dataplane/proxy/session_types.h"
#include "tls/hs.h"

// Where a side that speaks TLS is.
enum wire_phase {
	WIRE_HELLO, // its ClientHello is not whole yet; as client: ours is not sent
	WIRE_SHAKE, // a context has it
	WIRE_WAIT,  // for public-key work
	WIRE_READY, // that is done: relay_tls_run goes on with it
	WIRE_OPEN,  // records
	WIRE_DEAD,  // given back while READY
};

// How its handshake ended, for those who look.
struct wire_facts {
	uint16_t suite;
	uint8_t group : 4; // enum tls_group
	uint8_t known : 1; // as server: the client named one of our certificates
	uint8_t certificate : 1, verified : 1, resumed : 1; // as server: of the client
	uint8_t name;                                       // of names.c
};
static_assert(sizeof(struct wire_facts) == 4, "in place of a time");

struct wire_tls {
	struct tls_state st;
	struct tls_hs *hs;
	uint32_t plain; // octets at the head of the receive queue that are plaintext
	uint32_t owner; // user word of its connection
	union {
		uint32_t since_ms; // until WIRE_OPEN
		struct wire_facts facts;
	};
	uint8_t phase;   // enum wire_phase
	uint8_t result;  // READY: enum tls_result
	uint8_t failure; // READY: enum tls_failure
	bool broken;     // nothing can be sent any more: the connection is to end
};
static_assert(sizeof(struct wire_tls) <= 232, "of a TLS side (T7)");

struct wire {
	struct tcp_conn_id conn;
	uint32_t tls;
};

static inline struct wire wire_client(const struct session *s)
{
	return (struct wire){s->client, s->client_tls};
}

static inline struct wire wire_leg(const struct session *s)
{
	return (struct wire){s->leg, s->leg_tls};
}

// Of a side in its handshake: its place among the contexts in use, in the order they were taken,
// and where the handshake is counted (clients.c).
struct wire_shake {
	uint32_t prev, next;
	uint32_t entry;
};

// wire.c: sides that speak TLS. Until WIRE_OPEN nothing can be read or written.
bool wire_tls_peek(
	struct relay *r,
	struct wire w,
	uint32_t off,
	const uint8_t **ret_ptr,
	uint32_t *ret_len
);
void wire_tls_drop(struct relay *r, struct wire w, uint32_t n);
bool wire_tls_write(struct relay *r, struct wire w, const void *data, uint32_t len);
uint32_t wire_tls_move(struct relay *r, struct wire to, struct wire from, uint32_t n);

// What came is opened as far as it is whole.
enum wire_result {
	WIRE_GOES_ON,
	WIRE_ENDED,  // close_notify: as a FIN
	WIRE_BROKEN, // an alert was sent: release it
	WIRE_MORE,   // there were too many records for one call
};
enum wire_result wire_fill(struct relay *r, struct wire w);
// TCP's FIN came: what is no whole record goes. False: no close_notify had come.
bool wire_fin(struct relay *r, struct wire w);
// Nothing more will be written: close_notify, if there is anybody to tell.
void wire_end(struct relay *r, struct wire w);

// A side's memory, taken for a handshake. 0: none left.
uint32_t wire_tls_get(struct relay *r, uint32_t owner);
// wire_shake.c: handshakes, as far as they are the same for both sides.
// A context for a side's. False: none is free.
bool wire_context_take(struct relay *r, uint32_t index, struct tls_creds *creds, const char *name);
// Both ends have the keys: the context goes back, records from now on.
void wire_open(struct relay *r, uint32_t index);
// The client's side that has had a context of these the longest, if it has not been heard for long;
// 0: none.
uint32_t wire_stalled(const struct relay *r, const struct tls_creds *creds);
// It is over, well or not: its context goes back, and it is counted no more.
void wire_shake_end(struct relay *r, uint32_t index);
void wire_tls_put(struct relay *r, uint32_t *index); // wipes; 0 then
void wire_tls_owner(struct relay *r, uint32_t index, uint32_t owner);
bool wire_tls_init(struct relay *r);
size_t wire_tls_bytes(const struct relay *r); // reserved for sessions (T7)
void wire_tls_free(struct relay *r);
void wire_tls_check(const struct relay *r);

// names.c
struct names *names_new(void);
void names_free(struct names *names);
uint8_t name_hold(struct relay *r, const char *text); // 0: none, or no place
void name_put(struct relay *r, uint8_t at);
const char *name_get(const struct relay *r, uint8_t at); // 0: empty
uint32_t names_held(const struct names *names);

static inline uint32_t wire_rx_bytes(const struct relay *r, struct wire w)
{
	return w.tls == 0 ? tcp_rx_bytes(r->tcp, w.conn) : r->wire_tls[w.tls].plain;
}

static inline bool wire_rx_peek(
	struct relay *r,
	struct wire w,
	uint32_t off,
	const uint8_t **ret_ptr,
	uint32_t *ret_len
)
{
	return w.tls == 0 ? tcp_rx_peek(r->tcp, w.conn, off, ret_ptr, ret_len)
			  : wire_tls_peek(r, w, off, ret_ptr, ret_len);
}

static inline void wire_rx_drop(struct relay *r, struct wire w, uint32_t n)
{
	if (w.tls == 0)
		tcp_rx_drop(r->tcp, w.conn, n);
	else
		wire_tls_drop(r, w, n);
}

static inline bool wire_tx_write(struct relay *r, struct wire w, const void *data, uint32_t len)
{
	return w.tls == 0 ? tcp_tx_write(r->tcp, w.conn, data, len)
			  : wire_tls_write(r, w, data, len);
}

static inline uint32_t wire_tx_move(struct relay *r, struct wire to, struct wire from, uint32_t n)
{
	return (to.tls | from.tls) == 0 ? tcp_tx_move(r->tcp, to.conn, from.conn, n)
					: wire_tls_move(r, to, from, n);
}

// A connection that begins TLS: a record and what is left of a line before it are taken whole even
// when memory is short, for only so are they read and given back.
static inline void wire_room_set(struct relay *r, struct tcp_conn_id conn)
{
	tcp_rx_least_set(r->tcp, conn, TLS_RECORD_MAX + SESSION_TLS_LINE);
	tcp_rx_window_set(r->tcp, conn, SESSION_WINDOW_TLS);
}

// The client's window in the command phase: a whole record must fit beside a long line.
static inline uint32_t session_window(const struct session *s)
{
	return s->client_tls == 0 ? SESSION_WINDOW_COMMAND : SESSION_WINDOW_TLS;
}

// Does its leg hold a part of a body, so that it may only be reset (C16)?
static inline bool leg_in_body(const struct session *s)
{
	return s->state == RELAY_S_DATA || s->state == RELAY_S_BDAT ||
	       s->state == RELAY_S_PASS_DATA || s->state == RELAY_S_PASS_BDAT ||
	       (s->flags & SESSION_F_CHUNKS) != 0;
}
