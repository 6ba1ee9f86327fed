// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The statistics segment as Prometheus text. Any process.

#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/abi/attach.h"

void metrics_write(const struct shm_view *view, FILE *out);
// Why backends take no sessions.
struct rows;
void metrics_health_write(const struct shm_view *view, const struct rows *rows, FILE *out);
// Time lost to tarpits.
void metrics_tarpit_write(const struct shm_view *view, const struct rows *rows, FILE *out);
// When certificates expire.
void metrics_certificates_write(const struct shm_view *view, FILE *out);
// Its part about services, backends and pools.
void metrics_backends_write(const struct shm_view *view, FILE *out);
