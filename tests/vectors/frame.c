// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Frames of the script vectors: built for the stack with right checksums, taken apart when it sends
// them. ARP requests and neighbor solicitations for the peer are answered.

#include "tests/stack/neighbor.h"
#include "tests/vectors/vec.h"

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include <stdlib.h>

#define ETHER 14

static const uint8_t own_mac[6] = {0x02, 0, 0, 0, 0, 1};
static const uint8_t peer_mac[6] = {0x02, 0, 0, 0, 0, 2};

uint8_t vec_pattern(uint32_t off)
{
	return (uint8_t)(off * 7 + (off >> 8));
}

static uint16_t be16_get(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32_get(const uint8_t *p)
{
	return (uint32_t)be16_get(p) << 16 | be16_get(p + 2);
}

static void be16_put(uint8_t *p, uint32_t x)
{
	p[0] = (uint8_t)(x >> 8);
	p[1] = (uint8_t)x;
}

static void be32_put(uint8_t *p, uint32_t x)
{
	be16_put(p, x >> 16);
	be16_put(p + 2, x & 0xffff);
}

// One's complement sum of the pseudo header and len bytes (RFC 1071, 9293 3.1, 8200 8.1).
static uint16_t transport_sum(const struct vec *v, uint8_t proto, const uint8_t *p, uint32_t len)
{
	const struct ip_addr *const ends[] = {&v->local, &v->peer};
	uint64_t sum = proto + len;

	for (unsigned e = 0; e < 2; e++)
		for (unsigned i = v->v6 ? 0 : 12; i < 16; i += 2)
			sum += be16_get(ends[e]->b + i);
	for (uint32_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

// Ethernet and IP from the peer to us (or back: a quote); returns where the payload goes.
static uint8_t *
headers_put(const struct vec *v, uint8_t *out, uint8_t proto, uint32_t len, bool ours)
{
	const struct ip_addr *src = ours ? &v->local : &v->peer;
	const struct ip_addr *dst = ours ? &v->peer : &v->local;
	uint16_t sum;

	if (v->v6) {
		memset(out, 0, 40);
		out[0] = 0x60;
		be16_put(out + 4, len);
		out[6] = proto;
		out[7] = 255;
		memcpy(out + 8, src, 16);
		memcpy(out + 24, dst, 16);
		return out + 40;
	}
	memset(out, 0, 20);
	out[0] = 0x45;
	be16_put(out + 2, len + 20);
	out[6] = 0x40;
	out[8] = 64;
	out[9] = proto;
	memcpy(out + 12, src->b + 12, 4);
	memcpy(out + 16, dst->b + 12, 4);
	sum = rte_ipv4_cksum((const struct rte_ipv4_hdr *)out);
	memcpy(out + 10, &sum, sizeof(sum));
	return out + 20;
}

static void ether_put(const struct vec *v, uint8_t *out)
{
	memcpy(out, own_mac, 6);
	memcpy(out + 6, peer_mac, 6);
	be16_put(out + 12, v->v6 ? RTE_ETHER_TYPE_IPV6 : RTE_ETHER_TYPE_IPV4);
}

static unsigned options_put(const struct vec *v, const struct vec_seg *seg, uint8_t *p)
{
	unsigned n = 0;

	if (seg->raw_len > 0) {
		memcpy(p, seg->raw, seg->raw_len);
		return seg->raw_len;
	}
	if (seg->mss != 0) {
		p[n++] = 2;
		p[n++] = 4;
		be16_put(p + n, seg->mss);
		n += 2;
	}
	if (seg->has_ws) {
		p[n++] = 1;
		p[n++] = 3;
		p[n++] = 3;
		p[n++] = seg->wscale;
	}
	if (seg->has_ts) {
		p[n++] = 1;
		p[n++] = 1;
		p[n++] = 8;
		p[n++] = 10;
		be32_put(p + n, seg->ts_val);
		be32_put(p + n + 4, seg->ts_ecr);
		n += 8;
	}
	if (seg->has_sackok) {
		memcpy(p + n, "\4\2\1\1", 4);
		n += 4;
	}
	if (seg->sack_count > 0) {
		p[n++] = 1;
		p[n++] = 1;
		p[n++] = 5;
		p[n++] = (uint8_t)(2 + 8 * seg->sack_count);
		for (unsigned i = 0; i < 2 * seg->sack_count; i++, n += 4)
			be32_put(p + n, v->flow[v->current].our_isn + seg->sack[i]);
	}
	return n;
}

// The TCP segment with absolute numbers; returns its length.
static uint32_t segment_put(const struct vec *v, const struct vec_seg *seg, uint8_t *p)
{
	const struct vec_flow *f = &v->flow[v->current];
	uint32_t data = seg->seq + ((seg->flags & RTE_TCP_SYN_FLAG) ? 1 : 0) - 1;
	unsigned options;

	memset(p, 0, 20);
	be16_put(p, seg->sport);
	be16_put(p + 2, seg->dport);
	be32_put(p + 4, f->peer_isn + seg->seq);
	be32_put(p + 8, (seg->flags & RTE_TCP_ACK_FLAG) ? f->our_isn + seg->ack : seg->ack);
	p[13] = seg->flags;
	be16_put(p + 14, seg->wnd);
	be16_put(p + 18, seg->urg);
	options = options_put(v, seg, p + 20);
	p[12] = (uint8_t)((seg->doff != 0 ? seg->doff : 5 + options / 4) << 4);
	for (uint32_t i = 0; i < seg->len; i++)
		p[20 + options + i] = vec_pattern(data + i);
	return 20 + options + seg->len;
}

uint32_t vec_frame_build(const struct vec *v, const struct vec_seg *seg, uint8_t *out)
{
	uint8_t *p = out + ETHER + (v->v6 ? 40 : 20);
	uint32_t len = segment_put(v, seg, p);

	ether_put(v, out);
	headers_put(v, out + ETHER, 6, len, false);
	be16_put(p + 16, transport_sum(v, 6, p, len) ^ (seg->bad_sum ? 1U : 0U));
	return (uint32_t)(p - out) + len;
}

static void icmp_head(const struct vec *v, const char *kind, unsigned arg, uint8_t *p)
{
	bool big = strcmp(kind, "too-big") == 0;

	memset(p, 0, 8);
	if (v->v6) {
		p[0] = big ? 2 : 1;
		p[1] = big ? 0 : (uint8_t)arg;
		if (big)
			be32_put(p + 4, arg);
	} else {
		p[0] = 3;
		p[1] = big ? 4 : (uint8_t)arg;
		if (big)
			be16_put(p + 6, arg);
	}
}

uint32_t vec_icmp_build(
	const struct vec *v,
	const struct vec_seg *quoted,
	const char *kind,
	unsigned arg,
	uint8_t *out
)
{
	uint32_t len = 8 + (v->v6 ? 40U : 20U) + 8;
	uint8_t *p = out + ETHER + (v->v6 ? 40 : 20);
	uint8_t *quote = headers_put(v, p + 8, 6, 1000, true);

	ether_put(v, out);
	headers_put(v, out + ETHER, v->v6 ? 58 : 1, len, false);
	icmp_head(v, kind, arg, p);
	be16_put(quote, quoted->dport);
	be16_put(quote + 2, quoted->sport);
	be32_put(quote + 4, quoted->seq);
	if (v->v6) {
		be16_put(p + 2, transport_sum(v, 58, p, len));
	} else {
		uint16_t sum = (uint16_t)~rte_raw_cksum(p, len);

		memcpy(p + 2, &sum, 2);
	}
	return (uint32_t)(p - out) + len;
}

static void options_take(const uint8_t *p, unsigned left, struct vec_seg *seg)
{
	while (left > 0 && p[0] != 0) {
		unsigned size = p[0] == 1 ? 1 : p[1];

		if (size == 0 || size > left)
			return;
		if (p[0] == 2)
			seg->mss = be16_get(p + 2);
		if (p[0] == 3) {
			seg->has_ws = true;
			seg->wscale = p[2];
		}
		if (p[0] == 8) {
			seg->has_ts = true;
			seg->ts_val = be32_get(p + 2);
			seg->ts_ecr = be32_get(p + 6);
		}
		if (p[0] == 4)
			seg->has_sackok = true;
		if (p[0] == 5) {
			seg->sack_count = (size - 2U) / 8;
			for (unsigned i = 0; i < 2 * seg->sack_count; i++)
				seg->sack[i] = be32_get(p + 2 + 4 * i);
		}
		p += size;
		left -= size;
	}
}

struct vec_flow *vec_flow_of(struct vec *v, uint16_t peer_port, uint16_t local_port)
{
	for (unsigned i = 0; i < VEC_FLOWS_MAX; i++)
		if (v->flow[i].peer_port == peer_port &&
		    (v->flow[i].local_port == local_port || v->flow[i].local_port == 0))
			return &v->flow[i];
	return NULL;
}

static void segment_take(struct vec *v, const uint8_t *p, uint32_t len)
{
	struct vec_seg *seg = &v->out[v->out_tail % VEC_OUT_MAX];
	unsigned header = (unsigned)(p[12] >> 4) * 4;
	struct vec_flow *f = vec_flow_of(v, be16_get(p + 2), be16_get(p));
	uint32_t data;

	if (v->out_tail - v->out_head == VEC_OUT_MAX || f == NULL || header > len) {
		vec_fail(v, "a segment that nobody asked for (or too many of them)");
		return;
	}
	if (transport_sum(v, 6, p, len) != 0)
		vec_fail(v, "wrong checksum in what was sent");
	*seg = (struct vec_seg){
		.at_ms = vec_now_ms(v),
		.sport = be16_get(p),
		.dport = be16_get(p + 2),
		.seq = be32_get(p + 4),
		.ack = be32_get(p + 8),
		.len = len - header,
		.flags = p[13],
		.wnd = be16_get(p + 14),
		.payload_good = true,
	};
	options_take(p + 20, header - 20, seg);
	f->local_port = seg->sport;
	if ((seg->flags & RTE_TCP_SYN_FLAG) != 0) {
		f->our_isn = seg->seq;
		f->our_isn_known = true;
	}
	if (seg->has_ts)
		f->our_ts = seg->ts_val;
	data = seg->seq - f->our_isn - 1;
	for (uint32_t i = 0; i < seg->len; i++)
		if (p[header + i] != vec_pattern(data + i))
			seg->payload_good = false;
	v->out_tail++;
}

void vec_frame_out(struct vec *v, const uint8_t *data, uint32_t len)
{
	unsigned type = be16_get(data + 12), at = v->answers % VEC_ANSWERS_MAX;
	uint32_t answer = neighbor_answer(data, len, peer_mac, v->answer[at]);

	if (answer > 0) { // delivered by vec_settle, not from inside the stack's own sending
		v->answer_len[at] = answer;
		v->answers++;
	} else if (type == RTE_ETHER_TYPE_IPV6 && data[ETHER + 6] == 6) {
		segment_take(v, data + ETHER + 40, len - ETHER - 40);
	} else if (type == RTE_ETHER_TYPE_IPV4 && data[ETHER + 9] == 6) {
		segment_take(v, data + ETHER + 20, len - ETHER - 20);
	}
}
