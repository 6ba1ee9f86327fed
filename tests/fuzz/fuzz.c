// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Reading of inputs and failing loudly, see fuzz.h.

#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void fuzz_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: broken oracle: %s\n", file, line, what);
	abort();
}

uint8_t fuzz_u8(struct fuzz_in *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

uint16_t fuzz_u16(struct fuzz_in *in)
{
	uint16_t low = fuzz_u8(in);

	return (uint16_t)(low | fuzz_u8(in) << 8);
}

uint32_t fuzz_u32(struct fuzz_in *in)
{
	uint32_t low = fuzz_u16(in);

	return low | (uint32_t)fuzz_u16(in) << 16;
}

uint64_t fuzz_u64(struct fuzz_in *in)
{
	uint64_t low = fuzz_u32(in);

	return low | (uint64_t)fuzz_u32(in) << 32;
}

uint32_t fuzz_below(struct fuzz_in *in, uint32_t n)
{
	return (n <= 256 ? fuzz_u8(in) : fuzz_u16(in)) % n;
}

const uint8_t *fuzz_bytes(struct fuzz_in *in, size_t n, size_t *ret_n)
{
	const uint8_t *at = in->at;

	*ret_n = n < in->left ? n : in->left;
	in->at += *ret_n;
	in->left -= *ret_n;
	return at;
}

uint8_t *fuzz_copy(const void *from, size_t len)
{
	uint8_t *block = malloc(len > 0 ? len : 1);

	if (block == NULL)
		abort();
	if (len == 0)
		return block + 1;
	memcpy(block, from, len);
	return block;
}

void fuzz_free(uint8_t *copy, size_t len)
{
	free(len > 0 ? copy : copy - 1);
}
