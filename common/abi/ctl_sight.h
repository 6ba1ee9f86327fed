// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Bodies of the messages of ctl_msg.h by which the operator looks into the traffic: captures,
// pings, tables, one session, test mails.

#pragma once

#include <stdint.h>

#include "common/addr.h"

enum {
	CTL_CAPTURE_F_CLIENT = 1 << 0,   // client and client_len count
	CTL_CAPTURE_F_BACKEND = 1 << 1,  // backend and, unless 0, backend_port count
	CTL_CAPTURE_F_DIALOGUE = 1 << 2, // lines without bodies and SASL, not frames
};

// What to copy: all conditions must hold. Nothing is copied when the lease is over and was not
// renewed, so that whoever asked may die.
struct ctl_capture {
	struct ip_addr client, backend;
	uint8_t client_len; // bits of the 128-bit form
	uint8_t flags;
	uint16_t backend_port;
	uint32_t service_slot; // 0: any
	uint64_t session;      // 0: any
	uint64_t max_bytes;    // of all records of one worker
	uint32_t snap;         // octets of a frame
	uint32_t lease_ms;
	uint32_t limit_ms; // from the first command on
	uint32_t reserved;
};

struct ctl_ping {
	struct ip_addr addr;
	uint32_t timeout_ms;
	uint32_t reserved;
};

enum ctl_ping_code {
	CTL_PING_REPLY = 0,
	CTL_PING_TIMEOUT = 1,
	CTL_PING_OURS = 2, // the address is one of the dataplane's own
	CTL_PING_NO_ROUTE = 3,
	CTL_PING_NO_RESOURCE = 4,
};

struct ctl_ping_result {
	uint32_t code; // enum ctl_ping_code
	uint32_t time_us;
	uint8_t hop_limit;
	uint8_t reserved[7];
};

// Worker 0 has the neighbors and routes; memory is each worker's.
enum ctl_table_kind {
	CTL_TABLE_NEIGHBORS = 1,
	CTL_TABLE_ROUTES = 2,
	CTL_TABLE_MEMORY = 3,
	CTL_TABLE_SESSION = 4, // one session with its connections, of the worker that has it
};

struct ctl_table {
	uint32_t table; // enum ctl_table_kind
	uint32_t cursor;
	uint64_t session; // CTL_TABLE_SESSION: its id
};

enum ctl_neighbor_state {
	CTL_NEIGHBOR_INCOMPLETE = 0,
	CTL_NEIGHBOR_REACHABLE = 1,
	CTL_NEIGHBOR_STALE = 2,
	CTL_NEIGHBOR_PROBE = 3,
};

struct ctl_neighbor {
	struct ip_addr addr;
	uint8_t mac[6];
	uint8_t port;
	uint8_t state;   // enum ctl_neighbor_state
	uint32_t age_ms; // since it was confirmed
	uint32_t reserved;
};

struct ctl_route {
	struct ip_addr prefix, next_hop, source; // next_hop unspecified: on the link
	uint8_t len;                             // of the 128-bit form
	uint8_t port;
	uint16_t mtu;
	uint32_t reserved;
};

// A connection of a session.
struct ctl_connection {
	struct ip_addr local, remote;
	uint16_t local_port, remote_port;
	uint8_t leg; // enum capture_leg
	uint8_t reserved[3];
	char state[16];
	uint32_t srtt_us, rto_ms, cwnd_bytes, snd_wnd, rcv_wnd, mss;
	uint32_t received_bytes, unacknowledged_bytes; // held for the relay; sent or to be sent
};

enum ctl_tls_group { // as tls/hs.h counts them
	CTL_TLS_GROUP_OTHER = 0,
	CTL_TLS_GROUP_X25519 = 1,
	CTL_TLS_GROUP_P256 = 2,
	CTL_TLS_GROUP_P384 = 3,
};

// TLS of a connection.
struct ctl_tls {
	uint8_t leg;      // enum capture_leg
	uint8_t shaking;  // 1: the handshake is under way, and the rest is not known
	uint8_t group;    // enum ctl_tls_group
	uint8_t known;    // 1: a client asked for the name of one of our certificates
	uint16_t version; // 0x0303: TLS 1.2, 0x0304: 1.3
	uint16_t suite;   // IANA's number
	char name[96];    // SNI, as far as it fits; empty: none, or not kept
};

// What became of a connection.
struct ctl_trace {
	uint8_t leg; // enum capture_leg
	uint8_t reserved[3];
	uint32_t age_ms, seq;
	char what[16], state[16];
};

// Objects taken at start.
struct ctl_memory {
	char name[32];
	uint64_t used, limit;
	uint64_t object_bytes;
};

// SHM_SEC_TEST_MAIL: control writes it before the first command of a test, workers copy and check
// it. Addresses without angle brackets; the message in lines that end with CRLF, none of them
// beginning with a dot. Length 0: no message, QUIT follows RCPT (relay test).
struct ctl_test_mail {
	char from[256], to[256]; // NUL-terminated
	uint32_t length;
	uint32_t reserved;
	char message[1024];
};

struct ctl_test {
	uint32_t backend_slot, backend_index; // as of ctl_probe
	uint64_t generation;
	uint32_t reserved;
	uint32_t timeout_ms; // for each step
};

// The end of a step, good or not; the one after which nothing comes has last set.
struct ctl_test_step {
	uint32_t backend_slot;
	uint32_t time_us;
	uint16_t reply; // code, 0: none
	uint8_t step;   // enum ctl_probe_stage
	uint8_t code;   // enum ctl_probe_result_code
	uint8_t last;
	uint8_t reserved[3];
	char text[96]; // last line of the reply, printable ASCII, NUL-terminated
};
