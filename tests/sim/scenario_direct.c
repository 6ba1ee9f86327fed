// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Clients against one backend over the bad wire, nothing between: every mail must arrive whole,
// once, and be acknowledged.

#include "tests/sim/mail.h"
#include "tests/sim/scenario.h"

struct direct {
	struct client_app *clients;
	struct backend_app *backend;
	struct sim_host *host[2];
};

static bool direct_done(void *arg)
{
	struct direct *d = arg;
	struct tcp_usage usage;

	if (!clients_done(d->clients) || !backend_idle(d->backend))
		return false;
	for (unsigned i = 0; i < 2; i++) {
		tcp_usage_get(d->host[i]->tcp, &usage);
		if (usage.conns > 0 || usage.slices > 0 || usage.half_open > 0 ||
		    usage.time_wait > 0)
			return false;
	}
	return true;
}

static bool wire_is_clean(const struct sim_wire *w)
{
	return w->loss_ppm == 0 && w->dup_ppm == 0 && w->corrupt_ppm == 0 && w->truncate_ppm == 0 &&
	       w->jitter_us == 0;
}

void scenario_direct(struct sim *sim)
{
	struct ledger ledger = {0};
	struct direct d;
	struct rng *rng = &sim->rng;
	struct backend_plan plan = {
		.pipelining = rng_below(rng, 2),
		.chunking = rng_below(rng, 2),
		.reply_delay_ms = rng_below(rng, 30)
	};
	struct ip_endpoint target[2];
	unsigned count = 1 + rng_below(rng, 12);
	unsigned mails = 0;

	sim->wire = (struct sim_wire){
		.loss_ppm = rng_below(rng, 3) * rng_below(rng, 30000),
		.dup_ppm = rng_below(rng, 2) * rng_below(rng, 20000),
		.corrupt_ppm = rng_below(rng, 2) * rng_below(rng, 10000),
		.truncate_ppm = rng_below(rng, 2) * rng_below(rng, 5000),
		.delay_us = rng_below(rng, 50000),
		.jitter_us = rng_below(rng, 3) * rng_below(rng, 5000),
	};
	if (rng_below(rng, 4) == 0)
		sim->wire = (struct sim_wire){.delay_us = sim->wire.delay_us};
	d.host[0] = sim_host_new(sim, 1);
	d.host[1] = sim_host_new(sim, 1);
	target[0] = (struct ip_endpoint){d.host[1]->addr4.addr, 25};
	target[1] = (struct ip_endpoint){d.host[1]->addr6.addr, 25};
	d.clients = clients_new(sim, d.host[0], &ledger, target);
	d.backend = backend_new(sim, d.host[1], &ledger, &plan);
	for (unsigned i = 0; i < count; i++) {
		struct client_plan c = {
			// the hosts have probed their addresses by then: no SYN waits for that
			.start_ns = sim->now_ns + (1200 + rng_below(rng, 3000)) * SIM_MS,
			.messages = 1 + rng_below(rng, 3),
			.rcpts = 1 + rng_below(rng, 5),
			.pipelining = rng_below(rng, 2),
			.bdat = rng_below(rng, 2),
			.ipv6 = rng_below(rng, 2),
		};

		mails += c.messages;
		clients_add(d.clients, &c);
	}
	sim_run(sim, direct_done, &d);
	if (sim->failed == NULL && (ledger.mails_ok != mails || ledger.sessions_cut > 0))
		sim_fail(sim, "a mail was not accepted", ledger.mails_ok, mails);
	if (sim->failed == NULL && wire_is_clean(&sim->wire))
		for (unsigned h = 0; h < 2; h++)
			if (d.host[h]->stats[STAT_TCP_RETRANSMITS] != 0)
				sim_fail(
					sim,
					"retransmission on a clean wire",
					h,
					d.host[h]->stats[STAT_TCP_RETRANSMITS]
				);
	clients_free(d.clients);
	backend_free(d.backend);
}
