// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Assertions by strength: BUG_ON for our own broken invariants, always on; BUG_ON_HOT the same on
// hot paths, in debug builds and tests only. Input from a peer, a ring, a file or a user is
// checked, never asserted.

#pragma once

#include <stdlib.h>

#define BUG_ON(cond) \
	do { \
		if (__builtin_expect(!!(cond), 0)) \
			abort(); \
	} while (0)

#ifdef NDEBUG
#define BUG_ON_HOT(cond) ((void)sizeof(cond))
#else
#define BUG_ON_HOT(cond) BUG_ON(cond)
#endif
