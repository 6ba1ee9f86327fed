// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The tarpit of ours, for the steps of the relay and their tests. Worker thread.

#pragma once

#include "dataplane/proxy/session_types.h"

// Judges a client that is admitted; true: its banner waits.
bool stall_admit(
	struct relay *r,
	struct session *s,
	const struct blob_service *service,
	const struct ip_addr *client
);
void stall_error(struct relay *r, struct session *s); // of the client, refused by us
// A reply of the backend: an error, or a mail that makes up for those before.
void stall_score(struct relay *r, struct session *s, enum smtp_verb verb, unsigned code);
// True: the reply of ours whose turn has come waits; the backend's at the front does from now on.
bool stall_own(struct relay *r, struct session *s);
bool stall_reply(struct relay *r, struct session *s);
void stall_fire(struct relay *r, struct session *s);  // it has waited; the session may end
bool stall_is_left(const struct session *s);          // by a client that awaited its banner
void stall_leave(struct relay *r, struct session *s); // the client does not wait any longer
// The leg is gone: what it and we have said is told without delay.
void stall_give_up(struct relay *r, struct session *s);
