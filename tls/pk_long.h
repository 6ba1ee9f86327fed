// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Signatures that take long, for the hooks and their tests only. Any thread.

#pragma once

#include "tls/pk.h"

#include <mbedtls/pk.h>

struct pk_long {
	mbedtls_md_type_t md;
	const uint8_t *hash;
	size_t hash_len; // 0: the hash's own
	uint8_t *sig;
	size_t sig_len, size; // of the signature; when signing, the room for it
	bool pss;
	int salt_len;           // as libcrypto counts: -1 the hash's, -2 any
	mbedtls_md_type_t mgf1; // NONE: md
};

enum pk_long_result { PK_LONG_GOOD, PK_LONG_BAD, PK_LONG_CANNOT };
enum pk_long_result pk_long_sign(const struct pk_key *key, struct pk_long *l);
enum pk_long_result pk_long_verify(const mbedtls_pk_context *pk, const struct pk_long *l);
