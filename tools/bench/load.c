// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// When sessions begin and end: closed and open loop, held ones, time-outs. One thread.

#include <string.h>

#include "tools/bench/bench.h"
#include "tools/bench/client.h"
#include "tools/bench/secure.h"

#define RCV_WINDOW 16384U
#define STARTS_A_TURN 64U // new sessions
#define HOLD_MOVING 512U  // held ones on their way in or out
#define SCAN_A_TURN 64U   // for time-outs
#define CONNECT_TIMEOUT_MS 10000U

// The n-th address of a prefix, counted from 1.
static struct ip_addr address_of(const struct ip_prefix *prefix, uint32_t n)
{
	struct ip_addr a = prefix->addr;

	for (unsigned i = 15; n > 0 && i * 8 >= prefix->len; i--, n >>= 8)
		a.b[i] = (uint8_t)(a.b[i] + (n & 0xff));
	return a;
}

static bool client_begin(struct bench *b, bool held, uint64_t meant_ns)
{
	struct clients *c = b->clients;
	uint32_t idx = c->free.head;
	struct client *cl = &c->client[idx];
	const struct ip_endpoint *target = &b->opt.target[c->draw % b->opt.target_count];
	bool v4 = ip_addr_is_v4(&target->addr);
	uint32_t n = 1 + (uint32_t)(c->draw / b->opt.target_count % b->opt.client_count);
	const struct tcp_connect_args args = {
		.local = address_of(v4 ? &b->opt.clients4 : &b->opt.clients6, n),
		.remote = *target,
		.user = idx,
		.rcv_window = RCV_WINDOW,
		.syn_timeout_ms = CONNECT_TIMEOUT_MS,
	};

	if (c->active == c->count)
		return false;
	c->draw++;
	c->begun++;
	c->active++;
	c->holding += held;
	c->free.head = c->free.next[idx];
	*cl = (struct client){
		.held = held,
		.messages_left = (uint16_t)b->opt.messages,
		.message = UINT64_MAX,
		.started_ns = meant_ns,
		.asked_ns = b->env.now_ns,
	};
	if (tcp_connect(b->tcp, &args, &cl->conn) == 0)
		return true;
	client_fail(b, cl, "no-port", 0);
	return false;
}

bool clients_done(const struct bench *b)
{
	const struct clients *c = b->clients;
	bool all =
		c->stopping || (b->opt.sessions != 0 && c->begun >= b->opt.sessions + b->opt.hold);

	if (c->release)
		return c->active == 0;
	return (all || b->opt.concurrent == 0) && c->active == c->holding;
}

bool clients_warm(const struct bench *b)
{
	const struct clients *c = b->clients;
	uint64_t first = 2ULL * b->opt.backend_count * b->opt.target_count;

	return c->ok + c->failed + c->held_ready >= first || clients_done(b);
}

// Idle sessions first, a bounded number of them on their way.
static unsigned holds_begin(struct bench *b)
{
	struct clients *c = b->clients;
	uint32_t opening = clients_warm(b) ? HOLD_MOVING : 1;
	unsigned n = 0;

	while (!c->release && c->holding < b->opt.hold && c->holding - c->held_ready < opening &&
	       n < STARTS_A_TURN && client_begin(b, true, b->env.now_ns))
		n++;
	return n;
}

static unsigned open_loop(struct bench *b)
{
	struct clients *c = b->clients;
	uint64_t gap = 1000000000ULL / b->opt.rate;
	unsigned n = 0;

	if (c->next_ns == 0)
		c->next_ns = b->env.now_ns;
	while (c->next_ns <= b->env.now_ns && n < STARTS_A_TURN &&
	       (b->opt.sessions == 0 || c->begun < b->opt.sessions + b->opt.hold)) {
		if (c->active - c->holding >= b->opt.concurrent ||
		    !client_begin(b, false, c->next_ns)) {
			c->late_starts++;
			break; // stays due: its time counts from then
		}
		c->next_ns += gap;
		n++;
	}
	return n;
}

static unsigned closed_loop(struct bench *b)
{
	struct clients *c = b->clients;
	uint32_t most = clients_warm(b) ? b->opt.concurrent : 1;
	unsigned n = 0;

	while (c->active - c->holding < most && n < STARTS_A_TURN &&
	       (b->opt.sessions == 0 || c->begun < b->opt.sessions + b->opt.hold) &&
	       client_begin(b, false, b->env.now_ns))
		n++;
	return n;
}

// A part of all sessions each turn: who waits too long, and held ones that may go.
static unsigned scan(struct bench *b)
{
	struct clients *c = b->clients;
	uint64_t limit = (uint64_t)b->opt.timeout_s * 1000000000ULL;
	unsigned work = 0;

	for (unsigned i = 0; i < SCAN_A_TURN; i++) {
		struct client *cl = &c->client[c->scan];

		c->scan = c->scan + 1 < c->count ? c->scan + 1 : 0;
		if (cl->conn.v == 0)
			continue;
		if (cl->step == CLIENT_S_HELD) {
			if (!c->release || c->active - c->held_ready >= HOLD_MOVING)
				continue;
			c->held_ready--;
			client_quit(b, cl);
			work++;
		} else if (b->env.now_ns - cl->asked_ns > limit) {
			client_fail(b, cl, "timeout", 0);
		}
	}
	return work;
}

unsigned clients_turn(struct bench *b)
{
	struct clients *c = b->clients;
	unsigned work = scan(b) + secure_turn(b);

	if (c->stopping)
		return work;
	if (c->held_ready < b->opt.hold && !c->release)
		return work + holds_begin(b);
	return work + (b->opt.rate > 0 && clients_warm(b) ? open_loop(b) : closed_loop(b));
}
