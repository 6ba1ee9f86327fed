// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// SipHash-1-3 (Aumasson and Bernstein) and the Toeplitz hash of receive-side scaling. Pure
// functions.

#include "common/hash.h"

struct sip_state {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotate_left(uint64_t x, unsigned k)
{
	return (x << k) | (x >> (64 - k));
}

static void sip_round(struct sip_state *s)
{
	s->v0 += s->v1;
	s->v1 = rotate_left(s->v1, 13) ^ s->v0;
	s->v0 = rotate_left(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate_left(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate_left(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate_left(s->v1, 17) ^ s->v2;
	s->v2 = rotate_left(s->v2, 32);
}

static void sip_absorb(struct sip_state *s, uint64_t word)
{
	s->v3 ^= word;
	sip_round(s);
	s->v0 ^= word;
}

// The last 0 to 7 bytes, in registers: a copy by bytes that is then read as a word stalls, at every
// key of a tuple.
static uint64_t tail_get(const uint8_t *p, size_t len)
{
	uint64_t word = 0;
	unsigned shift = 0;

	if ((len & 4) != 0) {
		uint32_t four;

		memcpy(&four, p, 4);
		word = four;
		shift = 32;
		p += 4;
	}
	if ((len & 2) != 0) {
		uint16_t two;

		memcpy(&two, p, 2);
		word |= (uint64_t)two << shift;
		shift += 16;
		p += 2;
	}
	if ((len & 1) != 0)
		word |= (uint64_t)*p << shift;
	return word;
}

uint64_t hash_siphash13(const struct hash_key *key, const void *data, size_t len)
{
	struct sip_state s = {
		.v0 = key->k0 ^ 0x736f6d6570736575ULL,
		.v1 = key->k1 ^ 0x646f72616e646f6dULL,
		.v2 = key->k0 ^ 0x6c7967656e657261ULL,
		.v3 = key->k1 ^ 0x7465646279746573ULL,
	};
	const uint8_t *p = data;
	uint64_t word = 0;

	for (size_t left = len; left >= 8; left -= 8, p += 8) {
		memcpy(&word, p, 8); // little-endian hosts only (x86-64)
		sip_absorb(&s, word);
	}
	sip_absorb(&s, tail_get(p, len & 7) | (uint64_t)len << 56);
	s.v2 ^= 0xff;
	for (unsigned i = 0; i < 3; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

// Accumulates `bytes` of input into *hash; *window holds the 32 key bits of the current input bit,
// key_pos the byte of the key whose bits come next.
static void toeplitz_add(
	const uint8_t key[HASH_TOEPLITZ_KEY_LEN],
	const uint8_t *data,
	unsigned bytes,
	uint32_t *window,
	unsigned *key_pos,
	uint32_t *hash
)
{
	for (unsigned i = 0; i < bytes; i++, (*key_pos)++) {
		uint8_t in = data[i];
		uint8_t next = key[*key_pos];

		for (unsigned bit = 0; bit < 8; bit++) {
			if (in & (0x80U >> bit))
				*hash ^= *window;
			*window = *window << 1 | ((next >> (7 - bit)) & 1U);
		}
	}
}

uint32_t hash_toeplitz_tuple(
	const uint8_t key[HASH_TOEPLITZ_KEY_LEN],
	const struct ip_addr *src,
	const struct ip_addr *dst,
	uint16_t sport,
	uint16_t dport
)
{
	unsigned skip = ip_addr_is_v4(src) ? 12 : 0;
	uint8_t ports[4] = {
		(uint8_t)(sport >> 8),
		(uint8_t)sport,
		(uint8_t)(dport >> 8),
		(uint8_t)dport,
	};
	uint32_t window =
		(uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
	unsigned key_pos = 4;
	uint32_t hash = 0;

	toeplitz_add(key, src->b + skip, 16 - skip, &window, &key_pos, &hash);
	toeplitz_add(key, dst->b + skip, 16 - skip, &window, &key_pos, &hash);
	toeplitz_add(key, ports, sizeof(ports), &window, &key_pos, &hash);
	return hash;
}
