// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Frames of every kind, spoilt at random and made to pass the checksums: nothing may be read beyond
// a packet (the sanitizers' build sees to that), no buffer lost, nothing answered by more than it
// came with, and mail's own path goes on working afterwards.

#include "tests/unit/net/fixture.h"

#include "common/rng.h"

#define ROUNDS 60000

struct sample {
	struct pkt p;
	uint16_t l4, field; // where the checksum is; 0: none
	uint8_t proto;
};

static void ip6_sample(
	struct sample *s,
	const char *src,
	const char *dst,
	uint8_t hop_limit,
	const uint8_t *msg,
	uint16_t len
)
{
	const struct ip_addr to = ip(dst);
	const uint8_t group[6] = {0x33, 0x33, to.b[12], to.b[13], to.b[14], to.b[15]};

	pkt_eth(&s->p, to.b[0] == 0xff ? group : mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV6);
	pkt_ip6(&s->p, src, dst, 58, len);
	s->p.data[14 + 7] = hop_limit;
	pkt_add(&s->p, msg, len);
	s->l4 = 54;
	s->field = 2;
	s->proto = 58;
}

static unsigned samples_make(struct sample *s)
{
	const struct ip_addr ours = ip("2001:db8::10"), peer = ip("2001:db8::77");
	uint8_t ns[32] = {135, [24] = 1, 1, 2, 0, 0, 0, 0, 9};
	uint8_t na[32] = {136, [4] = 0x60, [24] = 2, 1, 2, 0, 0, 0, 0, 9};
	const uint8_t mld[28] = {130}, echo[16] = {128},
		      arp[28] = {0, 1, 8, 0,  6, 4, 0,  1,         2, 0, 0,
				 0, 0, 9, 10, 0, 0, 77, [24] = 10, 0, 0, 10};
	uint8_t error[56] = {2, [6] = 5, [8] = 0x60, [14] = 6, 64, [48] = 0, 25};
	const uint8_t error4[36] = {3, 4, [6] = 5, [8] = 0x45, [17] = 6, [20] = 10, 0, 0, 25};
	const uint8_t tcp[20] = {0x9c, 0x40, 0, 25, [12] = 0x50, 2};

	memcpy(ns + 8, ours.b, 16);
	memcpy(na + 8, peer.b, 16);
	memcpy(error + 16, ours.b, 16);
	ip6_sample(&s[0], "2001:db8::77", "ff02::1:ff00:10", 255, ns, 32);
	ip6_sample(&s[1], "2001:db8::77", "2001:db8::10", 255, na, 32);
	ip6_sample(&s[2], "::", "ff02::1:ff00:10", 255, ns, 24);
	ip6_sample(&s[3], "fe80::1", "ff02::1", 1, mld, 28);
	ip6_sample(&s[4], "2001:db8::77", "2001:db8::10", 64, echo, 16);
	ip6_sample(&s[5], "2001:db8::1", "2001:db8::10", 64, error, 56);
	pkt_eth(&s[6].p, mac_all, mac_a, RTE_ETHER_TYPE_ARP);
	pkt_add(&s[6].p, arp, sizeof(arp));
	pkt_eth(&s[7].p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV4);
	pkt_ip4(&s[7].p, "10.0.0.1", "10.0.0.25", 1, sizeof(error4));
	pkt_add(&s[7].p, error4, sizeof(error4));
	s[7].l4 = 34, s[7].field = 2, s[7].proto = 1;
	pkt_eth(&s[8].p, mac_ours[0], mac_a, RTE_ETHER_TYPE_IPV4);
	pkt_ip4(&s[8].p, "10.0.0.77", "10.0.0.25", 6, sizeof(tcp));
	pkt_add(&s[8].p, tcp, sizeof(tcp));
	s[8].l4 = 34, s[8].field = 16, s[8].proto = 6;
	ip6_sample(&s[9], "2001:db8::77", "2001:db8::10", 64, tcp, sizeof(tcp));
	s[9].p.data[20] = 6;
	s[9].field = 16, s[9].proto = 6;
	s[10] = s[3]; // with a hop-by-hop header
	s[10].p.len = 54;
	s[10].p.data[20] = 0;
	s[10].p.data[19] = 36;
	pkt_add(&s[10].p, (const uint8_t[]){58, 0, 5, 2, 0, 0, 1, 0}, 8);
	pkt_add(&s[10].p, mld, sizeof(mld));
	s[10].l4 = 62;
	return 11;
}

static void spoil(struct rng *rng, const struct sample *s, struct pkt *p)
{
	*p = s->p;
	for (uint32_t n = rng_below(rng, 4); n > 0; n--) {
		uint32_t at = 12 + rng_below(rng, p->len - 12U);

		p->data[at] = rng_below(rng, 2) ? (uint8_t)rng_next(rng)
						: (uint8_t)(p->data[at] ^ 1U << rng_below(rng, 8));
	}
	if (rng_below(rng, 4) == 0)
		p->len = (uint16_t)(rng_below(rng, 2) ? p->len + rng_below(rng, 30)
						      : rng_below(rng, p->len) + 1);
	if (rng_below(rng, 8) == 0)
		return; // checksums as they are
	if (s->p.data[12] == 8 && s->p.data[13] == 0 && p->len >= 34 && (p->data[14] & 15) >= 5)
		pkt_ip4_cksum(p);
	if (s->l4 != 0 && p->len > s->l4 + s->field + 2U)
		pkt_cksum(p, s->l4, s->field, s->proto);
}

static void spoilt_frames_do_no_harm(void **state)
{
	static struct sample sample[16];
	unsigned samples = samples_make(sample);

	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct fix *f = net_fix_new(0, 1 + seed % 2);
		struct rng rng;
		struct pkt p;

		rng_seed(&rng, seed);
		net_fix_settle(f);
		for (unsigned i = 0; i < ROUNDS / 4; i++) {
			spoil(&rng, &sample[rng_below(&rng, samples)], &p);
			f->sent_count = 0;
			net_fix_in(f, (uint8_t)(rng_below(&rng, 8) == 0), p.data, p.len);
			assert_in_range(f->sent_count, 0, 2);
			assert_in_range(f->net->pending_count, 0, NET_PENDING_MAX);
			if (rng_below(&rng, 64) == 0) {
				f->sent_count = 0;
				net_fix_run(f, 20);
			}
		}
		assert_true(
			f->stats[STAT_NET_ND_ADVERTS] > 0 && f->stats[STAT_NET_ICMP_ERRORS] > 0
		);
		f->sent_count = 0;
		net_fix_run(f, 10000);
		net_fix_forget(f);
		fix_tcp_in(f, 0, "10.0.0.77", "10.0.0.25", 40000, 25);
		assert_int_equal(f->tcp_count + f->steer_count, 1);
		fix_arp(f, RTE_ARP_OP_REQUEST, "10.0.0.77", mac_a, "10.0.0.25", mac_all);
		assert_int_equal(fix_last(f)->data[21], RTE_ARP_OP_REPLY);
		net_fix_free(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spoilt_frames_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
