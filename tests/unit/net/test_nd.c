// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Neighbor discovery: which messages are valid (RFC 4861 7.1.1, 7.1.2), who is answered and how,
// and that nothing else is believed.

#include "tests/unit/net/fixture.h"

#include <stdlib.h>

#define SOLICIT 135
#define ADVERT 136
#define SOLICITED 0x40
#define OVERRIDE 0x20

static const struct fix_nd solicit = {
	.src = "2001:db8::77",
	.dst = "ff02::1:ff00:25",
	.target = "2001:db8::25",
	.mac = mac_a,
	.type = SOLICIT,
	.hop_limit = 255,
	.option = 1,
	.option_len = 1,
};
// A neighbor that was asked for.
static const struct fix_nd advert = {
	.src = "2001:db8::77",
	.dst = "2001:db8::10",
	.target = "2001:db8::77",
	.mac = mac_a,
	.type = ADVERT,
	.flags = SOLICITED | OVERRIDE,
	.hop_limit = 255,
	.option = 2,
	.option_len = 1,
};

static bool is_known(struct fix *f, const char *addr)
{
	const struct ip_addr a = ip(addr);
	uint8_t mac[6];

	return neigh_lookup(f->shared, 0, &a, NULL, mac);
}

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

static void a_valid_solicitation_is_answered(void **state)
{
	struct fix *f = *state;
	const struct ip_addr asker = ip("2001:db8::77");
	const struct fix_frame *out;

	fix_nd_in(f, &solicit);
	assert_int_equal(f->sent_count, 1);
	out = fix_last(f);
	assert_int_equal(out->len, 14 + 40 + 32);
	assert_memory_equal(out->data, mac_a, 6);
	assert_memory_equal(out->data + 14 + 24, asker.b, 16);
	assert_int_equal(out->data[14 + 7], 255);
	assert_int_equal(out->data[54], ADVERT);
	assert_int_equal(out->data[58], SOLICITED | OVERRIDE);
	assert_int_equal(out->data[78], 2);
	assert_int_equal(out->data[79], 1);
	assert_memory_equal(out->data + 80, mac_ours[0], 6);
	assert_true(is_known(f, "2001:db8::77"));
	assert_int_equal(f->stats[STAT_NET_ND_ADVERTS], 1);
}

// Each of these must be dropped and counted, answered by nothing, and must teach nothing.
static void refuse(struct fix *f, const struct fix_nd *nd)
{
	net_fix_forget(f);
	fix_nd_in(f, nd);
	assert_int_equal(f->stats[STAT_NET_ND_MALFORMED], 1);
	assert_int_equal(f->sent_count, 0);
	assert_false(is_known(f, "2001:db8::77"));
}

static void invalid_solicitations_are_refused(void **state)
{
	struct fix *f = *state;
	struct fix_nd nd;

	nd = solicit, nd.hop_limit = 254, refuse(f, &nd);
	nd = solicit, nd.code = 1, refuse(f, &nd);
	nd = solicit, nd.option_len = 0, refuse(f, &nd);
	nd = solicit, nd.option_len = 2, refuse(f, &nd); // beyond the packet
	nd = solicit, nd.cut = 4, refuse(f, &nd);        // half an option
	nd = solicit, nd.option = 0, nd.cut = 1, refuse(f, &nd);
	nd = solicit, nd.target = "ff02::1", refuse(f, &nd);
	nd = solicit, nd.target = "::ffff:10.0.0.25", refuse(f, &nd);
	nd = solicit, nd.src = "ff02::1", refuse(f, &nd);
	nd = solicit, nd.mac = mac_all, refuse(f, &nd);
	nd = solicit, nd.dst = "2001:db8::99", refuse(f, &nd); // another host's
	// duplicate address detection: no option, and to the solicited nodes only
	nd = solicit, nd.src = "::", refuse(f, &nd);
	nd = solicit, nd.src = "::", nd.option = 0, nd.dst = "2001:db8::25", refuse(f, &nd);
	nd = solicit, nd.src = "::", nd.option = 0, nd.dst = "ff02::1", refuse(f, &nd);
	nd = solicit, nd.cut = 30; // not even an ICMP header
	net_fix_forget(f);
	fix_nd_in(f, &nd);
	assert_int_equal(f->stats[STAT_NET_ICMP_MALFORMED], 1);
	assert_int_equal(f->sent_count, 0);
}

static void duplicate_address_detection_is_answered_to_all(void **state)
{
	struct fix *f = *state;
	const struct ip_addr all = ip("ff02::1");
	struct fix_nd nd = solicit;

	nd.src = "::";
	nd.option = 0;
	fix_nd_in(f, &nd);
	assert_int_equal(f->sent_count, 1);
	assert_memory_equal(fix_last(f)->data + 14 + 24, all.b, 16);
	assert_int_equal(fix_last(f)->data[58], OVERRIDE);
}

static void a_solicitation_without_option_is_answered_when_known(void **state)
{
	struct fix *f = *state;
	struct fix_nd nd = solicit;

	fix_nd_in(f, &solicit);
	nd.option = 0;
	nd.dst = "2001:db8::25"; // as a probe does
	net_fix_forget(f);
	fix_nd_in(f, &nd);
	assert_int_equal(f->sent_count, 1);
	assert_memory_equal(fix_last(f)->data, mac_a, 6);
	assert_int_equal(fix_last(f)->data[54], ADVERT);
}

static void a_solicitation_for_another_is_left_alone(void **state)
{
	struct fix *f = *state;
	struct fix_nd nd = solicit;

	nd.target = "2001:db8::26";
	fix_nd_in(f, &nd);
	assert_int_equal(f->sent_count, 0);
	assert_false(is_known(f, "2001:db8::77"));
	assert_int_equal(f->stats[STAT_NET_ND_MALFORMED], 0);
}

static void invalid_advertisements_are_refused(void **state)
{
	struct fix *f = *state;
	struct fix_nd nd;

	fix_tcp_out(f, "2001:db8::10", "2001:db8::77");
	nd = advert, nd.hop_limit = 254, refuse(f, &nd);
	nd = advert, nd.code = 1, refuse(f, &nd);
	nd = advert, nd.option_len = 0, refuse(f, &nd);
	nd = advert, nd.cut = 4, refuse(f, &nd);
	nd = advert, nd.target = "ff02::77", refuse(f, &nd);
	nd = advert, nd.dst = "ff02::1", refuse(f, &nd); // solicited, to everybody
	nd = advert, nd.src = "::", nd.dst = "2001:db8::98", refuse(f, &nd);
	fix_nd_in(f, &advert);
	assert_true(is_known(f, "2001:db8::77"));
}

static void an_advertisement_that_nobody_asked_for_is_ignored(void **state)
{
	struct fix *f = *state;

	fix_nd_in(f, &advert);
	assert_false(is_known(f, "2001:db8::77"));
	assert_int_equal(f->stats[STAT_NET_ND_MALFORMED], 0);
}

static void an_advertisement_of_our_address_is_a_conflict(void **state)
{
	struct fix *f = *state;
	struct fix_nd nd = advert;

	nd.target = "2001:db8::25";
	nd.dst = "ff02::1";
	nd.flags = OVERRIDE;
	fix_nd_in(f, &nd);
	assert_int_equal(f->stats[STAT_NET_ND_CONFLICT], 1);
}

static void router_messages_are_ignored(void **state)
{
	struct fix *f = *state;
	struct fix_nd nd = advert;

	nd.type = 134;
	fix_nd_in(f, &nd);
	nd.type = 137;
	fix_nd_in(f, &nd);
	assert_int_equal(f->stats[STAT_NET_ICMP_IGNORED], 2);
}

static void a_neighbor_is_solicited(void **state)
{
	struct fix *f = *state;
	const struct ip_addr group = ip("ff02::1:ff00:77"), target = ip("2001:db8::77");
	const struct ip_addr src = ip("2001:db8::10");
	const uint8_t group_mac[6] = {0x33, 0x33, 0xff, 0, 0, 0x77};
	const struct fix_frame *out;

	fix_tcp_out(f, "2001:db8::25", "2001:db8::77");
	out = fix_last(f);
	assert_memory_equal(out->data, group_mac, 6);
	assert_memory_equal(out->data + 14 + 8, src.b, 16);
	assert_memory_equal(out->data + 14 + 24, group.b, 16);
	assert_int_equal(out->data[54], SOLICIT);
	assert_memory_equal(out->data + 62, target.b, 16);
	assert_int_equal(out->data[78], 1);
	assert_memory_equal(out->data + 80, mac_ours[0], 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_valid_solicitation_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(invalid_solicitations_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			duplicate_address_detection_is_answered_to_all, setup, teardown
		),
		cmocka_unit_test_setup_teardown(
			a_solicitation_without_option_is_answered_when_known, setup, teardown
		),
		cmocka_unit_test_setup_teardown(
			a_solicitation_for_another_is_left_alone, setup, teardown
		),
		cmocka_unit_test_setup_teardown(
			invalid_advertisements_are_refused, setup, teardown
		),
		cmocka_unit_test_setup_teardown(
			an_advertisement_that_nobody_asked_for_is_ignored, setup, teardown
		),
		cmocka_unit_test_setup_teardown(
			an_advertisement_of_our_address_is_a_conflict, setup, teardown
		),
		cmocka_unit_test_setup_teardown(router_messages_are_ignored, setup, teardown),
		cmocka_unit_test_setup_teardown(a_neighbor_is_solicited, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
