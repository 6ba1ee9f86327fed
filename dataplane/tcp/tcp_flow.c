// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Flow table: 64-byte buckets of eight (16-bit tag, 32-bit index), two candidate buckets a key,
// overflow buckets chained behind the first. The hash is keyed (SipHash with a boot secret), so
// nobody outside can build long chains. Keys are not stored twice: a tag match is verified in the
// PCB or mini, which is needed next anyway. Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

#include <rte_prefetch.h>

static uint64_t flow_hash(const struct tcp_stack *s, const struct flow_key *key)
{
	return hash_siphash13(&s->config.flow_key, key, sizeof(*key));
}

static uint16_t tag_of(uint64_t hash)
{
	return (uint16_t)(hash >> 48);
}

// The two buckets of a key: each by the upper bits of a half of the hash, for any number of
// buckets.
static uint32_t bucket_of(const struct tcp_stack *s, uint64_t hash)
{
	return (uint32_t)((hash & UINT32_MAX) * s->buckets >> 32);
}

static uint32_t other_bucket_of(const struct tcp_stack *s, uint64_t hash)
{
	return bucket_of(s, hash >> 16); // the uppermost bits are the tag
}

static bool key_matches(const struct tcp_stack *s, uint32_t idx, const struct flow_key *key)
{
	const struct flow_key *have;

	if ((idx & TCP_INDEX_MINI) == 0)
		have = pcb_key(&s->pcb[idx]);
	else if ((idx & TCP_INDEX_TIME_WAIT) != 0)
		have = mini_key(&s->tw.mini[idx & TCP_INDEX_MASK]);
	else
		have = mini_key(&s->syn.mini[idx & TCP_INDEX_MASK]);
	return memcmp(have, key, sizeof(*key)) == 0;
}

// Place of the key in a chain; NULL when it is not there.
static uint32_t *
chain_find(const struct tcp_stack *s, uint32_t b, uint16_t tag, const struct flow_key *key)
{
	do {
		struct flow_bucket *bucket = &s->bucket[b];

		for (unsigned i = 0; i < FLOW_WAYS; i++)
			if (bucket->tag[i] == tag && bucket->idx[i] != 0 &&
			    key_matches(s, bucket->idx[i], key))
				return &bucket->idx[i];
		b = bucket->overflow;
	} while (b != 0);
	return NULL;
}

static uint32_t *flow_find(const struct tcp_stack *s, const struct flow_key *key, uint64_t hash)
{
	uint32_t *place = chain_find(s, bucket_of(s, hash), tag_of(hash), key);

	if (place == NULL)
		place = chain_find(s, other_bucket_of(s, hash), tag_of(hash), key);
	return place;
}

uint32_t flow_lookup_hashed(const struct tcp_stack *s, const struct flow_key *key, uint64_t hash)
{
	uint32_t *place = flow_find(s, key, hash);

	return place != NULL ? *place : 0;
}

uint32_t flow_lookup(const struct tcp_stack *s, const struct flow_key *key)
{
	return flow_lookup_hashed(s, key, flow_hash(s, key));
}

uint64_t flow_bucket_prefetch(const struct tcp_stack *s, const struct flow_key *key)
{
	uint64_t hash = flow_hash(s, key);

	rte_prefetch0(&s->bucket[bucket_of(s, hash)]);
	return hash;
}

void flow_conn_prefetch(const struct tcp_stack *s, uint64_t hash)
{
	const struct flow_bucket *bucket = &s->bucket[bucket_of(s, hash)];
	uint16_t tag = tag_of(hash);

	for (unsigned i = 0; i < FLOW_WAYS; i++) {
		if (bucket->tag[i] != tag || (bucket->idx[i] & TCP_INDEX_MINI) != 0)
			continue;
		for (unsigned line = 0; line < sizeof(struct tcp_pcb) / 64; line++)
			rte_prefetch0((const uint8_t *)&s->pcb[bucket->idx[i]] + line * 64);
		return;
	}
}

static bool bucket_put(struct flow_bucket *bucket, uint16_t tag, uint32_t idx)
{
	for (unsigned i = 0; i < FLOW_WAYS; i++) {
		if (bucket->idx[i] == 0) {
			bucket->tag[i] = tag;
			bucket->idx[i] = idx;
			return true;
		}
	}
	return false;
}

bool flow_insert(struct tcp_stack *s, const struct flow_key *key, uint32_t idx)
{
	uint64_t hash = flow_hash(s, key);
	uint32_t b = bucket_of(s, hash);
	uint32_t extra;

	if (bucket_put(&s->bucket[b], tag_of(hash), idx) ||
	    bucket_put(&s->bucket[other_bucket_of(s, hash)], tag_of(hash), idx))
		return true;
	while (s->bucket[b].overflow != 0) {
		b = s->bucket[b].overflow;
		if (bucket_put(&s->bucket[b], tag_of(hash), idx))
			return true;
	}
	extra = idpool_get(&s->overflow);
	if (extra == 0)
		return false;
	extra += s->bucket_main;
	s->bucket[extra] = (struct flow_bucket){0};
	s->bucket[b].overflow = extra;
	return bucket_put(&s->bucket[extra], tag_of(hash), idx);
}

// Gives back the overflow buckets of a chain that have become empty.
static void chain_trim(struct tcp_stack *s, uint32_t b)
{
	while (s->bucket[b].overflow != 0) {
		uint32_t next = s->bucket[b].overflow;
		bool empty = true;

		for (unsigned i = 0; i < FLOW_WAYS; i++)
			empty = empty && s->bucket[next].idx[i] == 0;
		if (empty) {
			s->bucket[b].overflow = s->bucket[next].overflow;
			idpool_put(&s->overflow, next - s->bucket_main);
		} else {
			b = next;
		}
	}
}

void flow_replace(struct tcp_stack *s, const struct flow_key *key, uint32_t idx)
{
	uint32_t *place = flow_find(s, key, flow_hash(s, key));

	BUG_ON_HOT(place == NULL);
	*place = idx;
}

void flow_remove_own(struct tcp_stack *s, const struct flow_key *key, uint32_t idx)
{
	uint64_t hash = flow_hash(s, key);
	uint32_t *place = flow_find(s, key, hash);

	if (place == NULL || *place != idx)
		return;
	*place = 0;
	chain_trim(s, bucket_of(s, hash));
}

void flow_remove(struct tcp_stack *s, const struct flow_key *key)
{
	uint64_t hash = flow_hash(s, key);
	uint32_t *place = flow_find(s, key, hash);

	if (place == NULL)
		return;
	*place = 0;
	chain_trim(s, bucket_of(s, hash));
}
