// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Why a reply took so long: the classifier (design: smtp.md C.4). Fed with every reply of a
// backend, it learns what is usual there, which delays are constant and which spread, and gives
// each slow reply a reason; `unknown` rather than a guess. Pure: no clock, no memory of its own,
// constant work a reply. All zero is the state of who knows nothing. Times inside are ticks of 10
// ms.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/shm_layout.h"
#include "common/abi/tarpit.h"
#include "dataplane/smtp/verb.h"

#define TARPIT_RING 8
#define TARPIT_PIECES 4 // unfinished looks at a reply from which on it stutters

// What a reply says, as far as a rule of some server goes by it.
enum tarpit_kind {
	TARPIT_KIND_GOOD, // 2xx, 3xx
	TARPIT_KIND_ACK,  // 250 2.6.0 at the end of data
	TARPIT_KIND_USER, // kinds from here to CONTENT: what Exchange tarpits
	TARPIT_KIND_AUTH,
	TARPIT_KIND_AUTH_TYPE,
	TARPIT_KIND_RELAY,
	TARPIT_KIND_CONTENT,
	TARPIT_KIND_NO_ROOM,
	TARPIT_KIND_ERROR, // any other 4xx, 5xx
	TARPIT_KINDS
};

enum { // rings: one for each thing whose delay may be a constant
	TARPIT_RING_USER,
	TARPIT_RING_AUTH,
	TARPIT_RING_AUTH_TYPE,
	TARPIT_RING_RELAY,
	TARPIT_RING_CONTENT,
	TARPIT_RING_MAIL,
	TARPIT_RING_BANNER,
	TARPIT_RING_ERRORS, // replies after errors that were not slow
	TARPIT_RING_ALL,    // good replies, whatever their verb
	TARPIT_RING_ACK,
	TARPIT_RINGS
};

enum { TARPIT_GROW_MAIL, TARPIT_GROW_RCPT, TARPIT_GROW_IDLE, TARPIT_GROWS };

struct tarpit_ring {
	uint16_t last[TARPIT_RING]; // 0: none
	uint16_t k;                 // the constant learned, 0: none
	uint8_t at;
	uint8_t sure; // of k
};

// What was learned of a backend, seen from one worker.
struct tarpit_backend {
	uint32_t base_us[SHM_VERB_GROUPS]; // usual time of a reply, round trip included
	uint32_t jitter_us;
	uint16_t slow[SHM_VERB_GROUPS]; // share of good replies that are slow, of 65535
	uint16_t load;                  // how slow these are
	uint16_t seen;                  // groups with traffic, a bit each
	uint8_t grow_sure[TARPIT_GROWS];
	int8_t after_errors; // > 0: all replies are slow after errors, < 0: RCPT only
	uint8_t distrust;    // our address seems to be discredited
	uint16_t distrust_k;
	uint16_t grow_start[TARPIT_GROWS]; // the first delay of a session
	struct tarpit_ring ring[TARPIT_RINGS];
};

// What was seen on a connection that had errors or slow replies.
struct tarpit_leg {
	uint32_t held_us;    // slow replies without a reason as yet, all of one delay
	uint16_t held;       // this delay, 0: none
	uint16_t fast;       // replies but the banner that were not slow
	uint16_t errors;     // that were not slow, since the last mail
	uint16_t run_k;      // delay of the slow replies so far
	uint8_t odd;         // slow replies whose delay was not that of the one before
	uint8_t run, groups; // how many of them, and of which groups, a bit each
	uint8_t held_count, held_group, held_kind, held_grow;
	uint16_t kinds;      // refused without delay, a bit each
	uint8_t errors_slow; // replies slow by a constant after errors
	uint8_t grow_run[TARPIT_GROWS];
	uint16_t grow_first[TARPIT_GROWS], grow_last[TARPIT_GROWS];
};

struct tarpit_reply {
	enum smtp_verb verb; // SMTP_V_UNKNOWN with banner: the greeting
	unsigned code;
	const char *line; // its last line
	uint32_t len;
	uint32_t us;     // what the server took: from the command, or from the reply before it
	uint32_t pieces; // looks that found it begun and not whole
	bool banner;
	bool follows; // it was said in a group: us counts from the reply before it
	bool more;    // others of its group await their replies
	bool authed;  // the session is authenticated
};

struct tarpit_verdict {
	enum tarpit_reason reason;
	uint32_t events, us;
};
#define TARPIT_VERDICTS 3 // at most from one reply: it settles what was held, and may have two

enum tarpit_kind tarpit_kind(enum smtp_verb verb, unsigned code, const char *line, uint32_t len);

// True: the reply is good and not slow, nothing is known of its leg, and that was all (the usual
// time was learned). False: tarpit_judge is to see it.
bool tarpit_ordinary(struct tarpit_backend *b, const struct tarpit_reply *reply);
// leg NULL: there is no room to remember its history. Returns how many verdicts there are.
unsigned tarpit_judge(
	struct tarpit_backend *b,
	struct tarpit_leg *leg,
	const struct tarpit_reply *reply,
	struct tarpit_verdict ret[TARPIT_VERDICTS]
);
// The connection is over: what was held gets its reason. Returns how many verdicts, 0 or 1.
unsigned
tarpit_leg_end(struct tarpit_backend *b, struct tarpit_leg *leg, struct tarpit_verdict *ret);
// The constant learned from the replies that Exchange delays, 0: none.
uint32_t tarpit_interval_ms(const struct tarpit_backend *b);
