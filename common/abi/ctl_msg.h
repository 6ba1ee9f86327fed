// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Messages of the rings between control and each worker: fixed 128 bytes by value, request id
// chosen by control, unknown types counted and skipped. Commands go control -> worker, events
// worker -> control. Rings are level-triggered: a full event ring drops the event and raises
// `events_lost` in the worker's shared state; control then asks again.

#pragma once

#include <stdint.h>

#include "common/abi/ctl_sight.h"
#include "common/addr.h"

#define CTL_MSG_BYTES 128
#define CTL_RING_SLOTS 1024 // power of two

enum ctl_msg_type {
	CTL_CMD_PROBE =
		1, // body ctl_probe: open, banner, EHLO, QUIT, wait for 221; TLS as the pool says
	CTL_CMD_SESSION_LIST = 2,  // body ctl_session_list: send up to n sessions from a cursor on
	CTL_CMD_CAPTURE = 16,      // body ctl_capture: arms, or renews what is armed already
	CTL_CMD_CAPTURE_STOP = 17, // of the request id, or nothing
	CTL_CMD_PING = 18,         // body ctl_ping; worker 0
	CTL_CMD_TABLE = 19,        // body ctl_table: send entries from a cursor on
	CTL_CMD_TEST_MAIL = 20,    // body ctl_test; the mail stands in the control segment
	CTL_EVT_PROBE = 64,        // body ctl_probe_result
	CTL_EVT_SESSION = 65,      // body ctl_session
	CTL_EVT_SESSION_END =
		66,            // body ctl_session_list with the cursor to go on from, 0 at the end
	CTL_EVT_PING = 80,     // body ctl_ping_result
	CTL_EVT_NEIGHBOR = 81, // body ctl_neighbor
	CTL_EVT_ROUTE = 82,    // body ctl_route
	CTL_EVT_MEMORY = 83,   // body ctl_memory
	CTL_EVT_TEST = 85,     // body ctl_test_step, one a step
	CTL_EVT_CONNECTION = 86, // body ctl_connection
	CTL_EVT_TRACE = 87,      // body ctl_trace
	CTL_EVT_ALARM = 88,      // body ctl_alarm; nobody asked
	CTL_EVT_TLS = 89,        // body ctl_tls, after the ctl_connection that it is of
	CTL_EVT_TABLE_END = 84,  // body ctl_table with the cursor to go on from, 0 at the end
};

enum ctl_probe_result_code {
	CTL_PROBE_OK = 0,
	CTL_PROBE_REFUSED = 1,   // RST to our SYN
	CTL_PROBE_TIMEOUT = 2,   // stage says where
	CTL_PROBE_BANNER = 3,    // reply other than 220
	CTL_PROBE_EHLO = 4,      // reply other than 250
	CTL_PROBE_CLOSED = 5,    // closed before the stage was over
	CTL_PROBE_MALFORMED = 6, // not an SMTP reply
	CTL_PROBE_NO_RESOURCE =
		7, // no connection, port or buffer of ours: says nothing about the backend
	CTL_PROBE_UNREACHABLE = 8,     // no route or no neighbor
	CTL_PROBE_REPLY = 9,           // test mails: the server refused a step
	CTL_PROBE_NO_STARTTLS = 10,    // not offered, or refused
	CTL_PROBE_TLS = 11,            // the handshake failed
	CTL_PROBE_CERT_UNTRUSTED = 12, // these: so did the pool's verification
	CTL_PROBE_CERT_TIME = 13,      // expired, or not valid yet
	CTL_PROBE_CERT_NAME = 14,      // of another host
	CTL_PROBE_CERT_PIN = 15,       // of another key
};

enum ctl_probe_stage {
	CTL_STAGE_CONNECT = 0,
	CTL_STAGE_BANNER = 1,
	CTL_STAGE_EHLO = 2,
	CTL_STAGE_QUIT = 3,
	CTL_STAGE_MAIL = 4, // these of test mails only
	CTL_STAGE_RCPT = 5,
	CTL_STAGE_DATA = 6,
	CTL_STAGE_END_OF_DATA = 7,
	CTL_STAGE_STARTTLS =
		8,         // these where the pool's legs have TLS: after an EHLO, one more follows
	CTL_STAGE_TLS = 9, // the handshake
};

struct ctl_probe {
	uint32_t backend_slot;
	uint32_t backend_index; // into the current blob's backends
	uint64_t generation;    // of that blob; another one: answered CTL_PROBE_NO_RESOURCE
	uint32_t timeout_ms;    // for each stage after connect
	uint32_t connect_timeout_ms;
	struct ip_addr source; // unspecified: the routing port's own address
};

struct ctl_probe_result {
	uint32_t backend_slot;
	uint16_t code;  // enum ctl_probe_result_code
	uint16_t stage; // enum ctl_probe_stage at which it ended
	uint16_t reply; // last SMTP reply code, 0 when none
	uint16_t reserved;
	uint32_t connect_us, banner_us, ehlo_us, quit_us; // 0 when not reached
	char text[64];   // last line of the last reply, printable ASCII, NUL-terminated
	uint32_t tls_us; // STARTTLS with the EHLO before it, and the handshake
};

struct ctl_session_list {
	uint32_t cursor; // session index to start from
	uint32_t limit;
};

struct ctl_session {
	uint64_t id;                         // unique in this dataplane run
	uint32_t service_slot, backend_slot; // backend 0: no leg
	struct ip_addr client, local;
	uint16_t client_port, local_port;
	uint16_t state, leg_state; // see session_states.def
	uint32_t age_ms, idle_ms;
	uint32_t messages, recipients;
	uint64_t bytes_from_client;
};

// A backend did what none should: counted always, told at most CTL_ALARMS_A_SECOND times by a
// worker.
#define CTL_ALARMS_A_SECOND 4
enum ctl_alarm_kind {
	CTL_ALARM_DESYNC = 1,    // a reply without a command (G5): the session was ended
	CTL_ALARM_INJECTION = 2, // octets behind its reply to STARTTLS (S9): the leg was left
	CTL_ALARM_XCLIENT = 3,   // it does not offer us XCLIENT, or refuses it (X8): likewise
};
struct ctl_alarm {
	uint64_t session;
	uint32_t backend_slot;
	uint32_t kind;         // enum ctl_alarm_kind
	struct ip_addr client; // unspecified: it has gone
	char text[64]; // of the reply, printable ASCII, NUL-terminated; injected octets are not
		       // shown
};

struct ctl_msg {
	uint16_t type;   // enum ctl_msg_type
	uint16_t length; // of the body in use
	uint32_t request_id;
	uint64_t generation; // the sender's current one
	union {
		uint8_t body[CTL_MSG_BYTES - 16];
		struct ctl_probe probe;
		struct ctl_probe_result probe_result;
		struct ctl_capture capture;
		struct ctl_ping ping;
		struct ctl_ping_result ping_result;
		struct ctl_table table;
		struct ctl_neighbor neighbor;
		struct ctl_route route;
		struct ctl_connection connection;
		struct ctl_trace trace;
		struct ctl_tls tls;
		struct ctl_memory memory;
		struct ctl_test test;
		struct ctl_test_step test_step;
		struct ctl_session_list session_list;
		struct ctl_session session;
		struct ctl_alarm alarm;
	};
};
static_assert(sizeof(struct ctl_msg) == CTL_MSG_BYTES, "ring element");
