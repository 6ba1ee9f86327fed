// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Engines, credentials and keys that the simulator's TLS is made of, for secure.c. Kept for all
// seeds.

#pragma once

#include "tests/sim/secure.h"
#include "tests/unit/tls/peer.h"
#include "tls/hs_types.h"

#define KIT_NAME "mx.sim.example"

struct kit {
	struct peer_cert cert;
	struct tls_engine *engine[SIM_WORKERS_MAX], *peer;
	struct tls_creds *server[SIM_WORKERS_MAX], *client[SIM_WORKERS_MAX];
	struct tls_set set[SIM_WORKERS_MAX];
	struct tls_creds *peer_server[2], *peer_client[2]; // of TLS 1.3, of 1.2
	struct ticket_keys tickets;
	mbedtls_ssl_session session; // of a client, 1.2
	bool has_session;
	unsigned resumed;
};
extern struct kit kit;

void kit_make(void); // at its first call
