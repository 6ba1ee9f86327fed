// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian. Each function writes one whole
// block and returns its length, 0 when it does not fit. Pure.

#pragma once

#include <stddef.h>
#include <stdint.h>

#define PCAPNG_TEXT_MAX 256 // octets of a comment or name

// Section header, with a comment.
size_t pcapng_section(uint8_t *out, size_t room, const char *program, const char *comment);
// Interface description: Ethernet, times in nanoseconds.
size_t pcapng_interface(uint8_t *out, size_t room, const char *name, uint32_t snap);

struct pcapng_packet {
	uint32_t interface;
	uint64_t time_ns; // since 1970
	uint32_t bytes, wire_bytes;
	uint64_t lost; // on this interface since the packet before
	enum { PCAPNG_IN = 1, PCAPNG_OUT = 2 } direction;
	const char *comment; // empty: none
};
// Enhanced packet; *ret_data: where the caller puts its bytes.
size_t
pcapng_packet(uint8_t *out, size_t room, const struct pcapng_packet *packet, uint8_t **ret_data);

struct pcapng_statistics {
	uint32_t interface;
	uint64_t time_ns, start_ns, end_ns;
	uint64_t delivered; // packets in the file
	uint64_t lost;      // that matched and are not
};
size_t pcapng_statistics(uint8_t *out, size_t room, const struct pcapng_statistics *s);
