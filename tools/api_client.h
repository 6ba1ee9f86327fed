// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Requests to control's API over its UNIX socket. Any process, one thread.

#pragma once

#include <jansson.h>
#include <stdbool.h>

struct api_answer {
	long status;     // of HTTP
	json_t *body;    // the caller's
	char error[256]; // when there is no answer
};

// 0, or -1 and an error text. method: "GET" or "POST".
int api_request(const char *socket, const char *method, const char *path, struct api_answer *ret);

struct api_stream_args {
	const char *socket, *path;
	const char *stop_path; // asked once times_asked is not 0: the stream then ends in order
	int (*times_asked)(void *arg); // to end; twice: at once. Looked at about once a second
	void *arg;
	int fd; // that the answer replaces the content of, as it comes
};

// A POST whose answer goes on until the server ends it. 0: ret->status is 200 and all was written,
// or another one with a JSON body; -1 and an error text.
int api_stream(const struct api_stream_args *args, struct api_answer *ret);
