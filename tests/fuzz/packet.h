// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Frames for the fuzzers of the network and TCP layers, made and judged without the product's own
// code. The box is station 1 (10.0.0.1, 2001:db8::1), its neighbors are the others.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"

#define PACKET_MAX 1514

void packet_mac(uint8_t station, uint8_t mac[6]);
struct ip_addr packet_addr(bool v6, uint8_t station);

// Writers for fields; all return what follows.
uint8_t *packet_put16(uint8_t *p, uint16_t v);
uint8_t *packet_put32(uint8_t *p, uint32_t v);
uint8_t *packet_put_addr(uint8_t *p, const struct ip_addr *addr); // 4 or 16 octets

// Ethernet and IP headers at out for a transport segment of l4_len octets that the caller writes
// behind them; returns their length.
struct packet_ip {
	struct ip_addr src, dst;
	uint8_t from, proto, hop_limit; // from: station of the source address of the frame
};
size_t packet_head(uint8_t *out, const struct packet_ip *ip, size_t l4_len);
// Completes the checksum at l4 + at, for the pseudo header of ip where the protocol has one.
void packet_sum(const struct packet_ip *ip, uint8_t *l4, size_t l4_len, size_t at);

// A frame as the box sent it.
struct packet {
	uint16_t type; // of Ethernet
	bool v6;
	struct ip_addr src, dst;
	uint8_t dst_mac[6];
	uint8_t proto, hop_limit;
	const uint8_t *l4;
	size_t l4_len;
	// TCP only
	uint16_t sport, dport, wnd;
	uint32_t seq, ack;
	uint8_t flags;
	const uint8_t *payload;
	size_t payload_len;
};
// Checks lengths, checksums and addresses: what the box sends is well-formed whatever it was sent.
void packet_check(const uint8_t *frame, size_t len, struct packet *ret);
