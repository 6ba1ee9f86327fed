// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Frames, see packet.h.

#include "tests/fuzz/packet.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

void packet_mac(uint8_t station, uint8_t mac[6])
{
	const uint8_t m[6] = {0x02, 0, 0, 0, 0, station};

	memcpy(mac, m, 6);
}

struct ip_addr packet_addr(bool v6, uint8_t station)
{
	if (v6)
		return (struct ip_addr){.b = {0x20, 0x01, 0x0d, 0xb8, [15] = station}};
	return (struct ip_addr){.b = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = station}};
}

uint8_t *packet_put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

uint8_t *packet_put32(uint8_t *p, uint32_t v)
{
	return packet_put16(packet_put16(p, (uint16_t)(v >> 16)), (uint16_t)v);
}

uint8_t *packet_put_addr(uint8_t *p, const struct ip_addr *addr)
{
	size_t skip = ip_addr_is_v4(addr) ? 12 : 0;

	memcpy(p, addr->b + skip, 16 - skip);
	return p + 16 - skip;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

// Sum of big-endian words, an odd octet filled up with zero; not folded.
static uint32_t words(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	if (len % 2 != 0)
		sum += (uint32_t)p[len - 1] << 8;
	return sum;
}

static uint16_t folded(uint32_t sum)
{
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint32_t
pseudo(const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, size_t len)
{
	uint8_t head[40], *p = packet_put_addr(packet_put_addr(head, src), dst);

	p = packet_put32(p, (uint32_t)len);
	p = packet_put32(p, proto);
	return words(head, (size_t)(p - head));
}

size_t packet_head(uint8_t *out, const struct packet_ip *ip, size_t l4_len)
{
	bool v6 = !ip_addr_is_v4(&ip->dst);
	uint8_t *p = out;

	packet_mac(1, p);
	packet_mac(ip->from, p + 6);
	p = packet_put16(p + 12, v6 ? 0x86dd : 0x0800);
	if (v6) {
		p = packet_put32(p, 6U << 28);
		p = packet_put16(p, (uint16_t)l4_len);
		*p++ = ip->proto;
		*p++ = ip->hop_limit;
		p = packet_put_addr(p, &ip->src);
		return (size_t)(packet_put_addr(p, &ip->dst) - out);
	}
	p = packet_put16(p, 0x4500);
	p = packet_put16(p, (uint16_t)(l4_len + 20));
	p = packet_put32(p, 0x00004000);
	*p++ = ip->hop_limit;
	*p++ = ip->proto;
	p = packet_put16(p, 0);
	p = packet_put_addr(p, &ip->src);
	p = packet_put_addr(p, &ip->dst);
	packet_put16(p - 10, (uint16_t)~folded(words(p - 20, 20)));
	return (size_t)(p - out);
}

void packet_sum(const struct packet_ip *ip, uint8_t *l4, size_t l4_len, size_t at)
{
	uint32_t sum = ip->proto != 1 ? pseudo(&ip->src, &ip->dst, ip->proto, l4_len) : 0;

	packet_put16(l4 + at, 0);
	packet_put16(l4 + at, (uint16_t)~folded(sum + words(l4, l4_len)));
}

static void tcp_check(struct packet *p)
{
	size_t header;

	FUZZ_CHECK(p->l4_len >= 20);
	header = (size_t)(p->l4[12] >> 4) * 4;
	FUZZ_CHECK(header >= 20 && header <= p->l4_len);
	p->sport = get16(p->l4);
	p->dport = get16(p->l4 + 2);
	p->seq = get32(p->l4 + 4);
	p->ack = get32(p->l4 + 8);
	p->flags = p->l4[13];
	p->wnd = get16(p->l4 + 14);
	p->payload = p->l4 + header;
	p->payload_len = p->l4_len - header;
}

// The one extension header that we send: the router alert of a report of groups (RFC 3810 5).
static void router_alert_check(struct packet *p)
{
	FUZZ_CHECK(p->l4_len >= 16 && memcmp(p->l4, "\x3a\0\5\2\0\0\1\0", 8) == 0);
	FUZZ_CHECK(p->l4[8] == 143 && p->hop_limit == 1 && p->dst.b[0] == 0xff);
	p->proto = 58;
	p->l4 += 8;
	p->l4_len -= 8;
}

// Before an address is sure: its probe, and the report of its group (RFC 4862 5.4.2, RFC 3590).
static bool source_may_be_none(const struct packet *p)
{
	return p->v6 && ip_addr_is_unspecified(&p->src) && p->proto == 58 && p->dst.b[0] == 0xff &&
	       (p->l4[0] == 135 || p->l4[0] == 143);
}

static void ip_check(const uint8_t *ip, size_t len, struct packet *p)
{
	if (p->v6) {
		FUZZ_CHECK(len >= 40 && ip[0] >> 4 == 6 && len == 40U + get16(ip + 4));
		p->proto = ip[6];
		p->hop_limit = ip[7];
		memcpy(p->src.b, ip + 8, 16);
		memcpy(p->dst.b, ip + 24, 16);
		FUZZ_CHECK(!ip_addr_is_v4(&p->src) && !ip_addr_is_v4(&p->dst));
		p->l4 = ip + 40;
		p->l4_len = len - 40;
	} else {
		uint32_t be;

		FUZZ_CHECK(len >= 20 && ip[0] == 0x45 && len == get16(ip + 2));
		FUZZ_CHECK(folded(words(ip, 20)) == 0xffff);
		p->proto = ip[9];
		p->hop_limit = ip[8];
		memcpy(&be, ip + 12, 4);
		p->src = ip_addr_from_v4(be);
		memcpy(&be, ip + 16, 4);
		p->dst = ip_addr_from_v4(be);
		p->l4 = ip + 20;
		p->l4_len = len - 20;
	}
	if (p->v6 && p->proto == 0)
		router_alert_check(p);
	FUZZ_CHECK(p->proto == 6 || p->proto == (p->v6 ? 58 : 1));
	FUZZ_CHECK(
		folded((p->proto != 1 ? pseudo(&p->src, &p->dst, p->proto, p->l4_len) : 0) +
		       words(p->l4, p->l4_len)) == 0xffff
	);
	FUZZ_CHECK(p->hop_limit > 0 && !ip_addr_is_unspecified(&p->dst));
	FUZZ_CHECK(!ip_addr_is_martian_source(&p->src) || source_may_be_none(p));
	if (p->proto == 6)
		tcp_check(p);
}

void packet_check(const uint8_t *frame, size_t len, struct packet *ret)
{
	uint8_t ours[6];

	*ret = (struct packet){0};
	packet_mac(1, ours);
	FUZZ_CHECK(len >= 14 && len <= PACKET_MAX && memcmp(frame + 6, ours, 6) == 0);
	memcpy(ret->dst_mac, frame, 6);
	ret->type = get16(frame + 12);
	ret->v6 = ret->type == 0x86dd;
	if (ret->type == 0x0806) {
		FUZZ_CHECK(len == 42 && memcmp(frame + 14, "\0\1\10\0\6\4", 6) == 0);
		FUZZ_CHECK(get16(frame + 20) == 1 || get16(frame + 20) == 2);
		FUZZ_CHECK(memcmp(frame + 22, ours, 6) == 0);
		return;
	}
	FUZZ_CHECK(ret->type == 0x0800 || ret->v6);
	ip_check(frame + 14, len - 14, ret);
}
