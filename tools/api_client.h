// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// One request to control's API over its UNIX socket. Any process, one thread.

#pragma once

#include <jansson.h>

struct api_answer {
	long status;     // of HTTP
	json_t *body;    // the caller's
	char error[256]; // when there is no answer
};

// 0, or -1 and an error text. method: "GET" or "POST".
int api_request(const char *socket, const char *method, const char *path, struct api_answer *ret);
