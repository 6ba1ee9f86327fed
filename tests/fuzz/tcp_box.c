// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The box of the TCP fuzzer, see tcp_box.h: application, wire, and what is judged of both.

#include "tests/fuzz/tcp_box.h"
#include "tests/fuzz/tcp_peer.h"

#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define TURNS_MAX 2000
#define SETTLE_MS 3000U
#define QUIET_MS 2400000U // all retransmissions, probes and TIME_WAIT are over by then

uint8_t peer_octet(unsigned peer, uint32_t offset)
{
	return (uint8_t)(offset * 31U + (offset >> 8) * 7U + peer * 101U);
}

unsigned app_new(struct tcp_box *box, struct tcp_conn_id conn, unsigned peer)
{
	FUZZ_CHECK(box->apps < BOX_APPS);
	box->app[box->apps] = (struct app){.open = true, .conn = conn, .peer = peer};
	box->peer[peer].queued = 0;
	return box->apps++;
}

bool app_may_write(const struct tcp_box *box, const struct app *a, uint32_t n)
{
	return a->open && n <= BOX_STREAM_MAX - box->peer[a->peer].queued;
}

void app_wrote(struct tcp_box *box, const struct app *a, const void *data, uint32_t n)
{
	struct peer *p = &box->peer[a->peer];

	memcpy(p->text + p->queued, data, n);
	p->queued += n;
}

// The held octets are those that the peer sent, in order.
static void held_check(struct tcp_box *box, const struct app *a)
{
	uint32_t have = tcp_rx_bytes(box->tcp, a->conn), off = 0, len;
	const uint8_t *at;

	while (off < have) {
		FUZZ_CHECK(tcp_rx_peek(box->tcp, a->conn, off, &at, &len) && len > 0);
		FUZZ_CHECK(len <= have - off);
		for (uint32_t i = 0; i < len && !box->tainted; i++)
			FUZZ_CHECK(at[i] == peer_octet(a->peer, a->read + off + i));
		off += len;
	}
	FUZZ_CHECK(!tcp_rx_peek(box->tcp, a->conn, have, &at, &len));
}

void app_read(struct tcp_box *box, struct app *a, uint32_t n)
{
	uint32_t have = tcp_rx_bytes(box->tcp, a->conn);

	held_check(box, a);
	n = n < have ? n : have;
	tcp_rx_drop(box->tcp, a->conn, n);
	a->read += n;
	FUZZ_CHECK(tcp_rx_bytes(box->tcp, a->conn) == have - n);
}

void app_move(struct tcp_box *box, struct app *from, struct app *to, uint32_t n)
{
	uint8_t text[BOX_STREAM_MAX];
	uint32_t have = tcp_rx_bytes(box->tcp, from->conn), moved;
	uint32_t before = tcp_tx_bytes(box->tcp, to->conn);

	held_check(box, from);
	n = n < have ? n : have;
	if (!app_may_write(box, to, n) || from == to)
		return;
	for (uint32_t i = 0, len; i < n; i += len) {
		const uint8_t *at;

		FUZZ_CHECK(tcp_rx_peek(box->tcp, from->conn, i, &at, &len));
		len = len < n - i ? len : n - i;
		memcpy(text + i, at, len);
	}
	moved = tcp_tx_move(box->tcp, to->conn, from->conn, n);
	FUZZ_CHECK(moved <= n && tcp_rx_bytes(box->tcp, from->conn) == have - moved);
	FUZZ_CHECK(tcp_tx_bytes(box->tcp, to->conn) == before + moved);
	from->read += moved;
	app_wrote(box, to, text, moved);
}

// The application's events.

static bool
on_syn(void *app,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	if (local->port < BOX_PORT_FIRST || local->port > BOX_PORT_FIRST + 3)
		return false;
	*ret = (struct tcp_listen_info){.cookie = local->port, .rcv_window = 16384};
	if (local->port == BOX_PORT_FIRST + 1)
		ret->mss_max = 600;
	if (local->port == BOX_PORT_FIRST + 2)
		ret->rcv_window = 100;
	return true;
}

static uint32_t on_accept(void *up, struct tcp_conn_id conn, uint32_t cookie)
{
	struct tcp_box *box = up;
	struct tcp_info info;

	tcp_info_get(box->tcp, conn, &info);
	FUZZ_CHECK(info.local.port == cookie);
	for (unsigned k = 0; k < BOX_PEERS; k++) {
		const struct peer *p = &box->peer[k];

		if (p->used && p->theirs == info.remote.port && p->ours == info.local.port &&
		    p->v6 != ip_addr_is_v4(&info.remote.addr) && box->apps < BOX_APPS &&
		    cookie != BOX_PORT_FIRST + 3)
			return app_new(box, conn, k);
	}
	return TCP_USER_REFUSE;
}

static struct app *app_of(struct tcp_box *box, struct tcp_conn_id conn, uint32_t user)
{
	FUZZ_CHECK(user < box->apps && box->app[user].open && box->app[user].conn.v == conn.v);
	return &box->app[user];
}

static void on_connect(void *up, struct tcp_conn_id conn, uint32_t user)
{
	app_of(up, conn, user);
}

static void on_data(void *up, struct tcp_conn_id conn, uint32_t user)
{
	struct tcp_box *box = up;
	struct app *a = app_of(box, conn, user);

	if (!box->tainted)
		FUZZ_CHECK(a->read + tcp_rx_bytes(box->tcp, conn) <= box->peer[a->peer].sent_max);
	if (a->mode == READ_NOTHING)
		held_check(box, a);
	else
		app_read(box, a, a->mode == READ_LITTLE ? 100 : UINT32_MAX);
}

static void on_sent(void *up, struct tcp_conn_id conn, uint32_t user)
{
	app_of(up, conn, user);
}

static void on_fin(void *up, struct tcp_conn_id conn, uint32_t user)
{
	struct tcp_box *box = up;
	struct app *a = app_of(box, conn, user);
	const struct peer *p = &box->peer[a->peer];

	FUZZ_CHECK(!a->fin);
	a->fin = true;
	FUZZ_CHECK(box->tainted || p->fin_sent);
	if (!box->tainted && !p->fin_many)
		FUZZ_CHECK(a->read + tcp_rx_bytes(box->tcp, conn) == p->fin_at);
}

static void on_close(void *up, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	struct app *a = app_of(up, conn, user);

	FUZZ_CHECK(reason <= TCP_CLOSE_NO_MEMORY);
	FUZZ_CHECK(reason != TCP_CLOSE_DONE || a->fin);
	a->open = false;
}

static const struct tcp_ops app_ops = {
	.on_syn = on_syn,
	.on_accept = on_accept,
	.on_connect = on_connect,
	.on_data = on_data,
	.on_sent = on_sent,
	.on_fin = on_fin,
	.on_close = on_close,
};

// The wire.

// A tuple begins anew: the box's SYN or SYN-ACK says with which numbers.
static void peer_syn(struct peer *p, const struct packet *packet)
{
	bool ack = (packet->flags & 0x10) != 0;

	if (p->started && p->irs == packet->seq && (!ack || p->iss == packet->ack - 1))
		return; // again
	p->started = true;
	p->irs = packet->seq;
	if (ack)
		p->iss = packet->ack - 1;
	p->sent_max = p->acked = p->got = p->ts_recent = 0;
	p->got_fin = p->fin_sent = p->fin_many = false;
}

static void peer_segment(struct tcp_box *box, struct peer *p, const struct packet *packet)
{
	uint32_t off, end;

	if ((packet->flags & 0x02) != 0)
		peer_syn(p, packet);
	if (packet->l4_len >= 32 && memcmp(packet->l4 + 20, "\1\1\10\12", 4) == 0)
		memcpy(&p->ts_recent, packet->l4 + 24, 4); // network order, sent back as it is
	if ((packet->flags & 0x16) != 0x10 || box->tainted)
		return; // neither SYN nor RST
	off = packet->ack - p->iss - 1;
	FUZZ_CHECK((int32_t)off < 0 || off <= p->sent_max + p->fin_sent);
	if ((int32_t)(off - p->acked) > 0)
		p->acked = off;
	peer_sack_check(p, packet);
	off = packet->seq - p->irs - 1;
	end = off + (uint32_t)packet->payload_len;
	if (packet->payload_len > 0) {
		FUZZ_CHECK(off <= p->queued && end <= p->queued);
		FUZZ_CHECK(memcmp(packet->payload, p->text + off, packet->payload_len) == 0);
	}
	if (off <= p->got && end > p->got)
		p->got = end;
	if ((packet->flags & 0x01) != 0) {
		FUZZ_CHECK(end == p->queued);
		p->got_fin = p->got_fin || end == p->got;
	}
}

static void sent(struct tcp_box *box, const struct packet *packet)
{
	if (packet->type == 0x0806)
		box->asked[0] = true;
	else if (packet->proto == 58 && packet->l4[0] == 135)
		box->asked[1] = true;
	if (packet->type == 0x0806 || packet->proto != 6)
		return;
	for (unsigned k = 0; k < BOX_PEERS; k++) {
		struct peer *p = &box->peer[k];
		struct ip_addr at = packet_addr(p->v6, 2);

		if (p->used && p->ours == packet->sport && p->theirs == packet->dport &&
		    ip_addr_eq(&at, &packet->dst))
			peer_segment(box, p, packet);
	}
}

static uint16_t port_rx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	return 0;
}

static uint16_t port_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	struct tcp_box *box = dev;

	n = n < box->room ? n : box->room;
	for (uint16_t i = 0; i < n; i++) {
		uint8_t frame[PACKET_MAX];
		uint32_t len = pkts[i]->pkt_len;
		struct packet packet;
		const uint8_t *data;

		FUZZ_CHECK(len <= sizeof(frame));
		rte_mbuf_sanity_check(pkts[i], 1);
		data = rte_pktmbuf_read(pkts[i], 0, len, frame);
		packet_check(data, len, &packet);
		sent(box, &packet);
		rte_pktmbuf_free(pkts[i]);
	}
	return n;
}

static void up_tcp_input(void *up, struct net_pkt *pkts, unsigned n)
{
	tcp_input_burst(((struct tcp_box *)up)->tcp, pkts, n);
}

static void up_icmp_error(void *up, const struct net_icmp_error *err)
{
	tcp_icmp_error(((struct tcp_box *)up)->tcp, err);
}

static bool up_is_local(void *up, const struct ip_addr *addr)
{
	return false;
}

static const struct net_ops net_ops = {
	.tcp_input = up_tcp_input,
	.icmp_error = up_icmp_error,
	.is_local = up_is_local,
};
static const struct port_ops port_ops = {.rx_burst = port_rx, .tx_burst = port_tx};

// Until the box has probed its addresses: it asks no neighbor from one in doubt.
static void addresses_settle(struct tcp_box *box)
{
	box->env.now_ns -= SETTLE_MS * 1000000ULL;
	for (unsigned ms = 0; ms < SETTLE_MS; ms += 100) {
		net_timers(box->net);
		net_flush(box->net);
		box->env.now_ns += 100 * 1000000ULL;
	}
}

void tcp_box_init(struct tcp_box *box, const struct tcp_box_config *config)
{
	const struct ip_prefix own[] = {{packet_addr(false, 1), 120}, {packet_addr(true, 1), 64}};
	uint32_t flags = config->multi_segs ? PORT_F_TX_MULTI_SEGS : 0;
	struct net_port_config port = {
		.info = {.mtu = 1500, .flags = flags}, .addresses = own, .address_count = 2
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
	struct tcp_config tcp = {
		.env = &box->env,
		.ops = &app_ops,
		.app = box,
		.small_pool = eal_small_pool,
		.ref_pool = eal_ref_pool,
		.max_conns = config->max_conns,
		.max_minis = 8,
		.max_slices = config->max_slices,
		.flow_key = {1, 2},
		.isn_key = {3, 4},
		.port_flags = flags,
	};

	packet_mac(1, port.info.mac);
	box->env = (struct worker_env){.now_ns = config->now_ns, .count = 1, .stats = box->stats};
	rng_seed(&box->env.rng, 1);
	box->room = UINT16_MAX;
	box->shared = net.shared = net_shared_new(&shared);
	tcp.net_shared = box->shared;
	FUZZ_CHECK(box->shared != NULL);
	box->net = tcp.net = net_new(&net);
	FUZZ_CHECK(box->net != NULL);
	addresses_settle(box);
	box->tcp = tcp_stack_new(&tcp);
	FUZZ_CHECK(box->tcp != NULL);
	box->asked[0] = box->asked[1] = true;
}

static void rx_run(struct tcp_box *box)
{
	net_input_burst(box->net, 0, box->rx, box->rx_count, false);
	box->rx_count = 0;
}

void tcp_box_frame(struct tcp_box *box, const void *frame, size_t len)
{
	if (box->rx_count == BOX_BURST)
		rx_run(box);
	box->rx[box->rx_count++] = eal_frame(frame, len);
}

// Station 2 makes itself known, by a question of its own.
static void neighbors_answer(struct tcp_box *box)
{
	uint8_t arp[42] = {0}, nd[14 + 40 + 32] = {0}, *p = arp;
	const struct packet_ip ip = {
		.src = packet_addr(true, 2),
		.dst = packet_addr(true, 1),
		.from = 2,
		.proto = 58,
		.hop_limit = 255,
	};
	struct ip_addr v4 = packet_addr(false, 2), target = packet_addr(true, 1);
	size_t head;

	if (box->asked[0] && !box->mute) {
		packet_mac(1, p);
		packet_mac(2, p + 6);
		memcpy(p + 12, "\10\6\0\1\10\0\6\4\0\2", 10); // a reply
		packet_mac(2, p + 22);
		packet_put_addr(p + 28, &v4);
		packet_mac(1, p + 32);
		v4 = packet_addr(false, 1);
		packet_put_addr(p + 38, &v4);
		tcp_box_frame(box, arp, sizeof(arp));
		box->asked[0] = false;
	}
	if (box->asked[1] && !box->mute) {
		head = packet_head(nd, &ip, 32);
		nd[head] = 135;
		memcpy(nd + head + 8, target.b, 16);
		nd[head + 24] = nd[head + 25] = 1;
		packet_mac(2, nd + head + 26);
		packet_sum(&ip, nd + head, 32, 2);
		tcp_box_frame(box, nd, sizeof(nd));
		box->asked[1] = false;
	}
}

void tcp_box_turn(struct tcp_box *box)
{
	unsigned work = 1;

	for (unsigned i = 0; work > 0; i++) {
		FUZZ_CHECK(i < TURNS_MAX); // never out of work
		neighbors_answer(box);
		work = box->rx_count;
		rx_run(box);
		work += tcp_events_run(box->tcp);
		work += tcp_timers_run(box->tcp);
		work += tcp_events_run(box->tcp);
		work += tcp_output_run(box->tcp);
		net_timers(box->net);
		net_flush(box->net);
		tcp_check(box->tcp);
	}
}

// For whoever reads the report.
static void leftover_show(struct tcp_box *box, const struct tcp_usage *u)
{
	if (u->conns + u->half_open + u->time_wait == 0)
		return;
	fprintf(stderr,
		"left: %u connections, %u half open, %u in TIME_WAIT\n",
		u->conns,
		u->half_open,
		u->time_wait);
	for (unsigned i = 0; i < box->apps; i++) {
		struct tcp_info info;

		tcp_info_get(box->tcp, box->app[i].conn, &info);
		fprintf(stderr, "  %u: %s, window %u\n", i, info.state, info.snd_wnd);
	}
}

static void apps_release(struct tcp_box *box)
{
	for (unsigned i = 0; i < box->apps; i++) {
		if (box->app[i].open)
			tcp_release(box->tcp, box->app[i].conn, i % 2);
		box->app[i].open = false;
	}
}

void tcp_box_fini(struct tcp_box *box)
{
	struct tcp_usage usage;

	box->room = UINT16_MAX;
	for (uint32_t ms = 0, step; ms < QUIET_MS; ms += step) {
		apps_release(box);
		tcp_box_turn(box);
		tcp_usage_get(box->tcp, &usage);
		if (usage.conns + usage.half_open + usage.time_wait == 0 && ms > 4000)
			break; // packets wait three seconds for a neighbor
		step = tcp_next_timer_ms(box->tcp, 10000);
		step = step > 0 ? step : 1;
		box->env.now_ns += step * 1000000ULL;
	}
	leftover_show(box, &usage);
	FUZZ_CHECK(usage.conns == 0 && usage.half_open == 0 && usage.time_wait == 0);
	FUZZ_CHECK(usage.slices == 0);
	eal_pools_check();
	tcp_stack_free(box->tcp);
	net_free(box->net);
	net_shared_free(box->shared);
	eal_pools_check();
}
