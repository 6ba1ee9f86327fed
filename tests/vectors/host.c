// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The stack under test: one worker's net and TCP layers on a port that hands frames to the script
// and takes frames from it.

#include "tests/vectors/vec.h"

#include <stdlib.h>

static const uint8_t own_mac[6] = {0x02, 0, 0, 0, 0, 1};

static uint16_t port_rx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	return 0;
}

static uint16_t port_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		static uint8_t buf[VEC_FRAME_MAX];
		uint32_t len = pkts[i]->pkt_len;
		const uint8_t *data = rte_pktmbuf_read(pkts[i], 0, len, buf);

		vec_frame_out(dev, data, len);
		rte_pktmbuf_free(pkts[i]);
	}
	return n;
}

static const struct port_ops port_ops = {.rx_burst = port_rx, .tx_burst = port_tx};

static void up_tcp_input(void *up, struct net_pkt *pkts, unsigned n)
{
	tcp_input_burst(((struct vec *)up)->tcp, pkts, n);
}

static void up_icmp_error(void *up, const struct net_icmp_error *err)
{
	tcp_icmp_error(((struct vec *)up)->tcp, err);
}

static bool up_is_local(void *up, const struct ip_addr *addr)
{
	return false;
}

static bool up_steer(void *up, uint16_t worker, uint8_t port, uint8_t what, struct rte_mbuf *m)
{
	return false;
}

static const struct net_ops net_ops = {
	.tcp_input = up_tcp_input,
	.icmp_error = up_icmp_error,
	.is_local = up_is_local,
	.steer = up_steer,
};

// Until the host has probed its address: it asks no neighbor from one in doubt.
static void address_settle(struct vec *v)
{
	v->env.now_ns -= 2000 * VEC_MS;
	for (unsigned ms = 0; ms < 2000; ms += 10) {
		net_timers(v->net);
		net_flush(v->net);
		v->env.now_ns += 10 * VEC_MS;
	}
}

void vec_host_start(struct vec *v)
{
	struct ip_prefix address = {.addr = v->local, .len = v->v6 ? 64 : 120};
	// MTUs that make an MSS of 1460 of both families
	struct net_port_config port = {
		.info = {.mtu = v->v6 ? 1520 : 1500, .flags = PORT_F_TX_MULTI_SEGS},
		.addresses = &address,
		.address_count = 1,
	};
	struct net_shared_config shared = {
		.ports = &port, .port_count = 1, .workers = 1, .max_neighbors = 64
	};
	struct net_config net = {
		.env = &v->env,
		.pool = v->pool,
		.port_ops = &port_ops,
		.port_dev = v,
		.ops = &net_ops,
		.up = v,
	};
	struct tcp_config tcp = {
		.env = &v->env,
		.ops = &vec_tcp_ops,
		.app = v,
		.small_pool = v->small_pool,
		.ref_pool = v->ref_pool,
		.max_conns = 16,
		.max_minis = 4,
		.max_slices = 8192,
		.flow_key = {3, 1},
		.isn_key = {5, 2},
		.port_flags = PORT_F_TX_MULTI_SEGS,
	};

	memcpy(port.info.mac, own_mac, sizeof(own_mac));
	memset(v->stats, 0, sizeof(v->stats));
	v->blocks_held = false;
	v->start_ns = 1000000 * VEC_MS;
	v->env = (struct worker_env){.now_ns = v->start_ns, .count = 1, .stats = v->stats};
	v->shared = net.shared = net_shared_new(&shared);
	v->net = net_new(&net);
	tcp.net = v->net;
	tcp.net_shared = v->shared;
	v->tcp = tcp_stack_new(&tcp);
	if (v->shared == NULL || v->net == NULL || v->tcp == NULL)
		abort();
	address_settle(v);
	rng_seed(&v->env.rng, 11);
}

void vec_host_stop(struct vec *v)
{
	const struct rte_mempool *const pools[] = {v->pool, v->small_pool, v->ref_pool};

	tcp_stack_free(v->tcp);
	net_free(v->net);
	net_shared_free(v->shared);
	for (unsigned i = 0; i < 3; i++)
		if (rte_mempool_in_use_count(pools[i]) != 0)
			vec_fail(v, "%u buffers are lost", rte_mempool_in_use_count(pools[i]));
}

void vec_settle(struct vec *v)
{
	unsigned work = 1;

	for (unsigned round = 0; round < 100 && work > 0; round++) {
		work = tcp_events_run(v->tcp);
		work += tcp_timers_run(v->tcp);
		work += tcp_events_run(v->tcp);
		work += tcp_output_run(v->tcp);
		net_timers(v->net);
		net_flush(v->net);
		for (; v->answered < v->answers; work++) {
			unsigned i = v->answered++ % VEC_ANSWERS_MAX;

			vec_frame_in(v, v->answer[i], v->answer_len[i]);
		}
	}
	if (work > 0)
		vec_fail(v, "the stack never runs out of work");
	if (v->held_count == 0 && !v->blocks_held) // else some entries are nowhere
		tcp_check(v->tcp);
}

void vec_advance(struct vec *v, uint32_t ms)
{
	for (uint32_t i = 0; i < ms;) {
		// to the next timer at once: hours pass in few steps
		uint32_t step = tcp_next_timer_ms(v->tcp, ms - i);

		step = step == 0 ? 1 : step;
		v->env.now_ns += step * VEC_MS;
		i += step;
		vec_settle(v);
	}
}

uint64_t vec_now_ms(const struct vec *v)
{
	return (v->env.now_ns - v->start_ns) / VEC_MS;
}

void vec_frame_in(struct vec *v, const uint8_t *data, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(v->pool);

	if (m == NULL || rte_pktmbuf_tailroom(m) < len)
		abort();
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), data, len);
	net_input_burst(v->net, 0, &m, 1, false);
}
