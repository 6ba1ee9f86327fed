// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Active opens (towards backends): the local port is drawn at random among those whose return tuple
// belongs to this worker and is free (RFC 6056, and the owner function that every worker can
// compute). Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

#include <errno.h>

#define PORT_TRIES_PER_WORKER 64
// Toeplitz is linear: for some keys all ports that differ in their low bits only belong to the same
// workers. A prime stride changes high and low bits from one try to the next.
#define PORT_STRIDE 24593U

static bool port_choose(struct tcp_stack *s, struct flow_key *key)
{
	uint32_t span = (uint32_t)s->config.local_port_max - s->config.local_port_min + 1;
	uint32_t start = rng_below(&s->env->rng, span);
	uint32_t tries = (uint32_t)PORT_TRIES_PER_WORKER * s->env->count;
	uint32_t stride = span % PORT_STRIDE != 0 ? PORT_STRIDE : 1;

	for (uint32_t i = 0; i < tries && i < span; i++) {
		key->local_port =
			(uint16_t)(s->config.local_port_min + (start + i * stride) % span);
		if (net_owner(
			    s->config.net_shared,
			    &key->remote,
			    &key->local,
			    key->remote_port,
			    key->local_port
		    ) != s->env->id)
			continue;
		if (flow_lookup(s, key) == 0)
			return true;
	}
	stat_inc(s->env, STAT_TCP_NO_PORT);
	return false;
}

int tcp_connect(struct tcp_stack *s, const struct tcp_connect_args *args, struct tcp_conn_id *ret)
{
	struct flow_key key = {
		.local = args->local, .remote = args->remote.addr, .remote_port = args->remote.port
	};
	struct net_route route;
	struct tcp_pcb *p;
	uint16_t own, mtu;

	if (!net_route_lookup(s->net, &key.remote, &route) ||
	    (!ip_addr_is_unspecified(&key.local) &&
	     ip_addr_is_v4(&key.local) != ip_addr_is_v4(&key.remote))) {
		stat_inc(s->env, STAT_TCP_NO_ROUTE);
		return -EHOSTUNREACH;
	}
	if (ip_addr_is_unspecified(&key.local))
		key.local = route.source;
	if (!port_choose(s, &key))
		return -EADDRNOTAVAIL;
	p = pcb_alloc(s, &key);
	if (p == NULL)
		return -ENOBUFS;
	pcb_route(s, p, NULL, &mtu);
	pcb_state_set(s, p, TCP_S_SYN_SENT);
	p->flags |= TCP_F_NEGOTIATED;
	p->snd_una = p->snd_nxt = p->snd_max = p->recover = tcp_isn(s, &key);
	p->user = args->user;
	p->rcv_cap = args->rcv_window;
	own = tcp_mss_of_mtu(&p->remote, mtu);
	p->mss = args->mss_max != 0 && args->mss_max < own ? args->mss_max : own;
	p->cwnd = p->mss;
	if (args->syn_timeout_ms != 0)
		tcp_state_timer(s, p, args->syn_timeout_ms);
	pcb_dirty(s, p);
	ret->v = pcb_index(s, p);
	return 0;
}
