// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// One stack for both ends: events go to clients or backends by the user word. One thread.

#include "tools/bench/host.h"

#include <string.h>

#include "tools/bench/backend.h"
#include "tools/bench/bench.h"
#include "tools/bench/client.h"

#define MINIS 131072U

static bool is_ours(void *up, const struct ip_addr *addr)
{
	const struct bench *b = up;

	if (ip_prefix_contains(&b->opt.clients4, addr) ||
	    ip_prefix_contains(&b->opt.clients6, addr))
		return true;
	for (unsigned i = 0; i < b->opt.backend_count; i++)
		if (ip_addr_eq(&b->opt.backend[i].addr, addr))
			return true;
	return false;
}

static void up_tcp_input(void *up, struct net_pkt *pkts, unsigned n)
{
	tcp_input_burst(((struct bench *)up)->tcp, pkts, n);
}

static void up_icmp_error(void *up, const struct net_icmp_error *err)
{
	tcp_icmp_error(((struct bench *)up)->tcp, err);
}

static bool up_steer(void *up, uint16_t worker, uint8_t port, uint8_t what, struct rte_mbuf *m)
{
	return false; // one worker
}

static const struct net_ops net_ops = {
	.tcp_input = up_tcp_input,
	.icmp_error = up_icmp_error,
	.is_local = is_ours,
	.steer = up_steer,
};

static bool
on_syn(void *app,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	return backend_listens(app, local, ret);
}

static uint32_t on_accept(void *app, struct tcp_conn_id conn, uint32_t cookie)
{
	return backend_accept(app, conn, cookie);
}

static void on_connect(void *app, struct tcp_conn_id conn, uint32_t user)
{
	client_connected(app, user);
}

static void on_data(void *app, struct tcp_conn_id conn, uint32_t user)
{
	if ((user & BENCH_USER_LEG) != 0)
		backend_run(app, user & ~BENCH_USER_LEG);
	else
		client_run(app, user);
}

static void on_fin(void *app, struct tcp_conn_id conn, uint32_t user)
{
	if ((user & BENCH_USER_LEG) != 0)
		backend_fin(app, user & ~BENCH_USER_LEG);
	else
		client_fin(app, user);
}

static void
on_close(void *app, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	if ((user & BENCH_USER_LEG) != 0)
		backend_closed(app, user & ~BENCH_USER_LEG, reason);
	else
		client_closed(app, user, reason);
}

static const struct tcp_ops tcp_ops = {
	.on_syn = on_syn,
	.on_accept = on_accept,
	.on_connect = on_connect,
	.on_data = on_data,
	.on_sent = on_data,
	.on_fin = on_fin,
	.on_close = on_close,
};

static bool net_init(struct bench *b)
{
	const struct ip_prefix addresses[] = {b->opt.own4, b->opt.own6};
	const struct net_port_config port = {
		.info = b->port.info,
		.addresses = addresses,
		.address_count = 2,
	};
	const struct net_shared_config shared = {
		.ports = &port,
		.port_count = 1,
		.workers = 1,
		.hash_key = {b->opt.seed, 1},
	};
	struct net_config net = {
		.env = &b->env,
		.pool = b->port.pool,
		.port_ops = &bench_port_ops,
		.port_dev = &b->port,
		.ops = &net_ops,
		.up = b,
	};

	b->net_shared = net_shared_new(&shared);
	if (b->net_shared == NULL)
		return false;
	net.shared = b->net_shared;
	b->net = net_new(&net);
	return b->net != NULL;
}

bool host_init(struct bench *b)
{
	uint32_t sessions = b->opt.concurrent + b->opt.hold;
	struct tcp_config tcp = {
		.env = &b->env,
		.ops = &tcp_ops,
		.app = b,
		.small_pool = b->port.small_pool,
		.ref_pool = b->port.ref_pool,
		.max_conns = 2 * sessions + sessions / 4 + 1024,
		.max_minis = MINIS,
		.max_slices = b->opt.buffers,
		.flow_key = {b->opt.seed, 2},
		.isn_key = {b->opt.seed, 3},
		.port_flags = b->port.info.flags,
	};

	b->env = (struct worker_env){
		.now_ns = port_now_ns(&b->port),
		.count = 1,
		.stats = b->stats,
	};
	rng_seed(
		&b->env.rng, b->opt.seed ^ b->env.now_ns
	); // ports of the run before may be waiting
	if (!net_init(b))
		return false;
	tcp.net = b->net;
	tcp.net_shared = b->net_shared;
	b->tcp = tcp_stack_new(&tcp);
	return b->tcp != NULL;
}

void host_announce(struct bench *b)
{
	net_announce(b->net, &b->opt.own4.addr);
	net_announce(b->net, &b->opt.own6.addr);
	for (unsigned i = 0; i < b->opt.backend_count; i++)
		net_announce(b->net, &b->opt.backend[i].addr);
}

void host_fini(struct bench *b)
{
	if (b->tcp != NULL) {
		tcp_reset_all(b->tcp);
		net_flush(b->net);
	}
	tcp_stack_free(b->tcp);
	net_free(b->net);
	net_shared_free(b->net_shared);
}

unsigned host_turn(struct bench *b)
{
	struct rte_mbuf *burst[NET_BURST];
	unsigned work;
	uint16_t n;

	b->env.now_ns = port_now_ns(&b->port);
	n = bench_port_ops.rx_burst(&b->port, 0, burst, NET_BURST);
	if (n > 0)
		net_input_burst(b->net, 0, burst, n, false);
	work = n;
	work += tcp_events_run(b->tcp);
	work += clients_turn(b);
	work += backends_turn(b);
	work += tcp_timers_run(b->tcp);
	work += tcp_events_run(b->tcp);
	work += tcp_output_run(b->tcp);
	net_timers(b->net);
	net_flush(b->net);
	if (work > 0)
		b->busy_ns += port_now_ns(&b->port) - b->env.now_ns;
	return work;
}

bool host_line(struct bench *b, struct tcp_conn_id conn, const char **ret, unsigned *ret_len)
{
	static char split[BENCH_LINE_MAX]; // a line that lies in several buffers
	uint32_t have = 0, len;
	const uint8_t *p;

	while (have < BENCH_LINE_MAX && tcp_rx_peek(b->tcp, conn, have, &p, &len)) {
		uint32_t n = len < BENCH_LINE_MAX - have ? len : BENCH_LINE_MAX - have;
		const uint8_t *lf = memchr(p, '\n', n);

		if (lf != NULL)
			n = (uint32_t)(lf - p) + 1;
		if (lf != NULL && have == 0) {
			*ret = (const char *)p;
			*ret_len = n;
			return true;
		}
		memcpy(split + have, p, n);
		have += n;
		if (lf != NULL)
			break;
	}
	*ret = split;
	*ret_len = have;
	return have == BENCH_LINE_MAX || (have > 0 && split[have - 1] == '\n');
}
