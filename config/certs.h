// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Certificates, keys and CAs that a configuration names: read, checked, and put into the bundle
// that goes with its generation (common/abi/creds.h). By whoever reads the file: control, the
// dataplane where none runs, `mailracectl check`. What holds keys is private memory outside core
// dumps, wiped when it is given up. Main thread.

#pragma once

#include "common/abi/creds.h"
#include "config/cfg.h"

struct certs_info { // of one certificate, for people
	char name[MR_NAME_LEN];
	char subject[256], issuer[256];
	char names[1024]; // of hosts it is for, a space between
	char key[16];     // kind, such as "ECDSA P-256"
	int64_t not_before, not_after;
	uint8_t fingerprint[32], public_key[32]; // SHA-256 of the certificate, of its key (pin)
	unsigned chain_length;
};

struct certs {
	void *bundle; // NULL: there is none, or the keys were given up
	size_t bundle_len;
	struct blob_tls tls;
	struct certs_info *info; // [count], in the order of the configuration
	unsigned count;
};

// Reads and checks what cfg names. NULL when anything is wrong: errs says what, after what it says
// already. One that has expired is a warning: a reload must not stop mail. may_lack: a file that
// this user may not read is a warning too, and there is no bundle then.
struct certs *certs_load(const struct cfg *cfg, struct cfg_errors *errs, bool may_lack);
// The bundle as a sealed memfd, or -errno. -ENOENT: there is none.
int certs_memfd(const struct certs *certs);
void certs_keys_wipe(struct certs *certs); // what is shown to people stays
void certs_free(struct certs *certs);
void certs_digest(const void *data, size_t len, uint8_t ret[32]); // SHA-256

// Memory for keys: outside core dumps; NULL: none.
void *secret_new(size_t len);
void secret_free(void *data, size_t len); // wipes

// Checks every field of an untrusted bundle that the caller has already copied to private memory,
// against what its generation says. 0, or -EINVAL and a reason.
int creds_check(
	const void *bundle,
	size_t len,
	const struct blob_tls *expected,
	const char **ret_reason
);
