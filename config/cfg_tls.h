// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the configuration says of TLS, a part of cfg.h.

#pragma once

#include <stdbool.h>

#include "common/abi/creds.h"

struct cfg_certificate {
	char name[MR_NAME_LEN];
	char chain[256], key[256]; // paths
	unsigned line;
};

struct cfg_tls_server { // how a service shows itself to clients
	unsigned certificates[CREDS_MAX_OF_SERVER], certificate_count;
	enum creds_client_auth client_auth;
	char ca[256]; // path, empty: none
	bool tickets;
	unsigned line;
};

struct cfg_tickets {
	uint32_t rotation_s;
	char key_file[256]; // empty: none
	unsigned line;
};

#define CFG_SHAKES_PER_CLIENT 256
#define CFG_SHAKES_PER_SECOND 1000
#define CFG_TLS_QUEUE_MS 30000

struct cfg_tls_client { // how a pool judges its backends
	enum creds_verify verify;
	char ca[256], name[256];
	uint8_t pin[CREDS_PIN_LEN];
	int certificate; // index, -1: none
	unsigned line;
};
