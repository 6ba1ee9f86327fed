// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// ICMP of both families: echo, its limits, and which errors about our segments are believed.

#include "tests/unit/net/fixture.h"

static int setup(void **state)
{
	struct fix *f = net_fix_new(0, 1);

	net_fix_settle(f);
	// the peers are known, so that answers go out at once
	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_a, "10.0.0.25", mac_all);
	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.1", mac_b, "10.0.0.25", mac_all);
	fix_nd_in(
		f,
		&(struct fix_nd){
			.src = "2001:db8::77",
			.dst = "ff02::1:ff00:25",
			.target = "2001:db8::25",
			.mac = mac_a,
			.type = 135,
			.hop_limit = 255,
			.option = 1,
			.option_len = 1,
		}
	);
	net_fix_forget(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	net_fix_free(*state);
	return 0;
}

struct ping {
	const char *src, *dst;
	const uint8_t *to; // frame
	uint8_t type, options;
	uint16_t size, padding;
};

static void ping4(struct fix *f, const struct ping *ping)
{
	const uint8_t head[8] = {ping->type, 0, 0, 0, 0x12, 0x34, 0, 7};
	const uint8_t junk[64] = {[0 ... 63] = 0xee}, nop[8] = {1, 1, 1, 1, 1, 1, 1, 1};
	struct pkt p;
	uint16_t l4;

	pkt_eth(&p, ping->to, mac_a, RTE_ETHER_TYPE_IPV4);
	pkt_ip4(&p, ping->src, ping->dst, 1, (uint16_t)(ping->options + 8 + ping->size));
	if (ping->options != 0) {
		p.data[14] = (uint8_t)(0x45 + ping->options / 4);
		pkt_add(&p, nop, ping->options);
		pkt_ip4_cksum(&p);
	}
	l4 = p.len;
	pkt_add(&p, head, sizeof(head));
	for (uint16_t i = 0; i < ping->size; i++)
		p.data[p.len++] = (uint8_t)i;
	pkt_cksum(&p, l4, 2, 1);
	pkt_add(&p, junk, ping->padding);
	net_fix_in(f, 0, p.data, p.len);
}

static void ping6(struct fix *f, const struct ping *ping)
{
	const uint8_t head[8] = {ping->type, 0, 0, 0, 0x12, 0x34, 0, 7};
	struct pkt p;

	pkt_eth(&p, ping->to, mac_a, RTE_ETHER_TYPE_IPV6);
	pkt_ip6(&p, ping->src, ping->dst, 58, (uint16_t)(8 + ping->size));
	pkt_add(&p, head, sizeof(head));
	for (uint16_t i = 0; i < ping->size; i++)
		p.data[p.len++] = (uint8_t)i;
	pkt_cksum(&p, 54, 2, 58);
	net_fix_in(f, 0, p.data, p.len);
}

static void echo4(struct fix *f, const char *src, const char *dst, const uint8_t *to)
{
	ping4(f, &(struct ping){.src = src, .dst = dst, .to = to, .type = 8});
}

static void echo6(struct fix *f, const char *src, const char *dst, const uint8_t *to)
{
	ping6(f, &(struct ping){.src = src, .dst = dst, .to = to, .type = 128});
}

static void echo_is_answered(void **state)
{
	struct fix *f = *state;
	struct ping ping = {"10.0.0.77", "10.0.0.25", mac_ours[0], 8, .size = 57};
	const struct fix_frame *out;
	struct pkt check;

	ping4(f, &ping);
	ping.options = 8;  // they are not repeated
	ping.padding = 40; // nor is what stands behind the packet
	ping4(f, &ping);
	assert_int_equal(f->sent_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		out = &f->sent[i];
		assert_int_equal(out->len, 14 + 20 + 8 + 57);
		assert_int_equal(out->data[14], 0x45);
		assert_int_equal(out->data[34], 0);
		for (unsigned k = 0; k < 57; k++)
			assert_int_equal(out->data[42 + k], k);
		assert_int_equal(rte_raw_cksum(out->data + 34, 8 + 57), 0xffff);
		assert_memory_equal(out->data, mac_a, 6);
	}
	ping = (struct ping){"2001:db8::77", "2001:db8::25", mac_ours[0], 128, .size = 57};
	ping6(f, &ping);
	out = fix_last(f);
	assert_int_equal(out->len, 14 + 40 + 8 + 57);
	assert_int_equal(out->data[54], 129);
	check.len = out->len;
	memcpy(check.data, out->data, out->len);
	pkt_cksum(&check, 54, 2, 58);
	assert_memory_equal(check.data, out->data, out->len);
	assert_int_equal(f->stats[STAT_NET_ICMP_ECHO], 3);
}

static void echo_to_many_is_not_answered(void **state)
{
	static const uint8_t group[6] = {0x33, 0x33, 0, 0, 0, 1};
	struct fix *f = *state;

	echo4(f, "10.0.0.77", "10.0.0.255", mac_all);
	echo4(f, "10.0.0.77", "255.255.255.255", mac_all);
	echo4(f, "10.0.0.77", "224.0.0.1", mac_all);
	echo6(f, "2001:db8::77", "ff02::1", group);
	assert_int_equal(f->stats[STAT_NET_IP_NOT_LOCAL], 4);
	echo4(f, "10.0.0.77", "10.0.0.25", mac_all);
	echo6(f, "2001:db8::77", "2001:db8::25", group);
	assert_int_equal(f->stats[STAT_NET_IP_GROUP_FRAME], 2);
	echo4(f, "255.255.255.255", "10.0.0.25", mac_ours[0]);
	echo4(f, "10.0.0.10", "10.0.0.25", mac_ours[0]);
	echo6(f, "ff02::1", "2001:db8::25", mac_ours[0]);
	echo6(f, "2001:db8::10", "2001:db8::25", mac_ours[0]);
	assert_int_equal(f->stats[STAT_NET_IP_MARTIAN], 4);
	assert_int_equal(f->sent_count, 0);
}

static void echo_has_a_rate(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < 200; i++)
		echo4(f, "10.0.0.77", "10.0.0.25", mac_ours[0]);
	assert_in_range(f->stats[STAT_NET_ICMP_ECHO], 100, 102);
	assert_int_equal(f->stats[STAT_NET_ICMP_ECHO] + f->stats[STAT_NET_ICMP_LIMITED], 200);
	net_fix_forget(f);
	f->env.now_ns += 50 * FIX_MS;
	for (unsigned i = 0; i < 200; i++)
		echo6(f, "2001:db8::77", "2001:db8::25", mac_ours[0]);
	assert_in_range(f->stats[STAT_NET_ICMP_ECHO], 49, 52);
}

static void echo_from_a_link_local_address_is_answered(void **state)
{
	struct fix *f = *state;

	echo6(f, "fe80::77", "2001:db8::25", mac_ours[0]);
	assert_int_equal(f->stats[STAT_NET_ICMP_ECHO], 1);
	assert_int_equal(f->sent_count, 1); // a solicitation on the port it came by
	assert_int_equal(fix_last(f)->port, 0);
	assert_int_equal(fix_last(f)->data[54], 135);
	net_fix_run(f, 4000);
}

struct error4 {
	const char *src, *dst; // of the quote
	uint8_t type, code, version_ihl, proto;
	uint16_t mtu, total, offset, cut;
};

static void error4_in(struct fix *f, const struct error4 *e)
{
	const uint8_t head[8] = {
		e->type, e->code, 0, 0, 0, 0, (uint8_t)(e->mtu >> 8), (uint8_t)e->mtu
	};
	const uint8_t tcp[8] = {0, 25, 0x9c, 0x40, 1, 2, 3, 4}, nop[40] = {[0 ... 39] = 1};
	unsigned options = ((e->version_ihl & 15U) - 5) * 4;
	struct pkt p, quote;

	pkt_eth(&quote, mac_a, mac_a, 0);
	pkt_ip4(&quote, e->src, e->dst, e->proto, 0);
	quote.data[14] = e->version_ihl;
	quote.data[16] = (uint8_t)(e->total >> 8);
	quote.data[17] = (uint8_t)e->total;
	quote.data[20] = (uint8_t)(e->offset >> 8);
	quote.data[21] = (uint8_t)e->offset;
	pkt_add(&quote, nop, options <= 40 ? options : 0);
	pkt_add(&quote, tcp, sizeof(tcp));
	quote.len = (uint16_t)(quote.len - e->cut);
	pkt_eth(&p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV4);
	pkt_ip4(&p, "10.0.0.1", "10.0.0.25", 1, (uint16_t)(8 + quote.len - 14));
	pkt_add(&p, head, sizeof(head));
	pkt_add(&p, quote.data + 14, quote.len - 14U);
	pkt_cksum(&p, 34, 2, 1);
	net_fix_in(f, 0, p.data, p.len);
}

static const struct error4 good4 =
	{"10.0.0.25", "192.0.2.7", 3, 4, 0x45, 6, .mtu = 1280, .total = 1500};

static void errors_about_our_segments_go_up(void **state)
{
	struct fix *f = *state;
	const struct ip_addr local = ip("10.0.0.25"), remote = ip("192.0.2.7");
	struct error4 e = good4;

	error4_in(f, &e);
	assert_int_equal(f->error_count, 1);
	assert_true(ip_addr_eq(&f->error.local, &local) && ip_addr_eq(&f->error.remote, &remote));
	assert_int_equal(f->error.local_port, 25);
	assert_int_equal(f->error.remote_port, 40000);
	assert_int_equal(f->error.seq, 0x01020304);
	assert_int_equal(f->error.kind, NET_ICMP_TOO_BIG);
	assert_int_equal(f->error.mtu, 1280);
	memset(&f->error, 0, sizeof(f->error));
	e.version_ihl = 0x4f; // 40 octets of options
	error4_in(f, &e);
	assert_int_equal(f->error_count, 2);
	assert_int_equal(f->error.seq, 0x01020304);
	assert_int_equal(f->error.local_port, 25);
	e = good4;
	e.code = 3;
	error4_in(f, &e);
	assert_int_equal(f->error.kind, NET_ICMP_UNREACHABLE_HARD);
	assert_int_equal(f->error.mtu, 0);
	e.code = 1;
	error4_in(f, &e);
	assert_int_equal(f->error.kind, NET_ICMP_UNREACHABLE_SOFT);
	assert_int_equal(f->stats[STAT_NET_ICMP_ERRORS], 4);
	assert_int_equal(f->sent_count, 0);
}

static void errors_about_what_we_did_not_send_are_dropped(void **state)
{
	struct fix *f = *state;
	struct error4 e;

	e = good4, e.src = "10.0.0.26", error4_in(f, &e);
	e = good4, e.proto = 17, error4_in(f, &e);
	e = good4, e.offset = 100, error4_in(f, &e);
	assert_int_equal(f->stats[STAT_NET_ICMP_QUOTE], 3);
	e = good4, e.version_ihl = 0x65, error4_in(f, &e);
	e = good4, e.version_ihl = 0x44, error4_in(f, &e);
	e = good4, e.cut = 1, error4_in(f, &e);
	e = good4, e.version_ihl = 0x46, e.cut = 1, error4_in(f, &e);
	e = good4, e.cut = 9, error4_in(f, &e);
	assert_int_equal(f->stats[STAT_NET_ICMP_MALFORMED], 5);
	e = good4, e.type = 5, error4_in(f, &e); // redirect
	e = good4, e.type = 11, error4_in(f, &e);
	assert_int_equal(f->stats[STAT_NET_ICMP_IGNORED], 2);
	assert_int_equal(f->error_count, 0);
}

struct error6 {
	const char *src;
	uint8_t type, code, version, proto;
	uint32_t mtu;
	uint16_t cut;
};

static void error6_in(struct fix *f, const struct error6 *e)
{
	const uint8_t head[8] = {
		e->type,
		e->code,
		[4] = (uint8_t)(e->mtu >> 24),
		(uint8_t)(e->mtu >> 16),
		(uint8_t)(e->mtu >> 8),
		(uint8_t)e->mtu
	};
	const uint8_t tcp[8] = {0, 25, 0x9c, 0x40, 1, 2, 3, 4};
	struct pkt p, quote;

	pkt_eth(&quote, mac_a, mac_a, 0);
	pkt_ip6(&quote, e->src, "2001:db8:ffff::7", e->proto, 1460);
	quote.data[14] = (uint8_t)(e->version << 4);
	pkt_add(&quote, tcp, sizeof(tcp));
	quote.len = (uint16_t)(quote.len - e->cut);
	pkt_eth(&p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV6);
	pkt_ip6(&p, "2001:db8::1", "2001:db8::25", 58, (uint16_t)(8 + quote.len - 14));
	pkt_add(&p, head, sizeof(head));
	pkt_add(&p, quote.data + 14, quote.len - 14U);
	pkt_cksum(&p, 54, 2, 58);
	net_fix_in(f, 0, p.data, p.len);
}

static void errors_of_ipv6(void **state)
{
	static const struct error6 good = {"2001:db8::25", 2, 0, 6, 6, 1280, 0};
	struct fix *f = *state;
	struct error6 e;

	error6_in(f, &good);
	assert_int_equal(f->error_count, 1);
	assert_int_equal(f->error.kind, NET_ICMP_TOO_BIG);
	assert_int_equal(f->error.mtu, 1280);
	assert_int_equal(f->error.local_port, 25);
	assert_int_equal(f->error.remote_port, 40000);
	e = good, e.mtu = 1U << 20, error6_in(f, &e);
	assert_int_equal(f->error.mtu, UINT16_MAX);
	e = good, e.type = 1, e.code = 4, error6_in(f, &e);
	assert_int_equal(f->error.kind, NET_ICMP_UNREACHABLE_HARD);
	e = good, e.type = 1, e.code = 0, error6_in(f, &e);
	assert_int_equal(f->error.kind, NET_ICMP_UNREACHABLE_SOFT);
	assert_int_equal(f->error_count, 4);
	e = good, e.version = 4, error6_in(f, &e);
	e = good, e.cut = 1, error6_in(f, &e);
	assert_int_equal(f->stats[STAT_NET_ICMP_MALFORMED], 2);
	e = good, e.src = "2001:db8::26", error6_in(f, &e);
	e = good, e.proto = 0, error6_in(f, &e);
	e = good, e.proto = 58, error6_in(f, &e);
	assert_int_equal(f->stats[STAT_NET_ICMP_QUOTE], 3);
	e = good, e.type = 3, error6_in(f, &e);
	assert_int_equal(f->stats[STAT_NET_ICMP_IGNORED], 1);
	assert_int_equal(f->error_count, 4);
}

static void broken_messages_are_dropped(void **state)
{
	const uint8_t head[8] = {8, 0, 1, 2};
	struct fix *f = *state;
	struct pkt p;

	pkt_eth(&p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV4);
	pkt_ip4(&p, "10.0.0.77", "10.0.0.25", 1, 8);
	pkt_add(&p, head, 8); // checksum
	net_fix_in(f, 0, p.data, p.len);
	pkt_eth(&p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV4);
	pkt_ip4(&p, "10.0.0.77", "10.0.0.25", 1, 4);
	pkt_add(&p, head, 4);
	pkt_cksum(&p, 34, 2, 1);
	net_fix_in(f, 0, p.data, p.len);
	pkt_eth(&p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV6);
	pkt_ip6(&p, "2001:db8::77", "2001:db8::25", 58, 8);
	pkt_add(&p, head, 8);
	net_fix_in(f, 0, p.data, p.len);
	assert_int_equal(f->stats[STAT_NET_ICMP_MALFORMED], 3);
	assert_int_equal(f->sent_count, 0);
}

// A worker other than 0 hands ICMP to worker 0; worker 0 hands an error to the tuple's owner.
static void icmp_is_steered(void **state)
{
	struct fix *f = net_fix_new(1, 2);
	struct fix *first = net_fix_new(0, 2);
	const struct ip_addr local = ip("10.0.0.25"), remote = ip("192.0.2.7");

	net_fix_settle(first);
	echo4(f, "10.0.0.77", "10.0.0.25", mac_ours[0]);
	assert_int_equal(f->steer_count, 1);
	assert_int_equal(f->steer_to, 0);
	assert_int_equal(f->steered.len, 14 + 20 + 8);
	assert_memory_equal(f->steered.data, mac_ours[0], 6); // the whole frame
	error4_in(first, &good4);
	if (net_owner(first->shared, &remote, &local, 40000, 25) == 0) {
		assert_int_equal(first->error_count, 1);
	} else {
		assert_int_equal(first->steer_to, 1);
		net_fix_in_steered(f, 0, first->steered.data, first->steered.len);
		assert_int_equal(f->error_count, 1);
	}
	net_fix_in_steered(f, 0, first->steered.data, 0);
	assert_int_equal(f->stats[STAT_NET_ETH_SHORT], 1);
	net_free(first->net);
	first->net = NULL;
	net_fix_free(f);
	net_fix_free(first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(echo_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(echo_to_many_is_not_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(echo_has_a_rate, setup, teardown),
		cmocka_unit_test_setup_teardown(
			echo_from_a_link_local_address_is_answered, setup, teardown
		),
		cmocka_unit_test_setup_teardown(errors_about_our_segments_go_up, setup, teardown),
		cmocka_unit_test_setup_teardown(
			errors_about_what_we_did_not_send_are_dropped, setup, teardown
		),
		cmocka_unit_test_setup_teardown(errors_of_ipv6, setup, teardown),
		cmocka_unit_test_setup_teardown(broken_messages_are_dropped, setup, teardown),
		cmocka_unit_test(icmp_is_steered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
