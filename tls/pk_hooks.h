// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The redirections of libmbedtls's public-key calls, for tls/ and its tests only.

#pragma once

#include "tls/hs_types.h"

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
	HOOK_COUNT
};

// The engine whose handshakes this thread runs now; NULL: every call goes to the library.
extern _Thread_local struct tls_engine *tls_current;

// Finds the library's own functions. False: one of them is not there, nothing may be redirected.
bool pk_hooks_init(void);
