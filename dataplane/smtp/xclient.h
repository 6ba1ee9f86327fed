// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// XCLIENT, as Postfix defines it (XCLIENT_README): how a client of a server tells it who its own
// client is. Pure functions.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"

#define SMTP_XCLIENT_MAX 512 // octets of the line, CRLF included

// Attributes that we know how to say. LOGIN is none of them: what a client is allowed stays
// between it and the server.
enum smtp_xclient {
	SMTP_XCLIENT_NAME = 1U << 0,
	SMTP_XCLIENT_ADDR = 1U << 1,
	SMTP_XCLIENT_PORT = 1U << 2,
	SMTP_XCLIENT_PROTO = 1U << 3,
	SMTP_XCLIENT_HELO = 1U << 4,
	SMTP_XCLIENT_DESTADDR = 1U << 5,
	SMTP_XCLIENT_DESTPORT = 1U << 6,
};

// A line of a reply to EHLO: the attributes that it offers, 0 when it is about something else.
uint32_t smtp_xclient_offer(const char *line, uint32_t len);

struct smtp_xclient_client {
	struct ip_endpoint client, local; // local: where it connected
	const char *helo;                 // of helo_len octets; NULL: not known yet
	uint32_t helo_len;
	bool esmtp; // it said EHLO
};
// The command with those that were offered, in one line and ADDR the last, behind which the right
// to say it may be gone. HELO is left out where it finds no room. Returns the length.
uint32_t smtp_xclient_line(
	uint32_t offered,
	const struct smtp_xclient_client *client,
	char out[SMTP_XCLIENT_MAX]
);

// Is a refusal of XCLIENT about the command, or who may say it, rather than about the client that
// it names?
bool smtp_xclient_fault(unsigned code, const char *line, uint32_t len);
