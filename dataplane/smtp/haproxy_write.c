// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Headers of the PROXY protocol for backends. Pure.

#include <stdio.h>
#include <string.h>

#include "dataplane/smtp/haproxy.h"
#include "dataplane/smtp/haproxy_wire.h"

#define CRC_PLACE 3 // in its TLV

const uint8_t haproxy_signature[HAPROXY_SIGNATURE] =
	{'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

uint32_t haproxy_crc32c(uint32_t crc, const void *data, uint32_t len)
{
	static const uint32_t half[16] = {
		0x00000000,
		0x105ec76f,
		0x20bd8ede,
		0x30e349b1,
		0x417b1dbc,
		0x5125dad3,
		0x61c69362,
		0x7198540d,
		0x82f63b78,
		0x92a8fc17,
		0xa24bb5a6,
		0xb21572c9,
		0xc38d26c4,
		0xd3d3e1ab,
		0xe330a81a,
		0xf36e6f75,
	};
	const uint8_t *p = data;

	crc = ~crc;
	for (uint32_t i = 0; i < len; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ half[crc & 15];
		crc = crc >> 4 ^ half[crc & 15];
	}
	return ~crc;
}

static bool is_v4(const struct haproxy_facts *f)
{
	return ip_addr_is_v4(&f->client.addr) && ip_addr_is_v4(&f->local.addr);
}

// As the family of the line wants it.
static const char *address_put(const struct ip_addr *a, bool v4, char buf[IP_ADDR_STRLEN + 8])
{
	char text[IP_ADDR_STRLEN];

	ip_addr_format(a, text);
	snprintf(buf, IP_ADDR_STRLEN + 8, "%s%s", !v4 && ip_addr_is_v4(a) ? "::ffff:" : "", text);
	return buf;
}

uint32_t haproxy_write_v1(const struct haproxy_facts *f, char out[HAPROXY_OUT_MAX])
{
	char from[IP_ADDR_STRLEN + 8], to[IP_ADDR_STRLEN + 8];
	bool v4 = is_v4(f);

	return (uint32_t)snprintf(
		out,
		HAPROXY_OUT_MAX,
		"PROXY TCP%c %s %s %u %u\r\n",
		v4 ? '4' : '6',
		address_put(&f->client.addr, v4, from),
		address_put(&f->local.addr, v4, to),
		f->client.port,
		f->local.port
	);
}

static uint8_t *be16_put(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static void be32_put(uint8_t *p, uint32_t v)
{
	be16_put(p, v >> 16);
	be16_put(p + 2, v & 0xffff);
}

static uint8_t *tlv_put(uint8_t *p, enum haproxy_tlv type, const void *value, uint32_t len)
{
	*p++ = (uint8_t)type;
	p = be16_put(p, len);
	memcpy(p, value, len);
	return p + len;
}

static uint8_t *text_put(uint8_t *p, enum haproxy_tlv type, const char *text, size_t max)
{
	uint32_t len = (uint32_t)strnlen(text, max);

	return len > 0 ? tlv_put(p, type, text, len) : p;
}

static uint8_t *addresses_put(uint8_t *p, const struct haproxy_facts *f)
{
	const struct ip_addr *both[] = {&f->client.addr, &f->local.addr};
	uint32_t skip = is_v4(f) ? 12 : 0;

	for (unsigned i = 0; i < 2; i++) {
		memcpy(p, both[i]->b + skip, sizeof(both[i]->b) - skip);
		p += sizeof(both[i]->b) - skip;
	}
	return be16_put(be16_put(p, f->client.port), f->local.port);
}

static uint8_t *tls_put(uint8_t *p, const struct haproxy_facts *f)
{
	uint8_t *head = p, *value = p + HAPROXY_TLV_HEAD;

	*head = HAPROXY_TLV_SSL;
	p = value;
	*p++ = (uint8_t)(HAPROXY_SSL | (f->certificate ? HAPROXY_SSL_CERT_SESS : 0) |
			 (f->certificate && !f->resumed ? HAPROXY_SSL_CERT_CONN : 0));
	be32_put(p, f->certificate && f->verified ? 0 : 1);
	p = text_put(p + 4, HAPROXY_TLV_SSL_VERSION, f->version, HAPROXY_ID_MAX);
	p = text_put(p, HAPROXY_TLV_SSL_CIPHER, f->cipher, HAPROXY_ID_MAX);
	be16_put(head + 1, (unsigned)(p - value));
	return p;
}

static uint8_t *head_put(uint8_t *p, uint8_t command, uint8_t family)
{
	memcpy(p, haproxy_signature, HAPROXY_SIGNATURE);
	p[HAPROXY_SIGNATURE] = command;
	p[HAPROXY_SIGNATURE + 1] = family;
	be16_put(p + HAPROXY_SIGNATURE + 2, 0);
	return p + HAPROXY_HEAD;
}

uint32_t haproxy_write_v2(const struct haproxy_facts *f, uint8_t out[HAPROXY_OUT_MAX])
{
	static const uint8_t zero[4];
	uint8_t *p = head_put(out, HAPROXY_PROXY, is_v4(f) ? HAPROXY_TCP4 : HAPROXY_TCP6);
	uint8_t *crc;

	static_assert(
		HAPROXY_HEAD + 36 + 7 + 3 + HAPROXY_NAME_MAX + 3 + HAPROXY_ID_MAX + 8 +
				2 * (3 + HAPROXY_ID_MAX) <=
			HAPROXY_OUT_MAX,
		"the longest"
	);
	crc = addresses_put(p, f);
	p = tlv_put(crc, HAPROXY_TLV_CRC32C, zero, sizeof(zero));
	p = text_put(p, HAPROXY_TLV_AUTHORITY, f->authority, HAPROXY_NAME_MAX);
	p = text_put(p, HAPROXY_TLV_UNIQUE_ID, f->unique_id, HAPROXY_ID_MAX);
	if (f->tls)
		p = tls_put(p, f);
	be16_put(out + HAPROXY_HEAD - 2, (unsigned)(p - out) - HAPROXY_HEAD);
	be32_put(crc + CRC_PLACE, haproxy_crc32c(0, out, (uint32_t)(p - out)));
	return (uint32_t)(p - out);
}

uint32_t haproxy_write_local(uint8_t out[HAPROXY_OUT_MAX])
{
	return (uint32_t)(head_put(out, HAPROXY_LOCAL, 0) - out);
}
