// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// One worker's net and TCP layers on a port that is a pair of calls.

#include <errno.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/stack/stack_types.h"

#define ETHER 14
#define PACKET_MAX 65536
#define NS_A_MS 1000000ULL
#define BEGIN_NS 1000000000ULL
#define SETTLE_MS 3000 // an address is probed before it is used (RFC 5227, 4862)
#define ROUNDS_MAX 1000
#define TIMER_MAX_MS 3600000U
#define BUFFERS 4095

static const uint8_t own_mac[6] = {0x02, 0, 0, 0, 0, 1}, peer_mac[6] = {0x02, 0, 0, 0, 0, 2};

static uint16_t port_rx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	return 0;
}

// Neighbors are always there: what the stack asks about them is answered, not shown.
static void frame_out(struct stack *s, const uint8_t *frame, uint32_t len)
{
	bool ip = len > ETHER && (frame[12] == 0x08 || frame[12] == 0x86);
	unsigned at = s->answers;

	if (at == STACK_ANSWERS)
		abort(); // far more than there are sockets to ask
	s->answer_len[at] = neighbor_answer(frame, len, peer_mac, s->answer[at]);
	if (s->answer_len[at] > 0)
		s->answers++;
	else if (ip && frame[13] != 0x06 && s->tcp != NULL && s->config.transmit != NULL)
		s->config.transmit(s->config.user, frame + ETHER, len - ETHER);
}

static uint16_t port_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	static uint8_t buf[PACKET_MAX];

	for (uint16_t i = 0; i < n; i++) {
		uint32_t len = pkts[i]->pkt_len;

		frame_out(dev, rte_pktmbuf_read(pkts[i], 0, len, buf), len);
		rte_pktmbuf_free(pkts[i]);
	}
	return n;
}

static const struct port_ops port_ops = {.rx_burst = port_rx, .tx_burst = port_tx};

static void up_tcp_input(void *up, struct net_pkt *pkts, unsigned n)
{
	tcp_input_burst(((struct stack *)up)->tcp, pkts, n);
}

static void up_icmp_error(void *up, const struct net_icmp_error *err)
{
	tcp_icmp_error(((struct stack *)up)->tcp, err);
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

static bool pools_make(struct stack *s)
{
	static unsigned made; // names of pools are of the process
	struct rte_mempool **const pool[] = {&s->pool, &s->small_pool, &s->ref_pool};
	const uint16_t room[] = {RTE_MBUF_DEFAULT_BUF_SIZE, RTE_PKTMBUF_HEADROOM + 512, 0};

	for (unsigned i = 0; i < 3; i++) {
		char name[32];

		snprintf(name, sizeof(name), "stack%u.%u", made, i);
		*pool[i] = rte_pktmbuf_pool_create(name, BUFFERS, 0, 0, room[i], 0);
		if (*pool[i] == NULL)
			return false;
	}
	made++;
	return true;
}

static bool net_make(struct stack *s)
{
	struct net_port_config port = {
		.info = {.mtu = s->config.mtu, .flags = PORT_F_TX_MULTI_SEGS},
		.addresses = s->config.addresses,
		.address_count = s->config.address_count,
	};
	struct net_shared_config shared = {
		.ports = &port,
		.port_count = 1,
		.workers = 1,
		.max_neighbors = 64,
		.hash_key = {s->config.seed, 1},
	};
	struct net_config net = {
		.env = &s->env,
		.pool = s->pool,
		.port_ops = &port_ops,
		.port_dev = s,
		.ops = &net_ops,
		.up = s,
	};

	memcpy(port.info.mac, own_mac, sizeof(own_mac));
	s->shared = net.shared = net_shared_new(&shared);
	s->net = s->shared != NULL ? net_new(&net) : NULL;
	for (unsigned ms = 0; s->net != NULL && ms < SETTLE_MS; ms += 10) {
		s->env.now_ns = BEGIN_NS + ms * NS_A_MS;
		net_timers(s->net);
		net_flush(s->net);
	}
	s->answers = 0;
	return s->net != NULL;
}

struct stack *stack_new(const struct stack_config *config)
{
	struct stack *s = calloc(1, sizeof(*s));
	struct tcp_config tcp = {
		.ops = &stack_tcp_ops,
		.max_conns = STACK_SOCKETS,
		.max_minis = STACK_SOCKETS,
		.max_slices = BUFFERS,
		.flow_key = {config->seed, 2},
		.isn_key = {config->seed, 3},
		.port_flags = PORT_F_TX_MULTI_SEGS,
	};

	if (s == NULL)
		return NULL;
	s->config = *config;
	s->rcv_window = 65535;
	s->syn_timeout_ms = 30000;
	s->env = (struct worker_env){.now_ns = BEGIN_NS, .count = 1, .stats = s->stats};
	rng_seed(&s->env.rng, config->seed);
	if (pools_make(s) && net_make(s)) {
		tcp.env = &s->env;
		tcp.app = s;
		tcp.net = s->net;
		tcp.net_shared = s->shared;
		tcp.small_pool = s->small_pool;
		tcp.ref_pool = s->ref_pool;
		s->tcp = tcp_stack_new(&tcp);
	}
	if (s->tcp != NULL)
		return s;
	stack_free(s);
	return NULL;
}

void stack_free(struct stack *s)
{
	struct rte_mempool *const pool[] = {s->pool, s->small_pool, s->ref_pool};

	for (unsigned i = 0; i < STACK_SOCKETS; i++)
		free(s->socket[i].rest);
	if (s->tcp != NULL)
		tcp_stack_free(s->tcp);
	if (s->net != NULL)
		net_free(s->net);
	if (s->shared != NULL)
		net_shared_free(s->shared);
	for (unsigned i = 0; i < 3; i++) {
		if (pool[i] != NULL && rte_mempool_in_use_count(pool[i]) != 0)
			abort();
		rte_mempool_free(pool[i]);
	}
	free(s);
}

static void
frame_in(struct stack *s, const uint8_t *head, uint32_t head_len, const uint8_t *p, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(s->pool);

	if (m == NULL || rte_pktmbuf_tailroom(m) < head_len + len) {
		rte_pktmbuf_free(m);
		return; // as a wire would
	}
	memcpy(rte_pktmbuf_append(m, (uint16_t)head_len), head, head_len);
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), p, len);
	net_input_burst(s->net, 0, &m, 1, false);
}

void stack_receive(struct stack *s, const uint8_t *packet, uint32_t len)
{
	uint8_t head[ETHER];

	if (len == 0)
		return;
	s->called = true;
	memcpy(head, own_mac, 6);
	memcpy(head + 6, peer_mac, 6);
	head[12] = packet[0] >> 4 == 6 ? 0x86 : 0x08;
	head[13] = packet[0] >> 4 == 6 ? 0xdd : 0x00;
	frame_in(s, head, ETHER, packet, len);
}

void stack_run(struct stack *s, uint64_t now_ns)
{
	unsigned work = 1;

	s->called = false;
	s->env.now_ns = now_ns > s->env.now_ns ? now_ns : s->env.now_ns;
	for (unsigned round = 0; round < ROUNDS_MAX && work > 0; round++) {
		work = tcp_events_run(s->tcp);
		work += tcp_timers_run(s->tcp);
		work += tcp_events_run(s->tcp);
		work += tcp_output_run(s->tcp);
		net_timers(s->net);
		net_flush(s->net);
		for (; s->answers > 0; work++) {
			unsigned i = --s->answers;

			frame_in(s, s->answer[i], s->answer_len[i], s->answer[i], 0);
		}
	}
	if (work > 0)
		abort(); // it never runs out of work
	tcp_check(s->tcp);
}

uint64_t stack_next_ns(const struct stack *s)
{
	uint32_t ms = tcp_next_timer_ms(s->tcp, TIMER_MAX_MS);

	if (s->called)
		return s->env.now_ns;
	ms = net_next_timer_ms(s->net, ms);
	return s->env.now_ns + (ms > 0 ? ms : 1) * NS_A_MS;
}

int stack_knob_set(struct stack *s, enum stack_knob knob, uint32_t value)
{
	switch (knob) {
	case STACK_RCV_WINDOW:
		s->rcv_window = value;
		return 0;
	case STACK_MSS_MAX:
		if (value > UINT16_MAX)
			return -EINVAL;
		s->mss_max = value;
		return 0;
	case STACK_SYN_TIMEOUT:
		s->syn_timeout_ms = value;
		return 0;
	}
	return -EINVAL;
}
