// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The credentials of a configuration as control keeps them: what there is to show of each
// certificate, and the bundle with the keys in a sealed memfd, which is mapped nowhere. Main thread
// of control.

#pragma once

#include "config/certs.h"

struct creds {
	struct certs *certs; // without the keys; NULL: none loaded
	int fd;              // for the dataplane; -1: the configuration needs none
};

#define CREDS_NONE ((struct creds){.fd = -1})

// Reads what cfg names. 0, or -EINVAL with errors in errs.
int creds_load(const struct cfg *cfg, struct cfg_errors *errs, struct creds *ret);
void creds_release(struct creds *creds);
