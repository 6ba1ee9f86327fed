// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// One turn of a worker: its stages in order, each with a quota (docs/architecture.md, life of a
// packet). Also run by the simulator with several virtual workers in one thread: no clock, no
// lcore, no state outside struct worker.

#include "dataplane/worker.h"

#include <rte_mbuf.h>

#include <errno.h>

#include "dataplane/port/steer.h"

#define STEER_QUOTA 64 // frames a turn from each other worker

static void up_tcp_input(void *up, struct net_pkt *pkts, unsigned n)
{
	tcp_input_burst(((struct worker *)up)->tcp, pkts, n);
}

static void up_icmp_error(void *up, const struct net_icmp_error *err)
{
	tcp_icmp_error(((struct worker *)up)->tcp, err);
}

static bool up_is_local(void *up, const struct ip_addr *addr)
{
	return relay_is_local(((struct worker *)up)->relay, addr);
}

static bool up_steer(void *up, uint16_t to, uint8_t port, uint8_t what, struct rte_mbuf *m)
{
	struct worker *w = up;
	const struct steer_elem elem = {.m = m, .port = port, .what = what};

	return steer_put(w->steer_out[to], &elem);
}

static const struct net_ops net_ops = {
	.tcp_input = up_tcp_input,
	.icmp_error = up_icmp_error,
	.is_local = up_is_local,
	.steer = up_steer,
	.echo = worker_echo,
};

static bool layers_new(struct worker *w, const struct worker_config *config)
{
	const struct net_config net = {
		.env = &w->env,
		.shared = config->net_shared,
		.pool = config->pool,
		.port_ops = config->port_ops,
		.port_dev = config->port_dev,
		.ops = &net_ops,
		.up = w,
		.conflicts = config->conflicts,
	};
	const struct relay_config relay = {
		.env = &w->env,
		.shm = config->shm,
		.max_sessions = config->max_sessions,
		.client_key = config->client_key,
		.tls = config->tls,
		.max_tls = config->max_tls,
		.max_named = config->max_named,
		.event = config->event,
		.up = config->up,
	};
	struct tcp_config tcp = {
		.env = &w->env,
		.net_shared = config->net_shared,
		.ops = &relay_tcp_ops,
		.small_pool = config->small_pool,
		.ref_pool = config->ref_pool,
		.max_conns = config->max_conns,
		.max_minis = config->max_minis,
		.max_slices = config->max_slices,
		.flow_key = config->flow_key,
		.isn_key = config->isn_key,
		.port_flags = config->port_flags,
	};

	struct watch_config watch = {
		.env = &w->env,
		.ring = config->capture_ring,
		.net_shared = config->net_shared,
		.port_ops = config->port_ops,
		.port_dev = config->port_dev,
	};

	w->net = net_new(&net);
	w->relay = relay_new(&relay);
	if (w->net == NULL || w->relay == NULL)
		return false;
	tcp.net = w->net;
	tcp.app = w->relay;
	w->tcp = tcp_stack_new(&tcp);
	if (w->tcp == NULL)
		return false;
	relay_attach(w->relay, w->tcp);
	watch.tcp = w->tcp;
	watch.relay = w->relay;
	w->watch = watch_new(&watch);
	return w->watch != NULL;
}

int worker_init(struct worker *w, const struct worker_config *config)
{
	*w = (struct worker){
		.env = {.now_ns = config->now_ns,
			.id = config->id,
			.count = config->count,
			.stats = config->stats},
		.port_ops = config->port_ops,
		.port_dev = config->port_dev,
		.port_count = config->port_count,
		.steer_out = config->steer_out,
		.steer_in = config->steer_in,
		.shm = config->shm.worker,
		.event = config->event,
		.up = config->up,
	};
	rng_seed(&w->env.rng, config->rng_seed);
	if (!layers_new(w, config)) {
		worker_fini(w);
		return -ENOMEM;
	}
	return 0;
}

void worker_fini(struct worker *w)
{
	watch_free(w->watch);
	tcp_stack_free(w->tcp);
	relay_free(w->relay);
	net_free(w->net);
	*w = (struct worker){0};
}

size_t worker_session_bytes(const struct worker *w)
{
	return relay_bytes(w->relay) + tcp_stack_bytes(w->tcp);
}

static unsigned ports_run(struct worker *w)
{
	struct rte_mbuf *burst[NET_BURST];
	unsigned work = 0;

	for (uint8_t p = 0; p < w->port_count; p++) {
		uint16_t n = w->port_ops->rx_burst(w->port_dev, p, burst, NET_BURST);
		uint16_t sent = w->port_ops->run != NULL ? w->port_ops->run(w->port_dev, p) : 0;

		turn_meter_note(w->meter, TURN_S_RECEIVE);
		if (n > 0)
			net_input_burst(w->net, p, burst, n, false);
		turn_meter_note(w->meter, TURN_S_INPUT);
		stat_add(&w->env, STAT_WORKER_SENT_FOR_OTHERS, sent);
		work += n + sent;
	}
	return work;
}

// What came by one ring: frames in bursts as long as their port is the same.
static void elems_input(struct worker *w, const struct steer_elem *elems, unsigned n)
{
	struct rte_mbuf *burst[NET_BURST];
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct steer_elem *e = &elems[i];

		if (e->what == NET_STEER_RESOLVE) {
			net_resolve_request(w->net, e->port, e->m);
			continue;
		}
		if (w->watched)
			watch_steered(w->watch, e->port, e->m);
		burst[count++] = e->m;
		if (i + 1 < n && elems[i + 1].port == e->port &&
		    elems[i + 1].what == NET_STEER_FRAME)
			continue;
		net_input_burst(w->net, e->port, burst, count, true);
		count = 0;
	}
}

// Frames and requests that other workers handed over.
static unsigned rings_run(struct worker *w)
{
	unsigned work = 0;

	for (uint16_t i = 0; i < w->env.count; i++) {
		struct steer_elem elems[NET_BURST];
		unsigned got = NET_BURST;

		if (i == w->env.id)
			continue;
		for (unsigned n = 0; n < STEER_QUOTA && got == NET_BURST; n += got) {
			got = steer_get_burst(w->steer_in[i], elems, NET_BURST);
			elems_input(w, elems, got);
			work += got;
		}
	}
	return work;
}

void worker_watch_apply(struct worker *w)
{
	watch_ports(w->watch, &w->port_ops, &w->port_dev);
	net_port_set(w->net, w->port_ops, w->port_dev);
	w->watched = watch_is_armed(w->watch);
}

unsigned worker_turn(struct worker *w)
{
	unsigned work;

	turn_meter_begin(w->meter);
	work = ports_run(w);
	work += rings_run(w);
	turn_meter_note(w->meter, TURN_S_RINGS);
	work += tcp_events_run(w->tcp);
	turn_meter_note(w->meter, TURN_S_EVENTS);
	work += relay_timers_run(w->relay);
	work += tcp_timers_run(w->tcp);
	turn_meter_note(w->meter, TURN_S_TIMERS);
	work += tcp_events_run(w->tcp);
	work += relay_tls_run(w->relay);
	turn_meter_note(w->meter, TURN_S_EVENTS);
	work += tcp_output_run(w->tcp);
	turn_meter_note(w->meter, TURN_S_OUTPUT);
	net_timers(w->net);
	net_flush(w->net);
	turn_meter_note(w->meter, TURN_S_TRANSMIT);
	turn_meter_end(w->meter, work);
	if (w->watched && !watch_turn(w->watch))
		worker_watch_apply(w);
	return work;
}

uint32_t worker_next_timer_ms(const struct worker *w, uint32_t limit_ms)
{
	limit_ms = net_next_timer_ms(w->net, limit_ms);
	limit_ms = relay_next_timer_ms(w->relay, limit_ms);
	return tcp_next_timer_ms(w->tcp, limit_ms);
}
