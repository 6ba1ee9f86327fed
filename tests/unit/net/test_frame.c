// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a frame says of itself: whole, cut off anywhere, changed anywhere, in any number of pieces;
// nothing behind its end is read.

#include "dataplane/net/frame.h"

#include "common/rng.h"
#include "dataplane/net/net_types.h"

#include <rte_ip.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MACS 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2
#define V4(proto, len) 0x45, 0, 0, len, 0, 0, 0x40, 0, 64, proto, 0, 0
#define V6(next, len) 0x60, 0, 0, 0, 0, len, next, 64
#define A4 192, 0, 2, 1
#define B4 192, 0, 2, 2
#define A6 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
#define B6 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2
#define TCP 0x10, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0 // 4096 -> 25

static const uint8_t tcp4[] = {MACS, 8, 0, V4(6, 40), A4, B4, TCP};
static const uint8_t vlan4[] = {MACS, 0x81, 0, 0, 5, 8, 0, V4(6, 40), A4, B4, TCP};
static const uint8_t tcp6[] = {MACS, 0x86, 0xdd, V6(6, 20), A6, B6, TCP};
static const uint8_t options6[] =
	{MACS, 0x86, 0xdd, V6(60, 28), A6, B6, 6, 0, 1, 4, 0, 0, 0, 0, TCP};
static const uint8_t arp[] = {MACS, 8, 6, 0, 1,  8, 0, 6, 4, 0, 1, 2, 0,
			      0,    0, 0, 2, A4, 0, 0, 0, 0, 0, 0, B4};
static const uint8_t echo4[] = {MACS, 8, 0, V4(1, 28), A4, B4, 8, 0, 0, 0, 0, 1, 0, 1};
static const uint8_t error4[] = {MACS, 8, 0,    V4(1, 56), 10, 0,  0, 1,  B4,   3, 4, 0, 0, 0,
				 0,    5, 0xdc, V4(6, 40), B4, A4, 0, 25, 0x10, 0, 0, 0, 0, 1};
static const uint8_t later4[] =
	{MACS, 8, 0, 0x45, 0, 0, 40, 0, 0, 0x20, 9, 64, 6, 0, 0, A4, B4, TCP};

static const struct {
	const uint8_t *data;
	size_t len;
	enum net_frame_kind kind;
	bool v4;
} frames[] = {
	{tcp4, sizeof(tcp4), NET_FRAME_TCP, true},
	{vlan4, sizeof(vlan4), NET_FRAME_TCP, true},
	{tcp6, sizeof(tcp6), NET_FRAME_TCP, false},
	{options6, sizeof(options6), NET_FRAME_TCP, false},
	{arp, sizeof(arp), NET_FRAME_ADDRESSES, true},
	{echo4, sizeof(echo4), NET_FRAME_ADDRESSES, true},
	{later4, sizeof(later4), NET_FRAME_ADDRESSES, true},
	{error4, sizeof(error4), NET_FRAME_QUOTE, true},
};
#define FRAMES (sizeof(frames) / sizeof(frames[0]))

// In two pieces, each in a block of its own that ends where the piece does.
static void parse(const uint8_t *data, size_t len, size_t cut, struct net_frame *ret)
{
	struct rte_mbuf m[2] = {0};
	uint8_t *first = malloc(cut + 1), *second = malloc(len - cut + 1);

	assert_non_null(first);
	assert_non_null(second);
	memcpy(first + 1, data, cut);
	memcpy(second + 1, data + cut, len - cut);
	m[0].buf_addr = first + 1;
	m[0].data_len = (uint16_t)cut;
	m[0].pkt_len = (uint32_t)len;
	m[0].nb_segs = 2;
	m[0].next = &m[1];
	m[1].buf_addr = second + 1;
	m[1].data_len = (uint16_t)(len - cut);
	net_frame_parse(m, ret);
	free(first);
	free(second);
}

static void whole_frames_in_any_pieces(void **state)
{
	static const uint8_t a4[] = {A4}, b4[] = {B4}, a6[] = {A6}, b6[] = {B6};

	for (unsigned i = 0; i < FRAMES; i++) {
		for (size_t cut = 0; cut <= frames[i].len; cut++) {
			struct net_frame f;

			parse(frames[i].data, frames[i].len, cut, &f);
			assert_int_equal(f.kind, frames[i].kind);
			assert_memory_equal(
				f.src.b + (frames[i].v4 ? 12 : 0),
				frames[i].v4 ? a4 : a6,
				frames[i].v4 ? 4 : 16
			);
			assert_memory_equal(
				f.dst.b + (frames[i].v4 ? 12 : 0),
				frames[i].v4 ? b4 : b6,
				frames[i].v4 ? 4 : 16
			);
			if (f.kind != NET_FRAME_TCP && f.kind != NET_FRAME_QUOTE)
				continue;
			assert_int_equal(f.sport, 4096);
			assert_int_equal(f.dport, 25);
			if (f.kind == NET_FRAME_TCP)
				assert_int_equal(f.l4_off, frames[i].len - 20);
		}
	}
}

static void cut_off_or_changed_anywhere(void **state)
{
	uint8_t copy[128];
	struct net_frame f;
	struct rng rng;

	rng_seed(&rng, 5);
	for (unsigned i = 0; i < FRAMES; i++) {
		for (size_t len = 0; len < frames[i].len; len++) {
			parse(frames[i].data, len, len / 2, &f);
			if (len < 14)
				assert_int_equal(f.kind, NET_FRAME_OTHER);
		}
		for (unsigned round = 0; round < 20000; round++) {
			memcpy(copy, frames[i].data, frames[i].len);
			for (unsigned k = 0; k < 3; k++)
				copy[12 + rng_below(&rng, (uint32_t)frames[i].len - 12)] =
					(uint8_t)rng_next(&rng);
			parse(copy, frames[i].len, rng_below(&rng, (uint32_t)frames[i].len), &f);
		}
	}
}

static void checksums_of_offload_are_filled_in(void **state)
{
	uint8_t copy[sizeof(tcp4)];
	struct rte_mbuf m = {.buf_addr = copy, .nb_segs = 1};
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(copy + 14);
	uint16_t sum, whole;

	memcpy(copy, tcp4, sizeof(copy));
	m.data_len = sizeof(copy);
	m.pkt_len = sizeof(copy);
	assert_false(net_frame_checksum(&m, 34, &sum)); // it is there already
	whole = l4_cksum(&m, 34, rte_ipv4_phdr_cksum(ip, 0));
	m.ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM;
	sum = rte_ipv4_phdr_cksum(ip, m.ol_flags);
	memcpy(copy + 34 + 16, &sum, sizeof(sum)); // as the stack leaves it to the port
	assert_true(net_frame_checksum(&m, 34, &sum));
	assert_int_equal(sum, whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_frames_in_any_pieces),
		cmocka_unit_test(cut_off_or_changed_anywhere),
		cmocka_unit_test(checksums_of_offload_are_filled_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
