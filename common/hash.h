// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Hashes: SipHash-1-3 keyed with a boot secret for every table an outsider can fill, and Toeplitz
// (the function NICs use for RSS) for the owner of a tuple. Pure functions, any thread.

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"

struct hash_key {
	uint64_t k0, k1;
};

uint64_t hash_siphash13(const struct hash_key *key, const void *data, size_t len);

#define HASH_TOEPLITZ_KEY_LEN 40

// Toeplitz over (source address, destination address, source port, destination port) in the order
// RSS defines for the packet as it arrives; 4-byte addresses for IPv4, 16-byte ones for IPv6. Ports
// in host byte order.
uint32_t hash_toeplitz_tuple(
	const uint8_t key[HASH_TOEPLITZ_KEY_LEN],
	const struct ip_addr *src,
	const struct ip_addr *dst,
	uint16_t sport,
	uint16_t dport
);
