// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The AEAD engine behind records, for tls/ and its tests only.

#pragma once

#include "tls/tls.h"

#define AEAD_TAG 16
#define AEAD_NONCE 12

struct aead_op {
	enum tls_aead aead;
	const uint8_t *key;
	const uint8_t *nonce; // AEAD_NONCE bytes
	const uint8_t *aad;
	uint32_t aad_len;
};

// Start, any number of pieces in place or from src to dst, then the tag.
void aead_begin(struct tls_engine *e, const struct aead_op *op);
void aead_seal(struct tls_engine *e, uint8_t *dst, const uint8_t *src, uint32_t len);
void aead_open(struct tls_engine *e, uint8_t *dst, const uint8_t *src, uint32_t len);
void aead_end(struct tls_engine *e, uint8_t tag[AEAD_TAG], bool open);

// In constant time.
bool bytes_equal(const uint8_t *a, const uint8_t *b, uint32_t len);
