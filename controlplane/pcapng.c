// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Blocks of a pcapng file, see pcapng.h: type, length, fields, options, length again.

#include "controlplane/pcapng.h"

#include <stdbool.h>
#include <string.h>

#define BLOCK_SECTION 0x0a0d0d0aU
#define BLOCK_INTERFACE 1U
#define BLOCK_STATISTICS 5U
#define BLOCK_PACKET 6U
#define BYTE_ORDER_MAGIC 0x1a2b3c4dU
#define LINKTYPE_ETHERNET 1U

enum option {
	OPT_END = 0,
	OPT_COMMENT = 1,
	OPT_SECTION_PROGRAM = 4,
	OPT_INTERFACE_NAME = 2,
	OPT_INTERFACE_RESOLUTION = 9,
	OPT_PACKET_FLAGS = 2,
	OPT_PACKET_LOST = 4,
	OPT_STATISTICS_START = 2,
	OPT_STATISTICS_END = 3,
	OPT_STATISTICS_LOST = 5,
	OPT_STATISTICS_DELIVERED = 8,
};

// Writes as long as there is room; a block that did not fit is none.
struct block {
	uint8_t *out;
	size_t room, used;
	bool full;
};

static uint8_t *reserve(struct block *b, size_t n)
{
	uint8_t *at = b->out + b->used;
	size_t padded = (n + 3) / 4 * 4;

	if (b->full || b->room - b->used < padded) {
		b->full = true;
		return NULL;
	}
	memset(at + n, 0, padded - n);
	b->used += padded;
	return at;
}

static void put(struct block *b, const void *data, size_t n)
{
	uint8_t *at = reserve(b, n);

	if (at != NULL)
		memcpy(at, data, n);
}

static void put_u32(struct block *b, uint32_t v)
{
	put(b, &v, sizeof(v));
}

// Times are two words, the upper one first.
static void put_time(struct block *b, uint64_t t)
{
	put_u32(b, (uint32_t)(t >> 32));
	put_u32(b, (uint32_t)t);
}

static void option_head(struct block *b, enum option code, size_t len)
{
	put_u32(b, (uint32_t)code | (uint32_t)len << 16);
}

static void option_text(struct block *b, enum option code, const char *text)
{
	size_t len = strnlen(text, PCAPNG_TEXT_MAX);

	if (len == 0)
		return;
	option_head(b, code, len);
	put(b, text, len);
}

static void option_u64(struct block *b, enum option code, uint64_t v)
{
	option_head(b, code, sizeof(v));
	put(b, &v, sizeof(v));
}

static void option_time(struct block *b, enum option code, uint64_t t)
{
	option_head(b, code, 8);
	put_time(b, t);
}

static struct block block_begin(uint8_t *out, size_t room, uint32_t type)
{
	struct block b = {.out = out, .room = room};

	put_u32(&b, type);
	put_u32(&b, 0);
	return b;
}

static size_t block_end(struct block *b)
{
	uint32_t length = (uint32_t)b->used + 4;

	put_u32(b, length);
	if (b->full)
		return 0;
	memcpy(b->out + 4, &length, sizeof(length));
	return length;
}

size_t pcapng_section(uint8_t *out, size_t room, const char *program, const char *comment)
{
	static const uint16_t version[2] = {1, 0};
	static const int64_t length = -1; // not known
	struct block b = block_begin(out, room, BLOCK_SECTION);

	put_u32(&b, BYTE_ORDER_MAGIC);
	put(&b, version, sizeof(version));
	put(&b, &length, sizeof(length));
	option_text(&b, OPT_SECTION_PROGRAM, program);
	option_text(&b, OPT_COMMENT, comment);
	option_head(&b, OPT_END, 0);
	return block_end(&b);
}

size_t pcapng_interface(uint8_t *out, size_t room, const char *name, uint32_t snap)
{
	static const uint8_t nanoseconds = 9;
	struct block b = block_begin(out, room, BLOCK_INTERFACE);

	put_u32(&b, LINKTYPE_ETHERNET);
	put_u32(&b, snap);
	option_text(&b, OPT_INTERFACE_NAME, name);
	option_head(&b, OPT_INTERFACE_RESOLUTION, 1);
	put(&b, &nanoseconds, 1);
	option_head(&b, OPT_END, 0);
	return block_end(&b);
}

size_t
pcapng_packet(uint8_t *out, size_t room, const struct pcapng_packet *packet, uint8_t **ret_data)
{
	struct block b = block_begin(out, room, BLOCK_PACKET);

	put_u32(&b, packet->interface);
	put_time(&b, packet->time_ns);
	put_u32(&b, packet->bytes);
	put_u32(&b, packet->wire_bytes);
	*ret_data = reserve(&b, packet->bytes);
	option_head(&b, OPT_PACKET_FLAGS, 4);
	put_u32(&b, (uint32_t)packet->direction);
	if (packet->lost > 0)
		option_u64(&b, OPT_PACKET_LOST, packet->lost);
	option_text(&b, OPT_COMMENT, packet->comment);
	option_head(&b, OPT_END, 0);
	return block_end(&b);
}

size_t pcapng_statistics(uint8_t *out, size_t room, const struct pcapng_statistics *s)
{
	struct block b = block_begin(out, room, BLOCK_STATISTICS);

	put_u32(&b, s->interface);
	put_time(&b, s->time_ns);
	option_time(&b, OPT_STATISTICS_START, s->start_ns);
	option_time(&b, OPT_STATISTICS_END, s->end_ns);
	option_u64(&b, OPT_STATISTICS_LOST, s->lost);
	option_u64(&b, OPT_STATISTICS_DELIVERED, s->delivered);
	option_head(&b, OPT_END, 0);
	return block_end(&b);
}
