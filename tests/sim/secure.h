// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TLS in the simulator: engines and credentials of the box's workers, kept for all seeds, and what
// the other hosts speak: tls/ too, on an engine without batches, half of them at most TLS 1.2.
// Clients come again with the ticket of an earlier session, to any worker, whatever was reloaded
// meanwhile. Handshakes take random numbers of the libraries' own, so a seed with TLS does not
// replay to the byte.

#pragma once

#include "tests/sim/sim.h"
#include "tls/hs.h"

#define SECURE_HANDSHAKES 2 // of a worker at once: some wait for a context

struct tls_engine *secure_engine(unsigned worker); // made with the first call
const struct tls_set *secure_set(unsigned worker);
unsigned secure_handshakes(unsigned worker); // under way
// A reload: the worker gets the same certificate parsed anew; then what it had before is given
// back, as a worker does.
void secure_reload(unsigned worker);
void secure_reloaded(unsigned worker);
// Sessions of clients that were resumed, of all seeds.
struct secure_resumed {
	unsigned v13, v12;
	unsigned elsewhere; // of 1.3: by another worker than gave the ticket
	unsigned reloaded;  // of 1.3: by one whose credentials had changed since
};
struct secure_resumed secure_resumed(void);
void secure_fini(void);

// What a client does for TLS; everything but SECURE_NONE and SECURE_IMPLICIT begins in plain text.
enum secure_plan {
	SECURE_NONE,
	SECURE_STARTTLS,
	SECURE_IMPLICIT,
	SECURE_INJECT,       // a command behind STARTTLS, in the same segment
	SECURE_INJECT_LATER, // in one of its own, before the reply
	SECURE_HALF_HELLO,   // stops in the middle of its ClientHello,
	SECURE_NO_FINISHED,  // or of its handshake
	SECURE_GARBAGE,      // no ClientHello
	// backends
	SECURE_SERVER,          // TLS from the start
	SECURE_SERVER_STARTTLS, // nothing but EHLO and STARTTLS before it
	SECURE_SERVER_NONE,     // does not offer it,
	SECURE_SERVER_REFUSE,   // or answers 454,
	SECURE_SERVER_INJECT,   // or puts another reply behind its 220
};

// A connection as its end reads and writes it. After STARTTLS the reply to it is read again as if
// it came inside TLS, in place of a banner.
struct speaker {
	struct sim *sim;
	struct tcp_stack *tcp;
	struct tcp_conn_id conn;
	enum secure_plan plan;
	struct secure *secure; // NULL: plain text
};
void speaker_open(struct speaker *sp); // the connection stands
void speaker_close(struct speaker *sp, bool notify);
bool speaker_ready(struct speaker *sp); // to write: not in the middle of a handshake
bool speaker_write(struct speaker *sp, const void *data, uint32_t len); // all or nothing
bool speaker_peek(struct speaker *sp, const uint8_t **ret, uint32_t *ret_len);
void speaker_drop(struct speaker *sp, uint32_t n);
