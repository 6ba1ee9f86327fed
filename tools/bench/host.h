// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The generator's host: the network and TCP stack with all addresses of clients and backends, and
// its turns. One thread.

#pragma once

#include <stdbool.h>

#include "dataplane/tcp/tcp.h"

struct bench;

bool host_init(struct bench *b); // after the port is open
void host_fini(struct bench *b);
// Tells the other side our station address: that of a run before may still be known there. Once it
// is connected.
void host_announce(struct bench *b);
// One turn; returns the work done.
unsigned host_turn(struct bench *b);
// The next line received in order, with its CRLF; false: not complete. At most BENCH_LINE_MAX bytes
// (a longer one is given cut). Valid until bytes are dropped.
bool host_line(struct bench *b, struct tcp_conn_id conn, const char **ret, unsigned *ret_len);
