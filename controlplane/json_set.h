// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Members of JSON objects: numbers with their unit in the key. Main thread of control.

#pragma once

#include <jansson.h>
#include <stdint.h>

#include "common/abi/abi.h"
#include "common/addr.h"

void set_uint(json_t *to, const char *key, uint64_t n);
void set_text(json_t *to, const char *key, const char *text);
// A name in shared memory, which may lack its end.
void set_name(json_t *to, const char *key, const char name[MR_NAME_LEN]);
void set_seconds(json_t *to, const char *key, double seconds);
void set_endpoint(json_t *to, const char *key, const struct ip_addr *addr, uint16_t port);
double age(uint64_t since_ns); // seconds since a CLOCK_MONOTONIC time
