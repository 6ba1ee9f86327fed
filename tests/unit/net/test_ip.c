// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// IPv4 and IPv6 on the way in: lengths, options, extension headers, fragments, martians, padding;
// and the segments that come up. Headers on the way out.

#include "tests/unit/net/fixture.h"

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

static const struct rte_tcp_hdr tcp =
	{.src_port = RTE_BE16(40000), .dst_port = RTE_BE16(25), .data_off = 0x50, .tcp_flags = 0x10
};

// A good segment with 5 octets of data, to be spoilt.
static void segment4(struct pkt *p)
{
	pkt_eth(p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV4);
	pkt_ip4(p, "10.0.0.77", "10.0.0.25", 6, sizeof(tcp) + 5);
	pkt_add(p, &tcp, sizeof(tcp));
	pkt_add(p, "EHLO", 5);
	pkt_cksum(p, 34, 16, 6);
}

static void segment6(struct pkt *p)
{
	pkt_eth(p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV6);
	pkt_ip6(p, "2001:db8::77", "2001:db8::25", 6, sizeof(tcp) + 5);
	pkt_add(p, &tcp, sizeof(tcp));
	pkt_add(p, "EHLO", 5);
	pkt_cksum(p, 54, 16, 6);
}

static void drops(struct fix *f, const struct pkt *p, enum stat_id why)
{
	net_fix_forget(f);
	net_fix_in(f, 0, p->data, p->len);
	assert_int_equal(f->stats[why], 1);
	assert_int_equal(f->tcp_count + f->sent_count, 0);
}

static void comes_up(struct fix *f, const struct pkt *p)
{
	const struct ip_addr v4 = ip("10.0.0.77"), v6 = ip("2001:db8::77");

	net_fix_forget(f);
	net_fix_in(f, 0, p->data, p->len);
	assert_int_equal(f->tcp_count, 1);
	assert_int_equal(f->tcp.len, sizeof(tcp) + 5);
	assert_int_equal(f->tcp.sport, 40000);
	assert_int_equal(f->tcp.dport, 25);
	assert_true(ip_addr_eq(&f->tcp.src, p->data[14] >> 4 == 4 ? &v4 : &v6));
	assert_memory_equal(f->tcp_data + sizeof(tcp), "EHLO", 5);
}

static void good_segments_come_up(void **state)
{
	static const uint8_t padding[64] = {[0 ... 63] = 0xee};
	struct fix *f = *state;
	struct pkt p;

	segment4(&p);
	comes_up(f, &p);
	pkt_add(&p, padding, sizeof(padding)); // of the frame, and not zero
	comes_up(f, &p);
	segment6(&p);
	comes_up(f, &p);
	pkt_add(&p, padding, sizeof(padding));
	comes_up(f, &p);
}

static void ipv4_headers(void **state)
{
	struct fix *f = *state;
	struct pkt p;

	segment4(&p), p.len = 14 + 19, drops(f, &p, STAT_NET_IP4_SHORT);
	segment4(&p), p.len--, drops(f, &p, STAT_NET_IP4_SHORT);
	segment4(&p), p.data[14] = 0x65, drops(f, &p, STAT_NET_IP4_HEADER);
	segment4(&p), p.data[14] = 0x44, drops(f, &p, STAT_NET_IP4_HEADER);
	segment4(&p), p.data[17] = 19, drops(f, &p, STAT_NET_IP4_HEADER); // total below the header
	segment4(&p), p.data[24] ^= 1, drops(f, &p, STAT_NET_IP4_CHECKSUM);
	segment4(&p), p.data[20] = 0x20, pkt_ip4_cksum(&p), drops(f, &p, STAT_NET_IP4_FRAGMENT);
	segment4(&p), p.data[21] = 1, pkt_ip4_cksum(&p), drops(f, &p, STAT_NET_IP4_FRAGMENT);
	segment4(&p), p.data[23] = 17, pkt_ip4_cksum(&p), drops(f, &p, STAT_NET_IP_PROTOCOL);
	segment4(&p), p.data[23] = 58, pkt_ip4_cksum(&p), drops(f, &p, STAT_NET_IP_PROTOCOL);
	segment4(&p), p.data[20] = 0x40, pkt_ip4_cksum(&p), comes_up(f, &p); // DF
}

static void ipv4_options_are_skipped(void **state)
{
	static const uint8_t option[12] = {7, 11, 4}; // record route, and the end
	struct fix *f = *state;
	struct pkt p;

	pkt_eth(&p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV4);
	pkt_ip4(&p, "10.0.0.77", "10.0.0.25", 6, sizeof(option) + sizeof(tcp) + 5);
	p.data[14] = 0x48;
	pkt_add(&p, option, sizeof(option));
	pkt_ip4_cksum(&p);
	pkt_add(&p, &tcp, sizeof(tcp));
	pkt_add(&p, "EHLO", 5);
	pkt_cksum(&p, 34 + sizeof(option), 16, 6);
	comes_up(f, &p);
}

static void martians(void **state)
{
	static const char *const from4[] = {
		"0.0.0.0",
		"0.1.2.3",
		"127.0.0.1",
		"224.0.0.1",
		"255.255.255.255",
		"10.0.0.25",
		"10.0.0.10",
		"10.1.0.10"
	};
	static const char *const from6[] = {
		"::", "::1", "ff02::1", "::ffff:10.0.0.77", "2001:db8::25", "2001:db8:1::10"
	};
	struct fix *f = *state;

	for (unsigned i = 0; i < sizeof(from4) / sizeof(from4[0]); i++) {
		net_fix_forget(f);
		fix_tcp_in(f, 0, from4[i], "10.0.0.25", 40000, 25);
		assert_int_equal(f->stats[STAT_NET_IP_MARTIAN], 1);
	}
	for (unsigned i = 0; i < sizeof(from6) / sizeof(from6[0]); i++) {
		struct pkt p;
		struct ip_addr a = {0};

		segment6(&p);
		if (strncmp(from6[i], "::ffff:", 7) == 0)
			a = ip("10.0.0.77"); // the same 16 octets
		else
			a = ip(from6[i]);
		memcpy(p.data + 14 + 8, a.b, 16);
		drops(f, &p, STAT_NET_IP_MARTIAN);
	}
	net_fix_forget(f);
	fix_tcp_in(f, 0, "10.0.0.77", "10.0.0.26", 40000, 25);
	fix_tcp_in(f, 0, "10.0.0.77", "10.0.0.255", 40000, 25);
	fix_tcp_in(f, 0, "10.0.0.77", "224.0.0.1", 40000, 25);
	fix_tcp_in(f, 0, "2001:db8::77", "2001:db8::26", 40000, 25);
	fix_tcp_in(f, 0, "2001:db8::77", "ff02::1", 40000, 25);
	assert_int_equal(f->stats[STAT_NET_IP_NOT_LOCAL], 5);
	assert_int_equal(f->tcp_count, 0);
}

static void segments_are_checked(void **state)
{
	struct fix *f = *state;
	struct pkt p;

	segment4(&p), p.data[p.len - 1] ^= 1, drops(f, &p, STAT_NET_TCP_CHECKSUM);
	segment6(&p), p.data[p.len - 1] ^= 1, drops(f, &p, STAT_NET_TCP_CHECKSUM);
	f->rx_flags = RTE_MBUF_F_RX_L4_CKSUM_BAD;
	segment4(&p), drops(f, &p, STAT_NET_TCP_CHECKSUM);
	f->rx_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD; // the port has looked
	segment4(&p), p.data[50] ^= 1, comes_up(f, &p);
	f->rx_flags = 0;
	pkt_eth(&p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV4);
	pkt_ip4(&p, "10.0.0.77", "10.0.0.25", 6, 19);
	pkt_add(&p, &tcp, 19);
	drops(f, &p, STAT_NET_TCP_SHORT);
	pkt_eth(&p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV6);
	pkt_ip6(&p, "2001:db8::77", "2001:db8::25", 6, 0);
	drops(f, &p, STAT_NET_TCP_SHORT);
}

static void ipv6_headers(void **state)
{
	struct fix *f = *state;
	struct pkt p;

	segment6(&p), p.len = 14 + 39, drops(f, &p, STAT_NET_IP6_SHORT);
	segment6(&p), p.len--, drops(f, &p, STAT_NET_IP6_SHORT);
	segment6(&p), p.data[14] = 0x40, drops(f, &p, STAT_NET_IP6_HEADER);
	segment6(&p), p.data[20] = 17, drops(f, &p, STAT_NET_IP_PROTOCOL);
	segment6(&p), p.data[20] = 59, drops(f, &p, STAT_NET_IP_PROTOCOL);
	segment6(&p), p.data[20] = 50, drops(f, &p, STAT_NET_IP_PROTOCOL);
	segment6(&p), p.data[20] = 1, drops(f, &p, STAT_NET_IP_PROTOCOL);
}

// A segment behind extension headers, each of 8 octets x (1 + extra).
static void
extended(struct pkt *p, const uint8_t *types, unsigned n, uint8_t extra, const uint8_t *option)
{
	const unsigned size = 8 * (1U + extra);

	pkt_eth(p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV6);
	pkt_ip6(p, "2001:db8::77", "2001:db8::25", types[0], (uint16_t)(n * size + sizeof(tcp) + 5)
	);
	for (unsigned i = 0; i < n; i++) {
		uint8_t ext[8 * 256] = {i + 1 < n ? types[i + 1] : 6, extra};

		if (types[i] == 43 || types[i] == 44)
			;
		else if (option != NULL)
			memcpy(ext + 2, option, 6);
		pkt_add(p, ext, size);
	}
	pkt_add(p, &tcp, sizeof(tcp));
	pkt_add(p, "EHLO", 5);
	pkt_cksum(p, (uint16_t)(54 + n * size), 16, 6);
}

static void ipv6_extension_headers(void **state)
{
	static const uint8_t alert[6] = {5, 2, 0, 0, 1, 0}, pad[6] = {1, 4}, over[6] = {1, 9};
	static const uint8_t must[3][6] = {{0x41, 4}, {0xc2, 4}, {0x80, 4}};
	struct fix *f = *state;
	uint8_t route[1] = {43};
	struct pkt p;

	extended(&p, (const uint8_t[]){0}, 1, 0, alert), comes_up(f, &p);
	extended(&p, (const uint8_t[]){60}, 1, 0, pad), comes_up(f, &p);
	extended(&p, (const uint8_t[]){60}, 1, 3, NULL), comes_up(f, &p); // Pad1 all over
	extended(&p, (const uint8_t[]){0, 60, 43, 60}, 4, 0, pad), comes_up(f, &p);
	extended(&p, (const uint8_t[]){0, 60, 43, 60, 60}, 5, 0, pad);
	drops(f, &p, STAT_NET_IP6_EXTENSIONS); // too many
	extended(&p, (const uint8_t[]){60, 0}, 2, 0, pad);
	drops(f, &p, STAT_NET_IP6_EXTENSIONS); // hop-by-hop not first
	extended(&p, (const uint8_t[]){60}, 1, 32, NULL);
	drops(f, &p, STAT_NET_IP6_EXTENSIONS); // too long
	extended(&p, (const uint8_t[]){60}, 1, 0, over);
	drops(f, &p, STAT_NET_IP6_EXTENSIONS); // an option beyond its header
	for (unsigned i = 0; i < 3; i++) {
		extended(&p, (const uint8_t[]){60}, 1, 0, must[i]);
		drops(f, &p, STAT_NET_IP6_EXTENSIONS); // options that may not be skipped
	}
	extended(&p, route, 1, 0, NULL), comes_up(f, &p);
	p.data[54 + 3] = 1; // segments left
	drops(f, &p, STAT_NET_IP6_EXTENSIONS);
	extended(&p, (const uint8_t[]){44}, 1, 0, NULL), drops(f, &p, STAT_NET_IP6_FRAGMENT);
	extended(&p, (const uint8_t[]){60, 44}, 2, 0, pad), drops(f, &p, STAT_NET_IP6_FRAGMENT);
	// cut inside a header, at each octet
	for (uint16_t cut = 1; cut < 16; cut++) {
		extended(&p, (const uint8_t[]){60, 60}, 2, 0, pad);
		p.data[19] = (uint8_t)(16 - cut); // payload length
		drops(f, &p, STAT_NET_IP6_EXTENSIONS);
	}
}

static void headers_on_the_way_out(void **state)
{
	struct fix *f = *state;
	const struct ip_addr v4 = ip("10.0.0.77"), v6 = ip("2001:db8::77");
	const struct fix_frame *out;
	struct pkt check;

	neigh_heard(f->net, 0, &v4, mac_a, true);
	neigh_heard(f->net, 0, &v6, mac_b, true);
	fix_tcp_out(f, "10.0.0.25", "10.0.0.77");
	out = fix_last(f);
	assert_int_equal(out->len, 14 + 20 + 20);
	assert_memory_equal(out->data, mac_a, 6);
	assert_memory_equal(out->data + 6, mac_ours[0], 6);
	assert_int_equal(out->data[22], NET_TTL);
	assert_int_equal(out->data[20], 0x40); // DF
	assert_int_equal(rte_raw_cksum(out->data + 14, 20), 0xffff);
	check.len = out->len;
	memcpy(check.data, out->data, out->len);
	pkt_cksum(&check, 34, 16, 6);
	assert_memory_equal(check.data, out->data, out->len);
	fix_tcp_out(f, "2001:db8::25", "2001:db8::77");
	out = fix_last(f);
	assert_int_equal(out->len, 14 + 40 + 20);
	assert_int_equal(out->data[14 + 7], NET_TTL);
	check.len = out->len;
	memcpy(check.data, out->data, out->len);
	pkt_cksum(&check, 54, 16, 6);
	assert_memory_equal(check.data, out->data, out->len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(good_segments_come_up, setup, teardown),
		cmocka_unit_test_setup_teardown(ipv4_headers, setup, teardown),
		cmocka_unit_test_setup_teardown(ipv4_options_are_skipped, setup, teardown),
		cmocka_unit_test_setup_teardown(martians, setup, teardown),
		cmocka_unit_test_setup_teardown(segments_are_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(ipv6_headers, setup, teardown),
		cmocka_unit_test_setup_teardown(ipv6_extension_headers, setup, teardown),
		cmocka_unit_test_setup_teardown(headers_on_the_way_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
