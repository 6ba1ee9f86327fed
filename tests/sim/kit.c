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

// The other hosts' sides: half of them know no TLS 1.3.
static void peers_make(void)
{
	for (unsigned old = 0; old < KIT_VERSIONS; old++) {
		kit.peer_server[old] = creds_make(kit.peer, true, SIM_CLIENTS_MAX * 8);
		kit.peer_client[old] = creds_make(kit.peer, false, SIM_CLIENTS_MAX);
		mbedtls_ssl_conf_session_tickets(
			&kit.peer_client[old]->conf, MBEDTLS_SSL_SESSION_TICKETS_ENABLED
		);
		mbedtls_ssl_session_init(&kit.last[old].session);
	}
	mbedtls_ssl_conf_max_tls_version(&kit.peer_server[1]->conf, MBEDTLS_SSL_VERSION_TLS1_2);
	mbedtls_ssl_conf_max_tls_version(
		&kit.peer_server[1]->conf_lean, MBEDTLS_SSL_VERSION_TLS1_2
	);
	mbedtls_ssl_conf_max_tls_version(&kit.peer_client[1]->conf, MBEDTLS_SSL_VERSION_TLS1_2);
	mbedtls_ssl_conf_tls13_key_exchange_modes(
		&kit.peer_client[0]->conf, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ALL
	);
	mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
		&kit.peer_client[0]->conf, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED
	);
}

static int64_t clock_ms(void)
{
	return kit.now_ms;
}

// Which of the two is in force.
static unsigned slot_of(unsigned worker)
{
	return kit.reload[worker] % 2;
}

static void set_make(unsigned worker)
{
	unsigned slot = slot_of(worker);

	kit.server[worker][slot] = creds_make(kit.engine[worker], true, SECURE_HANDSHAKES);
	kit.client[worker][slot] = creds_make(kit.engine[worker], false, SECURE_HANDSHAKES);
	kit.set[worker][slot] =
		(struct tls_set){1, 1, &kit.server[worker][slot], &kit.client[worker][slot]};
}

static void set_put(unsigned worker, unsigned slot)
{
	tls_creds_put(kit.server[worker][slot]);
	tls_creds_put(kit.client[worker][slot]);
	kit.server[worker][slot] = kit.client[worker][slot] = NULL;
	kit.set[worker][slot] = (struct tls_set){0};
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
	kit.now_ms = (int64_t)time(NULL) * 1000;
	if (!ticket_keys_fresh(&kit.tickets, kit.now_ms / 1000, 43200))
		abort();
	for (unsigned i = 0; i < SIM_WORKERS_MAX; i++) {
		kit.engine[i] = tls_engine_new(PK_ENGINE_MBX);
		if (kit.engine[i] == NULL)
			abort();
		tls_engine_tickets_set(kit.engine[i], &kit.tickets);
		tls_engine_clock_set(kit.engine[i], clock_ms);
		set_make(i);
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
	return &kit.set[worker][slot_of(worker)];
}

void secure_reload(unsigned worker)
{
	kit_make();
	kit.reload[worker]++;
	set_make(worker);
}

void secure_reloaded(unsigned worker)
{
	set_put(worker, 1 - slot_of(worker));
}

unsigned secure_handshakes(unsigned worker)
{
	unsigned slot = slot_of(worker);

	return tls_creds_handshakes(kit.server[worker][slot]) +
	       tls_creds_handshakes(kit.client[worker][slot]);
}

struct secure_resumed secure_resumed(void)
{
	return kit.resumed;
}

void secure_fini(void)
{
	if (kit.peer == NULL)
		return;
	for (unsigned i = 0; i < SIM_WORKERS_MAX; i++) {
		set_put(i, slot_of(i));
		tls_engine_free(kit.engine[i]);
	}
	for (unsigned old = 0; old < KIT_VERSIONS; old++) {
		tls_creds_put(kit.peer_server[old]);
		tls_creds_put(kit.peer_client[old]);
		mbedtls_ssl_session_free(&kit.last[old].session);
	}
	tls_engine_free(kit.peer);
	peer_cert_free(&kit.cert);
}
