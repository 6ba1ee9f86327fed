// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Mode passthrough: octets go on as they came and at once (splice.c); until TLS begins or the
// dialogue cannot be followed any more they are looked at on their way (scan_*.c). For this folder
// and its tests. Worker thread.

#pragma once

#include "dataplane/proxy/wire.h"

#define SCAN_AGAIN_MAX 4096 // commands of one kind that await replies, as one entry

// Is what passes still read?
static inline bool is_read(const struct session *s)
{
	return s->state >= RELAY_S_PASS && s->state <= RELAY_S_PASS_BDAT;
}

static inline bool is_passthrough(const struct session *s)
{
	return s->state == RELAY_S_SPLICE || is_read(s);
}

// Do octets of a body pass?
static inline bool is_body_read(const struct session *s)
{
	return s->state == RELAY_S_PASS_DATA || s->state == RELAY_S_PASS_BDAT;
}

// splice.c
bool splice_step(struct relay *r, struct session *s);
void splice_cut(struct relay *r, struct session *s); // silent for too long
// What the backend said before its reset goes on. False: the session has ended.
bool splice_last_ones(struct relay *r, struct session *s);

// scan.c
// Nothing more is read, for this reason.
void scan_end(struct relay *r, struct session *s, enum stat_id why);
// Notes that a reply is due. False: they are too many, the scan has ended.
bool scan_push(struct relay *r, struct session *s, enum smtp_verb verb);
// No mail is open, nobody owes anything, and each side is at the begin of a line: a line of ours
// may stand here.
bool scan_is_between_mails(const struct relay *r, const struct session *s);
// Half a command has gone to the leg: QUIT would be taken for the rest of it.
bool scan_is_cut(const struct session *s);
// Half a reply has come from it.
bool scan_reply_is_cut(const struct session *s);
// The client is not there any more.
void scan_client_gone(struct relay *r, struct session *s);
// The client's FIN came, and all before it has gone on. False: the session has ended.
bool scan_client_fin(struct relay *r, struct session *s);
// Likewise of the leg.
bool scan_leg_fin(struct relay *r, struct session *s);

// scan_banner.c
// May the greeting go on? Not while it may be one that sends the session to another backend.
bool scan_greeting(struct relay *r, struct session *s);
// The connection is greeted, or taken for it.
void scan_greeted(struct relay *r, struct session *s);
// The last line of the greeting has passed.
void scan_banner(struct relay *r, struct session *s, unsigned code, const char *line, uint32_t len);

// scan_command.c, scan_reply.c: look at octets on their way, return how many of them; when fewer,
// or with the state changed, to be called again for the rest.
uint32_t scan_commands(struct relay *r, struct session *s, const uint8_t *data, uint32_t len);
uint32_t scan_replies(struct relay *r, struct session *s, const uint8_t *data, uint32_t len);
// The rest of a reply of which the client has got the begin before it left. False: no more there.
bool scan_reply_rest(struct relay *r, struct session *s);
