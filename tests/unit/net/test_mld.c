// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Reports of our solicited-node groups, as a switch that snoops wants them (RFC 3810).

#include "tests/unit/net/fixture.h"

#define MS_JOINED 3000

static int setup(void **state)
{
	*state = net_fix_new(0, 1);
	return 0;
}

static int teardown(void **state)
{
	net_fix_free(*state);
	return 0;
}

struct reported {
	unsigned packets, records;
	uint8_t type; // of the last record
	bool from_link_local;
};

// Reports of a group on port 0, each checked as a whole.
static struct reported reported(const struct fix *f, const char *group)
{
	const struct ip_addr g = ip(group), routers = ip("ff02::16"), ll = ip("fe80::ff:fe00:1");
	const uint8_t mac[6] = {0x33, 0x33, 0, 0, 0, 0x16};
	const uint8_t hop_by_hop[8] = {58, 0, 5, 2, 0, 0, 1, 0};
	struct reported r = {0};

	for (unsigned i = 0; i < f->sent_count; i++) {
		const uint8_t *d = f->sent[i].data;
		uint16_t count = (uint16_t)(d[68] << 8 | d[69]);
		struct pkt check;

		if (f->sent[i].port != 0 || fix_type(&f->sent[i]) != RTE_ETHER_TYPE_IPV6 ||
		    d[20] != 0)
			continue;
		r.packets++;
		assert_memory_equal(d, mac, 6);
		assert_int_equal(d[14 + 7], 1);
		assert_memory_equal(d + 14 + 24, routers.b, 16);
		assert_memory_equal(d + 54, hop_by_hop, 8);
		assert_int_equal(d[62], 143);
		assert_int_equal(f->sent[i].len, 14 + 40 + 16 + count * 20);
		check.len = f->sent[i].len;
		memcpy(check.data, d, check.len);
		pkt_cksum(&check, 62, 2, 58);
		assert_memory_equal(check.data, d, check.len);
		r.from_link_local = memcmp(d + 14 + 8, ll.b, 16) == 0;
		for (unsigned k = 0; k < count; k++) {
			if (memcmp(d + 70 + k * 20 + 4, g.b, 16) != 0)
				continue;
			r.records++;
			r.type = d[70 + k * 20];
		}
	}
	return r;
}

struct query {
	const char *src, *dst, *group;
	uint16_t code, len;
	uint8_t hop_limit;
};

static void query_in(struct fix *f, const struct query *q)
{
	const struct ip_addr group = ip(q->group);
	const uint8_t hop_by_hop[8] = {58, 0, 5, 2, 0, 0, 1, 0};
	const uint8_t mac[6] = {0x33, 0x33, 0, 0, 0, 1};
	uint8_t msg[28] = {130, [4] = (uint8_t)(q->code >> 8), (uint8_t)q->code};
	struct pkt p;

	memcpy(msg + 8, group.b, 16);
	pkt_eth(&p, mac, mac_a, RTE_ETHER_TYPE_IPV6);
	pkt_ip6(&p, q->src, q->dst, 0, (uint16_t)(8 + q->len));
	p.data[14 + 7] = q->hop_limit;
	pkt_add(&p, hop_by_hop, 8);
	pkt_add(&p, msg, q->len);
	pkt_cksum(&p, 62, 2, 58);
	net_fix_in(f, 0, p.data, p.len);
}

static const struct query general = {"fe80::1", "ff02::1", "::", 2000, 28, 1};

static void groups_are_joined_before_they_are_needed(void **state)
{
	struct fix *f = *state;
	struct reported r;

	net_fix_run(f, 10);
	assert_int_equal(fix_type(&f->sent[0]), RTE_ETHER_TYPE_IPV6);
	assert_int_equal(f->sent[0].data[20], 0); // before the first solicitation
	r = reported(f, "ff02::1:ff00:10");
	assert_int_equal(r.records, 1);
	assert_int_equal(r.type, 4); // CHANGE_TO_EXCLUDE
	assert_false(r.from_link_local);
	assert_int_equal(reported(f, "ff02::1:ff00:1").records, 1); // of fe80::ff:fe00:1
	net_fix_run(f, MS_JOINED);
	r = reported(f, "ff02::1:ff00:10");
	assert_in_range(r.records, 3, 4); // again when the link-local address is sure
	assert_true(r.from_link_local);
	assert_true(f->stats[STAT_NET_MLD_REPORTS] >= 2 * r.packets); // the other port's too
	net_fix_forget(f);
	net_fix_run(f, 20000);
	assert_int_equal(reported(f, "ff02::1:ff00:10").packets, 0);
}

static void queries_are_answered(void **state)
{
	struct fix *f = *state;
	struct query q = general;
	struct reported r;

	net_fix_settle(f);
	query_in(f, &q);
	net_fix_run(f, 2100);
	r = reported(f, "ff02::1:ff00:10");
	assert_int_equal(r.packets, 1);
	assert_int_equal(r.records, 1);
	assert_int_equal(r.type, 2); // IS_EXCLUDE
	assert_int_equal(reported(f, "ff02::1:ff00:1").records, 1);
	net_fix_forget(f);
	q.group = "ff02::1:ff00:10";
	q.dst = q.group;
	q.len = 24; // version 1
	query_in(f, &q);
	net_fix_run(f, 2100);
	assert_int_equal(reported(f, "ff02::1:ff00:10").records, 1);
	assert_int_equal(reported(f, "ff02::1:ff00:1").records, 0);
	net_fix_forget(f);
	q.group = q.dst = "ff02::1:ff00:99"; // not ours
	query_in(f, &q);
	net_fix_run(f, 2100);
	assert_int_equal(f->sent_count, 0);
	q = general;
	q.code = 0xffff; // more than two hours: bounded
	query_in(f, &q);
	net_fix_run(f, 10100);
	assert_int_equal(reported(f, "ff02::1:ff00:10").records, 1);
}

static void report_in(struct fix *f)
{
	const uint8_t msg[8] = {143};
	struct pkt p;

	pkt_eth(&p, (const uint8_t[]){0x33, 0x33, 0, 0, 0, 0x16}, mac_a, RTE_ETHER_TYPE_IPV6);
	pkt_ip6(&p, "::", "ff02::16", 58, sizeof(msg));
	pkt_add(&p, msg, sizeof(msg));
	pkt_cksum(&p, 54, 2, 58);
	net_fix_in(f, 0, p.data, p.len);
}

static void bad_queries_are_dropped(void **state)
{
	struct fix *f = *state;
	struct query q;

	net_fix_settle(f);
	report_in(f); // another listener's
	assert_int_equal(f->stats[STAT_NET_ICMP_IGNORED], 1);
	q = general, q.hop_limit = 2, query_in(f, &q);
	q = general, q.src = "2001:db8::1", query_in(f, &q);
	q = general, q.dst = "2001:db8::10", query_in(f, &q);
	q = general, q.len = 23, query_in(f, &q);
	assert_int_equal(f->stats[STAT_NET_ICMP_MALFORMED], 4);
	net_fix_run(f, 10100);
	assert_int_equal(f->sent_count, 0);
}

static void generation(struct fix *f, const char *const *addrs, unsigned n)
{
	net_announce_begin(f->net);
	for (unsigned i = 0; i < n; i++) {
		const struct ip_addr a = ip(addrs[i]);

		net_announce(f->net, &a);
	}
	net_announce_end(f->net);
}

static void groups_come_and_go_with_a_generation(void **state)
{
	static const char *const vip[] = {"2001:db8::26", "2001:db8::1:0:26", "10.0.0.26"};
	struct fix *f = *state;

	net_fix_settle(f);
	generation(f, vip, 3);
	net_fix_run(f, 10);
	assert_int_equal(reported(f, "ff02::1:ff00:26").type, 4);
	net_fix_run(f, MS_JOINED);
	net_fix_forget(f);
	generation(f, vip, 1); // the other address of the group stays
	net_fix_run(f, 10);
	assert_int_equal(reported(f, "ff02::1:ff00:26").packets, 0);
	generation(f, vip, 0);
	net_fix_run(f, 10);
	assert_int_equal(reported(f, "ff02::1:ff00:26").records, 1);
	assert_int_equal(reported(f, "ff02::1:ff00:26").type, 3); // CHANGE_TO_INCLUDE
}

static void many_groups_take_several_reports(void **state)
{
	struct fix *f = *state;

	net_fix_settle(f);
	net_announce_begin(f->net);
	for (uint32_t i = 0; i < 3 * MLD_RECORDS; i++) {
		struct ip_addr a = ip("2001:db8::1:0:0");

		memcpy(a.b + 13, &i, 3);
		net_announce(f->net, &a);
	}
	net_announce_end(f->net);
	net_fix_run(f, 10);
	assert_int_equal(reported(f, "ff02::1:ff01:0").records, 1);
	f->sent_count = 0;
	net_fix_run(f, 10);
	assert_true(reported(f, "ff02::1:ff01:0").packets > 0);
	assert_true(f->stats[STAT_NET_MLD_REPORTS] >= 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(groups_are_joined_before_they_are_needed),
		T(queries_are_answered),
		T(bad_queries_are_dropped),
		T(groups_come_and_go_with_a_generation),
		T(many_groups_take_several_reports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
