// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Visits of an OpenSSL client to one of two workers with the same ticket keys.

#pragma once

#include "tests/unit/tls/peer.h"
#include "tls/ticket.h"

#define NAME "mx.lab.example"
#define HOUR 3600

extern struct tls_engine *engines[2]; // two workers
extern struct peer_cert certs[PEER_KEYS], other, client, stranger;
extern int64_t shift_ms; // of the clock
extern struct ticket_keys keys;
extern const int versions[2];

int64_t now_ms(void);
void keys_give(void);        // to both workers
int keys_make(void **state); // a fresh one, and the clock right

// One connection as it is to be.
struct visit {
	int version;
	unsigned worker;
	const char *service, *sni, *suites, *groups;
	const struct peer_cert *cert, *shows, *ca;
	enum tls_client_auth auth;
	bool no_tickets, no_client_tickets, no_ems;
	bool fragments; // ClientHellos in several records
	uint32_t piece;
};

struct seen {
	struct tls_info info;
	enum tls_failure failure;
	bool good, reused;
	SSL_SESSION *session; // to be resumed; the caller's
};
struct seen visit(const struct visit *v, SSL_SESSION *session);
// A full handshake that leaves a ticket.
SSL_SESSION *first_visit(const struct visit *v);
void expect_resumed(const struct visit *v, SSL_SESSION *session);
void expect_full(const struct visit *v, SSL_SESSION *session, enum tls_ticket_refusal why);

// main() of such tests: the engine's number is the argument.
int visits_begin(int argc, char **argv);
void visits_end(void);
