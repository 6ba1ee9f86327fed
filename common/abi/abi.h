// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Version of everything two Mailrace processes share. A major difference is refused at attach with
// both numbers named; a larger minor on the writer's side is read by skipping what is not known.

#pragma once

#define MR_ABI_MAJOR 5
#define MR_ABI_MINOR 0
#define MR_NAME_LEN 64 // bytes of every name in shared structures, final NUL included
