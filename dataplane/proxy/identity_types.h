// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Who a session's client is, for us and for its backend: what the files about that offer to the
// others of the relay. For this folder and its tests. Worker thread.

#pragma once

#include "dataplane/proxy/session_types.h"

// accept.c
// The policy for a client: the service's, or that of the first rule whose network holds it.
const struct blob_policy *
policy_for(const struct relay *r, const struct blob_service *service, const struct ip_addr *client);
// Likewise for a session's client; NULL: the service is gone.
const struct blob_policy *session_policy(const struct relay *r, const struct session *s);
// Who it is is known: its policy, its limits, our banner, its leg.
void session_admit(struct relay *r, struct session *s);
// Its banner, or its leg, once it is admitted and has waited. The session may end.
void session_welcome(struct relay *r, struct session *s);
// The first of so many rules whose network holds it, or NULL.
const struct blob_rule *
rule_for(const struct relay *r, uint32_t first, uint32_t count, const struct ip_addr *client);

// accept_header.c: PROXY headers of those who must send one
bool named_init(struct relay *r);
size_t named_bytes(const struct relay *r); // reserved
void named_free(struct relay *r);
void named_forget(struct relay *r, struct session *s);
// Of the session's header, or its connection. It must have a client.
void session_client_get(const struct relay *r, const struct session *s, struct session_client *ret);
bool header_step(struct relay *r, struct session *s);
void header_late(struct relay *r, struct session *s);

// identity.c: what backends are told of the client before all else
enum blob_client_address identity_way(
	const struct session *s,
	const struct blob_policy *policy,
	const struct blob_pool *pool
);
uint16_t identity_flags(enum blob_client_address way); // of the leg
// Is its leg to be told of the client's TLS, so that it cannot be opened before that is known?
bool identity_waits(const struct relay *r, const struct session *s);
// The header, on a leg that has just connected. False: the session has ended, or has no leg.
bool identity_send(struct relay *r, struct session *s);

// leg_xclient.c
// The leg is greeted, and in TLS if it is to be: it is told of the client, or ready. False: the
// session has ended.
bool leg_greeted(struct relay *r, struct session *s);
bool leg_xclient_reply(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	unsigned code,
	bool more
);

// verdict.c: refusals of a backend that knows the client are the client's
// A greeting, or a reply to XCLIENT or to the EHLO that we said again: is it one? line: its first.
bool is_verdict(const struct session *s, const char *line, uint32_t len, unsigned code);
bool verdict_take(struct relay *r, struct session *s); // as reply_step
// Instead of the reply to this line, then the end. False: it has ended, or once more later.
bool verdict_say(struct relay *r, struct session *s, const char *line, uint32_t len);
