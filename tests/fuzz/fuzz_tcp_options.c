// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Options of a TCP header against a reference written from RFC 9293 3.1 and RFC 7323, and back:
// what our writers write is read as it was meant. Input: two bytes for the writers, then the
// options as they stand in the header, filled up with zeroes to a multiple of four.

#include <string.h>

#include "dataplane/tcp/tcp_inner_types.h"
#include "tests/fuzz/fuzz.h"

#define OPTIONS_MAX 40

// The last option of a kind counts; false: one that reaches over the end or is shorter than its
// own head.
static bool reference(const uint8_t *o, unsigned len, struct tcp_seg *seg)
{
	unsigned i = 0;

	while (i < len) {
		unsigned size;

		if (o[i] == 0)
			return true;
		if (o[i] == 1) {
			i++;
			continue;
		}
		if (i + 1 == len || o[i + 1] < 2 || i + o[i + 1] > len)
			return false;
		size = o[i + 1];
		if (o[i] == 2 && size == 4)
			seg->mss = (uint16_t)(o[i + 2] * 256 + o[i + 3]);
		if (o[i] == 3 && size == 3) {
			seg->has_ws = true;
			seg->wscale = o[i + 2] <= 14 ? o[i + 2] : 14;
		}
		if (o[i] == 8 && size == 10) {
			seg->has_ts = true;
			seg->ts_val = seg->ts_ecr = 0;
			for (unsigned k = 0; k < 4; k++) {
				seg->ts_val = seg->ts_val * 256 + o[i + 2 + k];
				seg->ts_ecr = seg->ts_ecr * 256 + o[i + 6 + k];
			}
		}
		if (o[i] == 4 && size == 2)
			seg->has_sack = true;
		if (o[i] == 5 && (size == 10 || size == 18 || size == 26 || size == 34))
			seg->sack = (uint8_t)(sizeof(struct rte_tcp_hdr) + i);
		i += size;
	}
	return true;
}

static bool parse(const uint8_t *options, unsigned len, struct tcp_seg *ret)
{
	uint8_t header[sizeof(struct rte_tcp_hdr) + OPTIONS_MAX] = {0};
	size_t whole = sizeof(struct rte_tcp_hdr) + len;
	uint8_t *copy;
	bool good;

	memcpy(header + sizeof(struct rte_tcp_hdr), options, len);
	copy = fuzz_copy(header, whole);
	good = tcp_options_parse((const struct rte_tcp_hdr *)copy, (unsigned)whole, ret);
	fuzz_free(copy, whole);
	return good;
}

static void writers_check(uint8_t a, uint8_t b)
{
	uint16_t mss = (uint16_t)(a << 8 | b);
	unsigned flags = (a & 1 ? TCP_F_TS : 0) | (b & 1 ? TCP_F_WS : 0) | (b & 2 ? TCP_F_SACK : 0);
	uint32_t val = 0x01020304U * a, ecr = 0xf1e2d3c4U * b;
	uint8_t out[OPTIONS_MAX];
	struct tcp_seg seg = {0};
	unsigned len = tcp_options_syn(out, mss, flags, val, ecr);

	FUZZ_CHECK(len % 4 == 0 && len <= sizeof(out) && parse(out, len, &seg));
	FUZZ_CHECK(seg.mss == mss && seg.has_ts == ((a & 1) != 0) && seg.has_ws == ((b & 1) != 0));
	FUZZ_CHECK(!seg.has_ts || (seg.ts_val == val && seg.ts_ecr == ecr));
	FUZZ_CHECK(!seg.has_ws || seg.wscale == TCP_WSCALE);
	FUZZ_CHECK(seg.has_sack == ((b & 2) != 0) && seg.sack == 0);
	seg = (struct tcp_seg){0};
	len = tcp_options_ts(out, val, ecr);
	FUZZ_CHECK(len % 4 == 0 && parse(out, len, &seg));
	FUZZ_CHECK(seg.has_ts && seg.ts_val == val && seg.ts_ecr == ecr && seg.mss == 0);
}

// The blocks of the option are its octets in network order, and what we write of them reads the
// same.
static void blocks_check(const uint8_t *options, unsigned len, const struct tcp_seg *seg)
{
	uint8_t header[sizeof(struct rte_tcp_hdr) + OPTIONS_MAX] = {0}, out[OPTIONS_MAX];
	struct tcp_block block[TCP_SACK_BLOCKS_MAX];
	unsigned at = seg->sack - (unsigned)sizeof(struct rte_tcp_hdr), n;

	if (seg->sack == 0)
		return;
	memcpy(header + sizeof(struct rte_tcp_hdr), options, len);
	n = tcp_options_blocks((const struct rte_tcp_hdr *)header, seg, block);
	FUZZ_CHECK(n > 0 && 2 + 8 * n == options[at + 1]);
	FUZZ_CHECK(tcp_options_sack(out, block, n) == 4 + 8 * n);
	FUZZ_CHECK(memcmp(out + 2, options + at, 2 + 8 * n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	struct tcp_seg got = {0}, want = {0};
	uint8_t options[OPTIONS_MAX] = {0};
	uint8_t a = fuzz_u8(&in), b = fuzz_u8(&in);
	unsigned len;
	bool good;

	if (in.left > OPTIONS_MAX)
		return -1;
	writers_check(a, b);
	memcpy(options, in.at, in.left);
	len = (unsigned)(in.left + 3) / 4 * 4;
	good = reference(options, len, &want);
	FUZZ_CHECK(parse(options, len, &got) == good);
	if (!good)
		return 0;
	FUZZ_CHECK(got.mss == want.mss && got.has_ts == want.has_ts && got.has_ws == want.has_ws);
	FUZZ_CHECK(got.ts_val == want.ts_val && got.ts_ecr == want.ts_ecr);
	FUZZ_CHECK(got.wscale == want.wscale);
	FUZZ_CHECK(got.has_sack == want.has_sack && got.sack == want.sack);
	blocks_check(options, len, &got);
	return 0;
}
