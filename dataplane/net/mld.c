// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Multicast listener discovery, version 2 (RFC 3810), as far as a listener of solicited-node groups
// needs it: switches that snoop pass solicitations for our addresses only to who has reported the
// group. Reports when an address comes or goes and when asked. Worker 0 only.

#include "dataplane/net/net_types.h"

#include <rte_ip.h>

#define MLD_QUERY_LEN1 24 // version 1, RFC 2710
#define MLD_QUERY_LEN2 28

enum mld_record_type {
	MLD_IS_EXCLUDE = 2,
	MLD_TO_INCLUDE = 3, // of no source: leaves the group
	MLD_TO_EXCLUDE = 4, // but no source: joins
};

struct mld_record {
	uint8_t type, aux_len;
	uint16_t sources;
	struct ip_addr group;
};

struct mld_report {
	uint8_t next, len, alert[4], pad[2]; // hop-by-hop: router alert (RFC 2711)
	uint8_t type, code;
	uint16_t cksum, reserved, count;
	struct mld_record record[MLD_RECORDS];
};
#define MLD_HOP_BY_HOP 8
#define MLD_HEAD 16 // without records

static void report_send(struct net *net, uint8_t port, const struct mld_report *report)
{
	static const struct ip_addr routers = {.b = {0xff, 0x02, [15] = 0x16}};
	static const uint8_t mac[6] = {0x33, 0x33, 0, 0, 0, 0x16};
	struct ip_addr src = {0}; // while there is no sure one (5.2.14)
	const struct ip_out out = {.src = &src, .dst = &routers, .proto = 0, .hop_limit = 1};
	struct rte_mbuf *m = rte_pktmbuf_alloc(net->pool);
	size_t len = MLD_HEAD + report->count * sizeof(struct mld_record);
	struct mld_report *r;

	if (m == NULL) {
		stat_inc(net->env, STAT_NET_NO_BUFFER);
		return;
	}
	r = (struct mld_report *)rte_pktmbuf_append(m, (uint16_t)len);
	memcpy(r, report, len);
	r->next = 58;
	r->alert[0] = 5;
	r->alert[1] = 2;
	r->pad[0] = 1; // PadN of 2
	r->type = MLD_REPORT;
	r->count = rte_cpu_to_be_16(report->count);
	if (own_is_sure(net, port, &net->shared->ports[port].link_local))
		src = net->shared->ports[port].link_local;
	ip6_output_header(&out, m);
	r->cksum = l4_cksum_ip6(
		m,
		rte_pktmbuf_mtod(m, const struct rte_ipv6_hdr *),
		sizeof(struct rte_ipv6_hdr) + MLD_HOP_BY_HOP,
		58
	);
	stat_inc(net->env, STAT_NET_MLD_REPORTS);
	eth_output(net, port, mac, RTE_ETHER_TYPE_IPV6, m);
}

static void record_add(struct mld_report *report, const struct own *e, enum mld_record_type type)
{
	report->record[report->count++] = (struct mld_record){
		.type = (uint8_t)type,
		.group = nd_solicited_node(&e->addr),
	};
}

// Reports of one port, at most one packet.
static void port_run(struct net *net, uint8_t port)
{
	struct mld_report report = {0};
	uint64_t now = net->env->now_ns;

	for (unsigned i = 0; i < net->own->count && report.count < MLD_RECORDS; i++) {
		struct own *e = &net->own->e[i];

		if (e->port != port || e->mld_left == 0 || e->mld_ns > now)
			continue;
		record_add(&report, e, e->mld_join ? MLD_TO_EXCLUDE : MLD_IS_EXCLUDE);
		e->mld_left--;
		e->mld_join = e->mld_left > 0 && e->mld_join;
		e->mld_ns = now + rng_below(&net->env->rng, MLD_JOIN_MS) * 1000000ULL;
	}
	if (report.count > 0)
		report_send(net, port, &report);
}

uint64_t mld_run(struct net *net)
{
	uint64_t due = UINT64_MAX;

	for (uint8_t p = 0; p < net->shared->port_count; p++)
		port_run(net, p);
	for (unsigned i = 0; i < net->own->count; i++) {
		const struct own *e = &net->own->e[i];

		if (e->mld_left > 0 && e->mld_ns < due)
			due = e->mld_ns;
	}
	return due;
}

void mld_join(struct own *e, uint64_t now_ns)
{
	if (ip_addr_is_v4(&e->addr))
		return;
	e->mld_left = MLD_JOIN_REPORTS;
	e->mld_join = true;
	e->mld_ns = now_ns;
}

void mld_leave(struct net *net, const struct own *e)
{
	const struct ip_addr group = nd_solicited_node(&e->addr);
	struct mld_report report = {0};

	if (ip_addr_is_v4(&e->addr))
		return;
	for (unsigned i = 0; i < net->own->count; i++) {
		const struct own *other = &net->own->e[i];
		const struct ip_addr g = nd_solicited_node(&other->addr);

		if (other->port == e->port && !ip_addr_is_v4(&other->addr) &&
		    !ip_addr_eq(&other->addr, &e->addr) && ip_addr_eq(&g, &group) &&
		    (!other->from_generation || other->kept))
			return; // another address needs it
	}
	record_add(&report, e, MLD_TO_INCLUDE);
	report_send(net, e->port, &report);
}

// Maximum Response Delay in milliseconds (5.1.3); version 1 has it plain.
static uint32_t delay_of(const uint8_t *query, uint16_t len)
{
	uint32_t code = (uint32_t)query[4] << 8 | query[5];

	if (len >= MLD_QUERY_LEN2 && code >= 0x8000)
		code = ((code & 0xfff) | 0x1000) << (((code >> 12) & 7) + 3);
	return code < MLD_DELAY_MAX_MS ? code : MLD_DELAY_MAX_MS;
}

void mld_input(struct net *net, const struct ip_in *in)
{
	const uint8_t *query = rte_pktmbuf_mtod_offset(in->m, const uint8_t *, in->l4_off);
	struct ip_addr group;
	uint64_t at;

	if (net->own == NULL || in->l4_len < MLD_QUERY_LEN1 || in->hop_limit != 1 ||
	    !ip_addr_is_link_local(&in->src) || in->dst.b[0] != 0xff) {
		net_drop(net, in->m, STAT_NET_ICMP_MALFORMED);
		return;
	}
	memcpy(group.b, query + 8, 16);
	at = net->env->now_ns +
	     rng_below(&net->env->rng, delay_of(query, in->l4_len) + 1) * 1000000ULL;
	for (unsigned i = 0; i < net->own->count; i++) {
		struct own *e = &net->own->e[i];
		const struct ip_addr own = nd_solicited_node(&e->addr);

		if (e->port != in->port || ip_addr_is_v4(&e->addr) ||
		    (!ip_addr_is_unspecified(&group) && !ip_addr_eq(&own, &group)))
			continue;
		if (e->mld_left == 0 || at < e->mld_ns)
			e->mld_ns = at;
		if (e->mld_left == 0)
			e->mld_left = 1;
	}
	own_due(net->own, at);
	rte_pktmbuf_free(in->m);
}
