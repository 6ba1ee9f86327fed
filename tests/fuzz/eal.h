// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Packet buffers for fuzzers. Includes LLVMFuzzerInitialize. One thread.

#pragma once

#include <stddef.h>
#include <stdint.h>

#include <rte_mbuf.h>

#define EAL_POOL_COUNT 1024

extern struct rte_mempool *eal_pool, *eal_small_pool, *eal_ref_pool;

// A received frame whose data is a block of its own of exactly len octets, so that the sanitizer
// sees each octet read behind it.
struct rte_mbuf *eal_frame(const void *data, size_t len);
// All buffers are back in their pools.
void eal_pools_check(void);
