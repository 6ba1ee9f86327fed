// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// mailrace-sim: runs seeds, each twice with equal trace hashes (but with TLS, see secure.h). A
// failing seed prints what broke and how to replay it.

#include "tests/eal.h"
#include "tests/sim/mail.h"

#include <stdlib.h>

#include "tests/sim/scenario.h"

#define POOL_COUNT 32768
#define RESUMED_OF 19

struct options {
	uint64_t first, last;
	bool trace;
	const char *scenario;
	const char *pcap;
};

static bool options_parse(int argc, char **argv, struct options *ret)
{
	*ret = (struct options){.first = 1, .last = 20, .scenario = "relay"};
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
			ret->first = ret->last = strtoull(argv[++i], NULL, 0);
		} else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
			char *dots;

			ret->first = strtoull(argv[++i], &dots, 0);
			ret->last = *dots == '.' ? strtoull(dots + 2, NULL, 0) : ret->first;
		} else if (strcmp(argv[i], "--trace") == 0) {
			ret->trace = true;
		} else if (strcmp(argv[i], "--pcap") == 0 && i + 1 < argc) {
			ret->pcap = argv[++i];
		} else if (strcmp(argv[i], "--scenario") == 0 && i + 1 < argc) {
			ret->scenario = argv[++i];
		} else {
			fprintf(stderr,
				"usage: mailrace-sim [--seed N | --seeds A..B] [--scenario "
				"direct|loss|relay|pass|tls|offer|cost] [--trace [--pcap FILE]]\n");
			return false;
		}
	}
	return true;
}

static struct rte_mempool *pool_new(const char *name, uint16_t room)
{
	struct rte_mempool *pool = rte_pktmbuf_pool_create(name, POOL_COUNT - 1, 0, 0, room, 0);

	if (pool == NULL) {
		fprintf(stderr, "no memory for pool %s\n", name);
		exit(1);
	}
	return pool;
}

// One run of a seed on pools that must be full again after it. Returns the trace hash.
static uint64_t
seed_run(const struct options *options, struct sim *pools, uint64_t seed, bool trace)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	uint64_t hash;

	if (sim == NULL)
		abort();
	sim->seed = seed;
	sim->trace = trace;
	if (trace && options->pcap != NULL) {
		sim->pcap = fopen(options->pcap, "w");
		if (sim->pcap != NULL)
			sim_wire_pcap_start(sim->pcap);
	}
	sim->now_ns = 1000 * SIM_MS;
	sim->end_ns = sim->now_ns + 4 * 3600 * 1000 * SIM_MS;
	sim->pool = pools->pool;
	sim->small_pool = pools->small_pool;
	sim->ref_pool = pools->ref_pool;
	rng_seed(&sim->rng, seed);
	if (strcmp(options->scenario, "direct") == 0)
		scenario_direct(sim);
	else if (strcmp(options->scenario, "loss") == 0)
		scenario_loss(sim);
	else if (strcmp(options->scenario, "cost") == 0)
		scenario_cost(sim);
	else if (strcmp(options->scenario, "offer") == 0)
		scenario_offer(sim);
	else if (strcmp(options->scenario, "pass") == 0)
		scenario_pass(sim);
	else
		scenario_relay(sim, strcmp(options->scenario, "tls") == 0);
	sim_wire_clear(sim);
	if (sim->pcap != NULL)
		fclose(sim->pcap);
	for (unsigned h = 0; h < sim->host_count; h++)
		sim_host_free(sim->host[h]);
	if (sim->failed == NULL && (rte_mempool_in_use_count(sim->pool) != 0 ||
				    rte_mempool_in_use_count(sim->small_pool) != 0 ||
				    rte_mempool_in_use_count(sim->ref_pool) != 0))
		sim_fail(
			sim,
			"buffers leaked",
			rte_mempool_in_use_count(sim->pool),
			rte_mempool_in_use_count(sim->small_pool)
		);
	hash = sim->hash;
	if (sim->failed != NULL) {
		printf("seed %llu: %s (%s)\n", (unsigned long long)seed, sim->failed, sim->detail);
		printf("replay: mailrace-sim --scenario %s --seed %llu --trace\n",
		       options->scenario,
		       (unsigned long long)seed);
		exit(1);
	}
	free(sim);
	return hash;
}

// Of so many seeds some resume in each way.
static bool resumed_judge(bool enough)
{
	struct secure_resumed r = secure_resumed();

	printf("resumed: %u in TLS 1.2, %u in 1.3, of these %u by another worker, %u after a "
	       "reload\n",
	       r.v12,
	       r.v13,
	       r.elsewhere,
	       r.reloaded);
	if (!enough || (r.v12 > 0 && r.v13 > 0 && r.elsewhere > 0 && r.reloaded > 0))
		return true;
	printf("no session was resumed in one of these ways\n");
	return false;
}

int main(int argc, char **argv)
{
	struct options options;
	struct sim pools = {0};

	if (!options_parse(argc, argv, &options))
		return 64;
	if (!eal_start(192))
		return 1;
	pools.pool = pool_new("sim", RTE_MBUF_DEFAULT_BUF_SIZE);
	pools.small_pool = pool_new("small", RTE_PKTMBUF_HEADROOM + 512);
	pools.ref_pool = pool_new("ref", 0);
	for (uint64_t seed = options.first; seed <= options.last; seed++) {
		uint64_t once = seed_run(&options, &pools, seed, options.trace);

		// handshakes have random numbers of the libraries' own
		if (strcmp(options.scenario, "tls") != 0 &&
		    strcmp(options.scenario, "offer") != 0 &&
		    seed_run(&options, &pools, seed, false) != once) {
			printf("seed %llu: two runs differ\n", (unsigned long long)seed);
			return 1;
		}
		if (options.trace)
			printf("hash %016llx\n", (unsigned long long)once);
	}
	if (strcmp(options.scenario, "tls") == 0 &&
	    !resumed_judge(options.last - options.first >= RESUMED_OF))
		return 1;
	if (!scenario_loss_judge()) {
		printf("the retransmission timer had to help too often\n");
		return 1;
	}
	secure_fini();
	printf("%llu seeds of scenario %s passed\n",
	       (unsigned long long)(options.last - options.first + 1),
	       options.scenario);
	return 0;
}
