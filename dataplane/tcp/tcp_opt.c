// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TCP options: MSS, window scale and timestamps (RFC 9293 3.1, 7323), parsed to the byte and
// written. Pure.

#include "dataplane/tcp/tcp_inner_types.h"

enum { OPT_END = 0, OPT_NOP = 1, OPT_MSS = 2, OPT_WSCALE = 3, OPT_TIMESTAMP = 8 };

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

static void option_take(const uint8_t *p, unsigned size, struct tcp_seg *seg)
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
		if (size == 10) {
			seg->ts_val = be32_get(p + 2);
			seg->ts_ecr = be32_get(p + 6);
			seg->has_ts = true;
		}
		break;
	default:
		break;
	}
}

bool tcp_options_parse(const struct rte_tcp_hdr *tcp, unsigned header, struct tcp_seg *seg)
{
	const uint8_t *p = (const uint8_t *)(tcp + 1);
	unsigned left = header - (unsigned)sizeof(*tcp);

	while (left > 0 && p[0] != OPT_END) {
		unsigned size = 1;

		if (p[0] != OPT_NOP) {
			if (left < 2 || p[1] < 2 || p[1] > left)
				return false;
			size = p[1];
			option_take(p, size, seg);
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
	return n;
}
