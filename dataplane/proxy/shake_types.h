// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the steps before and in handshakes offer to the others of the relay. For this folder and its
// tests. Worker thread.

#pragma once

#include "dataplane/proxy/wire.h"

// offer.c: before TLS
bool offer_step(struct relay *r, struct session *s);
bool offer_starttls(
	struct relay *r,
	struct session *s,
	const struct smtp_command *cmd,
	const char *line,
	uint32_t len
);

// shake.c: TLS with the client
// The credentials that a policy names; NULL: none are loaded.
struct tls_creds *policy_creds(const struct relay *r, const struct blob_policy *policy);
void shake_begin(struct relay *r, struct session *s);
bool shake_step(struct relay *r, struct session *s);
void shake_finished(void *relay, struct tls_hs *hs); // of the engine
void shake_fail(struct relay *r, struct session *s, enum stat_id why);
bool shake_is_late(const struct relay *r, const struct session *s);
// The earlier of `at` and the handshake's own limit.
uint32_t shake_timer_ms(const struct relay *r, const struct session *s, uint32_t at);
// Of the policy as the configuration stands now; NULL: gone.
struct tls_creds *session_creds(const struct relay *r, const struct session *s);
void client_fill(struct relay *r, struct session *s);
// What came on a connection, to the handshake of its side, and what that gives to be sent.
// TLS_WAIT: relay_tls_run goes on with it.
enum tls_result shake_input(struct relay *r, uint32_t index, struct tcp_conn_id conn);
enum stat_id shake_failure(const struct wire_tls *t);

// shake_hold.c: handshakes that may not begin yet
enum hold {
	HOLD_NONE,   // it may begin
	HOLD_WAIT,   // shake_look goes on with it
	HOLD_REFUSE, // the service wants 454 then
};
enum hold shake_hold(struct relay *r, struct session *s);
void shake_hold_end(struct relay *r, struct session *s);      // it is given up
void shake_look(struct relay *r, struct session *s);          // the timer's
void shake_counted(struct relay *r, const struct session *s); // it has begun

// leg_tls.c: TLS with a backend
uint16_t leg_tls_flags(const struct session *s, const struct blob_pool *pool);
uint16_t probe_tls_flags(const struct blob_pool *pool);
// A line of an EHLO reply: is STARTTLS in it?
void leg_offer_note(struct session *s, const char *line, uint32_t len);
// False: the leg is not the session's any more.
bool leg_tls_begin(struct relay *r, struct session *s);
bool leg_starttls_begin(struct relay *r, struct session *s);
bool leg_tls_reply(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	unsigned code,
	bool more
);
bool leg_tls_step(struct relay *r, struct session *s);
void leg_tls_ready(struct relay *r, struct session *s); // the batch that it waited for is done
void leg_fill(struct relay *r, struct session *s);

// probe_tls.c: the handshake of a probe or test mail, as its pool says
bool probe_wants_starttls(const struct session *s); // and has no TLS yet
// STARTTLS was agreed to. False: it is over, or nothing more can be done now.
bool probe_starttls_begin(struct relay *r, struct session *s);
void probe_tls_begun(struct relay *r, struct session *s);
bool probe_tls_over(struct relay *r, struct session *s); // in TLS now; false: it has ended
void probe_tls_fail(struct relay *r, struct session *s);
bool probe_tls_step(struct relay *r, struct session *s);

// signal.c: tells control of what no backend should do. line: its reply, not beyond len.
void alarm_tell(
	struct relay *r,
	const struct session *s,
	enum ctl_alarm_kind kind,
	const char *line,
	uint32_t len
);

// profile.c: what backends were seen to advertise
struct profile *profiles_new(uint32_t backends);
void profile_learn(struct relay *r, const struct session *s);
uint32_t profile_ehlo(const struct relay *r, const struct session *s, char *out, uint32_t room);
