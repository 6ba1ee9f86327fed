// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// ARP, ND, ICMP and any other frame into the network layer of worker 0, in the middle of sending
// and aging. Judged: what is sent is well-formed and at most one frame for a frame received, what
// goes up to TCP is what the headers say, the neighbor table holds only stations that can be, each
// once, and no buffer is lost. Input: commands.

#include <stdlib.h>
#include <string.h>

#include "dataplane/net/net_types.h"
#include "tests/fuzz/eal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/packet.h"

#define SERVICE 100 // station number of an address that the configuration adds
#define GATEWAY 200

struct box {
	struct worker_env env;
	uint64_t stats[STAT_COUNT];
	struct net_shared *shared;
	struct net *net;
	unsigned sent;
	uint16_t room; // frames that the port takes at once
	bool vlan;
};

static void up_tcp_input(void *up, struct net_pkt *pkts, unsigned n)
{
	struct box *box = up;

	for (unsigned i = 0; i < n; i++) {
		FUZZ_CHECK(pkts[i].len >= 20 && pkts[i].len == pkts[i].m->pkt_len);
		FUZZ_CHECK(pkts[i].m->nb_segs == 1 && pkts[i].m->data_len == pkts[i].len);
		FUZZ_CHECK(net_addr_is_local(box->net, &pkts[i].dst));
		FUZZ_CHECK(!ip_addr_is_martian_source(&pkts[i].src));
		FUZZ_CHECK(ip_addr_is_v4(&pkts[i].src) == ip_addr_is_v4(&pkts[i].dst));
		rte_pktmbuf_free(pkts[i].m);
	}
}

static void up_icmp_error(void *up, const struct net_icmp_error *err)
{
	FUZZ_CHECK(
		err->kind <= NET_ICMP_TOO_BIG && (err->kind == NET_ICMP_TOO_BIG || err->mtu == 0)
	);
}

static bool up_is_local(void *up, const struct ip_addr *addr)
{
	const struct ip_addr v4 = packet_addr(false, SERVICE), v6 = packet_addr(true, SERVICE);

	return ip_addr_eq(addr, &v4) || ip_addr_eq(addr, &v6);
}

static bool up_steer(void *up, uint16_t worker, uint8_t port, uint8_t what, struct rte_mbuf *m)
{
	fuzz_fail(__FILE__, __LINE__, "one worker steers to nobody");
}

static uint16_t port_rx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	return 0;
}

// A frame of ours, without the tag that it must have on a tagged port.
static void sent_check(const struct box *box, const uint8_t *data, size_t len)
{
	uint8_t frame[PACKET_MAX + 64];
	struct packet packet;

	if (box->vlan) {
		FUZZ_CHECK(len >= 18 && memcmp(data + 12, "\x81\0\0\x14", 4) == 0);
		memcpy(frame, data, 12);
		memcpy(frame + 12, data + 16, len - 16);
		packet_check(frame, len - 4, &packet);
	} else {
		packet_check(data, len, &packet);
	}
}

static uint16_t port_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	struct box *box = dev;

	n = n < box->room ? n : box->room;
	for (uint16_t i = 0; i < n; i++) {
		uint8_t frame[PACKET_MAX + 64];
		uint32_t len = pkts[i]->pkt_len;
		const uint8_t *data;

		FUZZ_CHECK(len <= sizeof(frame));
		data = rte_pktmbuf_read(pkts[i], 0, len, frame);
		FUZZ_CHECK(data != NULL);
		sent_check(box, data, len);
		box->sent++;
		rte_pktmbuf_free(pkts[i]);
	}
	return n;
}

static const struct net_ops net_ops = {
	.tcp_input = up_tcp_input,
	.icmp_error = up_icmp_error,
	.is_local = up_is_local,
	.steer = up_steer,
};
static const struct port_ops port_ops = {.rx_burst = port_rx, .tx_burst = port_tx};

static void box_init(struct box *box)
{
	const struct ip_prefix own[] = {{packet_addr(false, 1), 120}, {packet_addr(true, 1), 64}};
	const struct ip_addr gateways[] = {packet_addr(false, GATEWAY), packet_addr(true, GATEWAY)};
	struct net_port_config port = {
		.info = {.mtu = 1500, .vlan = box->vlan ? 20 : 0},
		.addresses = own,
		.address_count = 2,
		.gateways = gateways,
		.gateway_count = 2,
	};
	const struct net_shared_config shared = {
		.ports = &port, .port_count = 1, .workers = 1, .max_neighbors = 16
	};
	struct net_config net = {
		.env = &box->env,
		.pool = eal_pool,
		.port_ops = &port_ops,
		.port_dev = box,
		.ops = &net_ops,
		.up = box,
	};

	packet_mac(1, port.info.mac);
	box->env = (struct worker_env){.now_ns = 1000000000U, .count = 1, .stats = box->stats};
	rng_seed(&box->env.rng, 1);
	box->room = UINT16_MAX;
	box->shared = net.shared = net_shared_new(&shared);
	FUZZ_CHECK(box->shared != NULL);
	box->net = net_new(&net);
	FUZZ_CHECK(box->net != NULL);
}

static void table_check(struct box *box)
{
	uint32_t count = (box->shared->bucket_mask + 1) * NEIGH_WAYS;

	for (uint32_t i = 0; i < count; i++) {
		struct neigh *e = &box->shared->neigh[i];
		uint8_t mac[6], used = e->used;

		FUZZ_CHECK(e->seq % 2 == 0 && e->state <= NEIGH_S_PROBE);
		if (e->state == NEIGH_S_FREE)
			continue;
		FUZZ_CHECK(e->port == 0 && e->probes <= NEIGH_PROBES);
		FUZZ_CHECK(!ip_addr_is_martian_source(&e->addr));
		FUZZ_CHECK(!net_addr_is_local(box->net, &e->addr));
		for (uint32_t k = 0; k < i; k++)
			FUZZ_CHECK(
				box->shared->neigh[k].state == NEIGH_S_FREE ||
				!ip_addr_eq(&box->shared->neigh[k].addr, &e->addr)
			);
		if (e->state == NEIGH_S_INCOMPLETE)
			continue;
		FUZZ_CHECK(neigh_lookup(box->shared, 0, &e->addr, NULL, mac));
		FUZZ_CHECK(memcmp(mac, e->mac, 6) == 0 && (mac[0] & 1) == 0);
		e->used = used; // asking counts as use
	}
}

static void raw_in(struct box *box, const uint8_t *frame, size_t len)
{
	struct rte_mbuf *m;

	net_flush(box->net);
	m = eal_frame(frame, len);
	box->sent = 0;
	net_input_burst(box->net, 0, &m, 1, false);
	net_flush(box->net);
	FUZZ_CHECK(box->sent <= 1 || box->room < NET_TXQ_MAX);
	table_check(box);
}

static void frame_in(struct box *box, const uint8_t *frame, size_t len)
{
	uint8_t tagged[PACKET_MAX + 4];

	if (!box->vlan || len < 12) {
		raw_in(box, frame, len);
		return;
	}
	memcpy(tagged, frame, 12);
	memcpy(tagged + 12, "\x81\0\0\x14", 4);
	memcpy(tagged + 16, frame + 12, len - 12);
	raw_in(box, tagged, len + 4);
}

static struct ip_addr pick_addr(struct fuzz_in *in, bool v6)
{
	uint8_t n = fuzz_u8(in);
	struct ip_addr a = packet_addr(v6, n % 8);
	size_t len;

	switch (n >> 3) {
	case 1:
		return packet_addr(v6, SERVICE);
	case 2:
		return packet_addr(v6, GATEWAY);
	case 3: // link-local: the box's own, or a neighbor's
		a = (struct ip_addr){.b = {0xfe, 0x80, [11] = 0xff, [12] = 0xfe}};
		a.b[15] = n % 8;
		return v6 ? a : packet_addr(false, 255);
	case 4:
		return (struct ip_addr){0};
	case 5:
		a = (struct ip_addr){.b = {0xff, 0x02, [15] = n % 8}};
		return v6 ? a : ip_addr_from_v4(rte_cpu_to_be_32(0xe0000001U));
	case 6:
		return packet_addr(false, n % 8); // mapped, where v6 is meant
	case 7: {
		const uint8_t *raw = fuzz_bytes(in, v6 ? 16 : 4, &len);

		memcpy(v6 ? a.b : a.b + 12, raw, len);
		return a;
	}
	default:
		return a;
	}
}

static void pick_mac(struct fuzz_in *in, uint8_t mac[6])
{
	uint8_t n = fuzz_u8(in);

	packet_mac(n % 16, mac);
	if (n >> 4 == 1)
		memset(mac, 0xff, 6);
	else if (n >> 4 == 2)
		mac[0] = 0x33;
	else if (n >> 4 == 3)
		memset(mac, 0, 6);
}

static void do_arp(struct box *box, struct fuzz_in *in)
{
	uint8_t frame[60] = {0}, *p = frame;
	uint8_t n = fuzz_u8(in);
	size_t cut = n >> 4 == 1 ? fuzz_below(in, 61) : 60;
	struct ip_addr a;

	packet_mac(1, p);
	if (n & 4)
		memset(p, 0xff, 6);
	pick_mac(in, p + 6);
	p = packet_put16(p + 12, 0x0806);
	memcpy(p, "\0\1\10\0\6\4", 6);
	if (n & 8)
		p[fuzz_below(in, 6)] ^= 1;
	p = packet_put16(p + 6, n & 3);
	pick_mac(in, p);
	a = pick_addr(in, false);
	memcpy(p + 6, a.b + 12, 4);
	pick_mac(in, p + 10);
	a = pick_addr(in, false);
	memcpy(p + 16, a.b + 12, 4);
	frame_in(box, frame, cut);
}

// An IP packet whose transport part is len octets at l4, complete but for the checksum at `at`.
static void packet_in(struct box *box, struct packet_ip *ip, uint8_t *l4, size_t len, size_t at)
{
	uint8_t frame[PACKET_MAX];
	size_t head = packet_head(frame, ip, len);

	packet_sum(ip, l4, len, at);
	memcpy(frame + head, l4, len);
	frame_in(box, frame, head + len);
}

static void do_nd(struct box *box, struct fuzz_in *in)
{
	uint8_t nd[24 + 64] = {0};
	uint8_t n = fuzz_u8(in), options;
	struct packet_ip ip = {.from = n >> 4, .proto = 58, .hop_limit = n & 4 ? 254 : 255};
	struct ip_addr target;
	size_t len = 24, more;
	const uint8_t *raw;

	nd[0] = (uint8_t)(133 + (n & 3));
	nd[1] = n & 8 ? fuzz_u8(in) : 0;
	ip.src = pick_addr(in, true);
	ip.dst = pick_addr(in, true);
	target = pick_addr(in, true);
	memcpy(nd + 8, target.b, 16);
	options = fuzz_u8(in);
	if (options & 1) { // the link-layer address of source or target
		nd[len] = options & 2 ? 2 : 1;
		nd[len + 1] = 1;
		pick_mac(in, nd + len + 2);
		len += 8;
	}
	raw = fuzz_bytes(in, (options >> 2) % 56, &more);
	memcpy(nd + len, raw, more);
	packet_in(box, &ip, nd, len + more, 2);
}

// Echo, and errors that quote a segment of ours (or of somebody).
static void do_icmp(struct box *box, struct fuzz_in *in)
{
	uint8_t icmp[8 + 40 + 1400] = {0};
	uint8_t n = fuzz_u8(in);
	bool v6 = n & 1;
	struct packet_ip ip = {.from = 2, .proto = v6 ? 58 : 1, .hop_limit = 64};
	struct packet_ip quote = {.from = 1, .proto = n & 4 ? 17 : 6, .hop_limit = 64};
	uint8_t frame[64];
	size_t len = 8, more;
	const uint8_t *raw;

	icmp[0] = n & 8 ? fuzz_u8(in) : n & 16 ? (v6 ? 128 : 8) : (v6 ? 1 + (n >> 6) : 3);
	icmp[1] = fuzz_u8(in);
	packet_put32(icmp + 4, fuzz_u32(in));
	ip.src = pick_addr(in, v6);
	ip.dst = pick_addr(in, v6);
	if (n & 2) {
		size_t head;

		quote.src = pick_addr(in, v6);
		quote.dst = pick_addr(in, v6);
		if (ip_addr_is_v4(&quote.src) == ip_addr_is_v4(&quote.dst)) {
			head = packet_head(frame, &quote, 20) - 14;
			memcpy(icmp + len, frame + 14, head);
			if (n & 32)
				icmp[len] = fuzz_u8(in);
			len += head;
		}
	}
	raw = fuzz_bytes(in, fuzz_u8(in) * (n & 64 ? 5 : 1), &more);
	memcpy(icmp + len, raw, more);
	if (ip_addr_is_v4(&ip.src) == ip_addr_is_v4(&ip.dst))
		packet_in(box, &ip, icmp, len + more, 2);
}

// Any protocol, extension headers included: the transport part is the input's.
static void do_ip(struct box *box, struct fuzz_in *in)
{
	uint8_t n = fuzz_u8(in), body[512] = {0}, frame[PACKET_MAX];
	struct packet_ip ip = {.from = n >> 4, .proto = fuzz_u8(in), .hop_limit = fuzz_u8(in)};
	size_t len, head, cut;
	const uint8_t *raw;

	ip.src = pick_addr(in, n & 1);
	ip.dst = pick_addr(in, n & 1);
	raw = fuzz_bytes(in, fuzz_u8(in) * 2U, &len);
	memcpy(body, raw, len);
	if (ip_addr_is_v4(&ip.src) != ip_addr_is_v4(&ip.dst))
		return;
	if ((n & 2) != 0 && len >= 20)
		packet_sum(&ip, body, len, 16); // as a TCP segment wants it
	head = packet_head(frame, &ip, len);
	memcpy(frame + head, body, len);
	cut = n & 4 ? fuzz_below(in, (uint32_t)(head + len + 1)) : head + len;
	if (n & 8)
		frame[fuzz_below(in, (uint32_t)(head + len))] ^= (uint8_t)(1U << (n >> 5));
	frame_in(box, frame, cut);
}

// A segment of ours to somewhere: neighbors are asked for, packets wait for them.
static void do_output(struct box *box, struct fuzz_in *in)
{
	bool v6 = fuzz_u8(in) & 1;
	struct ip_addr src = packet_addr(v6, 1), dst = pick_addr(in, v6);
	uint32_t neigh = 0;
	struct net_route route;
	struct net_tx tx = {.src = &src, .dst = &dst, .next_hop = &route.next_hop, .neigh = &neigh};
	struct rte_mbuf *m;
	uint8_t *tcp;

	if (ip_addr_is_v4(&dst) == v6 || ip_addr_is_martian_source(&dst) ||
	    net_addr_is_local(box->net, &dst) || !net_route_lookup(box->net, &dst, &route))
		return; // TCP never sends there
	tx.port = route.port;
	m = rte_pktmbuf_alloc(eal_small_pool);
	if (m == NULL)
		return;
	tcp = (uint8_t *)rte_pktmbuf_append(m, 20);
	memset(tcp, 0, 20);
	tcp[12] = 0x50;
	net_output(box->net, &tx, m);
	table_check(box);
}

static void command(struct box *box, struct fuzz_in *in)
{
	uint8_t what = fuzz_u8(in);
	const uint8_t *raw;
	size_t len;

	switch (what % 8) {
	case 0:
		raw = fuzz_bytes(in, fuzz_u8(in), &len);
		raw_in(box, raw, len);
		break;
	case 1:
		do_arp(box, in);
		break;
	case 2:
		do_nd(box, in);
		break;
	case 3:
		do_icmp(box, in);
		break;
	case 4:
		do_ip(box, in);
		break;
	case 5:
		do_output(box, in);
		break;
	case 6:
		box->env.now_ns += 10000000ULL << (what >> 4);
		net_timers(box->net);
		table_check(box);
		break;
	default:
		box->room = what & 8 ? UINT16_MAX : what >> 4;
		net_flush(box->net);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct box box; // of one input at a time
	struct fuzz_in in = {data, size};

	memset(&box, 0, sizeof(box));
	box.vlan = fuzz_u8(&in) == 20;
	box_init(&box);
	while (in.left > 0)
		command(&box, &in);
	net_free(box.net);
	net_shared_free(box.shared);
	eal_pools_check();
	return 0;
}
