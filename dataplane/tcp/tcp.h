// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TCP of one worker (RFC 9293), IPv4 and IPv6: passive and active opens, reliable streams in mbuf
// slices, timers. Below it net, above it the relay through tcp_ops. One worker's thread only;
// nothing allocates after tcp_stack_new. Time is the env's now. The simulator and tests run several
// stacks in one thread.
//
// Events are never delivered from inside a call of the application: input and timers only mark
// them, tcp_events_run() delivers. Output happens once a turn in tcp_output_run(). Order of a turn:
// net_input_burst -> tcp_events_run -> (application's own timers) -> tcp_timers_run ->
// tcp_events_run -> tcp_output_run -> net_flush.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/env.h"
#include "common/hash.h"
#include "dataplane/net/net.h"

struct rte_mempool;
struct tcp_stack;

// A connection's handle: index into the flat PCB array, 0 = none. Valid from
// tcp_connect()/on_accept until the application let go of it (tcp_release, tcp_abort) or on_close
// was delivered.
struct tcp_conn_id {
	uint32_t v;
};

enum tcp_close_reason {
	TCP_CLOSE_DONE,        // both directions finished in order
	TCP_CLOSE_RESET,       // the peer's RST
	TCP_CLOSE_REFUSED,     // RST to our SYN
	TCP_CLOSE_TIMEOUT,     // R2 reached (RFC 9293 3.8.3): SYN, data, FIN or zero-window probes
			       // unanswered
	TCP_CLOSE_UNREACHABLE, // no neighbor, or a hard ICMP error before ESTABLISHED
	TCP_CLOSE_NO_MEMORY,   // aborted under memory pressure
};

// What the application answers to a SYN.
struct tcp_listen_info {
	uint32_t cookie;     // handed to on_accept
	uint32_t rcv_window; // cap of bytes held for this connection at first
	uint16_t mss_max;    // 0: of the path only (MSS mirroring)
};

struct tcp_ops {
	// A SYN to dst:dport. False: RST. Also called for the final ACK of a handshake; must be
	// cheap and pure.
	bool (*on_syn)(
		void *app,
		const struct ip_endpoint *local,
		const struct ip_endpoint *remote,
		struct tcp_listen_info *ret
	);
	// Established passively. Returns the user word for later events; TCP_USER_REFUSE resets the
	// connection.
	uint32_t (*on_accept)(void *app, struct tcp_conn_id conn, uint32_t cookie);
	void (*on_connect)(
		void *app,
		struct tcp_conn_id conn,
		uint32_t user
	); // active open established
	void (*on_data)(
		void *app,
		struct tcp_conn_id conn,
		uint32_t user
	); // new in-order bytes are there
	void (*on_sent)(
		void *app,
		struct tcp_conn_id conn,
		uint32_t user
	); // bytes were acknowledged
	void (*on_fin)(
		void *app,
		struct tcp_conn_id conn,
		uint32_t user
	); // peer's FIN, all bytes before it delivered
	// The connection is gone; the handle is dead when this returns. Bytes that came before a
	// reset and were not read yet can be read in it.
	void (*on_close)(
		void *app,
		struct tcp_conn_id conn,
		uint32_t user,
		enum tcp_close_reason reason
	);
};
#define TCP_USER_REFUSE UINT32_MAX

struct tcp_config {
	struct worker_env *env;
	struct net *net;
	const struct net_shared *net_shared; // for the owner of return tuples
	const struct tcp_ops *ops;
	void *app;
	struct rte_mempool
		*small_pool; // headers and copied payload: data room >= NET_HEADROOM + 60 + 256
	struct rte_mempool *ref_pool;      // indirect mbufs without data room, for slices of bodies
	uint32_t max_conns;                // PCBs; flow table sized to it
	uint32_t max_minis;                // SYN_RCVD and TIME_WAIT minis each
	uint32_t max_slices;               // receive, out-of-order and transmit queue entries
	struct hash_key flow_key, isn_key; // boot secrets
	uint32_t port_flags;               // PORT_F_* common to all ports
	uint16_t local_port_min, local_port_max; // for active opens, default 1024..65535
};

struct tcp_stack *tcp_stack_new(const struct tcp_config *config); // NULL + errno
void tcp_stack_free(struct tcp_stack *stack);                     // frees held mbufs
// All memory reserved for connections (T7); queue entries, of which there are as many as buffers,
// not.
size_t tcp_stack_bytes(const struct tcp_stack *stack);

// From net_ops.
void tcp_input_burst(struct tcp_stack *stack, struct net_pkt *pkts, unsigned n);
void tcp_icmp_error(struct tcp_stack *stack, const struct net_icmp_error *err);
// Stages of a turn; each returns how much it did (0 = idle).
unsigned tcp_events_run(struct tcp_stack *stack);
unsigned tcp_timers_run(struct tcp_stack *stack);
unsigned tcp_output_run(struct tcp_stack *stack);
// Milliseconds until a timer may be due, at most limit_ms.
uint32_t tcp_next_timer_ms(const struct tcp_stack *stack, uint32_t limit_ms);

struct tcp_connect_args {
	struct ip_addr local; // unspecified: the route's source address; of the family of remote
	struct ip_endpoint remote;
	uint32_t user;
	uint32_t rcv_window;
	uint32_t syn_timeout_ms; // gives up with TCP_CLOSE_TIMEOUT
	uint16_t mss_max;        // 0: of the path only
};
// 0, -EHOSTUNREACH (no route, or another family), -EADDRNOTAVAIL (no port left whose return tuple
// is ours), -ENOBUFS (no PCB). The local port is chosen at random such that the return tuple
// belongs to this worker.
int tcp_connect(
	struct tcp_stack *stack,
	const struct tcp_connect_args *args,
	struct tcp_conn_id *ret
);

// Receive side. In-order bytes stay held (and close the window) until dropped or moved.
uint32_t tcp_rx_bytes(const struct tcp_stack *stack, struct tcp_conn_id conn);
// The contiguous run at byte offset off of the held bytes: false at the end. Valid until the next
// call that drops or moves.
bool tcp_rx_peek(
	const struct tcp_stack *stack,
	struct tcp_conn_id conn,
	uint32_t off,
	const uint8_t **ret_ptr,
	uint32_t *ret_len
);
void tcp_rx_drop(struct tcp_stack *stack, struct tcp_conn_id conn, uint32_t n);
// The same run as tcp_rx_peek gives, to be written: nobody else looks at held bytes.
bool tcp_rx_piece(
	struct tcp_stack *stack,
	struct tcp_conn_id conn,
	uint32_t off,
	uint8_t **ret_ptr,
	uint32_t *ret_len
);
// Takes n bytes out of the middle of those held, n <= tcp_rx_bytes - off. Pieces given before are
// not valid any more.
void tcp_rx_cut(struct tcp_stack *stack, struct tcp_conn_id conn, uint32_t off, uint32_t n);
// Bytes this connection may hold (also those moved to its peer's transmit queue); never shrinks the
// offered window.
void tcp_rx_window_set(struct tcp_stack *stack, struct tcp_conn_id conn, uint32_t cap);
// Bytes (at most 255 KiB) that the application can only read as a whole: however short memory is,
// the connection may hold as many and a segment. Before the window is set.
void tcp_rx_least_set(struct tcp_stack *stack, struct tcp_conn_id conn, uint32_t bytes);
// Another user word for later events.
void tcp_user_set(struct tcp_stack *stack, struct tcp_conn_id conn, uint32_t user);
// Cap of a's window counts bytes waiting in b's transmit queue and the other way round. b.v = 0
// unlinks a.
void tcp_peer_set(struct tcp_stack *stack, struct tcp_conn_id a, struct tcp_conn_id b);

// Transmit side. Copies len bytes; false when there is no buffer or the queue is over its limit:
// nothing was taken.
bool tcp_tx_write(struct tcp_stack *stack, struct tcp_conn_id conn, const void *data, uint32_t len);
// Moves the first n received bytes of `from` to the transmit queue of `to` without copying more
// than small pieces. n <= tcp_rx_bytes(from). Returns how many were moved (fewer when slices run
// out: try again on on_sent).
uint32_t
tcp_tx_move(struct tcp_stack *stack, struct tcp_conn_id to, struct tcp_conn_id from, uint32_t n);
// Bytes not yet acknowledged (sent or not).
uint32_t tcp_tx_bytes(const struct tcp_stack *stack, struct tcp_conn_id conn);

// FIN after what is queued; receiving goes on.
void tcp_shutdown(struct tcp_stack *stack, struct tcp_conn_id conn);
// The application lets go: FIN after what is queued, no more events, the handle is dead. Data that
// still arrives is answered with RST (RFC 9293 3.10.7.1 "CLOSE with data pending" as RFC 2525 2.17
// asks) unless drain, which reads and discards.
void tcp_release(struct tcp_stack *stack, struct tcp_conn_id conn, bool drain);
// RST now; no more events, the handle is dead.
void tcp_abort(struct tcp_stack *stack, struct tcp_conn_id conn);
// The process ends: RST for every connection, no events. Only tcp_stack_free may follow.
void tcp_reset_all(struct tcp_stack *stack);

struct tcp_info {
	struct ip_endpoint local, remote;
	const char *state;
	uint32_t srtt_us, rto_ms, cwnd_bytes, snd_wnd, rcv_wnd;
	uint16_t mss;
	bool fin_received;
};
void tcp_info_get(const struct tcp_stack *stack, struct tcp_conn_id conn, struct tcp_info *ret);

// The user word of the connection between two endpoints; false: none that the application knows
// and has not let go of.
bool tcp_user_find(
	const struct tcp_stack *stack,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint32_t *ret_user
);

// What became of a connection: the changes of its state, what was sent again and why. The events of
// all connections share one ring: old ones make room.
struct tcp_event {
	const char *what, *state;
	uint32_t age_ms, seq;
};
// From *at = 0 on, oldest first; false: no more.
bool tcp_event_next(
	const struct tcp_stack *stack,
	struct tcp_conn_id conn,
	uint32_t *at,
	struct tcp_event *ret
);

struct tcp_usage {
	uint32_t conns, half_open, time_wait, slices;
	uint32_t max_conns, max_minis, max_slices; // max_minis: of each kind
	uint32_t conn_bytes, mini_bytes, slice_bytes;
};
void tcp_usage_get(const struct tcp_stack *stack, struct tcp_usage *ret);
// Debug builds and the simulator: walks everything and aborts on a broken invariant (queues,
// counts, "no state without a timer"); pools must be at base when nothing is open.
void tcp_check(const struct tcp_stack *stack);
