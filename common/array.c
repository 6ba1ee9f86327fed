// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Large tables in huge pages. At start only.

#include "common/array.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CACHE_LINE 64U
#define HUGE_PAGE (2U << 20)

void *array_new(size_t count, size_t size)
{
	size_t bytes, align;
	void *mem;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - HUGE_PAGE) {
		errno = ENOMEM;
		return NULL;
	}
	align = bytes >= HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;
	bytes = (bytes + align - 1) / align * align;
	mem = aligned_alloc(align, bytes);
	if (mem == NULL)
		return NULL;
	if (align == HUGE_PAGE)
		madvise(mem, bytes, MADV_HUGEPAGE); // a hint: without it all is as well, but slower
	memset(mem, 0, bytes);
	return mem;
}
