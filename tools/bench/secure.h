// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The clients' TLS (STARTTLS), by OpenSSL over the generator's own TCP. Clients of a wave send
// their ClientHellos together: a generator that is slower than the worker still gives it as many
// handshakes at a time as a busy service has. One thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tcp/tcp.h"

struct bench;
struct secure;

enum secure_result { SECURE_WAITS, SECURE_DONE, SECURE_BROKEN };

// NULL: no memory, or OpenSSL refuses the options.
struct secure *secure_new(const struct bench *b);
void secure_free(struct secure *s);
// The ClientHello of client idx is made; it goes at once or with its wave. False: no memory.
bool secure_begin(struct bench *b, uint32_t idx);
// Takes what the connection received and goes on with a handshake under way.
enum secure_result secure_run(struct bench *b, uint32_t idx);
// As tcp_tx_write: all or nothing.
bool secure_write(struct bench *b, uint32_t idx, const void *data, uint32_t len);
// As host_line; and drops what was read.
bool secure_line(struct bench *b, uint32_t idx, const char **ret, unsigned *ret_len);
void secure_drop(struct bench *b, uint32_t idx, unsigned len);
// close_notify, when the connection takes it.
void secure_close(struct bench *b, uint32_t idx);
void secure_end(struct bench *b, uint32_t idx);
// Sends the hellos of a wave that is full, or whose first has waited long enough.
unsigned secure_turn(struct bench *b);
uint64_t secure_resumed(const struct secure *s);
