// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The product between clients and backends: workers, faults and clients drawn from the seed. Judged
// by the ledger (nothing accepted that no backend accepted, nothing stored twice or in part), by
// the backends (one EHLO, no verb of ours), by an end for every client, and by pools that return to
// base.

#include "tests/sim/box.h"
#include "tests/sim/control.h"
#include "tests/sim/mail.h"
#include "tests/sim/scenario.h"

#include <stdlib.h>

#define BACKENDS_MAX CONTROL_BACKENDS_MAX

struct plot {
	struct client_app *clients;
	struct backend_app *backend[BACKENDS_MAX];
	unsigned backends;
	struct sim_host *host[BACKENDS_MAX + 1];
	struct box *box;
	struct ledger ledger;
	struct control_blob blob;
	struct control *control;
	unsigned mails;
	bool benign, tls;
	bool pass;    // mode passthrough
	bool stalled; // most clients stop in the middle of their handshake
	enum blob_leg_tls leg_tls;
	enum blob_client_address way;
	unsigned header; // version of the one that clients' proxies send, 0: none
};

static bool plot_done(void *arg)
{
	struct plot *d = arg;
	struct tcp_usage usage;

	if (!clients_done(d->clients))
		return false;
	if (d->control != NULL)
		control_stop(d->control);
	if ((d->control != NULL && !control_idle(d->control)) || !box_idle(d->box))
		return false;
	for (unsigned i = 0; i <= d->backends; i++) {
		tcp_usage_get(d->host[i]->tcp, &usage);
		if (usage.conns > 0 || usage.slices > 0 || usage.half_open > 0 ||
		    usage.time_wait > 0)
			return false;
	}
	return true;
}

static struct blob_policy policy_draw(const struct plot *d, struct rng *rng)
{
	return (struct blob_policy){
		.tls_mode = d->tls && rng_below(rng, 6) != 0
				    ? (uint8_t)(BLOB_TLS_STARTTLS_OPTIONAL + rng_below(rng, 3))
			    : d->pass ? BLOB_TLS_PASSTHROUGH
				      : BLOB_TLS_OFF,
		.tls_server = d->tls ? 1 : 0,
		.bare_lf = (uint8_t)rng_below(rng, 3),
		.early_talker = d->benign ? BLOB_EARLY_COUNT : (uint8_t)rng_below(rng, 2),
		.sources = UINT32_MAX,
	};
}

static void blob_make(struct plot *d, const struct sim_host *box, struct rng *rng)
{
	bool wait = !d->benign && rng_below(rng, 3) == 0;
	const struct blob_service service = {
		.slot = 1,
		.client_idle_ms = 300000,
		.data_idle_ms = 180000,
		.sessions_per_client =
			d->benign || rng_below(rng, 4) != 0 ? 0 : 1 + rng_below(rng, 6),
		.policy = policy_draw(d, rng),
		.max_message_bytes =
			d->benign || rng_below(rng, 4) != 0 ? 0 : 2000 + rng_below(rng, 40000),
		.tls_queue_ms = 30000,
		.header_rules = d->header != 0,
		.tarpit_rules = wait && d->header == 0 && rng_below(rng, 3) == 0,
		.tarpit_delay_ms = wait ? 1000 + rng_below(rng, 5000) : 0,
		.tarpit_errors = wait ? 1 + rng_below(rng, 3) : 0,
		.shakes_per_client = d->tls && rng_below(rng, 2) != 0 ? 2 + rng_below(rng, 4) : 0,
		.shakes_per_second = d->tls && rng_below(rng, 2) != 0 ? 10 + rng_below(rng, 20) : 0,
	};
	const struct blob_pool pool = {
		.backend_count = d->backends,
		.tls_mode = (uint8_t)d->leg_tls,
		.tls_client = d->leg_tls != BLOB_LEG_PLAIN ? 1 : 0,
		.client_address = (uint8_t)d->way,
		.scheduler = (uint8_t)rng_below(rng, 2),
		.flags = rng_below(rng, 4) == 0 ? BLOB_POOL_F_SOFT_BOUNCE : 0,
		.connect_timeout_ms = d->tls && d->benign ? 20000 : 3000,
		.banner_timeout_ms = d->benign || rng_below(rng, 2) ? 30000 : 2000,
		.reply_timeout_ms = 660000,
		.end_of_data_timeout_ms = 720000,
	};

	d->blob.head = (struct blob_header){
		.magic = BLOB_MAGIC,
		.generation = 1,
		.length = sizeof(d->blob),
		.hostname = "mx.sim.example",
		.ledger = BLOB_LEDGER_FULL,
		.backends = {.count = d->backends},
	};
	d->blob.listener[0] = (struct blob_listener){.addr = box->addr4.addr, .port = 25};
	d->blob.listener[1] = (struct blob_listener){.addr = box->addr6.addr, .port = 25};
	control_blob_fill(&d->blob, &service, &pool);
}

static struct backend_plan backend_draw(const struct plot *d, struct rng *rng)
{
	struct backend_plan plan = {
		.pipelining = rng_below(rng, 2),
		.chunking = rng_below(rng, 2),
		.reply_delay_ms =
			rng_below(rng, 4) == 0 ? rng_below(rng, 6000) : rng_below(rng, 20),
		.banner_delay_ms = rng_below(rng, 4) == 0 ? rng_below(rng, 8000) : 0,
		.accept_on_fin = rng_below(rng, 2),
		.read_pause_ms = rng_below(rng, 4) == 0 ? 1 + rng_below(rng, 200) : 0,
	};

	plan.secure = d->leg_tls == BLOB_LEG_IMPLICIT   ? SECURE_SERVER
		      : d->leg_tls == BLOB_LEG_STARTTLS ? SECURE_SERVER_STARTTLS
							: SECURE_NONE;
	plan.way = d->way;
	if (d->benign)
		return plan;
	if (d->leg_tls == BLOB_LEG_STARTTLS && rng_below(rng, 3) == 0)
		plan.secure = (enum secure_plan)(SECURE_SERVER_NONE + rng_below(rng, 3));
	switch (rng_below(rng, 8)) {
	case 0:
		plan.refuse = true;
		break;
	case 1:
		plan.silent = true;
		break;
	case 2:
		plan.banner_421 = true;
		break;
	case 3:
		plan.die_in_body_ppm = 300000;
		plan.leave = (enum leave)rng_below(rng, 3);
		break;
	case 4:
		plan.die_after_dot_ppm = 300000;
		break;
	case 5:
		plan.reject_eod_ppm = 300000;
		break;
	case 6:
		plan.torn_eod_ppm = 300000;
		break;
	default:
		break;
	}
	return plan;
}

static void backends_make(struct sim *sim, struct plot *d)
{
	for (unsigned i = 0; i < d->backends; i++) {
		struct backend_plan plan = backend_draw(d, &sim->rng);
		struct sim_host *host = sim_host_new(sim, 1);

		d->host[i + 1] = host;
		d->backend[i] = backend_new(sim, host, &d->ledger, &plan);
		d->blob.backend[i] = (struct blob_backend){
			.addr = rng_below(&sim->rng, 2) ? host->addr4.addr : host->addr6.addr,
			.port = 25,
			.slot = i + 1,
			.weight = 1 + rng_below(&sim->rng, 5),
			.max_connections = !d->benign && rng_below(&sim->rng, 3) == 0
						   ? 1 + rng_below(&sim->rng, 4)
						   : 0,
		};
	}
}

// How a client begins where the service offers STARTTLS, or wants TLS at once.
static enum secure_plan secure_draw(const struct plot *d, struct rng *rng)
{
	static const enum secure_plan bad[] = {
		SECURE_INJECT,
		SECURE_INJECT_LATER,
		SECURE_HALF_HELLO,
		SECURE_NO_FINISHED,
		SECURE_GARBAGE,
	};
	uint8_t mode = d->blob.service[0].policy.tls_mode;

	if (mode <= BLOB_TLS_PASSTHROUGH)
		return SECURE_NONE;
	if (mode == BLOB_TLS_IMPLICIT)
		return SECURE_IMPLICIT;
	if (d->stalled && rng_below(rng, 4) != 0)
		return SECURE_NO_FINISHED;
	if (!d->benign && rng_below(rng, 4) == 0)
		return bad[rng_below(rng, sizeof(bad) / sizeof(bad[0]))];
	return mode == BLOB_TLS_STARTTLS_OPTIONAL && rng_below(rng, 4) == 0 ? SECURE_NONE
									    : SECURE_STARTTLS;
}

static void clients_make(struct sim *sim, struct plot *d, const struct sim_host *box)
{
	struct rng *rng = &sim->rng;
	struct ip_endpoint target[2] = {{box->addr4.addr, 25}, {box->addr6.addr, 25}};
	unsigned count = d->stalled ? 24 : 1 + rng_below(rng, 16);

	d->clients = clients_new(sim, d->host[0], &d->ledger, target);
	for (unsigned i = 0; i < count; i++) {
		struct client_plan c = {
			.start_ns = sim->now_ns + rng_below(rng, 5000) * SIM_MS,
			.messages = 1 + rng_below(rng, 3),
			.rcpts = 1 + rng_below(rng, 5),
			.pipelining = rng_below(rng, 2),
			.bdat = rng_below(rng, 2),
			.chunks = 1 + rng_below(rng, 2) * rng_below(rng, 6),
			.eager = rng_below(rng, 2),
			.ipv6 = rng_below(rng, 2),
			.early = rng_below(rng, 8) == 0,
			.careless = !d->benign && rng_below(rng, 4) == 0,
			// within the relay's patience (three minutes in a body), or beyond it
			.pause_ms = rng_below(rng, 4) == 0
					    ? rng_below(rng, d->benign ? 170000 : 700000)
					    : 0,
			.pause_step = 1 + rng_below(rng, 8),
			.vanish = !d->benign && rng_below(rng, 4) == 0
					  ? (enum vanish)(1 + rng_below(rng, 3))
					  : VANISH_NEVER,
			.vanish_step = rng_below(rng, 10),
		};

		c.header = d->header;
		c.long_name = i % 2 != 0;
		c.reset = d->blob.service[0].policy.tls_mode == BLOB_TLS_PASSTHROUGH && !d->benign;
		if (d->tls) {
			c.secure = secure_draw(d, rng);
			c.early = false;
			c.piece = 1 + rng_below(rng, 16384);
		}
		d->mails += c.messages;
		clients_add(d->clients, &c);
	}
}

// What is still open when a seed does not end.
static void plot_dump(const struct plot *d)
{
	struct tcp_usage u;

	printf("clients done %d, box idle %d\n", clients_done(d->clients), box_idle(d->box));
	for (unsigned i = 0; i <= d->backends; i++) {
		tcp_usage_get(d->host[i]->tcp, &u);
		printf("host %u: %u connections, %u slices, %u half open, %u time-wait\n",
		       d->host[i]->id,
		       u.conns,
		       u.slices,
		       u.half_open,
		       u.time_wait);
		for (uint32_t c = 1; c < 512; c++) {
			struct tcp_info info;

			tcp_info_get(d->host[i]->tcp, (struct tcp_conn_id){c}, &info);
			if (strcmp(info.state, "closed") != 0)
				printf("  %u -> %u %s\n",
				       info.local.port,
				       info.remote.port,
				       info.state);
		}
	}
	box_dump(d->box);
}

// Of good backends nothing bad is told but, on a bad wire, that they were late.
static void signals_judge(struct sim *sim, struct plot *d)
{
	for (uint32_t slot = 1; slot <= d->backends; slot++) {
		struct shm_backend_signals s = box_signals(d->box, slot);

		for (unsigned i = 0; i < SHM_SIGNALS; i++)
			if (d->benign && i != SHM_SIGNAL_TIMEOUT && s.signal[i] != 0)
				sim_fail(sim, "a good backend gave a signal", slot, i);
		if (s.failing > s.legs || s.mails > s.legs || s.rcpt_bounces > s.rcpt_votes ||
		    s.eod_bounces > s.eod_votes)
			sim_fail(sim, "more votes than voters", slot, s.legs);
	}
}

static void plot_judge(struct sim *sim, struct plot *d)
{
	if (box_stat(d->box, STAT_LEG_DESYNC) != 0)
		sim_fail(sim, "a reply without a command", box_stat(d->box, STAT_LEG_DESYNC), 0);
	if (box_load(d->box) != 0)
		sim_fail(sim, "the statistics show what is over", box_load(d->box), 0);
	signals_judge(sim, d);
	if (d->benign && (d->ledger.mails_ok != d->mails || d->ledger.sessions_cut > 0))
		sim_fail(
			sim,
			"a mail was not accepted though nothing was broken",
			d->ledger.mails_ok,
			d->mails
		);
}

void scenario_relay(struct sim *sim, bool tls)
{
	struct plot *d = calloc(1, sizeof(*d));
	struct rng *rng = &sim->rng;
	struct box_limits limits = {.max_sessions = 128, .max_conns = 512, .max_slices = 8192};
	struct sim_host *box;

	if (d == NULL)
		abort();
	d->benign = rng_below(rng, 3) == 0;
	d->tls = tls;
	d->stalled = tls && !d->benign && rng_below(rng, 4) == 0;
	d->leg_tls = tls && rng_below(rng, 2) ? (enum blob_leg_tls)(1 + rng_below(rng, 2))
					      : BLOB_LEG_PLAIN;
	if (tls)
		limits.max_tls = d->benign ? 64 : 1 + rng_below(rng, 40);
	d->pass = !tls && rng_below(rng, 6) == 0;
	d->way = (enum blob_client_address)rng_below(rng, d->pass ? 3 : 4);
	d->header = rng_below(rng, 2) * rng_below(rng, 3);
	d->backends = 1 + rng_below(rng, BACKENDS_MAX);
	if (!d->benign && rng_below(rng, 6) == 0)
		limits.max_sessions = 1 + rng_below(rng, 6);
	if (!d->benign && rng_below(rng, 6) == 0)
		limits.max_slices = 96 + rng_below(rng, 200);
	sim->wire = (struct sim_wire){
		.loss_ppm = rng_below(rng, 3) * rng_below(rng, 30000),
		.dup_ppm = rng_below(rng, 2) * rng_below(rng, 20000),
		.corrupt_ppm = rng_below(rng, 2) * rng_below(rng, 10000),
		.truncate_ppm = rng_below(rng, 2) * rng_below(rng, 5000),
		.delay_us = rng_below(rng, 50000),
		.jitter_us = rng_below(rng, 3) * rng_below(rng, 5000),
	};
	if (d->benign) // connect time-outs of 3 s are no fault of the product on a very bad wire
		sim->wire.loss_ppm /= 10;
	d->host[0] = sim_host_new(sim, 1);
	box = sim_host_new(sim, (uint16_t)(d->stalled ? 1 : 1 + rng_below(rng, SIM_WORKERS_MAX)));
	backends_make(sim, d);
	d->box = box_new(sim, box, &limits);
	for (unsigned i = 0; i < d->backends; i++)
		box_limit_set(d->box, i + 1, d->blob.backend[i].max_connections);
	blob_make(d, box, rng);
	if (rng_below(rng, 2))
		d->control = control_new(sim, box, d->box, &d->blob, d->benign);
	else
		box_generation(d->box, &d->blob.head);
	clients_make(sim, d, box);
	sim_run(sim, plot_done, d);
	if (sim->failed == NULL)
		plot_judge(sim, d);
	if (sim->trace && sim->failed != NULL)
		plot_dump(d);
	if (sim->trace)
		for (unsigned i = 0; i < STAT_COUNT; i++)
			if (box_stat(d->box, (enum stat_id)i) != 0)
				printf("%s_%s %llu\n",
				       stat_descs[i].group,
				       stat_descs[i].name,
				       (unsigned long long)box_stat(d->box, (enum stat_id)i));
	clients_free(d->clients);
	for (unsigned i = 0; i < d->backends; i++)
		backend_free(d->backend[i]);
	control_free(d->control);
	box_free(d->box);
	free(d);
}
