// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a backend's reply says of its health, and replies made temporary. Pure functions.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/shm_layout.h"
#include "dataplane/smtp/verb.h"

// The signal in the last line of a reply, SHM_SIGNALS: none. SMTP_V_UNKNOWN stands for the banner.
// Never one for RCPT and AUTH, nor for what refuses a client, a sender or a mail.
enum shm_signal
smtp_reply_signal(enum smtp_verb verb, unsigned code, const char *line, uint32_t len);

// May soft_bounce change the replies to this verb? Those of the envelope and the body.
bool smtp_verb_softens(enum smtp_verb verb);
// A line 5xx as the 4xx that it stands for, with its enhanced code (RFC 3463). In place.
void smtp_reply_soften(char *line, uint32_t len);
