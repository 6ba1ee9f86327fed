// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Ethernet and VLAN in both directions, a port that takes no more, and frames that belong to
// another worker.

#include "tests/unit/net/fixture.h"

#include <stdlib.h>

static int setup(void **state)
{
	struct fix *f = net_fix_new(0, 1);

	net_fix_settle(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	net_fix_free(*state);
	return 0;
}

// A SYN to our address of port 1, tagged or not.
static void syn_make(struct pkt *p, const uint8_t *dst, int tag)
{
	const struct rte_tcp_hdr tcp = {
		.src_port = RTE_BE16(40000),
		.dst_port = RTE_BE16(25),
		.data_off = 0x50,
		.tcp_flags = 2
	};
	const uint8_t vlan[4] = {0x81, 0, (uint8_t)(0xa0 | tag >> 8), (uint8_t)tag}; // priority 5
	struct pkt plain;

	pkt_eth(&plain, dst, mac_b, RTE_ETHER_TYPE_IPV4);
	pkt_ip4(&plain, "10.1.0.77", "10.1.0.10", 6, sizeof(tcp));
	pkt_add(&plain, &tcp, sizeof(tcp));
	pkt_cksum(&plain, 34, 16, 6);
	p->len = 0;
	pkt_add(p, plain.data, 12);
	if (tag >= 0)
		pkt_add(p, vlan, 4);
	pkt_add(p, plain.data + 12, plain.len - 12U);
}

static void tags_on_the_way_in(void **state)
{
	struct fix *f = *state;
	struct pkt p;

	syn_make(&p, mac_ours[1], 20);
	net_fix_in(f, 1, p.data, p.len);
	assert_int_equal(f->tcp_count, 1);
	assert_int_equal(f->tcp.port, 1);
	syn_make(&p, mac_ours[1], 21); // another VLAN's
	net_fix_in(f, 1, p.data, p.len);
	syn_make(&p, mac_ours[1], -1); // without tag on a tagged port
	net_fix_in(f, 1, p.data, p.len);
	syn_make(&p, mac_ours[1], 0);
	net_fix_in(f, 1, p.data, p.len);
	syn_make(&p, mac_ours[0], 20); // with a tag on an untagged one
	net_fix_in(f, 0, p.data, p.len);
	assert_int_equal(f->stats[STAT_NET_ETH_VLAN], 4);
	assert_int_equal(f->tcp_count, 1);
	syn_make(&p, mac_ours[0], 0); // a priority alone is no VLAN
	net_fix_in(f, 0, p.data, p.len);
	assert_int_equal(f->tcp_count, 2);
}

static void tags_that_the_port_took_off(void **state)
{
	struct fix *f = *state;
	struct pkt p;

	syn_make(&p, mac_ours[1], -1);
	f->rx_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
	f->rx_vlan = 0xa000 | 20;
	net_fix_in(f, 1, p.data, p.len);
	assert_int_equal(f->tcp_count, 1);
	f->rx_vlan = 21;
	net_fix_in(f, 1, p.data, p.len);
	f->rx_flags = RTE_MBUF_F_RX_VLAN; // told but not taken off: the tag in the frame counts
	f->rx_vlan = 20;
	net_fix_in(f, 1, p.data, p.len);
	assert_int_equal(f->stats[STAT_NET_ETH_VLAN], 2);
	assert_int_equal(f->tcp_count, 1);
}

static void tags_on_the_way_out(void **state)
{
	struct fix *f = *state;
	const struct ip_addr peer = ip("10.1.0.77");
	const uint8_t tag[6] = {0x81, 0, 0, 20, 8, 0};

	fix_tcp_out(f, "10.1.0.10", "10.1.0.77");
	assert_int_equal(fix_type(fix_last(f)), RTE_ETHER_TYPE_VLAN); // the question too
	assert_int_equal(fix_last(f)->data[17], 0x06);
	net_fix_run(f, 4000);
	neigh_heard(f->net, 1, &peer, mac_b, true);
	fix_tcp_out(f, "10.1.0.10", "10.1.0.77");
	assert_int_equal(fix_last(f)->len, 18 + 40);
	assert_memory_equal(fix_last(f)->data, mac_b, 6);
	assert_memory_equal(fix_last(f)->data + 6, mac_ours[1], 6);
	assert_memory_equal(fix_last(f)->data + 12, tag, 6);
}

static void stations_and_types(void **state)
{
	struct fix *f = *state;
	struct pkt p;

	syn_make(&p, mac_a, -1);
	net_fix_in(f, 0, p.data, p.len);
	assert_int_equal(f->stats[STAT_NET_ETH_NOT_OURS], 1);
	syn_make(&p, mac_ours[1], -1); // another port's
	net_fix_in(f, 0, p.data, p.len);
	assert_int_equal(f->stats[STAT_NET_ETH_NOT_OURS], 2);
	pkt_eth(&p, mac_ours[0], mac_a, 0x88cc);
	net_fix_in(f, 0, p.data, p.len);
	pkt_eth(&p, mac_ours[0], mac_a, 60); // a length: 802.3
	net_fix_in(f, 0, p.data, p.len);
	assert_int_equal(f->stats[STAT_NET_ETH_TYPE], 2);
	net_fix_in(f, 0, p.data, 13);
	syn_make(&p, mac_ours[1], 20);
	net_fix_in(f, 1, p.data, 17); // half a tag
	assert_int_equal(f->stats[STAT_NET_ETH_SHORT], 2);
	assert_int_equal(f->stats[STAT_NET_RX_PACKETS], 6);
	assert_int_equal(f->tcp_count + f->sent_count, 0);
}

static void a_port_that_takes_no_more(void **state)
{
	struct fix *f = *state;
	const struct ip_addr peer = ip("10.1.0.77");

	neigh_heard(f->net, 1, &peer, mac_b, true);
	f->tx_room = 5;
	for (unsigned i = 0; i < NET_TXQ_MAX + 10; i++)
		fix_tcp_out(f, "10.1.0.10", "10.1.0.77");
	assert_int_equal(f->sent_count, 5); // the rest is kept, as far as there is room
	assert_int_equal(f->net->txq[1].count, NET_TXQ_MAX);
	assert_int_equal(f->stats[STAT_NET_TX_FULL], 5);
	f->tx_room = 7;
	net_flush(f->net);
	assert_int_equal(f->sent_count, 12);
	assert_int_equal(f->net->txq[1].count, NET_TXQ_MAX - 7);
	assert_int_equal(f->stats[STAT_NET_TX_PACKETS], 12);
}

static void frames_for_a_link_that_is_down(void **state)
{
	struct fix *f = *state;
	const struct ip_addr peer = ip("10.1.0.77");

	neigh_heard(f->net, 1, &peer, mac_b, true);
	f->tx_room = 0;
	fix_tcp_out(f, "10.1.0.10", "10.1.0.77");
	f->env.now_ns += 900 * FIX_MS;
	fix_tcp_out(f, "10.1.0.10", "10.1.0.77");
	net_flush(f->net);
	assert_int_equal(f->net->txq[1].count, 2);
	f->tx_room = 1; // slow, but it moves
	f->env.now_ns += 200 * FIX_MS;
	net_flush(f->net);
	assert_int_equal(f->net->txq[1].count, 1);
	f->env.now_ns += 900 * FIX_MS;
	net_flush(f->net);
	assert_int_equal(f->net->txq[1].count, 1);
	f->env.now_ns += 200 * FIX_MS;
	net_flush(f->net); // a second without any
	assert_int_equal(f->net->txq[1].count, 0);
	assert_int_equal(f->stats[STAT_NET_TX_STALE], 1);
	assert_int_equal(f->sent_count, 1);
	f->tx_room = UINT16_MAX;
	fix_tcp_out(f, "10.1.0.10", "10.1.0.77");
	net_flush(f->net);
	assert_int_equal(f->sent_count, 2);
}

// Finds a source port of which the tuple belongs to this worker.
static uint16_t port_of(const struct fix *f, uint16_t worker)
{
	const struct ip_addr src = ip("10.0.0.77"), dst = ip("10.0.0.25");

	for (uint16_t port = 40000; port < 41000; port++)
		if (net_owner(f->shared, &src, &dst, port, 25) == worker)
			return port;
	fail_msg("no tuple for worker %u", worker);
	return 0;
}

static void foreign_tuples_go_to_their_owner(void **state)
{
	for (uint16_t me = 0; me < 3; me++) {
		struct fix *f = net_fix_new(me, 3);

		net_fix_settle(f);
		for (uint16_t w = 0; w < 3; w++) {
			net_fix_forget(f);
			fix_tcp_in(f, 0, "10.0.0.77", "10.0.0.25", port_of(f, w), 25);
			assert_int_equal(f->tcp_count, w == me);
			assert_int_equal(f->steer_count, w != me);
			if (w == me)
				continue;
			assert_int_equal(f->steer_to, w);
			assert_int_equal(f->steer_what, NET_STEER_FRAME);
			assert_int_equal(f->steered.len, 14 + 40); // the frame as it came
			assert_memory_equal(f->steered.data, mac_ours[0], 6);
			assert_int_equal(f->stats[STAT_WORKER_STEERED_OUT], 1);
		}
		net_fix_free(f);
	}
}

static void steered_frames_are_taken_once(void **state)
{
	struct fix *from = net_fix_new(1, 2), *to;
	struct pkt frame = {0};

	fix_tcp_in(from, 0, "10.0.0.77", "10.0.0.25", port_of(from, 0), 25);
	assert_int_equal(from->steer_count, 1);
	pkt_add(&frame, from->steered.data, from->steered.len);
	net_fix_in_steered(from, 0, frame.data, frame.len); // not its own: no way back
	assert_int_equal(from->stats[STAT_NET_STEERED_WRONG], 1);
	assert_int_equal(from->steer_count, 1);
	from->steer_full = true;
	fix_tcp_in(from, 0, "10.0.0.77", "10.0.0.25", port_of(from, 0), 25);
	assert_int_equal(from->stats[STAT_WORKER_STEER_FULL], 1);
	net_fix_free(from);
	to = net_fix_new(0, 2);
	net_fix_in_steered(to, 0, frame.data, frame.len);
	assert_int_equal(to->tcp_count, 1);
	assert_int_equal(to->stats[STAT_WORKER_STEERED_IN], 1);
	assert_int_equal(to->stats[STAT_NET_RX_PACKETS], 0);
	net_fix_free(to);
}

static void arp_goes_to_worker_0(void **state)
{
	struct fix *f = net_fix_new(1, 2);

	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_a, "10.0.0.25", mac_all);
	assert_int_equal(f->steer_count, 1);
	assert_int_equal(f->steer_to, 0);
	assert_int_equal(f->steered.len, 14 + 28);
	assert_int_equal(f->sent_count, 0);
	net_fix_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tags_on_the_way_in, setup, teardown),
		cmocka_unit_test_setup_teardown(tags_that_the_port_took_off, setup, teardown),
		cmocka_unit_test_setup_teardown(tags_on_the_way_out, setup, teardown),
		cmocka_unit_test_setup_teardown(stations_and_types, setup, teardown),
		cmocka_unit_test_setup_teardown(a_port_that_takes_no_more, setup, teardown),
		cmocka_unit_test_setup_teardown(frames_for_a_link_that_is_down, setup, teardown),
		cmocka_unit_test(foreign_tuples_go_to_their_owner),
		cmocka_unit_test(steered_frames_are_taken_once),
		cmocka_unit_test(arp_goes_to_worker_0),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
