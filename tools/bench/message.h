// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Messages that both ends can make from the identity alone: a first line with the identity and a
// check of it, then text from a seeded pool (lines of all lengths, stuffed dots, empty lines). What
// is compared at the backend is every byte. One thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define MESSAGE_HEAD 46 // "X-Bench: ", 32 digits, CRLF, an empty line, and a byte to spare
#define MESSAGE_ID_DIGITS 16

struct message_pool {
	uint64_t seed;
	uint32_t size_min, size_max;
	uint8_t *text;  // stuffed
	uint32_t *line; // where each begins
	uint32_t lines; // that a message may begin with
};

struct message {
	char head[MESSAGE_HEAD];
	uint32_t head_len;
	const uint8_t *text;
	uint32_t text_len;
	uint32_t len;      // without the dot
	uint32_t wire_len; // what is sent: with ".CRLF" unless it is a chunk
};

bool message_pool_init(
	struct message_pool *pool,
	uint64_t seed,
	uint32_t size_min,
	uint32_t size_max
);
void message_pool_fini(struct message_pool *pool);
void message_make(const struct message_pool *pool, uint64_t id, bool chunk, struct message *ret);
// The run of bytes at pos < wire_len.
const uint8_t *message_run(const struct message *m, uint32_t pos, uint32_t *ret_len);

// 16 digits that stand for the identity in commands and replies, and back; a string that no
// identity makes gives UINT64_MAX.
void message_id_format(
	const struct message_pool *pool,
	uint64_t id,
	char digits[MESSAGE_ID_DIGITS]
);
uint64_t message_id_parse(const struct message_pool *pool, const char *digits);
