// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Questions to the workers that are answered later, over the rings: tables, pings. Each ends with a
// JSON answer or an error, in bounded time. Main thread of control.

#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "controlplane/control.h"

#define INQUIRIES_MAX 8
#define INQUIRY_PINGS_MAX 20
#define INQUIRY_BACKENDS_MAX 64 // that a test mail goes to

struct inquiry {
	bool used, done;
	const char *error; // of the inquiry as a whole, NULL: none
	uint32_t request_id;
	uint64_t deadline_ns;
	json_t *answer;
	void *owner; // suspended until it is done; NULL: nobody
	enum { INQUIRY_TABLE, INQUIRY_PING, INQUIRY_TEST } kind;
	uint32_t worker; // being asked
	enum ctl_table_kind table;
	uint64_t session; // CTL_TABLE_SESSION
	struct {
		struct ip_addr addr;
		unsigned count, sent, received;
		uint64_t next_ns; // when to send the next one, 0: an answer is awaited
	} ping;
	struct {
		bool relay;            // no message, QUIT follows RCPT
		uint32_t first, count; // the pool's backends in the blob
		uint32_t sent, ended;
		uint32_t timeout_ms;
		uint64_t generation;
		json_t *row[INQUIRY_BACKENDS_MAX]; // borrowed from the answer
		uint32_t slot[INQUIRY_BACKENDS_MAX];
		bool over[INQUIRY_BACKENDS_MAX];
	} test;
};

struct inquiries {
	struct inquiry item[INQUIRIES_MAX];
	uint32_t next_id;
};

// NULL: too many are under way.
struct inquiry *
inquiry_table(struct inquiries *q, const struct control *c, enum ctl_table_kind table);
// An object without "session" when there is none of this id.
struct inquiry *inquiry_session(struct inquiries *q, const struct control *c, uint64_t id);
struct inquiry *inquiry_ping(
	struct inquiries *q,
	const struct control *c,
	const struct ip_addr *addr,
	unsigned count
);
// test_mail.c: one mail to each backend of the service's pool; or, with a pool instead, only its
// envelope (relay test). NULL and a reason when it cannot be.
struct test_mail_args {
	const char *service, *pool; // one of them
	const char *from, *to;
	unsigned seconds; // for each step
};
struct inquiry *inquiry_test(
	struct inquiries *q,
	const struct control *c,
	const struct test_mail_args *args,
	const char **ret_reason
);
void test_mail_event(struct inquiry *i, const struct control *c, const struct ctl_msg *msg);

// For the kinds of questions.
struct inquiry *inquiry_begin(struct inquiries *q, json_t *answer);
bool inquiry_send(
	struct inquiry *i,
	const struct control *c,
	struct ctl_msg *msg,
	uint64_t wait_ns
);
void inquiry_finish(struct inquiry *i, const char *error);

void inquiries_event(struct inquiries *q, const struct control *c, const struct ctl_msg *msg);
void inquiries_run(struct inquiries *q, const struct control *c, uint64_t now_ns);
bool inquiries_are_waiting(const struct inquiries *q);
void inquiry_end(struct inquiry *i);

// show_tables.c: one row each.
json_t *show_neighbor(const struct control *c, const struct ctl_neighbor *n);
json_t *show_route(const struct control *c, const struct ctl_route *r);
json_t *show_connection(const struct ctl_connection *n);
const char *show_suite(uint16_t suite);                     // IANA's name of a TLS cipher suite
void show_tls(json_t *connection, const struct ctl_tls *t); // of a row of show_connection
json_t *show_trace(const struct ctl_trace *t);
json_t *show_memory(unsigned worker, const struct ctl_memory *m);
// What stands in the segments and is of no worker.
void show_memory_shared(const struct control *c, json_t *list);
