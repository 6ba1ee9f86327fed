// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dataplane's UNIX socket (SOCK_SEQPACKET): one request, one answer. A reader is given the
// statistics segment, read-only.

#pragma once

#include <stdint.h>

#include "common/abi/abi.h"

#define SOCK_MAGIC 0x4b53524dU // "MRSK"

enum sock_role { SOCK_ROLE_READER = 1 };
enum sock_answer_code { SOCK_OK = 0, SOCK_BAD_REQUEST = 1, SOCK_BAD_ABI = 2, SOCK_REFUSED = 3 };

struct sock_request {
	uint32_t magic;
	uint16_t abi_major, abi_minor;
	uint32_t role;
	uint32_t reserved;
};

struct sock_answer { // SOCK_OK: with the statistics descriptor as SCM_RIGHTS
	uint32_t magic;
	uint16_t abi_major, abi_minor;
	uint32_t code;
	uint32_t reserved;
	uint64_t boot_id;
};
