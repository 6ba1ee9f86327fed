// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Engines, credentials and keys that the simulator's TLS is made of, for secure.c. Kept for all
// seeds.

#pragma once

#include "tests/sim/secure.h"
#include "tests/unit/tls/peer.h"
#include "tls/hs_types.h"

#define KIT_NAME "mx.sim.example"
#define KIT_VERSIONS 2 // of the peers: TLS 1.3, 1.2

// A client's session that the next one may come again with.
struct kit_session {
	mbedtls_ssl_session session;
	bool has;
	uint16_t worker; // that gave the ticket
	unsigned reload; // of its credentials
};

struct kit {
	struct peer_cert cert;
	struct tls_engine *engine[SIM_WORKERS_MAX], *peer;
	// of a worker, the one in force and the one before
	struct tls_creds *server[SIM_WORKERS_MAX][2], *client[SIM_WORKERS_MAX][2];
	struct tls_set set[SIM_WORKERS_MAX][2];
	unsigned reload[SIM_WORKERS_MAX]; // how often they were changed
	struct tls_creds *peer_server[KIT_VERSIONS], *peer_client[KIT_VERSIONS];
	struct ticket_keys tickets;
	int64_t now_ms; // of tickets, for ever: how long a seed takes is nobody's matter
	struct kit_session last[KIT_VERSIONS];
	struct secure_resumed resumed;
};
extern struct kit kit;

void kit_make(void); // at its first call
