// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Which messages a client had accepted and which a backend stored: a bit each, compared at the end,
// so that none may be lost, doubled or invented. And what failed, by name. One thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define LEDGER_FAILURES 64

struct ledger_failure {
	char name[48];
	uint64_t count;
};

struct ledger {
	uint64_t size;   // identities there may be
	uint64_t issued; // 0 .. issued - 1 were given to clients
	uint64_t *accepted, *stored;
	uint64_t accepted_count, stored_count;
	struct ledger_failure failure[LEDGER_FAILURES];
	unsigned failure_count;
	uint64_t failures;
};

bool ledger_init(struct ledger *l, uint64_t size);
void ledger_fini(struct ledger *l);
// A new identity, UINT64_MAX when there are no more.
uint64_t ledger_issue(struct ledger *l);
// The backend has it whole. False: never sent, or stored before.
bool ledger_store(struct ledger *l, uint64_t id);
// The client was told so. False: told twice.
bool ledger_accept(struct ledger *l, uint64_t id);
// "what:where", counted.
void ledger_fail(struct ledger *l, const char *what, const char *where, unsigned code);
// Accepted but not stored (lost), stored but not accepted (unconfirmed: a duplicate later).
void ledger_compare(const struct ledger *l, uint64_t *ret_lost, uint64_t *ret_unconfirmed);
