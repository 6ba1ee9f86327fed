// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Makes the workers: neighbor table, steering rings, sessions and connections, each taken once at
// start. Main thread.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dataplane/dataplane.h"
#include "dataplane/port/steer.h"

#define MINIS_MORE_MAX 8192U
#define MINIS_MIN 64U
#define NAMED_SHARE 64U // of the sessions, where the file names nobody who sends PROXY headers

// Called on the worker's thread.
static bool event_put(void *up, const struct ctl_msg *msg)
{
	return ctl_ring_put(((struct lcore *)up)->events, msg);
}

static int net_make(struct dataplane *dp)
{
	struct net_port_config ports[PORT_MAX];
	struct net_shared_config config = {
		.ports = ports,
		.port_count = dp->cfg->port_count,
		.workers = (uint16_t)dp->cfg->dataplane.workers,
	};

	for (unsigned i = 0; i < dp->cfg->port_count; i++)
		ports[i] = (struct net_port_config){
			.info = dp->info[i],
			.addresses = dp->cfg->ports[i].addresses,
			.address_count = dp->cfg->ports[i].address_count,
			.gateways = dp->cfg->ports[i].gateways,
			.gateway_count = dp->cfg->ports[i].gateway_count,
		};
	memcpy(config.rss_key, dp->rss_key, sizeof(config.rss_key));
	if (getrandom(&config.hash_key, sizeof(config.hash_key), 0) != sizeof(config.hash_key))
		return -EIO;
	dp->net_shared = net_shared_new(&config);
	return dp->net_shared != NULL ? 0 : -errno;
}

static int rings_make(struct dataplane *dp)
{
	unsigned n = dp->cfg->dataplane.workers;

	dp->ring = calloc(n * n, sizeof(*dp->ring));
	dp->in = calloc(n * n, sizeof(*dp->in));
	if (dp->ring == NULL || dp->in == NULL)
		return -ENOMEM;
	for (unsigned from = 0; from < n; from++) {
		for (unsigned to = 0; to < n; to++) {
			struct rte_ring *ring = from != to ? steer_ring_new() : NULL;

			if (from != to && ring == NULL)
				return -ENOMEM;
			dp->ring[from * n + to] = dp->in[to * n + from] = ring;
		}
	}
	return 0;
}

static uint32_t common_flags(const struct dataplane *dp)
{
	uint32_t flags = UINT32_MAX;

	for (unsigned i = 0; i < dp->cfg->port_count; i++)
		flags &= dp->info[i].flags;
	return flags;
}

// Half-open connections, and as many in TIME_WAIT: a quarter of the sessions, of very many somewhat
// less. Part of the 768 bytes a session (T7).
static uint32_t minis_for(uint32_t sessions)
{
	uint32_t more = sessions / 16;

	return sessions / 5 + (more < MINIS_MORE_MAX ? more : MINIS_MORE_MAX) + MINIS_MIN;
}

// What the loop of a worker looks at beside the worker itself.
static int lcore_make(struct dataplane *dp, unsigned i)
{
	unsigned n = dp->cfg->dataplane.workers, others = 0;
	struct lcore *l = &dp->lcore[i];

	l->phase = &dp->phase;
	l->commands = shm_commands_at(&dp->shm, i);
	l->events = shm_events_at(&dp->shm, i);
	l->ports = shm_ports(&dp->shm);
	l->idle_sleep = dp->cfg->dataplane.idle_sleep;
	l->backend_slots = dp->shm.backend_slots;
	l->others_active = calloc(dp->shm.backend_slots, sizeof(uint32_t));
	l->others = calloc(n, sizeof(*l->others));
	if (l->others_active == NULL || l->others == NULL)
		return -ENOMEM;
	for (unsigned k = 0; k < n; k++)
		if (k != i)
			l->others[others++] = shm_backends_at(&dp->shm, k);
	return 0;
}

static struct relay_shm shm_of(const struct dataplane *dp, unsigned i)
{
	bool ledger =
		dp->cfg->ledger.keep != BLOB_LEDGER_OFF; // its memory is taken at start or never

	return (struct relay_shm){
		.worker = shm_worker_at(&dp->shm, i),
		.backends = shm_backends_at(&dp->shm, i),
		.services = shm_services_at(&dp->shm, i),
		.signals = shm_signals_at(&dp->shm, i),
		.tarpit_backends = shm_tarpit_backends_at(&dp->shm, i),
		.tarpit_services = shm_tarpit_services_at(&dp->shm, i),
		.tarpit_sources = shm_tarpit_sources_at(&dp->shm, i),
		.backend_ctl = shm_backend_ctl_at(&dp->shm),
		.test_mail = shm_test_mail(&dp->shm),
		.backend_slots = dp->shm.backend_slots,
		.service_slots = dp->shm.service_slots,
		.leases = dp->leases,
		.ledger = ledger ? shm_ledger_at(&dp->shm, i) : NULL,
	};
}

static int worker_make(struct dataplane *dp, unsigned i, const struct hash_key *client_key)
{
	unsigned n = dp->cfg->dataplane.workers;
	uint32_t sessions = cfg_share(dp->cfg->dataplane.max_sessions, n, i);
	struct lcore *l = &dp->lcore[i];
	struct worker_config config = {
		.id = (uint16_t)i,
		.count = (uint16_t)n,
		.now_ns = lcore_clock_ns(),
		.stats = shm_counters_at(&dp->shm, i),
		.net_shared = dp->net_shared,
		.pool = dp->pools.pool,
		.small_pool = dp->pools.small_pool,
		.ref_pool = dp->pools.ref_pool,
		.port_ops = &port_dpdk_ops,
		.port_dev = &dp->queue[i],
		.port_count = (uint8_t)dp->cfg->port_count,
		.port_flags = common_flags(dp),
		.max_sessions = sessions,
		.max_conns = 2 * sessions + sessions / 8 + 64,
		.client_key = *client_key,
		.max_minis = minis_for(sessions),
		.tls = l->engine,
		.max_tls = l->engine != NULL
				   ? cfg_share(dp->cfg->dataplane.max_tls_connections, n, i)
				   : 0,
		.max_named = dp->cfg->dataplane.headers ? sessions : sessions / NAMED_SHARE + 1,
		.max_slices = (dp->cfg->dataplane.buffers - port_buffers_reserved(dp->cfg)) / n,
		.shm = shm_of(dp, i),
		.event = event_put,
		.up = l,
		.steer_out = &dp->ring[i * n],
		.steer_in = &dp->in[i * n],
		.conflicts = shm_conflicts(&dp->shm),
		.capture_ring = shm_capture_at(&dp->shm, i),
	};
	int err = lcore_make(dp, i);

	dp->queue[i].worker = (uint16_t)i;
	if (err < 0)
		return err;
	if (getrandom(&config.flow_key, sizeof(config.flow_key), 0) < 0 ||
	    getrandom(&config.isn_key, sizeof(config.isn_key), 0) < 0 ||
	    getrandom(&config.rng_seed, sizeof(config.rng_seed), 0) < 0)
		return -ENOMEM;
	config.shm.others_active = l->others_active;
	err = worker_init(&l->worker, &config);
	if (err == 0)
		dp->shm.header->session_bytes += worker_session_bytes(&l->worker);
	return err;
}

int workers_init(struct dataplane *dp)
{
	struct hash_key client_key;
	int err = net_make(dp);

	if (err == 0 && getrandom(&client_key, sizeof(client_key), 0) != sizeof(client_key))
		err = -EIO;

	if (err == 0)
		err = rings_make(dp);
	dp->lcore = calloc(dp->cfg->dataplane.workers, sizeof(*dp->lcore));
	dp->leases = lb_leases_new(dp->shm.backend_slots);
	if (err == 0 && (dp->lcore == NULL || dp->leases == NULL))
		err = -ENOMEM;
	dp->shm.header->max_sessions = dp->cfg->dataplane.max_sessions;
	if (err == 0) { // memory for TLS is taken at start or never
		err = engines_init(dp);
		if (err != 0) {
			workers_fini(dp);
			dp->lcore = NULL;
		}
	}
	for (unsigned i = 0; i < dp->cfg->dataplane.workers && err == 0; i++)
		err = worker_make(dp, i, &client_key);
	for (unsigned i = 0; i < dp->cfg->dataplane.workers && err == 0; i++)
		for (uint16_t k = 0; k < dp->cfg->dataplane.workers; k++)
			relay_neighbor_set(dp->lcore[i].worker.relay, k, dp->lcore[k].worker.relay);
	return err;
}

void workers_flush(struct dataplane *dp)
{
	for (unsigned i = 0; dp->lcore != NULL && i < dp->cfg->dataplane.workers; i++)
		for (uint16_t p = 0; p < dp->cfg->port_count; p++)
			port_dpdk_ops.run(&dp->queue[i], p);
}

void workers_fini(struct dataplane *dp)
{
	unsigned n = dp->cfg->dataplane.workers;

	for (unsigned i = 0; dp->lcore != NULL && i < n; i++) {
		if (dp->lcore[i].worker.net != NULL)
			worker_fini(&dp->lcore[i].worker);
		free(dp->lcore[i].others_active);
		free(dp->lcore[i].others);
	}
	tickets_stop(dp);
	credentials_free(dp->credentials, false); // no handshake is left
	credentials_free(dp->old_credentials, true);
	engines_fini(dp);
	for (unsigned i = 0; dp->ring != NULL && i < n * n; i++)
		steer_ring_free(dp->ring[i]);
	free(dp->ring);
	free(dp->in);
	free(dp->lcore);
	lb_leases_free(dp->leases);
	net_shared_free(dp->net_shared);
	free(dp->blob);
	free(dp->old_blob);
}
