// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Echo requests of our own (RFC 792, 4443), for the operator: a few at a time, each known by an
// identifier and a random word that nobody outside can guess. Worker 0 only.

#include "dataplane/net/net_types.h"

#include <rte_icmp.h>
#include <rte_ip.h>

#include <errno.h>

#define ECHO4_REQUEST 8
#define ECHO6_REQUEST 128
#define ECHO_DATA 56 // octets, as ping(8) sends

struct echo {
	uint8_t type, code;
	uint16_t cksum;
	uint16_t ident, seq;
	uint64_t word;
	uint8_t fill[ECHO_DATA - 8];
} __attribute__((packed, aligned(2))); // behind 14 octets of Ethernet
static_assert(sizeof(struct echo) == 8 + ECHO_DATA, "on the wire");

static void echo_checksum_v6(struct rte_mbuf *m)
{
	const struct rte_ipv6_hdr *ip = rte_pktmbuf_mtod(m, const struct rte_ipv6_hdr *);
	struct echo *echo = rte_pktmbuf_mtod_offset(m, struct echo *, sizeof(*ip));

	echo->cksum = l4_cksum_ip6(m, ip, sizeof(*ip), 58);
}

static void echo_send(
	struct net *net,
	const struct net_route *route,
	const struct ip_addr *to,
	const struct net_ping *p,
	struct rte_mbuf *m
)
{
	bool v4 = ip_addr_is_v4(to);
	struct ip_out out = {
		.src = &route->source,
		.dst = to,
		.proto = v4 ? 1 : 58,
		.hop_limit = NET_TTL,
	};
	struct echo *echo = (struct echo *)rte_pktmbuf_append(m, sizeof(*echo));

	*echo = (struct echo){
		.type = v4 ? ECHO4_REQUEST : ECHO6_REQUEST,
		.ident = p->ident,
		.seq = p->seq,
		.word = p->word,
	};
	for (unsigned i = 0; i < sizeof(echo->fill); i++)
		echo->fill[i] = (uint8_t)i;
	if (v4) {
		echo->cksum = (uint16_t)~rte_raw_cksum(echo, sizeof(*echo));
		ip4_output_header(&out, m);
	} else {
		ip6_output_header(&out, m);
		echo_checksum_v6(m);
	}
	ip_transmit(net, route->port, &route->next_hop, NULL, m);
}

int net_ping(struct net *net, const struct ip_addr *to, uint32_t id, uint32_t timeout_ms)
{
	struct net_route route;
	struct net_ping *p = NULL;
	struct rte_mbuf *m;

	if (net_addr_is_local(net, to))
		return -EADDRINUSE;
	if (!net_route_lookup(net, to, &route))
		return -EHOSTUNREACH;
	for (unsigned i = 0; i < NET_PINGS_MAX; i++)
		if (!net->ping[i].used)
			p = &net->ping[i];
	m = p != NULL ? rte_pktmbuf_alloc(net->pool) : NULL;
	if (m == NULL)
		return -ENOBUFS;
	*p = (struct net_ping){
		.used = true,
		.id = id,
		.addr = *to,
		.ident = (uint16_t)rng_next(&net->env->rng),
		.seq = rte_cpu_to_be_16(1),
		.word = rng_next(&net->env->rng),
		.sent_ns = net->env->now_ns,
		.deadline_ns = net->env->now_ns + timeout_ms * 1000000ULL,
	};
	net->pings++;
	echo_send(net, &route, to, p, m);
	return 0;
}

static void ping_end(struct net *net, struct net_ping *p, bool answered, uint8_t hop_limit)
{
	const struct net_echo echo = {
		.id = p->id,
		.answered = answered,
		.hop_limit = hop_limit,
		.time_ns = net->env->now_ns - p->sent_ns,
	};

	p->used = false;
	net->pings--;
	if (net->ops->echo != NULL)
		net->ops->echo(net->up, &echo);
}

void ping_input(struct net *net, const struct ip_in *in)
{
	const struct echo *echo = rte_pktmbuf_mtod_offset(in->m, const struct echo *, in->l4_off);

	for (unsigned i = 0; net->pings > 0 && i < NET_PINGS_MAX; i++) {
		struct net_ping *p = &net->ping[i];

		if (!p->used || in->l4_len < sizeof(*echo) || echo->ident != p->ident ||
		    echo->seq != p->seq || echo->word != p->word || !ip_addr_eq(&in->src, &p->addr))
			continue;
		ping_end(net, p, true, in->hop_limit);
		rte_pktmbuf_free(in->m);
		return;
	}
	net_drop(net, in->m, STAT_NET_ICMP_IGNORED); // nobody asked
}

void ping_timers(struct net *net)
{
	for (unsigned i = 0; i < NET_PINGS_MAX; i++)
		if (net->ping[i].used && net->env->now_ns >= net->ping[i].deadline_ns)
			ping_end(net, &net->ping[i], false, 0);
}
