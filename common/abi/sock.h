// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The dataplane's UNIX socket (SOCK_SEQPACKET). First a sock_request and its sock_answer: a reader
// is given the statistics segment, read-only, and closes. Control, of which there is one at a time,
// is given both segments and keeps the connection: it is its lease, and on it go publications, one
// sock_publish and one sock_published at a time.

#pragma once

#include <stdint.h>

#include "common/abi/abi.h"

#define SOCK_MAGIC 0x4b53524dU // "MRSK"

enum sock_role { SOCK_ROLE_READER = 1, SOCK_ROLE_CONTROL = 2 };
enum sock_answer_code {
	SOCK_OK = 0,
	SOCK_BAD_REQUEST = 1,
	SOCK_BAD_ABI = 2,
	SOCK_REFUSED = 3, // not for this user
	SOCK_BUSY = 4,    // another control process is attached; or the last generation is still
			  // being taken over: again in a moment
	SOCK_BAD_BLOB = 5,
};

struct sock_request {
	uint32_t magic;
	uint16_t abi_major, abi_minor;
	uint32_t role; // enum sock_role
	uint32_t reserved;
};

// SOCK_OK comes with descriptors as SCM_RIGHTS: statistics (read-only), and for control the control
// segment. The blob in force then stands in the arena for control to copy.
struct sock_answer {
	uint32_t magic;
	uint16_t abi_major, abi_minor;
	uint32_t code; // enum sock_answer_code
	uint32_t blob_length;
	uint64_t boot_id;
};

// The arena holds a blob to be published. It may be written again when the answer has come. A blob
// that names credentials comes with the bundle of them (creds.h): one descriptor as SCM_RIGHTS, a
// memfd sealed against any change, tied to the blob by its digest; it is not needed when the digest
// is that of the generation in force.
struct sock_publish {
	uint32_t magic;
	uint32_t length;
};

struct sock_published {
	uint32_t magic;
	uint32_t code;       // enum sock_answer_code
	uint64_t generation; // the one handed to the workers last
	char reason[112];    // of a refusal, NUL-terminated
};
static_assert(sizeof(struct sock_published) == 128, "ABI");
