// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Mode passthrough on a bad wire: each side of a dialogue gets the other's octets, all of them and
// nothing else, but what may be ours: QUIT behind a client that has gone, 421 when the box stops,
// and these only where the dialogue is at rest. A body that is not whole ends by a reset. Backends
// that refuse are not seen as long as there is another; clients and backends vanish anywhere.

#include "tests/sim/pass_ends.h"
#include "tests/sim/scenario.h"

#include <stdlib.h>
#include <string.h>

static uint32_t next_ms(struct sim_host *host, uint32_t limit_ms)
{
	return limit_ms < 5 ? limit_ms : 5;
}

static void box_host_turn(struct sim_host *host)
{
	struct plot *d = host->app_arg;

	if (d->stop_ns != 0 && d->sim->now_ns >= d->stop_ns)
		box_stop(d->box);
}

static bool plot_done(void *arg)
{
	const struct plot *d = arg;
	struct tcp_usage usage;

	for (unsigned i = 0; i < d->pairs; i++)
		if (!d->pair[i].started || d->pair[i].end[0].open || d->pair[i].end[1].open)
			return false;
	for (unsigned i = 0; i < d->legs; i++)
		if (d->leg[i].open)
			return false;
	for (unsigned i = 0; i <= d->hosts; i++) {
		tcp_usage_get(d->host[i]->tcp, &usage);
		if (usage.conns > 0 || usage.half_open > 0 || usage.time_wait > 0)
			return false;
	}
	return box_idle(d->box);
}

static void blob_make(struct plot *d, const struct sim_host *box)
{
	const struct blob_service service = {
		.slot = 1,
		.client_idle_ms = 300000,
		.data_idle_ms = 180000,
		.policy = {.tls_mode = BLOB_TLS_PASSTHROUGH, .sources = UINT32_MAX},
	};
	const struct blob_pool pool = {
		.backend_count = d->hosts,
		.connect_timeout_ms = 20000,
		.banner_timeout_ms = 30000,
		.reply_timeout_ms = 660000,
		.end_of_data_timeout_ms = 720000,
	};

	d->blob.head = (struct blob_header){
		.magic = BLOB_MAGIC,
		.generation = 1,
		.length = sizeof(d->blob),
		.hostname = "mx.sim.example",
		.ledger = BLOB_LEDGER_FULL,
		.backends = {.count = d->hosts},
	};
	d->blob.listener[0] = (struct blob_listener){.addr = box->addr4.addr, .port = 25};
	d->blob.listener[1] = (struct blob_listener){.addr = box->addr6.addr, .port = 25};
	for (unsigned i = 0; i < d->hosts; i++)
		d->blob.backend[i] = (struct blob_backend
		){.addr = d->host[1 + i]->addr4.addr, .port = 25, .slot = i + 1, .weight = 1};
	control_blob_fill(&d->blob, &service, &pool);
}

static void pairs_draw(struct plot *d)
{
	struct rng *rng = &d->sim->rng;

	d->pairs = 1 + rng_below(rng, PAIRS_MAX);
	for (unsigned i = 0; i < d->pairs; i++) {
		struct pair *p = &d->pair[i];

		talk_draw(&p->talk, rng, i);
		p->end[0].next_ns = d->sim->now_ns + START_NS + rng_below(rng, 3000) * SIM_MS;
		for (unsigned who = 0; who < 2 && !d->clean; who++) {
			p->leaves[who] = rng_below(rng, 3) == 0
						 ? (enum leaves)(1 + rng_below(rng, 2))
						 : STAYS;
			p->leave_at[who] = rng_below(rng, p->talk.len[who] + 1);
			if (who == 1 && p->leave_at[who] < strlen(TALK_BANNER))
				p->leaves[who] = STAYS; // not known yet whose it is
		}
	}
}

static void plot_judge(struct plot *d)
{
	uint64_t ends = 0;

	for (unsigned i = 0; i < d->pairs && d->clean && d->stop_ns == 0; i++)
		for (unsigned who = 0; who < 2; who++)
			if (!has_all(&d->pair[i], who))
				sim_fail(d->sim, "octets are missing", i, d->pair[i].end[who].got);
	for (unsigned i = STAT_SCAN_STARTTLS; i <= STAT_SCAN_CODE; i++)
		ends += box_stat(d->box, (enum stat_id)i);
	if (ends > d->pairs || (d->clean && d->stop_ns == 0 && ends != d->pairs))
		sim_fail(d->sim, "the reading ended another number of times", ends, d->pairs);
	if (box_load(d->box) != 0)
		sim_fail(d->sim, "the statistics show what is over", box_load(d->box), 0);
}

static void backends_make(struct plot *d, struct backend_of of[HOSTS])
{
	static const char *const refusals[] = {
		"421 4.3.2 sim\r\n",
		"421-4.3.2 sim\r\n421 4.3.2 sim\r\n",
		"554 5.7.1 sim\r\n",
		"451 4.3.0 sim\r\n",
	};
	struct rng *rng = &d->sim->rng;

	d->hosts = 1 + rng_below(rng, HOSTS);
	for (unsigned i = 0; i < d->hosts; i++) {
		struct sim_host *host = sim_host_new(d->sim, 1);

		of[i] = (struct backend_of){d, i};
		sim_host_plain(host, &leg_ops, &of[i]);
		host->app_turn = backend_turn;
		host->app_next_ms = next_ms;
		d->host[1 + i] = host;
		if (!d->clean && rng_below(rng, 3) == 0)
			d->refusal[i] = refusals[rng_below(rng, 4)];
	}
}

void scenario_pass(struct sim *sim)
{
	const struct box_limits limits = {.max_sessions = 64, .max_conns = 256, .max_slices = 8192};
	struct plot *d = calloc(1, sizeof(*d));
	struct rng *rng = &sim->rng;
	struct backend_of of[HOSTS];
	struct sim_host *box;

	if (d == NULL)
		abort();
	d->sim = sim;
	d->clean = rng_below(rng, 3) == 0;
	sim->wire = (struct sim_wire){
		.loss_ppm = rng_below(rng, 2) * rng_below(rng, d->clean ? 3000 : 30000),
		.dup_ppm = rng_below(rng, 2) * rng_below(rng, 20000),
		.delay_us = rng_below(rng, 20000),
		.jitter_us = rng_below(rng, 3) * rng_below(rng, 5000),
	};
	d->host[0] = sim_host_new(sim, 1);
	box = sim_host_new(sim, (uint16_t)(1 + rng_below(rng, SIM_WORKERS_MAX)));
	backends_make(d, of);
	d->target = (struct ip_endpoint){box->addr4.addr, 25};
	sim_host_plain(d->host[0], &client_ops, d);
	d->host[0]->app_turn = client_turn;
	d->host[0]->app_next_ms = next_ms;
	d->box = box_new(sim, box, &limits);
	box->app_arg = d;
	box->app_turn = box_host_turn;
	if (rng_below(rng, 4) == 0)
		d->stop_ns = sim->now_ns + START_NS + rng_below(rng, 4000) * SIM_MS;
	pairs_draw(d);
	blob_make(d, box);
	box_generation(d->box, &d->blob.head);
	sim_run(sim, plot_done, d);
	if (sim->failed == NULL)
		plot_judge(d);
	box_free(d->box);
	free(d);
}
