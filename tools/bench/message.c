// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Message content made from a seed. One thread; the pool is taken at start.

#include "tools/bench/message.h"

#include <stdlib.h>
#include <string.h>

#include "common/rng.h"

#define SPREAD (256U << 10) // the pool is larger than a message by this
#define LINE_MAX 998U

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 31)) * 0x7fb5d329728ea185ULL;
	x = (x ^ (x >> 27)) * 0x81dadef4bc2dd44dULL;
	return x ^ (x >> 33);
}

static uint32_t line_make(struct rng *rng, uint8_t *out)
{
	uint32_t want = rng_below(rng, 16) == 0 ? rng_below(rng, LINE_MAX - 4) : rng_below(rng, 76);
	uint32_t n = 0;

	if (rng_below(rng, 8) == 0) {
		out[n++] = '.'; // a dot of the text, and the one that stuffing adds
		out[n++] = '.';
	}
	for (uint32_t i = 0; i < want; i++)
		out[n++] = (uint8_t)('0' + rng_below(rng, 70));
	out[n++] = '\r';
	out[n++] = '\n';
	return n;
}

bool message_pool_init(
	struct message_pool *pool,
	uint64_t seed,
	uint32_t size_min,
	uint32_t size_max
)
{
	uint32_t size = size_max + SPREAD, n = 0;
	struct rng rng;

	*pool = (struct message_pool){.seed = seed, .size_min = size_min, .size_max = size_max};
	pool->text = malloc(size + LINE_MAX + 2);
	pool->line = calloc(SPREAD / 2 + 1, sizeof(uint32_t));
	if (pool->text == NULL || pool->line == NULL) {
		message_pool_fini(pool);
		return false;
	}
	rng_seed(&rng, seed);
	while (n < size) {
		if (n < SPREAD)
			pool->line[pool->lines++] = n;
		n += line_make(&rng, pool->text + n);
	}
	return true;
}

void message_pool_fini(struct message_pool *pool)
{
	free(pool->text);
	free(pool->line);
	*pool = (struct message_pool){0};
}

static void hex_put(uint64_t v, char *out)
{
	static const char digit[] = "0123456789abcdef";

	for (unsigned i = 0; i < 16; i++)
		out[i] = digit[(v >> (60 - 4 * i)) & 15];
}

// High half: a check of the low half, which is the identity.
void message_id_format(const struct message_pool *pool, uint64_t id, char digits[MESSAGE_ID_DIGITS])
{
	hex_put((mix(id + pool->seed) & 0xffffffff00000000ULL) | id, digits);
}

uint64_t message_id_parse(const struct message_pool *pool, const char *digits)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < MESSAGE_ID_DIGITS; i++) {
		char c = digits[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return UINT64_MAX;
	}
	return (mix((v & UINT32_MAX) + pool->seed) ^ v) >> 32 == 0 ? v & UINT32_MAX : UINT64_MAX;
}

// A message must not end between CR and LF, nor in a line that is only a dot.
static uint32_t cut(const uint8_t *text, uint32_t len)
{
	if (len > 0 && text[len - 1] == '\r')
		len--;
	if (len > 0 && text[len - 1] == '.' && (len == 1 || text[len - 2] == '\n'))
		len--;
	return len;
}

void message_make(const struct message_pool *pool, uint64_t id, bool chunk, struct message *ret)
{
	uint64_t draw = mix(id * 2 + 1 + pool->seed * 0x9e3779b97f4a7c15ULL);
	uint32_t size = pool->size_min;

	if (pool->size_max > pool->size_min)
		size += (uint32_t)((draw >> 32) % (pool->size_max - pool->size_min + 1));
	memcpy(ret->head, "X-Bench: ", 9);
	message_id_format(pool, id, ret->head + 9);
	hex_put(draw, ret->head + 25);
	memcpy(ret->head + 41, "\r\n\r\n", 4);
	ret->head_len = 45;
	ret->text = pool->text + pool->line[draw % pool->lines];
	ret->text_len = cut(ret->text, size - ret->head_len - 2);
	ret->len = ret->head_len + ret->text_len + 2;
	ret->wire_len = ret->len + (chunk ? 0 : 3);
}

const uint8_t *message_run(const struct message *m, uint32_t pos, uint32_t *ret_len)
{
	static const uint8_t tail[] = "\r\n.\r\n";

	if (pos < m->head_len) {
		*ret_len = m->head_len - pos;
		return (const uint8_t *)m->head + pos;
	}
	pos -= m->head_len;
	if (pos < m->text_len) {
		*ret_len = m->text_len - pos;
		return m->text + pos;
	}
	pos -= m->text_len;
	*ret_len = m->wire_len - m->head_len - m->text_len - pos;
	return tail + pos;
}
