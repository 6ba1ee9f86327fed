// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The simulator's own SMTP client and backend, independent of the product's parsers so that they
// can judge it, and the ledger in which both write what they saw.

#pragma once

#include "common/abi/blob.h"
#include "tests/sim/header.h"
#include "tests/sim/secure.h"
#include "tests/sim/sim.h"

#define MAIL_RCPT_MAX 8

extern const char *const sim_ehlo[2]; // what clients say, a short name and a long one

struct ledger {                                               // [client][message]
	uint8_t stored[SIM_CLIENTS_MAX][SIM_MESSAGES_MAX];    // complete bodies at any backend
	uint8_t client_ok[SIM_CLIENTS_MAX][SIM_MESSAGES_MAX]; // end of data answered 250
	uint8_t rcpt_backend[SIM_CLIENTS_MAX]
			    [SIM_MESSAGES_MAX]; // recipients a backend accepted (bits)
	uint8_t rcpt_client[SIM_CLIENTS_MAX]
			   [SIM_MESSAGES_MAX];         // recipients the client saw accepted
	struct ip_endpoint client_at[SIM_CLIENTS_MAX]; // its end of the connection
	bool client_tls[SIM_CLIENTS_MAX];              // who sends mail does so in TLS
	uint32_t sessions_ended, mails_ok, mails_refused, sessions_cut;
};

enum vanish { VANISH_NEVER, VANISH_RST, VANISH_FIN, VANISH_SILENT };

struct client_plan {
	uint64_t start_ns;
	unsigned messages, rcpts;
	bool pipelining, bdat, ipv6;
	unsigned chunks; // of a body by BDAT
	bool eager;      // with pipelining: BDAT in the group of MAIL and RCPT
	bool long_name;  // in its EHLO
	bool early;      // says EHLO before the banner
	bool reset;      // its end may be a reset, and that may be lost
	unsigned header; // version of the PROXY header that another proxy puts first, 0: none
	enum secure_plan secure;
	uint32_t piece;      // octets of a body written at once, 0: 1,400
	bool careless;       // bare line ends in bodies of DATA
	uint32_t pause_ms;   // silence ...
	unsigned pause_step; // ... after so many replies
	enum vanish vanish;
	unsigned vanish_step; // after so many replies
};

struct client_app;
struct client_app *clients_new(
	struct sim *sim,
	struct sim_host *host,
	struct ledger *ledger,
	const struct ip_endpoint target[2]
);
void clients_add(struct client_app *app, const struct client_plan *plan);
bool clients_done(const struct client_app *app);
void clients_free(struct client_app *app);

struct backend_plan {
	enum secure_plan secure;
	bool refuse, silent, banner_421;
	enum blob_client_address way; // it must be told the client so
	uint32_t reply_delay_ms, banner_delay_ms;
	uint32_t read_pause_ms;                      // after 2 KiB of a body: a slow reader
	uint32_t die_in_body_ppm, die_after_dot_ppm; // per message
	enum leave {
		LEAVE_RST,
		LEAVE_421,
		LEAVE_FIN
	} leave; // how it dies in a body: the last
		 // two read on
	uint32_t reject_eod_ppm;
	uint32_t torn_eod_ppm; // says half a reply and ends its side
	bool pipelining, chunking;
	bool accept_on_fin; // stores what it has when the peer closes inside a body: must never see
			    // a half
};

struct backend_app;
struct backend_app *backend_new(
	struct sim *sim,
	struct sim_host *host,
	struct ledger *ledger,
	const struct backend_plan *plan
);
bool backend_idle(const struct backend_app *app);
void backend_free(struct backend_app *app);
