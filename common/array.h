// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Tables that live as long as the process: zeroed, aligned to cache lines, and in huge pages where
// the kernel gives them (transparent_hugepage: always or madvise), because random access to a large
// table in 4 KiB pages costs a page walk each time. At start only, any thread.

#pragma once

#include <stddef.h>

// NULL + errno. Given back with free().
void *array_new(size_t count, size_t size);
