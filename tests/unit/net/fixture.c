// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See fixture.h. Packet buffers are DPDK's, in ordinary memory.

#include "tests/unit/net/fixture.h"
#include "tests/eal.h"

#include <stdio.h>
#include <stdlib.h>

const uint8_t mac_a[6] = {0x02, 0, 0, 0, 0, 0xaa};
const uint8_t mac_b[6] = {0x02, 0, 0, 0, 0, 0xbb};
const uint8_t mac_ours[2][6] = {{0x02, 0, 0, 0, 0, 1}, {0x02, 0, 0, 0, 0, 2}};
const uint8_t mac_all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static struct rte_mempool *pool;

static void pool_take(void)
{
	if (pool != NULL)
		return;
	if (eal_start(64))
		pool = rte_pktmbuf_pool_create("net", 1023, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (pool == NULL) {
		fprintf(stderr, "no packet buffers\n");
		exit(1);
	}
}

struct ip_addr ip(const char *text)
{
	struct ip_addr a;

	if (ip_addr_parse(text, &a) != 0)
		fail_msg("%s is no address", text);
	return a;
}

static void frame_keep(struct fix_frame *to, uint16_t port, const struct rte_mbuf *m)
{
	const void *data = rte_pktmbuf_read(m, 0, m->pkt_len, to->data);

	assert_true(m->pkt_len <= sizeof(to->data));
	if (data != to->data)
		memcpy(to->data, data, m->pkt_len);
	to->len = (uint16_t)m->pkt_len;
	to->port = port;
}

static uint16_t fake_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	struct fix *f = dev;
	uint16_t i = 0;

	for (; i < n && f->tx_room > 0; i++, f->tx_room--) {
		assert_true(f->sent_count < FIX_FRAMES);
		frame_keep(&f->sent[f->sent_count++], port, pkts[i]);
		rte_pktmbuf_free(pkts[i]);
	}
	return i;
}

static const struct port_ops fake_ops = {.tx_burst = fake_tx};

static void fake_tcp_input(void *up, struct net_pkt *pkts, unsigned n)
{
	struct fix *f = up;

	for (unsigned i = 0; i < n; i++) {
		f->tcp = pkts[i];
		memcpy(f->tcp_data, rte_pktmbuf_mtod(pkts[i].m, void *), pkts[i].m->data_len);
		assert_int_equal(pkts[i].len, pkts[i].m->pkt_len);
		rte_pktmbuf_free(pkts[i].m);
		f->tcp.m = NULL;
		f->tcp_count++;
	}
}

static void fake_icmp_error(void *up, const struct net_icmp_error *err)
{
	struct fix *f = up;

	f->error = *err;
	f->error_count++;
}

static bool fake_is_local(void *up, const struct ip_addr *addr)
{
	const struct fix *f = up;

	for (unsigned i = 0; i < f->local_count; i++)
		if (ip_addr_eq(&f->local[i], addr))
			return true;
	return false;
}

static bool fake_steer(void *up, uint16_t worker, uint8_t port, uint8_t what, struct rte_mbuf *m)
{
	struct fix *f = up;

	if (f->steer_full)
		return false;
	f->steer_count++;
	f->steer_to = worker;
	f->steer_what = what;
	frame_keep(&f->steered, port, m);
	rte_pktmbuf_free(m);
	return true;
}

static const struct net_ops fake_net_ops = {
	.tcp_input = fake_tcp_input,
	.icmp_error = fake_icmp_error,
	.is_local = fake_is_local,
	.steer = fake_steer,
};

static struct fix *
fix_make(const struct net_port_config *ports, unsigned count, uint16_t worker, uint16_t workers)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct net_shared_config shared = {
		.ports = ports,
		.port_count = count,
		.workers = workers,
		.max_neighbors = 64,
	};
	struct net_config config = {
		.port_ops = &fake_ops,
		.port_dev = f,
		.ops = &fake_net_ops,
		.up = f,
	};

	pool_take();
	assert_non_null(f);
	for (unsigned i = 0; i < HASH_TOEPLITZ_KEY_LEN; i++)
		shared.rss_key[i] = (uint8_t)(i * 37 + 11);
	f->env = (struct worker_env
	){.now_ns = 1000000 * FIX_MS, .id = worker, .count = workers, .stats = f->stats};
	rng_seed(&f->env.rng, 1);
	f->tx_room = UINT16_MAX;
	f->local[f->local_count++] = ip("10.0.0.25");
	f->local[f->local_count++] = ip("2001:db8::25");
	f->shared = net_shared_new(&shared);
	assert_non_null(f->shared);
	config.env = &f->env;
	config.shared = f->shared;
	config.pool = pool;
	f->net = net_new(&config);
	assert_non_null(f->net);
	return f;
}

struct fix *net_fix_new_ports(const struct net_port_config *ports, unsigned count)
{
	return fix_make(ports, count, 0, 1);
}

struct fix *net_fix_new(uint16_t worker, uint16_t workers)
{
	struct ip_prefix address[2][2];
	const struct ip_addr gateway[2] = {ip("10.0.0.1"), ip("fe80::1")};
	struct net_port_config ports[2] = {
		{.info = {.mtu = 1500}, .gateways = gateway, .gateway_count = 2},
		{.info = {.mtu = 1400, .vlan = 20}},
	};
	struct fix *f;

	ip_prefix_parse("10.0.0.10/24", &address[0][0]);
	ip_prefix_parse("2001:db8::10/64", &address[0][1]);
	ip_prefix_parse("10.1.0.10/24", &address[1][0]);
	ip_prefix_parse("2001:db8:1::10/64", &address[1][1]);
	for (unsigned p = 0; p < 2; p++) {
		ports[p].addresses = address[p];
		ports[p].address_count = 2;
		memcpy(ports[p].info.mac, mac_ours[p], 6);
	}
	f = fix_make(ports, 2, worker, workers);
	return f;
}

void net_fix_free(struct fix *f)
{
	net_free(f->net);
	net_shared_free(f->shared);
	free(f);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

void net_fix_run(struct fix *f, unsigned ms)
{
	for (unsigned i = 0; i < ms; i += 10) {
		net_timers(f->net);
		net_flush(f->net);
		f->env.now_ns += 10 * FIX_MS;
	}
}

void net_fix_forget(struct fix *f)
{
	f->sent_count = 0;
	f->tcp_count = f->error_count = f->steer_count = 0;
	memset(f->stats, 0, sizeof(f->stats));
}

void net_fix_settle(struct fix *f)
{
	net_fix_run(f, 5000);
	net_fix_forget(f);
}

static void frame_in(struct fix *f, uint8_t port, const void *frame, uint16_t len, bool steered)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	assert_non_null(m);
	memcpy(rte_pktmbuf_append(m, len), frame, len);
	m->ol_flags |= f->rx_flags;
	m->vlan_tci = f->rx_vlan;
	net_input_burst(f->net, port, &m, 1, steered);
	net_flush(f->net);
}

void net_fix_in(struct fix *f, uint8_t port, const void *frame, uint16_t len)
{
	frame_in(f, port, frame, len, false);
}

void net_fix_in_steered(struct fix *f, uint8_t port, const void *frame, uint16_t len)
{
	frame_in(f, port, frame, len, true);
}

void net_fix_asked(struct fix *f, uint8_t port, const struct ip_addr *next_hop)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	assert_non_null(m);
	memcpy(rte_pktmbuf_append(m, sizeof(*next_hop)), next_hop, sizeof(*next_hop));
	net_resolve_request(f->net, port, m);
	net_flush(f->net);
}

void pkt_add(struct pkt *p, const void *data, size_t len)
{
	assert_true(p->len + len <= sizeof(p->data));
	memcpy(p->data + p->len, data, len);
	p->len = (uint16_t)(p->len + len);
}

void pkt_eth(struct pkt *p, const uint8_t dst[6], const uint8_t src[6], uint16_t type)
{
	const uint16_t be = rte_cpu_to_be_16(type);

	p->len = 0;
	pkt_add(p, dst, 6);
	pkt_add(p, src, 6);
	pkt_add(p, &be, 2);
}

void pkt_ip4_cksum(struct pkt *p)
{
	struct rte_ipv4_hdr *h = (struct rte_ipv4_hdr *)(p->data + 14);

	h->hdr_checksum = 0;
	h->hdr_checksum = (uint16_t)~rte_raw_cksum(h, (h->version_ihl & 0x0fU) * 4);
}

void pkt_ip4(struct pkt *p, const char *src, const char *dst, uint8_t proto, uint16_t payload)
{
	const struct ip_addr from = ip(src), to = ip(dst);
	const struct rte_ipv4_hdr h = {
		.version_ihl = RTE_IPV4_VHL_DEF,
		.total_length = rte_cpu_to_be_16((uint16_t)(sizeof(h) + payload)),
		.time_to_live = 64,
		.next_proto_id = proto,
		.src_addr = ip_addr_to_v4(&from),
		.dst_addr = ip_addr_to_v4(&to),
	};

	pkt_add(p, &h, sizeof(h));
	pkt_ip4_cksum(p);
}

void pkt_ip6(struct pkt *p, const char *src, const char *dst, uint8_t proto, uint16_t payload)
{
	const struct ip_addr from = ip(src), to = ip(dst);
	struct rte_ipv6_hdr h = {
		.vtc_flow = rte_cpu_to_be_32(6U << 28),
		.payload_len = rte_cpu_to_be_16(payload),
		.proto = proto,
		.hop_limits = 64,
	};

	memcpy(&h.src_addr, from.b, 16);
	memcpy(&h.dst_addr, to.b, 16);
	pkt_add(p, &h, sizeof(h));
}

// Own arithmetic: the code under test has its own too.
void pkt_cksum(struct pkt *p, uint16_t l4, uint16_t field, uint8_t proto)
{
	bool v4 = p->data[14] >> 4 == 4;
	uint32_t sum = (uint32_t)(p->len - l4) + proto;
	uint16_t at = v4 ? 26 : 22, n = v4 ? 8 : 32;

	if (v4 && proto == 1) // without pseudo header
		sum = n = 0;
	p->data[l4 + field] = p->data[l4 + field + 1] = 0;
	for (uint16_t i = 0; i < n; i += 2)
		sum += (uint32_t)p->data[at + i] << 8 | p->data[at + i + 1];
	for (uint16_t i = l4; i < p->len; i += 2)
		sum += (uint32_t)p->data[i] << 8 | (i + 1 < p->len ? p->data[i + 1] : 0);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	p->data[l4 + field] = (uint8_t)(~sum >> 8);
	p->data[l4 + field + 1] = (uint8_t)~sum;
}

void fix_arp(
	struct fix *f,
	uint16_t opcode,
	const char *sender,
	const uint8_t mac[6],
	const char *target,
	const uint8_t to[6]
)
{
	const struct ip_addr sip = ip(sender), tip = ip(target);
	struct rte_arp_hdr arp = {
		.arp_hardware = rte_cpu_to_be_16(RTE_ARP_HRD_ETHER),
		.arp_protocol = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4),
		.arp_hlen = 6,
		.arp_plen = 4,
		.arp_opcode = rte_cpu_to_be_16(opcode),
	};
	struct pkt p;

	memcpy(arp.arp_data.arp_sha.addr_bytes, mac, 6);
	arp.arp_data.arp_sip = ip_addr_to_v4(&sip);
	arp.arp_data.arp_tip = ip_addr_to_v4(&tip);
	pkt_eth(&p, to, mac, RTE_ETHER_TYPE_ARP);
	pkt_add(&p, &arp, sizeof(arp));
	net_fix_in(f, 0, p.data, p.len);
}

void fix_nd_in(struct fix *f, const struct fix_nd *nd)
{
	const struct ip_addr target = ip(nd->target), dst = ip(nd->dst);
	const uint8_t head[8] = {nd->type, nd->code, 0, 0, nd->flags};
	uint8_t option[8] = {nd->option, nd->option_len};
	const uint8_t group[6] = {0x33, 0x33, dst.b[12], dst.b[13], dst.b[14], dst.b[15]};
	uint16_t len = (uint16_t)(24 + (nd->option != 0 ? 8 : 0) - nd->cut);
	struct pkt p;

	if (nd->mac != NULL)
		memcpy(option + 2, nd->mac, 6);
	pkt_eth(&p, dst.b[0] == 0xff ? group : mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV6);
	pkt_ip6(&p, nd->src, nd->dst, 58, len);
	p.data[14 + 7] = nd->hop_limit;
	pkt_add(&p, head, sizeof(head));
	pkt_add(&p, target.b, 16);
	if (nd->option != 0)
		pkt_add(&p, option, 8);
	p.len = (uint16_t)(p.len - nd->cut);
	pkt_cksum(&p, 54, 2, 58);
	net_fix_in(f, 0, p.data, p.len);
}

void fix_tcp_in(
	struct fix *f,
	uint8_t port,
	const char *src,
	const char *dst,
	uint16_t sport,
	uint16_t dport
)
{
	const struct rte_tcp_hdr tcp = {
		.src_port = rte_cpu_to_be_16(sport),
		.dst_port = rte_cpu_to_be_16(dport),
		.data_off = 0x50,
		.tcp_flags = RTE_TCP_SYN_FLAG,
	};
	const struct ip_addr from = ip(src);
	struct pkt p;

	if (ip_addr_is_v4(&from)) {
		pkt_eth(&p, mac_ours[port], mac_a, RTE_ETHER_TYPE_IPV4);
		pkt_ip4(&p, src, dst, 6, sizeof(tcp));
	} else {
		pkt_eth(&p, mac_ours[port], mac_a, RTE_ETHER_TYPE_IPV6);
		pkt_ip6(&p, src, dst, 6, sizeof(tcp));
	}
	pkt_add(&p, &tcp, sizeof(tcp));
	pkt_cksum(&p, (uint16_t)(p.len - sizeof(tcp)), 16, 6);
	net_fix_in(f, port, p.data, p.len);
}

void fix_tcp_out(struct fix *f, const char *src, const char *dst)
{
	const struct ip_addr from = ip(src), to = ip(dst);
	const struct rte_tcp_hdr tcp = {.data_off = 0x50};
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct net_route route;
	uint32_t hint = 0;
	struct net_tx tx = {.src = &from, .dst = &to, .neigh = &hint};

	assert_non_null(m);
	assert_true(net_route_lookup(f->net, &to, &route));
	memcpy(rte_pktmbuf_append(m, sizeof(tcp)), &tcp, sizeof(tcp));
	tx.next_hop = &route.next_hop;
	tx.port = route.port;
	net_output(f->net, &tx, m);
	net_flush(f->net);
}

const struct fix_frame *fix_last(const struct fix *f)
{
	assert_true(f->sent_count > 0);
	return &f->sent[f->sent_count - 1];
}

uint16_t fix_type(const struct fix_frame *frame)
{
	return (uint16_t)(frame->data[12] << 8 | frame->data[13]);
}

unsigned fix_count_type(const struct fix *f, uint16_t type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->sent_count; i++)
		n += fix_type(&f->sent[i]) == type;
	return n;
}
