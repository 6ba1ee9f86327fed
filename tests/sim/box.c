// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The product's workers on a simulated host.

#include "tests/sim/box.h"

#include <stdlib.h>

#include "dataplane/port/steer.h"
#include "tests/sim/records.h"
#include "tests/sim/secure.h"

#define RELOAD_EACH 4 // generations have other credentials

struct box {
	struct sim *sim;
	bool tls;
	unsigned workers;
	struct worker worker[SIM_WORKERS_MAX];
	struct sim_port port[SIM_WORKERS_MAX];
	struct rte_ring *ring[SIM_WORKERS_MAX][SIM_WORKERS_MAX]; // [from][to]
	struct rte_ring *in[SIM_WORKERS_MAX][SIM_WORKERS_MAX];   // [to][from]
	uint64_t stats[SIM_WORKERS_MAX][STAT_COUNT];
	struct shm_worker shm[SIM_WORKERS_MAX];
	struct shm_backend_local backend[SIM_WORKERS_MAX][BOX_SLOTS];
	struct shm_backend_signals signals[SIM_WORKERS_MAX][BOX_SLOTS];
	struct shm_tarpit tarpit[SIM_WORKERS_MAX][2][BOX_SLOTS]; // backends, services
	struct shm_tarpit_source sources[SIM_WORKERS_MAX][SHM_TARPIT_SOURCES];
	struct shm_service_local service[SIM_WORKERS_MAX][BOX_SLOTS];
	struct shm_backend_ctl ctl[BOX_SLOTS];
	struct lb_leases *leases;
	uint32_t limit[BOX_SLOTS], open[BOX_SLOTS]; // the oracle's
	struct capture_ring *capture[SIM_WORKERS_MAX];
	struct records records[SIM_WORKERS_MAX];
	bool ledger; // by the generation
	bool (*event)(void *up, const struct ctl_msg *msg);
	void *event_up;
};

static bool event_pass(void *up, const struct ctl_msg *msg)
{
	struct box *box = up;

	return box->event != NULL && box->event(box->event_up, msg);
}

void box_event_set(struct box *box, bool (*event)(void *up, const struct ctl_msg *msg), void *up)
{
	box->event = event;
	box->event_up = up;
}

void box_command(struct box *box, unsigned worker, const struct ctl_msg *msg)
{
	struct worker *w = &box->worker[worker % box->workers];

	w->env.now_ns = box->sim->now_ns;
	worker_command(w, msg);
}

// After each worker's turn.
static void limits_check(struct box *box)
{
	for (uint32_t slot = 1; slot < BOX_SLOTS; slot++) {
		uint32_t open = 0;

		for (unsigned i = 0; i < box->workers; i++)
			open += box->backend[i][slot].active;
		if (box->limit[slot] != 0 && open > box->limit[slot] && open > box->open[slot])
			sim_fail(box->sim, "more connections than the limit", slot, open);
		if (lb_leases_used(box->leases, slot) < open)
			sim_fail(box->sim, "connections without a lease", slot, open);
		box->open[slot] = open;
	}
}

void box_limit_set(struct box *box, uint32_t slot, uint32_t limit)
{
	box->limit[slot] = limit;
}

static unsigned box_turn(struct sim_host *host)
{
	struct box *box = host->app;
	unsigned work = 0;

	if (host->app_turn != NULL)
		host->app_turn(host);
	for (unsigned i = 0; i < box->workers; i++) {
		box->worker[i].env.now_ns = box->sim->now_ns;
		work += worker_turn(&box->worker[i]);
		limits_check(box);
		records_check(box->sim, &box->records[i], box->stats[i], box->ledger);
	}
	return work;
}

static uint32_t box_next_ms(struct sim_host *host, uint32_t limit_ms)
{
	struct box *box = host->app;

	if (host->app_next_ms != NULL)
		limit_ms = host->app_next_ms(host, limit_ms);
	for (unsigned i = 0; i < box->workers; i++)
		limit_ms = worker_next_timer_ms(&box->worker[i], limit_ms);
	return limit_ms;
}

static void box_check(struct sim_host *host)
{
	struct box *box = host->app;

	for (unsigned i = 0; i < box->workers; i++) {
		tcp_check(box->worker[i].tcp);
		relay_check(box->worker[i].relay);
	}
}

static struct capture_ring *capture_new(void)
{
	struct capture_ring *ring = aligned_alloc(64, sizeof(*ring));

	if (ring == NULL)
		abort();
	memset(ring, 0, offsetof(struct capture_ring, data)
	); // the rest is written before it is read
	return ring;
}

struct capture_ring *box_capture(struct box *box, unsigned worker)
{
	return box->capture[worker % box->workers];
}

static void rings_make(struct box *box)
{
	for (unsigned from = 0; from < box->workers; from++) {
		box->capture[from] = capture_new();
		records_init(&box->records[from], capture_new());
		for (unsigned to = 0; to < box->workers; to++)
			box->ring[from][to] = box->in[to][from] = steer_ring_new();
	}
}

static struct relay_shm shm_of(struct box *box, unsigned i)
{
	return (struct relay_shm){
		.worker = &box->shm[i],
		.backends = box->backend[i],
		.services = box->service[i],
		.signals = box->signals[i],
		.tarpit_backends = box->tarpit[i][0],
		.tarpit_services = box->tarpit[i][1],
		.tarpit_sources = box->sources[i],
		.backend_ctl = box->ctl,
		.backend_slots = BOX_SLOTS,
		.service_slots = BOX_SLOTS,
		.leases = box->leases,
		.ledger = box->records[i].ring,
	};
}

// Apart from the wire's own, so that a profiler can tell the product's work from the simulator's.
static uint16_t box_rx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	return sim_port_ops.rx_burst(dev, port, pkts, n);
}

static uint16_t box_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	return sim_port_ops.tx_burst(dev, port, pkts, n);
}

static uint16_t box_run(void *dev, uint16_t port)
{
	return sim_port_ops.run(dev, port);
}

static const struct port_ops box_port_ops = {
	.rx_burst = box_rx,
	.tx_burst = box_tx,
	.run = box_run,
};

struct box *box_new(struct sim *sim, struct sim_host *host, const struct box_limits *limits)
{
	struct box *box = calloc(1, sizeof(*box));
	struct net_port_config port;
	struct net_shared_config shared = {
		.ports = &port,
		.port_count = 1,
		.workers = host->workers,
		.max_neighbors = 64,
	};

	if (box == NULL)
		abort();
	sim_host_port_config(host, &port);
	for (unsigned i = 0; i < HASH_TOEPLITZ_KEY_LEN; i++)
		shared.rss_key[i] = (uint8_t)rng_next(&sim->rng);
	host->shared = net_shared_new(&shared);
	box->sim = sim;
	box->leases = lb_leases_new(BOX_SLOTS);
	if (box->leases == NULL)
		abort();
	box->workers = host->workers;
	box->tls = limits->max_tls > 0;
	rings_make(box);
	for (unsigned i = 0; i < box->workers; i++) {
		box->port[i] = (struct sim_port){host, (uint16_t)i};
		const struct worker_config config = {
			.id = (uint16_t)i,
			.count = (uint16_t)box->workers,
			.rng_seed = rng_next(&sim->rng),
			.now_ns = sim->now_ns,
			.stats = box->stats[i],
			.net_shared = host->shared,
			.pool = sim->pool,
			.small_pool = sim->small_pool,
			.ref_pool = sim->ref_pool,
			.port_ops = &box_port_ops,
			.port_dev = &box->port[i],
			.port_count = 1,
			.port_flags = PORT_F_TX_MULTI_SEGS,
			.max_sessions = limits->max_sessions,
			.max_conns = limits->max_conns,
			.max_minis = 256,
			.max_slices = limits->max_slices,
			.flow_key = {rng_next(&sim->rng), 3},
			.isn_key = {rng_next(&sim->rng), 4},
			.shm = shm_of(box, i),
			.tls = limits->max_tls > 0 ? secure_engine(i) : NULL,
			.max_tls = limits->max_tls,
			.max_named = limits->max_sessions,
			.event = event_pass,
			.up = box,
			.client_key = {7, 9},
			.steer_out = box->ring[i],
			.steer_in = box->in[i],
			.capture_ring = box->capture[i],
		};
		if (worker_init(&box->worker[i], &config) != 0)
			abort();
	}
	for (unsigned i = 0; i < box->workers; i++)
		for (uint16_t k = 0; k < box->workers; k++)
			relay_neighbor_set(box->worker[i].relay, k, box->worker[k].relay);
	host->app = box;
	host->turn = box_turn;
	host->next_ms = box_next_ms;
	host->check = box_check;
	return box;
}

void box_free(struct box *box)
{
	for (unsigned i = 0; i < box->workers; i++)
		worker_fini(&box->worker[i]);
	for (unsigned i = 0; i < box->workers; i++)
		free(box->capture[i]);
	for (unsigned i = 0; i < box->workers; i++)
		free(box->records[i].ring);
	for (unsigned from = 0; from < box->workers; from++)
		for (unsigned to = 0; to < box->workers; to++)
			steer_ring_free(box->ring[from][to]);
	lb_leases_free(box->leases);
	free(box);
}

static void generation_give(struct box *box, unsigned worker, const struct blob_header *blob)
{
	box->ledger = blob->ledger != BLOB_LEDGER_OFF; // of all of a run
	relay_generation(box->worker[worker].relay, blob, box->tls ? secure_set(worker) : NULL);
}

bool box_generation_take(struct box *box, unsigned worker, const struct blob_header *blob)
{
	bool reload = box->tls && blob->generation % RELOAD_EACH == 0;

	if (worker >= box->workers)
		return false;
	if (reload)
		secure_reload(worker);
	generation_give(box, worker, blob);
	if (reload)
		secure_reloaded(worker);
	return true;
}

void box_generation(struct box *box, const struct blob_header *blob)
{
	for (unsigned i = 0; i < box->workers; i++)
		generation_give(box, i, blob);
}

void box_stop(struct box *box)
{
	for (unsigned i = 0; i < box->workers; i++) {
		box->worker[i].env.now_ns = box->sim->now_ns;
		relay_stop(box->worker[i].relay);
	}
}

bool box_idle(const struct box *box)
{
	for (unsigned i = 0; i < box->workers; i++) {
		struct tcp_usage usage;

		tcp_usage_get(box->worker[i].tcp, &usage);
		if (relay_sessions(box->worker[i].relay) > 0 || usage.conns > 0 ||
		    usage.slices > 0 || usage.half_open > 0 || usage.time_wait > 0)
			return false;
		if (box->tls && secure_handshakes(i) > 0)
			return false;
	}
	return true;
}

void box_dump(const struct box *box)
{
	for (unsigned i = 0; i < box->workers; i++) {
		struct tcp_usage u;

		tcp_usage_get(box->worker[i].tcp, &u);
		printf("worker %u: %u sessions, %u connections, %u slices, %u half open, %u "
		       "time-wait\n",
		       i,
		       relay_sessions(box->worker[i].relay),
		       u.conns,
		       u.slices,
		       u.half_open,
		       u.time_wait);
		for (uint32_t c = 1; c < 512; c++) {
			struct tcp_info info;

			tcp_info_get(box->worker[i].tcp, (struct tcp_conn_id){c}, &info);
			if (strcmp(info.state, "closed") != 0)
				printf("  %u -> %u %s\n",
				       info.local.port,
				       info.remote.port,
				       info.state);
		}
	}
}

uint64_t box_load(const struct box *box)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < box->workers; i++)
		for (unsigned slot = 0; slot < BOX_SLOTS; slot++)
			sum += box->service[i][slot].active + box->backend[i][slot].active +
			       box->backend[i][slot].connecting + box->backend[i][slot].orphans +
			       box->backend[i][slot].probes_left;
	return sum;
}

uint64_t box_stat(const struct box *box, enum stat_id stat)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < box->workers; i++)
		sum += box->stats[i][stat];
	return sum;
}

struct shm_backend_signals box_signals(const struct box *box, uint32_t slot)
{
	struct shm_backend_signals sum = {0};

	for (unsigned i = 0; i < box->workers; i++) {
		const struct shm_backend_signals *s = &box->signals[i][slot];

		sum.legs += s->legs;
		sum.failing += s->failing;
		sum.mails += s->mails;
		sum.rcpt_votes += s->rcpt_votes;
		sum.rcpt_bounces += s->rcpt_bounces;
		sum.eod_votes += s->eod_votes;
		sum.eod_bounces += s->eod_bounces;
		for (unsigned k = 0; k < SHM_SIGNALS; k++)
			sum.signal[k] += s->signal[k];
	}
	return sum;
}

struct shm_backend_ctl *box_backend_ctl(struct box *box)
{
	return box->ctl;
}
