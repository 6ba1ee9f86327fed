// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What all fuzzers share: checks that name themselves, inputs read as small commands, copies that
// end exactly where their block ends, so that the sanitizer sees a byte too many. One thread.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

_Noreturn void fuzz_fail(const char *file, int line, const char *what);
// An oracle: says what broke, then aborts, so that the input is kept.
#define FUZZ_CHECK(cond) \
	do { \
		if (!(cond)) \
			fuzz_fail(__FILE__, __LINE__, #cond); \
	} while (0)

// The input, consumed from its front. Beyond the end every value is 0.
struct fuzz_in {
	const uint8_t *at;
	size_t left;
};

uint8_t fuzz_u8(struct fuzz_in *in);
uint16_t fuzz_u16(struct fuzz_in *in);
uint32_t fuzz_u32(struct fuzz_in *in);
uint64_t fuzz_u64(struct fuzz_in *in);
uint32_t fuzz_below(struct fuzz_in *in, uint32_t n); // 0 .. n - 1; n at most 65536
// The next n bytes, or what is left of them; *ret_n says how many.
const uint8_t *fuzz_bytes(struct fuzz_in *in, size_t n, size_t *ret_n);

// A block of exactly len bytes (at least 1 is allocated; then the pointer is behind it). Freed by
// fuzz_free(ptr, len).
uint8_t *fuzz_copy(const void *from, size_t len);
void fuzz_free(uint8_t *copy, size_t len);
