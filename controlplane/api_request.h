// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a request of the API asks for: method, path and arguments as the HTTP library hands them
// over, already unescaped. Pure.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/abi.h"

enum api_call {
	API_UNKNOWN,    // no such resource
	API_BAD_METHOD, // it is there, but not for this method
	API_BAD_LIMIT,
	API_STATUS,
	API_VIRTUAL_SERVICES,
	API_POOLS,
	API_BACKENDS,
	API_PORTS,
	API_CONFLICTS,
	API_CERTIFICATES,
	API_TARPIT,
	API_WORKERS,
	API_COUNTERS,
	API_LATENCY,
	API_SESSIONS, // with limit
	API_MAIL,
	API_CAPTURE,
	API_CAPTURE_STOP,
	API_TRANSCRIPT,
	API_CHECK,
	API_RELOAD,
	API_BACKEND_DRAIN, // with pool and name
	API_BACKEND_ENABLE,
	API_CALLS
};

#define API_SESSIONS_LIMIT 1000 // where none is asked for
#define API_SESSIONS_LIMIT_MAX 100000

struct api_request {
	enum api_call call;
	bool changes; // or tells of mails: for admin_group only, whatever comes of it
	uint32_t limit;
	char pool[MR_NAME_LEN], name[MR_NAME_LEN];
};

// limit: the argument of this name, NULL when there is none.
void api_request_parse(
	const char *method,
	const char *path,
	const char *limit,
	struct api_request *ret
);
