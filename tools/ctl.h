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
	const char *from, *to; // of test mails, and of mails
	const char *queue_id, *since, *until;
};

int usage(int status);
void json_print(const json_t *o);
// 0, or an exit status after a message.
int ask(const struct options *opt, const char *method, const char *path, struct api_answer *a);

// ctl_check.c
int do_check(const struct options *opt, char **args);

// ctl_mail.c
int do_mail(const struct options *opt, char **args);

// ctl_tarpit.c
int do_tarpit(const struct options *opt, char **args);

// ctl_compare.c
int do_tarpit_compare(const struct options *opt, char **args);

// ctl_sight.c
#define QUERY_MAX_BYTES 2000
// Appends "name=value" to a query; what is not unreserved is escaped (RFC 3986 2.3). NULL: nothing.
void query_add(char path[QUERY_MAX_BYTES], const char *name, const char *value);
int do_capture(const struct options *opt, char **args);
int show_session(const struct options *opt, const char *id);
int do_ping(const struct options *opt, char **args);
int do_send_test(const struct options *opt, char **args);
int do_relay_test(const struct options *opt, char **args);
