// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What one page of metrics is about: the backends and virtual services of the configuration in
// force, copied once, so that a reload in the middle of a page changes nothing of it, and found
// without a search for every line. Any process.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/attach.h"
#include "common/abi/shm_layout.h"

#define ROWS_WORKERS_MAX 256
#define ROWS_LABELS_LEN (4 * MR_NAME_LEN + 32)

struct row {
	uint32_t slot;
	char pool[MR_NAME_LEN];       // of a backend
	char labels[ROWS_LABELS_LEN]; // as they stand between { and }
};

struct rows {
	uint32_t workers;
	const struct shm_backend_local *backend_block[ROWS_WORKERS_MAX];
	const struct shm_service_local *service_block[ROWS_WORKERS_MAX];
	const struct shm_backend *names; // [backend slots]
	struct row *backends, *services; // those of a pool adjacent
	uint32_t backend_count, service_count;
};

// False: no memory; nothing is to be released then.
bool rows_init(struct rows *rows, const struct shm_view *view);
void rows_release(struct rows *rows);
// A label's value: backslash, quote and line feed escaped. Returns buf.
const char *label(const char *text, char buf[2 * MR_NAME_LEN]);
