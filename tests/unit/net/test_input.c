// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Frames that fuzzing found to be taken wrongly: stations that cannot be are not learned, nobody is
// answered at an address of ours, a buffer that lies outside of its mbuf stays its own.

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/net/net_types.h"
#include "tests/fuzz/eal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/packet.h"

static struct worker_env env;
static uint64_t stats[STAT_COUNT];
static struct net_shared *shared;
static struct net *net;
static unsigned sent;
static bool sent_external;

static bool up_is_local(void *up, const struct ip_addr *addr)
{
	return false;
}

static uint16_t port_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		struct packet packet;

		packet_check(rte_pktmbuf_mtod(pkts[i], const uint8_t *), pkts[i]->pkt_len, &packet);
		sent_external = RTE_MBUF_HAS_EXTBUF(pkts[i]);
		rte_pktmbuf_free(pkts[i]);
	}
	sent += n;
	return n;
}

static const struct net_ops net_ops = {.is_local = up_is_local};
static const struct port_ops port_ops = {.tx_burst = port_tx};

static int box_new(void **state)
{
	const struct ip_prefix own[] = {{packet_addr(false, 1), 120}, {packet_addr(true, 1), 64}};
	struct net_port_config port = {.info = {.mtu = 1500}, .addresses = own, .address_count = 2};
	const struct net_shared_config config = {
		.ports = &port, .port_count = 1, .workers = 1, .max_neighbors = 16
	};
	const struct net_config one = {
		.env = &env, .pool = eal_pool, .port_ops = &port_ops, .ops = &net_ops
	};
	struct net_config with = one;

	packet_mac(1, port.info.mac);
	memset(stats, 0, sizeof(stats));
	env = (struct worker_env){.now_ns = 1000000000U, .count = 1, .stats = stats};
	shared = with.shared = net_shared_new(&config);
	net = net_new(&with);
	sent = 0;
	return net != NULL ? 0 : -1;
}

static int box_free(void **state)
{
	net_free(net);
	net_shared_free(shared);
	eal_pools_check();
	return 0;
}

static void frame_in(const uint8_t *frame, size_t len)
{
	struct rte_mbuf *m = eal_frame(frame, len);

	net_input_burst(net, 0, &m, 1, false);
	net_flush(net);
}

// An ICMPv6 message of len octets; its checksum is filled in.
static void icmp6_in(struct packet_ip ip, uint8_t *icmp, size_t len)
{
	uint8_t frame[PACKET_MAX];
	size_t head;

	ip.from = 2;
	ip.proto = 58;
	ip.hop_limit = 255;
	head = packet_head(frame, &ip, len);
	packet_sum(&ip, icmp, len, 2);
	memcpy(frame + head, icmp, len);
	frame_in(frame, head + len);
}

// A solicitation of target with the source's link-layer address (NULL: without).
static void solicit_in(struct ip_addr src, struct ip_addr target, const uint8_t *mac)
{
	struct packet_ip ip = {
		.src = src, .dst = {.b = {0xff, 0x02, [11] = 1, [12] = 0xff, 0, 0, 1}}
	};
	uint8_t nd[32] = {135, [24] = 1, [25] = 1};

	memcpy(nd + 8, target.b, 16);
	if (mac != NULL)
		memcpy(nd + 26, mac, 6);
	icmp6_in(ip, nd, mac != NULL ? 32 : 24);
}

static unsigned neighbors(void)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < (shared->bucket_mask + 1) * NEIGH_WAYS; i++)
		n += shared->neigh[i].state != NEIGH_S_FREE;
	return n;
}

// Until nobody has said within its time that an address of ours is its own, and all were told.
static void addresses_settle(void)
{
	for (unsigned i = 0; i < 100; i++) {
		env.now_ns += 100000000U;
		net_timers(net);
	}
	net_flush(net);
	sent = 0;
}

static void a_station_that_asks_is_learned_and_answered(void **state)
{
	addresses_settle();
	solicit_in(packet_addr(true, 2), packet_addr(true, 1), (const uint8_t[]){2, 0, 0, 0, 0, 2});
	assert_int_equal(neighbors(), 1);
	assert_int_equal(sent, 1);
	solicit_in((struct ip_addr){0}, packet_addr(true, 1), NULL); // DAD of an address of ours
	assert_int_equal(neighbors(), 1);
	assert_int_equal(sent, 2);
}

static void what_is_no_station_is_not_learned(void **state)
{
	const struct ip_addr ours = packet_addr(true, 1), other = packet_addr(true, 2);
	const struct ip_addr group = {.b = {0xff, 0x02, [15] = 1}};
	const uint8_t mac[6] = {2, 0, 0, 0, 0, 2}, group_mac[6] = {0x33, 0x33, 0, 0, 0, 1};

	addresses_settle();
	solicit_in(group, ours, mac);
	solicit_in(other, ours, group_mac);
	solicit_in((struct ip_addr){0}, ours, mac);
	solicit_in(other, packet_addr(false, 1), mac); // IPv4 mapped
	assert_int_equal(stats[STAT_NET_ND_MALFORMED], 4);
	assert_int_equal(neighbors(), 0);
	assert_int_equal(sent, 0);
}

static void who_asks_from_an_address_of_ours_claims_it(void **state)
{
	const struct ip_addr ours = packet_addr(true, 1);
	const uint8_t mac[6] = {2, 0, 0, 0, 0, 2};

	addresses_settle();
	solicit_in(ours, ours, mac);
	assert_int_equal(stats[STAT_NET_ND_CONFLICT], 1);
	assert_int_equal(stats[STAT_NET_ADDRESS_DEFENDED], 1);
	assert_int_equal(neighbors(), 0);
	assert_int_equal(sent, 1); // the announcement
}

static void nobody_is_answered_at_an_address_of_ours(void **state)
{
	const struct packet_ip ip = {.src = packet_addr(true, 1), .dst = packet_addr(true, 1)};
	uint8_t echo[16] = {128};

	icmp6_in(ip, echo, sizeof(echo));
	assert_int_equal(stats[STAT_NET_IP_MARTIAN], 1);
	assert_int_equal(neighbors(), 0);
	assert_int_equal(sent, 0);
}

static void an_echoed_buffer_stays_external(void **state)
{
	const struct packet_ip ip = {.src = packet_addr(true, 2), .dst = packet_addr(true, 1)};
	uint8_t echo[16] = {128};

	solicit_in(packet_addr(true, 2), packet_addr(true, 1), (const uint8_t[]){2, 0, 0, 0, 0, 2});
	icmp6_in(ip, echo, sizeof(echo));
	assert_int_equal(stats[STAT_NET_ICMP_ECHO], 1);
	assert_int_equal(sent, 2);
	assert_true(sent_external); // else its block is never freed
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_station_that_asks_is_learned_and_answered, box_new, box_free
		),
		cmocka_unit_test_setup_teardown(
			what_is_no_station_is_not_learned, box_new, box_free
		),
		cmocka_unit_test_setup_teardown(
			who_asks_from_an_address_of_ours_claims_it, box_new, box_free
		),
		cmocka_unit_test_setup_teardown(
			nobody_is_answered_at_an_address_of_ours, box_new, box_free
		),
		cmocka_unit_test_setup_teardown(an_echoed_buffer_stays_external, box_new, box_free),
	};

	LLVMFuzzerInitialize(&argc, &argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
