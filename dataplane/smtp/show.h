// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What of a dialogue may be shown to people: no secret of SASL (RFC 4954) and nothing that might be
// one. A line that is no known command is not shown either: it may be credentials that were sent
// after their AUTH was refused. Pure functions.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SMTP_SHOW_MAX 1024 // octets a shown line has at most

// line without its line end; sasl: it answers a challenge. Returns the length in out.
uint32_t smtp_show_command(const char *line, uint32_t len, bool sasl, char out[SMTP_SHOW_MAX]);
// to_auth: it replies to AUTH or to a SASL line.
uint32_t smtp_show_reply(const char *line, uint32_t len, bool to_auth, char out[SMTP_SHOW_MAX]);
// A line that may hold anything: its length is not told either.
uint32_t smtp_show_nothing(const char *why, char out[SMTP_SHOW_MAX]);
