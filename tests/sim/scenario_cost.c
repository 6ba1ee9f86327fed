// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Plain sessions of one 4 KiB message on a good wire, one worker: what tests/vectors/turn_cost.py
// counts the instructions of: with seed 1 many, with any other a single one, packet by packet.

#include "tests/sim/box.h"
#include "tests/sim/control.h"
#include "tests/sim/mail.h"
#include "tests/sim/scenario.h"

#include <stdlib.h>

#define BACKENDS 2
#define SESSIONS SIM_CLIENTS_MAX
#define MESSAGE_BYTES 4096
#define SESSIONS_AT_ONCE 8
#define READY (3000 * SIM_MS) // nobody has our addresses

struct cost {
	struct client_app *clients;
	struct backend_app *backend[BACKENDS];
	struct sim_host *host[BACKENDS + 1];
	struct box *box;
	struct ledger ledger;
	struct control_blob blob;
};

static bool cost_done(void *arg)
{
	struct cost *d = arg;
	struct tcp_usage usage;

	if (!clients_done(d->clients) || !box_idle(d->box))
		return false;
	for (unsigned i = 0; i <= BACKENDS; i++) {
		tcp_usage_get(d->host[i]->tcp, &usage);
		if (usage.conns > 0 || usage.slices > 0 || usage.time_wait > 0)
			return false;
	}
	return true;
}

static void blob_make(struct cost *d, const struct sim_host *box)
{
	const struct blob_service service = {
		.slot = 1,
		.client_idle_ms = 300000,
		.data_idle_ms = 180000,
		.tls_queue_ms = 30000,
		.policy = {.sources = UINT32_MAX},
	};
	const struct blob_pool pool = {
		.backend_count = BACKENDS,
		.connect_timeout_ms = 3000,
		.banner_timeout_ms = 30000,
		.reply_timeout_ms = 660000,
		.end_of_data_timeout_ms = 720000,
	};

	d->blob.head = (struct blob_header){
		.magic = BLOB_MAGIC,
		.generation = 1,
		.length = sizeof(d->blob),
		.hostname = "mx.sim.example",
		.backends = {.count = BACKENDS},
	};
	d->blob.listener[0] = (struct blob_listener){.addr = box->addr4.addr, .port = 25};
	d->blob.listener[1] = (struct blob_listener){.addr = box->addr6.addr, .port = 25};
	control_blob_fill(&d->blob, &service, &pool);
}

static void backends_make(struct sim *sim, struct cost *d)
{
	const struct backend_plan plan = {.pipelining = true, .chunking = true};

	for (unsigned i = 0; i < BACKENDS; i++) {
		struct sim_host *host = sim_host_new(sim, 1);

		d->host[i + 1] = host;
		d->backend[i] = backend_new(sim, host, &d->ledger, &plan);
		d->blob.backend[i] = (struct blob_backend){
			.addr = i % 2 == 0 ? host->addr4.addr : host->addr6.addr,
			.port = 25,
			.slot = i + 1,
			.weight = 1,
		};
	}
}

void scenario_cost(struct sim *sim)
{
	const struct box_limits limits = {
		.max_sessions = 128, .max_conns = 512, .max_slices = 8192
	};
	unsigned sessions = sim->seed == 1 ? SESSIONS : 1;
	struct cost *d = calloc(1, sizeof(*d));
	struct ip_endpoint target[2];
	struct sim_host *box;

	if (d == NULL)
		abort();
	message_size_fix(MESSAGE_BYTES);
	sim->wire = (struct sim_wire){.delay_us = 200};
	d->host[0] = sim_host_new(sim, 1);
	box = sim_host_new(sim, 1);
	target[0] = (struct ip_endpoint){box->addr4.addr, 25};
	target[1] = (struct ip_endpoint){box->addr6.addr, 25};
	backends_make(sim, d);
	d->box = box_new(sim, box, &limits);
	blob_make(d, box);
	box_generation(d->box, &d->blob.head);
	d->clients = clients_new(sim, d->host[0], &d->ledger, target);
	for (unsigned i = 0; i < sessions; i++) {
		struct client_plan c = {
			.start_ns = sim->now_ns + READY + i / SESSIONS_AT_ONCE * 5 * SIM_MS,
			.messages = 1,
			.rcpts = 1,
			.ipv6 = i % 2 != 0,
		};

		clients_add(d->clients, &c);
	}
	sim_run(sim, cost_done, d);
	if (sim->failed == NULL && (d->ledger.mails_ok != sessions || d->ledger.sessions_cut > 0))
		sim_fail(sim, "a mail was not accepted", d->ledger.mails_ok, sessions);
	if (sim->failed == NULL && box_stat(d->box, STAT_TCP_RETRANSMITS) != 0)
		sim_fail(sim, "retransmission on a good wire", 0, 0);
	clients_free(d->clients);
	for (unsigned i = 0; i < BACKENDS; i++)
		backend_free(d->backend[i]);
	box_free(d->box);
	message_size_fix(0);
	free(d);
}
