// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Hosts of the simulator and its main loop: virtual time jumps to the next frame or timer.

#include "tests/sim/sim.h"

#include <stdlib.h>

#define SIM_STALL_NS 10000ULL // until a port takes frames again

void sim_fail(struct sim *sim, const char *what, uint64_t a, uint64_t b)
{
	if (sim->failed != NULL)
		return;
	sim->failed = what;
	snprintf(
		sim->detail,
		sizeof(sim->detail),
		"%llu, %llu at %.3f s",
		(unsigned long long)a,
		(unsigned long long)b,
		(double)sim->now_ns / 1e9
	);
}

struct sim_host *sim_host_new(struct sim *sim, uint16_t workers)
{
	struct sim_host *host = calloc(1, sizeof(*host));

	if (host == NULL)
		abort();
	host->sim = sim;
	host->id = (uint16_t)sim->host_count;
	host->workers = workers;
	// any number of queues, the first of them any worker's
	host->share = share_new(
		workers,
		(uint16_t)(1 + rng_below(&sim->rng, workers)),
		(uint16_t)rng_below(&sim->rng, workers)
	);
	if (host->share == NULL)
		abort();
	host->addr4 = (struct ip_prefix){.len = 120};
	host->addr4.addr = ip_addr_from_v4(rte_cpu_to_be_32(0x0a000001U + host->id)); // 10.0.0.0/24
	host->addr6 = (struct ip_prefix){
		.addr = {.b = {0x20, 0x01, 0x0d, 0xb8, [15] = (uint8_t)(1 + host->id)}},
		.len = 64,
	};
	sim->host[sim->host_count++] = host;
	return host;
}

void sim_host_port_config(const struct sim_host *host, struct net_port_config *ret)
{
	static struct ip_prefix addresses[2]; // read at once by net_shared_new

	addresses[0] = host->addr4;
	addresses[1] = host->addr6;
	*ret = (struct net_port_config){
		.info = {.mtu = 1500, .flags = PORT_F_TX_MULTI_SEGS},
		.addresses = addresses,
		.address_count = 2,
	};
	sim_host_mac(host->id, ret->info.mac);
}

static void up_tcp_input(void *up, struct net_pkt *pkts, unsigned n)
{
	tcp_input_burst(((struct sim_host *)up)->tcp, pkts, n);
}

static void up_icmp_error(void *up, const struct net_icmp_error *err)
{
	tcp_icmp_error(((struct sim_host *)up)->tcp, err);
}

static bool up_is_local(void *up, const struct ip_addr *addr)
{
	return false;
}

static bool up_steer(void *up, uint16_t worker, uint8_t port, uint8_t what, struct rte_mbuf *m)
{
	return false;
}

static const struct net_ops plain_net_ops = {
	.tcp_input = up_tcp_input,
	.icmp_error = up_icmp_error,
	.is_local = up_is_local,
	.steer = up_steer,
};

static unsigned plain_turn(struct sim_host *host)
{
	struct rte_mbuf *burst[NET_BURST];
	struct sim_port port = {host, 0};
	unsigned work = 0;
	uint16_t n;

	host->env.now_ns = host->sim->now_ns;
	n = sim_port_ops.rx_burst(&port, 0, burst, NET_BURST);
	work += n;
	net_input_burst(host->net, 0, burst, n, false);
	work += tcp_events_run(host->tcp);
	host->app_turn(host);
	work += tcp_timers_run(host->tcp);
	work += tcp_events_run(host->tcp);
	work += tcp_output_run(host->tcp);
	net_timers(host->net);
	net_flush(host->net);
	return work;
}

static uint32_t plain_next_ms(struct sim_host *host, uint32_t limit_ms)
{
	limit_ms = net_next_timer_ms(host->net, host->app_next_ms(host, limit_ms));
	return tcp_next_timer_ms(host->tcp, limit_ms);
}

static void plain_check(struct sim_host *host)
{
	tcp_check(host->tcp);
}

void sim_host_plain(struct sim_host *host, const struct tcp_ops *ops, void *app)
{
	struct sim *sim = host->sim;
	struct net_port_config port;
	struct net_shared_config shared = {
		.ports = &port, .port_count = 1, .workers = 1, .max_neighbors = 64
	};
	struct sim_port *dev = calloc(1, sizeof(*dev));
	struct net_config net = {
		.env = &host->env,
		.pool = sim->pool,
		.port_ops = &sim_port_ops,
		.port_dev = dev,
		.ops = &plain_net_ops,
		.up = host,
	};
	struct tcp_config tcp = {
		.env = &host->env,
		.ops = ops,
		.app = app,
		.small_pool = sim->small_pool,
		.ref_pool = sim->ref_pool,
		.max_conns = 512,
		.max_minis = 256,
		.max_slices = 8192,
		.flow_key = {rng_next(&sim->rng), 1},
		.isn_key = {rng_next(&sim->rng), 2},
		.port_flags = PORT_F_TX_MULTI_SEGS,
	};

	sim_host_port_config(host, &port);
	host->env = (struct worker_env){.now_ns = sim->now_ns, .count = 1, .stats = host->stats};
	rng_seed(&host->env.rng, rng_next(&sim->rng));
	host->shared = net.shared = net_shared_new(&shared);
	dev->host = host;
	host->net = net_new(&net);
	tcp.net = host->net;
	tcp.net_shared = host->shared;
	host->tcp = tcp_stack_new(&tcp);
	host->app = app;
	host->turn = plain_turn;
	host->next_ms = plain_next_ms;
	host->check = plain_check;
	if (dev == NULL || host->shared == NULL || host->net == NULL || host->tcp == NULL)
		abort();
	host->dev = dev;
}

uint32_t sim_no_accept(void *a, struct tcp_conn_id conn, uint32_t cookie)
{
	return TCP_USER_REFUSE;
}

bool sim_no_syn(
	void *a,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	struct tcp_listen_info *ret
)
{
	return false;
}

void sim_host_free(struct sim_host *host)
{
	for (unsigned q = 0; q < SIM_WORKERS_MAX; q++)
		while (host->rx_head[q] != host->rx_tail[q])
			rte_pktmbuf_free(host->rx[q][host->rx_head[q]++ % SIM_QUEUE_MAX]);
	tcp_stack_free(host->tcp);
	net_free(host->net);
	net_shared_free(host->shared);
	share_free(host->share);
	free(host->dev);
	free(host);
}

// All hosts at the present instant, until nobody has work left.
static void settle(struct sim *sim)
{
	for (unsigned round = 0; round < 10000; round++) {
		unsigned work = sim_wire_deliver(sim);

		for (unsigned h = 0; h < sim->host_count; h++)
			work += sim->host[h]->turn(sim->host[h]);
		if (work == 0)
			return;
	}
	sim_fail(sim, "livelock: hosts never run out of work", sim->frames, 0);
}

void sim_run(struct sim *sim, bool (*done)(void *arg), void *arg)
{
	unsigned steps = 0;

	while (sim->failed == NULL && sim->now_ns < sim->end_ns) {
		uint64_t next = sim->now_ns + 1000 * SIM_MS;

		settle(sim);
		if (++steps % 64 == 0)
			for (unsigned h = 0; h < sim->host_count; h++)
				sim->host[h]->check(sim->host[h]);
		if (done(arg) && sim->heap_count == 0)
			return;
		if (sim_wire_next(sim) < next)
			next = sim_wire_next(sim);
		if (sim->stalled && sim->now_ns + SIM_STALL_NS < next)
			next = sim->now_ns + SIM_STALL_NS;
		sim->stalled = false;
		for (unsigned h = 0; h < sim->host_count; h++) {
			uint64_t at =
				sim->now_ns + sim->host[h]->next_ms(sim->host[h], 1000) * SIM_MS;

			at -= at % SIM_MS;
			if (at <= sim->now_ns)
				at = sim->now_ns - sim->now_ns % SIM_MS + SIM_MS;
			next = at < next ? at : next;
		}
		sim->now_ns = next;
	}
	if (sim->failed == NULL)
		sim_fail(sim, "no end within the bound", sim->frames, 0);
}
