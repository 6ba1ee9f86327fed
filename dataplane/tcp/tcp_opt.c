// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TCP options: MSS, window scale, timestamps and selective acknowledgements (RFC 9293 3.1, 7323,
// 2018), parsed to the byte and written. Pure.

#include "dataplane/tcp/tcp_inner_types.h"

enum {
	OPT_END = 0,
	OPT_NOP = 1,
	OPT_MSS = 2,
	OPT_WSCALE = 3,
	OPT_SACK_PERMITTED = 4,
	OPT_SACK = 5,
	OPT_TIMESTAMP = 8,
};

static uint32_t be32_get(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void be32_put(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static void timestamps_take(const uint8_t *p, struct tcp_seg *seg)
{
	seg->ts_val = be32_get(p + 2);
	seg->ts_ecr = be32_get(p + 6);
	seg->has_ts = true;
}

static void
option_take(const struct rte_tcp_hdr *tcp, const uint8_t *p, unsigned size, struct tcp_seg *seg)
{
	switch (p[0]) {
	case OPT_MSS:
		if (size == 4)
			seg->mss = (uint16_t)(p[2] << 8 | p[3]);
		break;
	case OPT_WSCALE:
		if (size == 3) {
			seg->wscale = p[2] > 14 ? 14 : p[2]; // RFC 7323 2.3
			seg->has_ws = true;
		}
		break;
	case OPT_TIMESTAMP:
		if (size == 10)
			timestamps_take(p, seg);
		break;
	case OPT_SACK_PERMITTED:
		if (size == 2)
			seg->has_sack = true;
		break;
	case OPT_SACK:
		if (size > 2 && (size - 2) % 8 == 0)
			seg->sack = (uint8_t)(p - (const uint8_t *)tcp);
		break;
	default:
		break;
	}
}

bool tcp_options_parse(const struct rte_tcp_hdr *tcp, unsigned header, struct tcp_seg *seg)
{
	const uint8_t *p = (const uint8_t *)(tcp + 1);
	unsigned left = header - (unsigned)sizeof(*tcp);
	static const uint8_t common[] = {OPT_NOP, OPT_NOP, OPT_TIMESTAMP, 10};

	if (left == 12 && memcmp(p, common, sizeof(common)) == 0) { // as nearly all segments
		timestamps_take(p + 2, seg);
		return true;
	}
	while (left > 0 && p[0] != OPT_END) {
		unsigned size = 1;

		if (p[0] != OPT_NOP) {
			if (left < 2 || p[1] < 2 || p[1] > left)
				return false;
			size = p[1];
			option_take(tcp, p, size, seg);
		}
		p += size;
		left -= size;
	}
	return true;
}

unsigned tcp_options_ts(uint8_t *out, uint32_t ts_val, uint32_t ts_ecr)
{
	out[0] = out[1] = OPT_NOP; // RFC 7323 appendix A
	out[2] = OPT_TIMESTAMP;
	out[3] = 10;
	be32_put(out + 4, ts_val);
	be32_put(out + 8, ts_ecr);
	return 12;
}

unsigned tcp_options_sack(uint8_t *out, const struct tcp_block *block, unsigned n)
{
	out[0] = out[1] = OPT_NOP;
	out[2] = OPT_SACK;
	out[3] = (uint8_t)(2 + 8 * n);
	for (unsigned i = 0; i < n; i++) {
		be32_put(out + 4 + 8 * i, block[i].start);
		be32_put(out + 8 + 8 * i, block[i].end);
	}
	return 4 + 8 * n;
}

unsigned tcp_options_blocks(
	const struct rte_tcp_hdr *tcp,
	const struct tcp_seg *seg,
	struct tcp_block ret[TCP_SACK_BLOCKS_MAX]
)
{
	const uint8_t *p = (const uint8_t *)tcp + seg->sack;
	unsigned n = (p[1] - 2U) / 8; // a header has room for four

	for (unsigned i = 0; i < n; i++)
		ret[i] = (struct tcp_block){be32_get(p + 2 + 8 * i), be32_get(p + 6 + 8 * i)};
	return n;
}

unsigned
tcp_options_syn(uint8_t *out, uint16_t mss, unsigned flags, uint32_t ts_val, uint32_t ts_ecr)
{
	unsigned n = 4;

	out[0] = OPT_MSS;
	out[1] = 4;
	out[2] = (uint8_t)(mss >> 8);
	out[3] = (uint8_t)mss;
	if (flags & TCP_F_WS) {
		out[n++] = OPT_NOP;
		out[n++] = OPT_WSCALE;
		out[n++] = 3;
		out[n++] = TCP_WSCALE;
	}
	if (flags & TCP_F_TS)
		n += tcp_options_ts(out + n, ts_val, ts_ecr);
	if (flags & TCP_F_SACK) {
		// in place of the padding before timestamps, as in most stacks
		uint8_t *at = out + n - ((flags & TCP_F_TS) != 0 ? 12 : 0);

		at[0] = OPT_SACK_PERMITTED;
		at[1] = 2;
		if ((flags & TCP_F_TS) == 0) {
			at[2] = at[3] = OPT_NOP;
			n += 4;
		}
	}
	return n;
}
