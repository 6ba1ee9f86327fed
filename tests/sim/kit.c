// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See kit.h.

#include "tests/sim/kit.h"

#include <stdlib.h>
#include <time.h>

struct kit kit;

static struct tls_creds *creds_make(struct tls_engine *engine, bool server, uint32_t handshakes)
{
	const struct tls_creds_config config = {
		.server = server,
		.pairs = &kit.cert.pair,
		.pair_count = server ? 1 : 0,
		.max_handshakes = handshakes,
		.tickets = engine != kit.peer,
	};
	char why[128];
	struct tls_creds *c = tls_creds_new(engine, &config, why);

	if (c == NULL)
		abort();
	return c;
}

// The other hosts' sides: half of them know no TLS 1.3, and these come again with their tickets.
static void peers_make(void)
{
	for (unsigned old = 0; old < 2; old++) {
		kit.peer_server[old] = creds_make(kit.peer, true, SIM_CLIENTS_MAX * 8);
		kit.peer_client[old] = creds_make(kit.peer, false, SIM_CLIENTS_MAX);
	}
	mbedtls_ssl_conf_max_tls_version(&kit.peer_server[1]->conf, MBEDTLS_SSL_VERSION_TLS1_2);
	mbedtls_ssl_conf_max_tls_version(&kit.peer_client[1]->conf, MBEDTLS_SSL_VERSION_TLS1_2);
	mbedtls_ssl_conf_session_tickets(
		&kit.peer_client[1]->conf, MBEDTLS_SSL_SESSION_TICKETS_ENABLED
	);
	mbedtls_ssl_session_init(&kit.session);
}

void kit_make(void)
{
	if (kit.peer != NULL)
		return;
	peer_cert_make(&kit.cert, PEER_EC256, KIT_NAME);
	kit.peer = tls_engine_new(PK_ENGINE_BUILTIN);
	if (kit.peer == NULL)
		abort();
	peers_make();
	if (!ticket_keys_fresh(&kit.tickets, time(NULL), 43200))
		abort();
	for (unsigned i = 0; i < SIM_WORKERS_MAX; i++) {
		kit.engine[i] = tls_engine_new(PK_ENGINE_MBX);
		if (kit.engine[i] == NULL)
			abort();
		tls_engine_tickets_set(kit.engine[i], &kit.tickets);
		kit.server[i] = creds_make(kit.engine[i], true, SECURE_HANDSHAKES);
		kit.client[i] = creds_make(kit.engine[i], false, SECURE_HANDSHAKES);
		kit.set[i] = (struct tls_set){1, 1, &kit.server[i], &kit.client[i]};
	}
}

struct tls_engine *secure_engine(unsigned worker)
{
	kit_make();
	return kit.engine[worker];
}

const struct tls_set *secure_set(unsigned worker)
{
	kit_make();
	return &kit.set[worker];
}

unsigned secure_handshakes(unsigned worker)
{
	return tls_creds_handshakes(kit.server[worker]) + tls_creds_handshakes(kit.client[worker]);
}

unsigned secure_resumed(void)
{
	return kit.resumed;
}

void secure_fini(void)
{
	if (kit.peer == NULL)
		return;
	for (unsigned i = 0; i < SIM_WORKERS_MAX; i++) {
		tls_creds_put(kit.server[i]);
		tls_creds_put(kit.client[i]);
		tls_engine_free(kit.engine[i]);
	}
	for (unsigned old = 0; old < 2; old++) {
		tls_creds_put(kit.peer_server[old]);
		tls_creds_put(kit.peer_client[old]);
	}
	mbedtls_ssl_session_free(&kit.session);
	tls_engine_free(kit.peer);
	peer_cert_free(&kit.cert);
}
