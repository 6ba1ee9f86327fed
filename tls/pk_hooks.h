// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The redirections of libmbedtls's public-key calls, for tls/ and its tests only.

#pragma once

#include "tls/hs_types.h"

#include <psa/crypto_types.h>

enum pk_hook {
	HOOK_GENERATE_KEY,
	HOOK_EXPORT_PUBLIC_KEY,
	HOOK_GET_KEY_ATTRIBUTES,
	HOOK_RAW_KEY_AGREEMENT,
	HOOK_DESTROY_KEY,
	HOOK_MAKE_PARAMS,
	HOOK_READ_PUBLIC,
	HOOK_CALC_SECRET,
	HOOK_ECDH_FREE,
	HOOK_SIGN,
	HOOK_SIGN_EXT,
	HOOK_VERIFY,
	HOOK_VERIFY_EXT,
	HOOK_VERIFY_RESTARTABLE,
	HOOK_MAKE_PUBLIC,
	HOOK_COUNT
};

// The engine whose handshakes this thread runs now; NULL: every call goes to the library.
extern _Thread_local struct tls_engine *tls_current;

// The engine, when the call is made on a fiber of one of its handshakes; counts it.
struct tls_engine *hook_redirects(enum pk_hook hook);

// What the hash hooks keep between calls that follow each other without a wait.
struct hash_scratch {
	const void *kdf; // the operation under way
	uint32_t alg;
	const uint8_t *secret, *salt, *info;
	size_t secret_len, salt_len, info_len;
	uint8_t mac_key[64];
	size_t mac_len;
	bool mac_used;
};
struct hash_scratch *tls_engine_scratch(struct tls_engine *engine);
bool hash_key_destroy(mbedtls_svc_key_id_t id); // false: no key of these
bool hash_hooks_init(void);

struct hook_row {
	const char *name; // of the symbol
	size_t off;       // of the pointer to the library's own
};
// False: one of them is not there.
bool hooks_find(const struct hook_row *rows, unsigned count, void *ret);

// selftest.c. False: a handshake with ourselves failed, or a redirection was not reached.
bool tls_selftest(struct tls_engine *engine);

// Finds the library's own functions. False: one of them is not there, nothing may be redirected.
bool pk_hooks_init(void);
