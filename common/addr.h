// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Internet addresses as one 16-byte value for both families (IPv4 as ::ffff:a.b.c.d, RFC
// 4291 2.5.5.2), so that keys, tables and shared memory need no union. Any thread; no state. Ports
// are in host byte order everywhere but on the wire.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define IP_ADDR_STRLEN 46
#define IP_ENDPOINT_STRLEN 54 // [v6]:65535 and the final NUL

struct ip_addr {
	uint8_t b[16]; // network byte order
};
static_assert(sizeof(struct ip_addr) == 16, "crosses shared memory");

struct ip_endpoint {
	struct ip_addr addr;
	uint16_t port; // host byte order
};

struct ip_prefix {
	struct ip_addr addr;
	uint8_t len; // bits of the 128-bit form: an IPv4 /24 is 120
};

static inline bool ip_addr_is_v4(const struct ip_addr *a)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	return memcmp(a->b, mapped, sizeof(mapped)) == 0;
}

static inline bool ip_addr_eq(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

// be is the address as it stands in an IPv4 header (network byte order).
static inline struct ip_addr ip_addr_from_v4(uint32_t be)
{
	struct ip_addr a = {.b = {[10] = 0xff, [11] = 0xff}};

	memcpy(a.b + 12, &be, sizeof(be));
	return a;
}

// The IPv4 address in network byte order; only for addresses that ip_addr_is_v4() accepts.
static inline uint32_t ip_addr_to_v4(const struct ip_addr *a)
{
	uint32_t be;

	memcpy(&be, a->b + 12, sizeof(be));
	return be;
}

bool ip_addr_is_unspecified(const struct ip_addr *a);
bool ip_addr_is_link_local(const struct ip_addr *a); // fe80::/10
// True for an address no unicast peer may have as its source: multicast, broadcast, loopback,
// unspecified (RFC 1122).
bool ip_addr_is_martian_source(const struct ip_addr *a);
bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a);

// Text forms. The parsers take a NUL-terminated string, accept nothing after the value, and return
// 0 or -EINVAL; *ret is untouched on failure. Endpoint: "192.0.2.1:25" or "[2001:db8::1]:25".
// Prefix: "10.0.0.0/8"; without a length a host prefix. ip_prefix_parse keeps host bits (interface
// addresses need them).
int ip_addr_parse(const char *text, struct ip_addr *ret);
int ip_endpoint_parse(const char *text, struct ip_endpoint *ret);
int ip_prefix_parse(const char *text, struct ip_prefix *ret);
// Both return buf, always NUL-terminated.
const char *ip_addr_format(const struct ip_addr *a, char buf[IP_ADDR_STRLEN]);
const char *
ip_endpoint_format(const struct ip_addr *a, uint16_t port, char buf[IP_ENDPOINT_STRLEN]);
