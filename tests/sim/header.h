// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// How the simulator's backends are told who a client is.

#pragma once

#include "common/abi/blob.h"
#include "tests/sim/sim.h"

struct sim_header {
	struct ip_endpoint client, local;
	bool nobody; // LOCAL
	bool tls;    // it says that the client is in TLS
};

// Takes the header off what came first. False: it is not whole; one that is none fails the seed.
bool header_take(
	struct sim *sim,
	struct tcp_stack *tcp,
	struct tcp_conn_id conn,
	enum blob_client_address way,
	struct sim_header *ret
);
bool header_comes(enum blob_client_address way);
// The XCLIENT that was said; one that says too much, or not enough, fails the seed.
void xclient_take(struct sim *sim, const char *line, struct sim_header *ret);
// As the client end of a connection, or as a proxy in front of one that it invents (version 0:
// without a header); tells who the client is then.
void header_send(
	struct tcp_stack *tcp,
	struct tcp_conn_id conn,
	unsigned version,
	struct ip_endpoint *ret_client
);
// It names the client that sends a mail now, and none other.
struct ledger;
void header_judge(
	struct sim *sim,
	const struct ledger *ledger,
	enum blob_client_address way,
	const struct sim_header *h,
	unsigned client
);
