// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// ARP: who is answered, what is learned of whom, and what is refused.

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

static bool is_known(struct fix *f, const char *addr, const uint8_t mac[6])
{
	const struct ip_addr a = ip(addr);
	uint8_t got[6];

	return neigh_lookup(f->shared, 0, &a, NULL, got) && memcmp(got, mac, 6) == 0;
}

static void a_request_is_answered_and_teaches(void **state)
{
	struct fix *f = *state;
	const struct ip_addr vip = ip("10.0.0.25"), asker = ip("10.0.0.77");
	const struct fix_frame *out;

	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_a, "10.0.0.25", mac_all);
	assert_int_equal(f->sent_count, 1);
	out = fix_last(f);
	assert_int_equal(out->len, 14 + 28);
	assert_memory_equal(out->data, mac_a, 6);
	assert_int_equal(out->data[21], RTE_ARP_OP_REPLY);
	assert_memory_equal(out->data + 22, mac_ours[0], 6);
	assert_memory_equal(out->data + 28, vip.b + 12, 4);
	assert_memory_equal(out->data + 32, mac_a, 6);
	assert_memory_equal(out->data + 38, asker.b + 12, 4);
	assert_true(is_known(f, "10.0.0.77", mac_a));
	assert_int_equal(f->stats[STAT_NET_ARP_REPLIES], 1);
}

static void talk_of_others_is_left_alone(void **state)
{
	struct fix *f = *state;

	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_a, "10.0.0.78", mac_all);
	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_a, "10.0.0.77", mac_all); // announcement
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.77", mac_a, "10.0.0.78", mac_ours[0]);
	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_a, "10.1.0.10", mac_all); // other port's
	assert_int_equal(f->sent_count, 0);
	assert_false(is_known(f, "10.0.0.77", mac_a));
}

static void a_probe_is_answered_and_teaches_nothing(void **state)
{
	struct fix *f = *state;

	fix_arp(f, RTE_ARP_OP_REQUEST, "0.0.0.0", mac_a, "10.0.0.25", mac_all);
	assert_int_equal(f->sent_count, 1);
	assert_int_equal(fix_last(f)->data[21], RTE_ARP_OP_REPLY);
	assert_false(is_known(f, "0.0.0.0", mac_a));
}

static void malformed_packets_are_dropped(void **state)
{
	static const uint8_t group[6] = {1, 0, 0x5e, 0, 0, 1}, none[6];
	static const struct {
		uint8_t at, value;
	} spoil[] = {{15, 2}, {16, 0x86}, {18, 8}, {19, 16}};
	struct fix *f = *state;
	struct pkt p;

	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", group, "10.0.0.25", mac_all);
	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", none, "10.0.0.25", mac_all);
	assert_int_equal(f->stats[STAT_NET_ARP_MALFORMED], 2);
	for (unsigned i = 0; i < 5; i++) {
		uint8_t arp[28] = {0, 1, 8, 0, 6, 4, 0, 1};

		memcpy(arp + 8, mac_a, 6);
		pkt_eth(&p, mac_all, mac_a, RTE_ETHER_TYPE_ARP);
		pkt_add(&p, arp, i < 4 ? 28 : 27);
		if (i < 4)
			p.data[spoil[i].at] = spoil[i].value;
		net_fix_in(f, 0, p.data, p.len);
	}
	assert_int_equal(f->stats[STAT_NET_ARP_MALFORMED], 7);
	assert_int_equal(f->sent_count, 0);
}

static void impossible_senders_teach_nothing(void **state)
{
	struct fix *f = *state;

	fix_arp(f, RTE_ARP_OP_REQUEST, "224.0.0.1", mac_a, "10.0.0.25", mac_all);
	fix_arp(f, RTE_ARP_OP_REQUEST, "127.0.0.1", mac_a, "10.0.0.25", mac_all);
	assert_false(is_known(f, "224.0.0.1", mac_a));
	assert_false(is_known(f, "127.0.0.1", mac_a));
}

// A reply confirms only when it was asked for and comes to us alone.
static void an_unasked_reply_is_hearsay(void **state)
{
	struct fix *f = *state;
	const struct ip_addr a = ip("10.0.0.77");

	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_a, "10.0.0.25", mac_all);
	assert_false(neigh_is_asked(f->net, 0, &a));
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.77", mac_b, "10.0.0.25", mac_ours[0]);
	assert_true(is_known(f, "10.0.0.77", mac_b)); // believed, and doubted:
	assert_int_equal(f->stats[STAT_NET_NEIGH_MOVED], 1);
	net_fix_forget(f);
	net_fix_run(f, 500);
	assert_true(neigh_is_asked(f->net, 0, &a));
	assert_memory_equal(fix_last(f)->data, mac_b, 6);
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.77", mac_b, "10.0.0.10", mac_ours[0]);
	assert_false(neigh_is_asked(f->net, 0, &a));
	net_fix_run(f, 4000);
	assert_true(is_known(f, "10.0.0.77", mac_b));
}

// A server that was replaced announces itself, as VRRP and Linux do.
static void an_announcement_moves_a_known_neighbor(void **state)
{
	struct fix *f = *state;

	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_a, "10.0.0.25", mac_all);
	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_b, "10.0.0.77", mac_all);
	assert_true(is_known(f, "10.0.0.77", mac_b));
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.77", mac_a, "10.0.0.77", mac_all); // flaps
	assert_true(is_known(f, "10.0.0.77", mac_b));
	assert_int_equal(f->stats[STAT_NET_NEIGH_FLAPPING], 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_request_is_answered_and_teaches),
		T(talk_of_others_is_left_alone),
		T(a_probe_is_answered_and_teaches_nothing),
		T(malformed_packets_are_dropped),
		T(impossible_senders_teach_nothing),
		T(an_unasked_reply_is_hearsay),
		T(an_announcement_moves_a_known_neighbor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
