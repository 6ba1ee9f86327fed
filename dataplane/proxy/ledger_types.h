// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the ledger is told by the steps of a mail, see ledger.c; a look at a pointer where there is
// none. For this folder. Worker thread.

#pragma once

#include "dataplane/proxy/session_types.h"

#define ENVELOPE_TEXT 960
static_assert(ENVELOPE_TEXT <= LEDGER_LIST_MAX, "one record");

struct envelope {
	uint32_t session; // index
	uint32_t next;    // in its bucket
	struct ip_addr client;
	uint16_t client_tls, client_suite;
	uint16_t recipients, accepted;
	uint16_t listed;
	uint16_t owed;     // replies to RCPT of the mail before, which come first
	uint16_t used;     // octets of text
	uint16_t next_off; // in text, of the first recipient without a reply
	uint16_t unlisted; // that await one, behind those listed
	uint16_t flags;    // LEDGER_F_*
	uint8_t from_len;
	uint8_t keep;             // enum blob_ledger, when it began
	char text[ENVELOPE_TEXT]; // sender, then recipients as in a record
};
static_assert(sizeof(struct envelope) <= 1024, "memory of the pool");

struct ledger {
	struct capture_writer out;
	uint64_t seq;
	uint32_t *bucket; // [mask + 1]: a session of itself has no room to say which is its
	uint32_t mask;
	struct envelope *envelope; // 0: none
	struct idpool ids;
};

bool ledger_init(struct relay *r); // without a ring: none
void ledger_free(struct relay *r);
void ledger_check(const struct relay *r);
struct envelope *ledger_envelope_of(const struct relay *r, const struct session *s); // NULL: none
// Of one side's TLS; 0 and 0 without.
void ledger_tls_facts(
	const struct relay *r,
	uint32_t index,
	uint16_t *ret_version,
	uint16_t *ret_suite
);
struct ip_addr
ledger_client_of(const struct relay *r, const struct session *s); // while it is there
void ledger_command_take(
	struct relay *r,
	const struct session *s,
	enum smtp_verb verb,
	const char *line,
	uint32_t len
);
void ledger_refused_take(
	struct relay *r,
	const struct session *s,
	enum smtp_own own,
	const char *line,
	uint32_t len
);
void ledger_recipient_answer(struct relay *r, const struct session *s, unsigned code);
// ledger_record.c
void ledger_mail_tell(
	struct relay *r,
	struct session *s,
	unsigned code,
	const char *line,
	uint32_t len
);
void ledger_envelope_drop(struct relay *r, const struct session *s);

// A command that goes to the backend, before it is pushed.
static inline void ledger_command(
	struct relay *r,
	const struct session *s,
	enum smtp_verb verb,
	const char *line,
	uint32_t len
)
{
	if (r->ledger != NULL)
		ledger_command_take(r, s, verb, line, len);
}

// A recipient that we refused ourselves.
static inline void ledger_refused(
	struct relay *r,
	const struct session *s,
	enum smtp_own own,
	const char *line,
	uint32_t len
)
{
	if (r->ledger != NULL)
		ledger_refused_take(r, s, own, line, len);
}

// The last line of a reply, before its command is popped.
static inline void ledger_reply(
	struct relay *r,
	struct session *s,
	enum smtp_verb verb,
	unsigned code,
	const char *line,
	uint32_t len
)
{
	if (r->ledger == NULL)
		return;
	if (verb == SMTP_V_RCPT)
		ledger_recipient_answer(r, s, code);
	else if (verb == SMTP_V_BODY)
		ledger_mail_tell(r, s, code, line, len);
}

static inline void ledger_session_end(struct relay *r, const struct session *s)
{
	if (r->ledger != NULL)
		ledger_envelope_drop(r, s);
}
