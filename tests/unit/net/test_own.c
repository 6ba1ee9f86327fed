// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Our addresses on the link: probed and announced at start, with a generation and when a link comes
// back; in use meanwhile without asserting anything; off while another station has them; defended.

#include "tests/unit/net/fixture.h"

#include <stdlib.h>

#define VIP4 "10.0.0.26"
#define VIP6 "2001:db8::26"
#define MS_PROBED 1500 // by then all that is probed is valid

static struct shm_conflict conflicts[SHM_CONFLICTS];

static int setup(void **state)
{
	struct fix *f = net_fix_new(0, 1);

	memset(conflicts, 0, sizeof(conflicts));
	f->net->conflicts = conflicts;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	net_fix_free(*state);
	return 0;
}

// ARP on port 0 with this sender and target.
static unsigned arps(const struct fix *f, const char *sender, const char *target)
{
	const struct ip_addr s = ip(sender), t = ip(target);
	unsigned n = 0;

	for (unsigned i = 0; i < f->sent_count; i++) {
		const uint8_t *d = f->sent[i].data;

		if (f->sent[i].port != 0 || fix_type(&f->sent[i]) != RTE_ETHER_TYPE_ARP ||
		    memcmp(d + 28, s.b + 12, 4) != 0 || memcmp(d + 38, t.b + 12, 4) != 0)
			continue;
		assert_int_equal(d[21], RTE_ARP_OP_REQUEST);
		assert_memory_equal(d, mac_all, 6);
		assert_memory_equal(d + 22, mac_ours[0], 6);
		n++;
	}
	return n;
}

// Neighbor discovery of this type on port 0 from src about target; *ret_last: the last one.
static unsigned
nds(const struct fix *f,
    uint8_t type,
    const char *src,
    const char *target,
    const struct fix_frame **ret_last)
{
	const struct ip_addr s = ip(src), t = ip(target);
	unsigned n = 0;

	for (unsigned i = 0; i < f->sent_count; i++) {
		const uint8_t *d = f->sent[i].data;

		if (f->sent[i].port != 0 || fix_type(&f->sent[i]) != RTE_ETHER_TYPE_IPV6 ||
		    d[20] != 58 || d[54] != type || memcmp(d + 22, s.b, 16) != 0 ||
		    memcmp(d + 62, t.b, 16) != 0)
			continue;
		if (ret_last != NULL)
			*ret_last = &f->sent[i];
		n++;
	}
	return n;
}

static struct own *own(struct fix *f, const char *addr)
{
	const struct ip_addr a = ip(addr);

	return own_find(f->net, 0, &a);
}

static void generation(struct fix *f, const char *const *addrs, unsigned n)
{
	f->local_count = 0;
	net_announce_begin(f->net);
	for (unsigned i = 0; i < n; i++) {
		const struct ip_addr a = ip(addrs[i]);

		f->local[f->local_count++] = a;
		net_announce(f->net, &a);
	}
	net_announce_end(f->net);
}

static void addresses_are_probed_then_announced(void **state)
{
	struct fix *f = *state;
	const struct fix_frame *out;

	net_fix_run(f, 50);
	assert_int_equal(arps(f, "0.0.0.0", "10.0.0.10"), 1);
	assert_int_equal(nds(f, 135, "::", "2001:db8::10", &out), 1);
	assert_int_equal(out->len, 14 + 40 + 24); // no option, to the solicited nodes
	assert_int_equal(out->data[0], 0x33);
	assert_int_equal(out->data[5], 0x10);
	assert_int_equal(nds(f, 135, "::", "fe80::ff:fe00:1", NULL), 1);
	assert_int_equal(own(f, "10.0.0.10")->state, OWN_S_OPTIMISTIC);
	net_fix_run(f, 500);
	assert_int_equal(arps(f, "0.0.0.0", "10.0.0.10"), OWN_PROBES4);
	assert_int_equal(own(f, "10.0.0.10")->state, OWN_S_VALID);
	assert_int_equal(arps(f, "10.0.0.10", "10.0.0.10"), 1);
	assert_int_equal(own(f, "2001:db8::10")->state, OWN_S_OPTIMISTIC);
	assert_int_equal(nds(f, 136, "2001:db8::10", "2001:db8::10", NULL), 0);
	net_fix_run(f, MS_PROBED);
	assert_int_equal(own(f, "2001:db8::10")->state, OWN_S_VALID);
	net_fix_run(f, 10000);
	assert_int_equal(arps(f, "10.0.0.10", "10.0.0.10"), OWN_ANNOUNCEMENTS);
	assert_int_equal(nds(f, 136, "2001:db8::10", "2001:db8::10", &out), OWN_ANNOUNCEMENTS);
	assert_int_equal(out->data[58], 0x20); // Override, not Solicited
	assert_int_equal(out->data[53], 1);    // to all nodes
	assert_int_equal(nds(f, 135, "::", "2001:db8::10", NULL), OWN_PROBES6);
	assert_int_equal(f->stats[STAT_NET_ADDRESS_PROBES], 2 * (OWN_PROBES4 + 2 * OWN_PROBES6));
	assert_int_equal(f->stats[STAT_NET_ADDRESS_ANNOUNCEMENTS], 2 * 3 * OWN_ANNOUNCEMENTS);
	assert_int_equal(f->stats[STAT_NET_ADDRESSES_OFF], 0);
}

static const struct fix_nd ask6 = {
	.src = "2001:db8::77",
	.dst = "ff02::1:ff00:10",
	.target = "2001:db8::10",
	.mac = mac_a,
	.type = 135,
	.hop_limit = 255,
	.option = 1,
	.option_len = 1,
};

static void an_address_is_in_use_while_it_is_probed(void **state)
{
	struct fix *f = *state;
	const struct fix_frame *out;

	net_fix_run(f, 10);
	fix_nd_in(f, &ask6);
	assert_int_equal(nds(f, 136, "2001:db8::10", "2001:db8::10", &out), 1);
	assert_int_equal(out->data[58], 0x40); // Solicited, but not Override (RFC 4429 3.3)
	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_a, "10.0.0.10", mac_all);
	assert_int_equal(fix_last(f)->data[21], RTE_ARP_OP_REPLY);
	fix_tcp_in(f, 0, "10.0.0.77", "10.0.0.10", 40000, 25);
	fix_tcp_in(f, 0, "2001:db8::77", "2001:db8::10", 40000, 25);
	assert_int_equal(f->tcp_count, 2);
	net_fix_run(f, MS_PROBED);
	net_fix_forget(f);
	fix_nd_in(f, &ask6);
	assert_int_equal(nds(f, 136, "2001:db8::10", "2001:db8::10", &out), 1);
	assert_int_equal(out->data[58], 0x60);
}

static void nobody_is_asked_from_an_address_in_doubt(void **state)
{
	struct fix *f = *state;
	const struct ip_addr link_local = ip("fe80::77");

	net_fix_run(f, 10);
	net_fix_forget(f);
	fix_tcp_out(f, "10.0.0.10", "10.0.0.77");
	fix_tcp_out(f, "2001:db8::10", "2001:db8::77");
	neigh_resolve(f->net, 0, &link_local);
	assert_int_equal(f->sent_count, 0);
	net_fix_run(f, 700);
	assert_int_equal(arps(f, "10.0.0.10", "10.0.0.77"), 1);
	assert_int_equal(nds(f, 135, "2001:db8::10", "2001:db8::77", NULL), 0);
	assert_int_equal(nds(f, 135, "fe80::ff:fe00:1", "fe80::77", NULL), 0);
	net_fix_run(f, 600);
	assert_int_equal(nds(f, 135, "fe80::ff:fe00:1", "fe80::77", NULL), 1);
	assert_int_equal(nds(f, 135, "2001:db8::10", "2001:db8::77", NULL), 1);
	assert_int_equal(f->stats[STAT_NET_NEIGH_FAILED], 0);
	net_fix_run(f, 5000);
	assert_int_equal(f->stats[STAT_NET_NEIGH_FAILED], 2);
}

static void expect_off(struct fix *f, const char *addr, const uint8_t mac[6])
{
	const struct ip_addr a = ip(addr);

	assert_int_equal(own(f, addr)->state, OWN_S_OFF);
	assert_true(net_addr_is_off(f->net, &a));
	assert_false(net_addr_is_local(f->net, &a));
	assert_false(own_answers(f->net, 0, &a));
	assert_true(ip_addr_eq(&conflicts[0].addr, &a));
	assert_int_equal(conflicts[0].state, SHM_CONFLICT_OFF);
	assert_memory_equal(conflicts[0].mac, mac, 6);
	assert_int_equal(f->stats[STAT_NET_ADDRESSES_OFF], 1);
	assert_int_equal(f->stats[STAT_NET_ADDRESS_TAKEN], 1);
}

static void a_taken_ipv4_address_stays_off_until_it_is_free(void **state)
{
	struct fix *f = *state;

	net_fix_run(f, 10);
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.10", mac_a, "0.0.0.0", mac_ours[0]);
	expect_off(f, "10.0.0.10", mac_a);
	assert_int_equal(f->stats[STAT_NET_ARP_CONFLICT], 1);
	net_fix_forget(f);
	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_b, "10.0.0.10", mac_all);
	fix_tcp_in(f, 0, "10.0.0.77", "10.0.0.10", 40000, 25);
	assert_int_equal(f->sent_count + f->tcp_count, 0);
	assert_int_equal(f->stats[STAT_NET_IP_NOT_LOCAL], 1);
	fix_tcp_out(f, "10.0.0.10", "10.1.0.77"); // whatever the route
	assert_int_equal(f->stats[STAT_NET_ADDRESS_OFF], 1);
	net_fix_forget(f);
	net_fix_run(f, 4000);
	assert_int_equal(arps(f, "0.0.0.0", "10.0.0.10"), 0);
	net_fix_run(f, 2000 + OWN_RETRY_JITTER_MS);
	assert_int_equal(arps(f, "0.0.0.0", "10.0.0.10"), OWN_PROBES4);
	assert_int_equal(f->stats[STAT_NET_ADDRESSES_OFF], 0);
	assert_int_equal(own(f, "10.0.0.10")->state, OWN_S_VALID);
	assert_int_equal(arps(f, "10.0.0.10", "10.0.0.10"), 1);
	assert_int_equal(conflicts[0].state, SHM_CONFLICT_OVER);
	fix_tcp_in(f, 0, "10.0.0.77", "10.0.0.10", 40000, 25);
	assert_int_equal(f->tcp_count, 1);
}

static void a_taken_address_is_probed_again_and_again(void **state)
{
	struct fix *f = *state;

	net_fix_run(f, 10);
	for (unsigned i = 0; i < 5; i++) {
		fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.10", mac_a, "0.0.0.0", mac_ours[0]);
		assert_int_equal(own(f, "10.0.0.10")->state, OWN_S_OFF);
		net_fix_forget(f);
		net_fix_run(f, 4900);
		for (unsigned k = 0; k < 200 && arps(f, "0.0.0.0", "10.0.0.10") == 0; k++)
			net_fix_run(f, 10);
		assert_int_equal(arps(f, "0.0.0.0", "10.0.0.10"), 1);
		assert_int_equal(own(f, "10.0.0.10")->state, OWN_S_OFF);
	}
	assert_int_equal(conflicts[0].times, 5);
}

static void a_taken_ipv6_address_stays_off_until_it_is_free(void **state)
{
	struct fix *f = *state;
	const struct fix_nd theirs = {
		.src = "2001:db8::10",
		.dst = "ff02::1",
		.target = "2001:db8::10",
		.mac = mac_a,
		.type = 136,
		.flags = 0x20,
		.hop_limit = 255,
		.option = 2,
		.option_len = 1,
	};

	net_fix_run(f, 10);
	fix_nd_in(f, &theirs);
	expect_off(f, "2001:db8::10", mac_a);
	assert_int_equal(f->stats[STAT_NET_ND_CONFLICT], 1);
	net_fix_forget(f);
	fix_nd_in(f, &ask6);
	fix_tcp_in(f, 0, "2001:db8::77", "2001:db8::10", 40000, 25);
	assert_int_equal(f->sent_count + f->tcp_count, 0);
	net_fix_run(f, 8000);
	assert_int_equal(own(f, "2001:db8::10")->state, OWN_S_VALID);
	assert_int_equal(nds(f, 135, "::", "2001:db8::10", NULL), OWN_PROBES6);
	assert_int_equal(conflicts[0].state, SHM_CONFLICT_OVER);
}

static void two_that_probe_at_once_both_yield(void **state)
{
	struct fix *f = *state;
	struct fix_nd theirs = ask6;

	net_fix_run(f, 10);
	theirs.src = "::";
	theirs.option = 0;
	fix_nd_in(f, &theirs);
	expect_off(f, "2001:db8::10", mac_a);
	fix_arp(f, RTE_ARP_OP_REQUEST, "0.0.0.0", mac_b, "10.0.0.10", mac_all);
	assert_int_equal(own(f, "10.0.0.10")->state, OWN_S_OFF);
	assert_int_equal(f->stats[STAT_NET_ADDRESSES_OFF], 2);
}

static void our_own_frames_are_no_conflict(void **state)
{
	struct fix *f = *state;
	struct fix_nd back = ask6;

	net_fix_run(f, 10);
	fix_arp(f, RTE_ARP_OP_REQUEST, "0.0.0.0", mac_ours[1], "10.0.0.10", mac_all);
	fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.10", mac_ours[1], "10.0.0.10", mac_all);
	back.type = 136;
	back.target = "2001:db8::10";
	back.dst = "ff02::1";
	back.option = 2;
	back.mac = mac_ours[0];
	fix_nd_in(f, &back);
	assert_int_equal(f->stats[STAT_NET_ARP_CONFLICT] + f->stats[STAT_NET_ND_CONFLICT], 0);
	assert_int_equal(own(f, "10.0.0.10")->state, OWN_S_OPTIMISTIC);
}

static void a_valid_address_is_defended_once_in_ten_seconds(void **state)
{
	struct fix *f = *state;

	net_fix_settle(f);
	for (unsigned i = 0; i < 5; i++)
		fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.10", mac_a, "10.0.0.10", mac_all);
	assert_int_equal(own(f, "10.0.0.10")->state, OWN_S_VALID);
	assert_int_equal(arps(f, "10.0.0.10", "10.0.0.10"), 1);
	assert_int_equal(f->stats[STAT_NET_ARP_CONFLICT], 5);
	assert_int_equal(f->stats[STAT_NET_ADDRESS_DEFENDED], 1);
	assert_int_equal(conflicts[0].state, SHM_CONFLICT_DEFENDED);
	assert_int_equal(conflicts[0].times, 5);
	f->env.now_ns += OWN_DEFEND_NS;
	fix_arp(f, RTE_ARP_OP_REPLY, "10.0.0.10", mac_a, "10.0.0.77", mac_all);
	assert_int_equal(arps(f, "10.0.0.10", "10.0.0.10"), 2);
	// a probe for it is simply answered
	net_fix_forget(f);
	fix_arp(f, RTE_ARP_OP_REQUEST, "0.0.0.0", mac_a, "10.0.0.10", mac_all);
	assert_int_equal(f->sent_count, 1);
	assert_int_equal(fix_last(f)->data[21], RTE_ARP_OP_REPLY);
	assert_int_equal(f->stats[STAT_NET_ARP_CONFLICT], 0);
}

static void a_generations_addresses_are_probed_and_announced(void **state)
{
	struct fix *f = *state;
	static const char *const first[] = {VIP4, VIP6, "192.0.2.25"};
	static const char *const second[] = {VIP6, VIP6, "10.0.0.27"}; // two listeners

	net_fix_settle(f);
	generation(f, first, 3);
	assert_true(own_answers(f->net, 0, &f->local[0]));
	net_fix_run(f, 5000);
	assert_int_equal(arps(f, "0.0.0.0", VIP4), OWN_PROBES4);
	assert_int_equal(arps(f, VIP4, VIP4), OWN_ANNOUNCEMENTS);
	assert_int_equal(nds(f, 135, "::", VIP6, NULL), OWN_PROBES6);
	assert_int_equal(nds(f, 136, VIP6, VIP6, NULL), OWN_ANNOUNCEMENTS);
	// of no subnet: nobody on the link may have it, so it is announced only
	assert_int_equal(arps(f, "0.0.0.0", "192.0.2.25"), 0);
	assert_int_equal(arps(f, "192.0.2.25", "192.0.2.25"), OWN_ANNOUNCEMENTS);
	net_fix_forget(f);
	generation(f, second, 3);
	net_fix_run(f, 5000);
	assert_null(own(f, VIP4));
	assert_null(own(f, "192.0.2.25"));
	assert_non_null(own(f, VIP6));
	assert_int_equal(arps(f, VIP4, VIP4), 0);
	assert_int_equal(nds(f, 136, VIP6, VIP6, NULL), 0); // was ours before
	assert_int_equal(arps(f, "10.0.0.27", "10.0.0.27"), OWN_ANNOUNCEMENTS);
	for (unsigned i = 0; i < f->sent_count; i++)
		assert_int_equal(f->sent[i].port, 0); // not on the other port
}

static void a_port_answers_for_its_subnets_only(void **state)
{
	struct fix *f = *state;
	const struct ip_addr own0 = ip("10.0.0.10"), own1 = ip("10.1.0.10"), vip = ip("10.0.0.25");

	net_fix_settle(f);
	assert_true(own_answers(f->net, 0, &own0));
	assert_false(own_answers(f->net, 0, &own1));
	assert_true(own_answers(f->net, 1, &own1));
	assert_true(own_answers(f->net, 0, &vip));
	assert_false(own_answers(f->net, 1, &vip));
}

// Another box had the service, and goes on answering for a while.
static void a_service_is_taken_over_when_the_other_lets_go(void **state)
{
	struct fix *f = *state;
	static const char *const vip[] = {VIP4};

	net_fix_settle(f);
	generation(f, vip, 1);
	net_fix_run(f, 10);
	fix_arp(f, RTE_ARP_OP_REPLY, VIP4, mac_b, "0.0.0.0", mac_ours[0]);
	assert_int_equal(own(f, VIP4)->state, OWN_S_OFF);
	generation(f, vip, 1); // a reload in between changes nothing
	assert_int_equal(own(f, VIP4)->state, OWN_S_OFF);
	net_fix_forget(f);
	net_fix_run(f, 9000);
	assert_int_equal(own(f, VIP4)->state, OWN_S_VALID);
	assert_int_equal(arps(f, VIP4, VIP4), OWN_ANNOUNCEMENTS);
}

static void a_link_that_comes_back_is_told_again(void **state)
{
	struct fix *f = *state;

	net_fix_settle(f);
	net_link_up(f->net, 0);
	assert_int_equal(own(f, "10.0.0.10")->state, OWN_S_OPTIMISTIC);
	net_fix_run(f, 5000);
	assert_int_equal(arps(f, "0.0.0.0", "10.0.0.10"), OWN_PROBES4);
	assert_int_equal(arps(f, "10.0.0.10", "10.0.0.10"), OWN_ANNOUNCEMENTS);
	assert_int_equal(nds(f, 135, "::", "2001:db8::10", NULL), 1);
	for (unsigned i = 0; i < f->sent_count; i++)
		assert_int_equal(f->sent[i].port, 0);
}

static void many_addresses_come_at_a_pace(void **state)
{
	struct fix *f = *state;
	unsigned most = 0;

	net_fix_settle(f);
	net_announce_begin(f->net);
	for (uint32_t i = 0; i < OWN_MAX; i++) {
		struct ip_addr a = ip("2001:db8:0:0:1::");

		memcpy(a.b + 12, &i, 4);
		net_announce(f->net, &a);
	}
	net_announce_end(f->net);
	assert_int_equal(f->stats[STAT_NET_ADDRESS_TABLE_FULL], 6 /* the ports' own */);
	for (unsigned ms = 0; ms < 1000; ms += 10) {
		unsigned before = (unsigned)f->stats[STAT_NET_ADDRESS_PROBES];

		net_fix_run(f, 10);
		f->sent_count = 0;
		before = (unsigned)f->stats[STAT_NET_ADDRESS_PROBES] - before;
		most = before > most ? before : most;
	}
	assert_int_equal(most, OWN_BURST);
	net_announce_begin(f->net);
	net_announce_end(f->net);
	assert_int_equal(f->net->own->count, 6);
	assert_non_null(own(f, "10.0.0.10"));
	assert_non_null(own(f, "fe80::ff:fe00:1"));
}

// Who sleeps until the next timer misses nothing, and has little to do: a turn each 10 ms would be
// 500 of them.
static void the_next_timer_is_told(void **state)
{
	struct fix *f = *state;
	const uint64_t start = f->env.now_ns, end = start + 5000 * FIX_MS;
	uint64_t valid_ns = 0;
	unsigned turns = 0, sent;

	for (; f->env.now_ns < end; turns++) {
		uint32_t ms;

		net_fix_run(f, 10);
		f->env.now_ns -= 10 * FIX_MS;
		if (valid_ns == 0 && own(f, "10.0.0.10")->state == OWN_S_VALID)
			valid_ns = f->env.now_ns;
		ms = net_next_timer_ms(f->net, 1000);
		f->env.now_ns += (ms > 0 ? ms : 1) * FIX_MS;
	}
	assert_in_range(turns, 5, 60);
	assert_int_equal((valid_ns - start) / FIX_MS, OWN_PROBES4 * OWN_PROBE4_NS / FIX_MS);
	sent = f->sent_count;
	net_fix_free(f);
	*state = f = net_fix_new(0, 1);
	net_fix_run(f, 5000);
	assert_int_equal(f->sent_count, sent);
	// somebody waits for a neighbor: asked for each second, given up after three
	net_fix_forget(f);
	fix_tcp_out(f, "10.0.0.10", "10.0.0.99");
	net_fix_run(f, 10);
	assert_in_range(net_next_timer_ms(f->net, 1000), 0, 100);
	for (unsigned ms = 0; ms < 3000; ms += 10)
		net_fix_run(f, 10);
	assert_int_equal(net_next_timer_ms(f->net, 1000), 1000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(addresses_are_probed_then_announced),
		T(an_address_is_in_use_while_it_is_probed),
		T(nobody_is_asked_from_an_address_in_doubt),
		T(a_taken_ipv4_address_stays_off_until_it_is_free),
		T(a_taken_address_is_probed_again_and_again),
		T(a_taken_ipv6_address_stays_off_until_it_is_free),
		T(two_that_probe_at_once_both_yield),
		T(our_own_frames_are_no_conflict),
		T(a_valid_address_is_defended_once_in_ten_seconds),
		T(a_generations_addresses_are_probed_and_announced),
		T(a_port_answers_for_its_subnets_only),
		T(a_service_is_taken_over_when_the_other_lets_go),
		T(a_link_that_comes_back_is_told_again),
		T(many_addresses_come_at_a_pace),
		T(the_next_timer_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
