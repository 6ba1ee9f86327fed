// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Credentials of the generation in force: from the bundle that came with it (common/abi/creds.h)
// a set of parsed ones for each worker. Main thread; what a set holds is the worker's from when it
// takes the generation until it has taken one with another set.

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/abi/creds.h"
#include "tls/hs.h"

struct bundle { // private memory (secret_new); data NULL: none
	void *data;
	size_t len;
};

struct credentials {
	uint8_t digest[32]; // of the bundle they are made of
	unsigned workers;
	struct tls_set *set;      // [workers]
	struct tls_shelf **shelf; // [workers], of what they parsed
	uint64_t parsed;          // texts, of all workers: those that the ones before did not have
	struct {
		char name[MR_NAME_LEN];
		int64_t not_after;
	} *cert;
	unsigned cert_count;
};

struct credentials_config {
	struct tls_engine *const *engine; // [workers]
	unsigned workers;
	uint32_t max_handshakes;          // all workers together, of each of the credentials
	const struct credentials *before; // in force, of as many workers; NULL: none
};

// Copies what a sealed memfd of control holds; whatever else the descriptor is, is refused. 0 or
// -errno and a reason.
int bundle_take(int fd, struct bundle *ret, const char **ret_reason);
void bundle_release(struct bundle *bundle); // wipes
// Of a bundle that creds_check has passed. NULL and a text of at most 160 characters.
struct credentials *credentials_new(
	const struct credentials_config *config,
	const struct bundle *bundle,
	char ret_reason[192]
);
// taken: the workers have had them and given them back.
void credentials_free(struct credentials *credentials, bool taken);
// On the worker's thread, before it puts them: frees a few of the contexts they keep, so that no
// turn is long. True: none is left.
bool credentials_thin(const struct tls_set *set);
// On the worker's thread (or when it runs no more): drops its hold on all of a set.
void credentials_put(const struct tls_set *set);
