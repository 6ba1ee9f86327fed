// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the files of certs.h share.

#pragma once

#include "config/certs.h"

struct certs_file {
	const char *path; // of the configuration's
	uint8_t *data;    // with a NUL behind; NULL: could not be read
	uint32_t len;     // NUL counted
	uint32_t off;     // in the bundle
	unsigned mode;    // permissions
	bool binary;      // NUL is a byte as others
};

// Where a message is about.
struct certs_place {
	struct cfg_errors *errs;
	const char *file;
	unsigned line;
	char key[128];
};

void certs_say(const struct certs_place *at, bool warning, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

// certs_pem.c: parses and judges. False after an error.
bool certs_judge(
	const struct certs_place *at,
	const struct certs_file *chain,
	const struct certs_file *key,
	struct certs_info *ret
);
bool certs_ca_judge(const struct certs_place *at, const struct certs_file *ca);
