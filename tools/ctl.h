// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the commands of mailracectl share.

#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "tools/api_client.h"

#define EX_REFUSED 1 // the file is bad, the reload was refused, what was tried has failed

struct options {
	const char *socket;
	const char *file;
	const char *limit;
	bool json, all;
	// of captures
	const char *client, *backend, *session, *service, *bytes, *seconds, *snap, *output;
	bool transcript;
	const char *from, *to; // of test mails
};

int usage(int status);
void json_print(const json_t *o);
// 0, or an exit status after a message.
int ask(const struct options *opt, const char *method, const char *path, struct api_answer *a);

// ctl_check.c
int do_check(const struct options *opt, char **args);

// ctl_sight.c
int do_capture(const struct options *opt, char **args);
int show_session(const struct options *opt, const char *id);
int do_ping(const struct options *opt, char **args);
int do_send_test(const struct options *opt, char **args);
