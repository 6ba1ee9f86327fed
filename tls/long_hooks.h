// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The long parts of redirections, for tls/ only. On a fiber they wait for a helper.

#pragma once

#include "tls/hs_types.h"

#include <mbedtls/ecdh.h>
#include <mbedtls/pk.h>

struct long_sign {
	const struct pk_key *key; // NULL: by real alone
	mbedtls_pk_type_t type;   // RSASSA_PSS, or another: as the key is
	mbedtls_pk_context *pk;
	mbedtls_md_type_t md;
	const unsigned char *hash;
	size_t len;
	unsigned char *sig;
	size_t size;
	size_t *ret_len;
	int (*real)(struct long_sign *sign); // with long_random
	int err;
};
int long_sign(struct tls_engine *engine, struct long_sign *sign);

struct long_ecdh {
	mbedtls_ecdh_context *ctx;
	size_t *ret_len;
	unsigned char *buf;
	size_t size;
	int (*real)(mbedtls_ecdh_context *, size_t *, unsigned char *, size_t, int (*)(void *, unsigned char *, size_t), void *);
	int err;
};
int long_ecdh(struct tls_engine *engine, struct long_ecdh *ecdh);

// libcrypto's, in place of a generator that belongs to the worker.
int long_random(void *arg, unsigned char *out, size_t len);

// As pk_hooks_init.
bool long_hooks_init(void);
bool sign_hooks_init(void);
