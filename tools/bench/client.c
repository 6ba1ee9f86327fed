// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A client's dialogue: what it says, and what must come back. Judges replies by code and, where the
// backend names the message, by its identity. One thread.

#include "tools/bench/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/bench/host.h"

#define RCV_WINDOW 16384U
#define CHUNK (64U << 10)    // of a message written at once
#define TX_HELD (128U << 10) // bytes a client keeps unacknowledged
#define STARTS_A_TURN 64U    // new sessions
#define HOLD_MOVING 512U     // held ones on their way in or out
#define SCAN_A_TURN 64U      // for time-outs
#define CONNECT_TIMEOUT_MS 10000U
#define SAY_MAX 16384U

const char *const client_step_names[CLIENT_S_COUNT] = {
#define X(sym, name) name,
	CLIENT_STEPS(X)
#undef X
};

static const unsigned step_code[CLIENT_S_COUNT] = {
	[CLIENT_S_BANNER] = 220,
	[CLIENT_S_EHLO] = 250,
	[CLIENT_S_MAIL] = 250,
	[CLIENT_S_RCPT] = 250,
	[CLIENT_S_DATA] = 354,
	[CLIENT_S_BODY] = 250,
	[CLIENT_S_QUIT] = 221,
};

struct clients *clients_new(const struct bench *b)
{
	struct clients *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->count = b->opt.concurrent + b->opt.hold;
	c->client = calloc(c->count, sizeof(struct client));
	c->free.next = calloc(c->count, sizeof(uint32_t));
	if (c->client == NULL || c->free.next == NULL) {
		clients_free(c);
		return NULL;
	}
	for (uint32_t i = 0; i < c->count; i++)
		c->free.next[i] = i + 1;
	return c;
}

void clients_free(struct clients *c)
{
	if (c == NULL)
		return;
	free(c->client);
	free(c->free.next);
	free(c);
}

static void client_end(struct bench *b, struct client *cl)
{
	struct clients *c = b->clients;
	uint32_t idx = (uint32_t)(cl - c->client);

	c->active--;
	c->holding -= cl->held;
	c->held_ready -= cl->held && cl->step == CLIENT_S_HELD;
	cl->conn.v = 0;
	c->free.next[idx] = c->free.head;
	c->free.head = idx;
}

static void client_fail(struct bench *b, struct client *cl, const char *what, unsigned code)
{
	ledger_fail(&b->ledger, what, client_step_names[cl->step], code);
	b->clients->failed++;
	if (cl->conn.v != 0)
		tcp_abort(b->tcp, cl->conn);
	client_end(b, cl);
}

static void say(struct bench *b, struct client *cl, const char *text, uint32_t len)
{
	cl->asked_ns = b->env.now_ns;
	if (!tcp_tx_write(b->tcp, cl->conn, text, len))
		client_fail(b, cl, "no-buffer", 0);
}

static uint32_t mail_text(const struct bench *b, const struct client *cl, char *out)
{
	memcpy(out, "MAIL FROM:<b", 12);
	message_id_format(&b->messages, cl->message, out + 12);
	memcpy(out + 28, "@client.example>\r\n", 18);
	return 46;
}

static uint32_t rcpt_text(char *out)
{
	memcpy(out, "RCPT TO:<user@backend.example>\r\n", 32);
	return 32;
}

static uint32_t data_text(const struct bench *b, const struct client *cl, char *out)
{
	struct message m;

	if (!b->opt.bdat) {
		memcpy(out, "DATA\r\n", 6);
		return 6;
	}
	message_make(&b->messages, cl->message, true, &m);
	return (uint32_t)snprintf(out, 32, "BDAT %u LAST\r\n", m.wire_len);
}

// As much of the message as may be queued; goes on when bytes were acknowledged.
static void body_send(struct bench *b, struct client *cl)
{
	struct message m;

	message_make(&b->messages, cl->message, b->opt.bdat, &m);
	cl->size = m.wire_len;
	while (cl->sent < m.wire_len && tcp_tx_bytes(b->tcp, cl->conn) < TX_HELD) {
		uint32_t n;
		const uint8_t *p = message_run(&m, cl->sent, &n);

		n = n < CHUNK ? n : CHUNK;
		if (!tcp_tx_write(b->tcp, cl->conn, p, n))
			return; // no buffers now: more with the next acknowledgement, or a time-out
		cl->sent += n;
		cl->asked_ns = b->env.now_ns;
	}
}

// A new message of the session: with pipelining its whole envelope at once.
static void message_begin(struct bench *b, struct client *cl)
{
	char text[SAY_MAX];
	uint32_t n;

	cl->message = ledger_issue(&b->ledger);
	if (cl->message == UINT64_MAX) {
		client_fail(b, cl, "identities-used-up", 0);
		return;
	}
	cl->messages_left--;
	cl->rcpts_left = (uint16_t)b->opt.recipients;
	cl->sent = 0;
	cl->size = UINT32_MAX;
	cl->step = CLIENT_S_MAIL;
	n = mail_text(b, cl, text);
	if (b->opt.pipelining) {
		for (uint32_t i = 0; i < b->opt.recipients; i++)
			n += rcpt_text(text + n);
		n += data_text(b, cl, text + n);
	}
	say(b, cl, text, n);
	if (b->opt.pipelining && b->opt.bdat && cl->conn.v != 0)
		body_send(b, cl);
}

// The next step after RCPT: the data command, which pipelining has sent already.
static void data_begin(struct bench *b, struct client *cl)
{
	char text[64];

	cl->step = b->opt.bdat ? CLIENT_S_BODY : CLIENT_S_DATA;
	if (b->opt.pipelining)
		return;
	say(b, cl, text, data_text(b, cl, text));
	if (b->opt.bdat && cl->conn.v != 0)
		body_send(b, cl);
}

static void quit_say(struct bench *b, struct client *cl)
{
	cl->step = CLIENT_S_QUIT;
	say(b, cl, "QUIT\r\n", 6);
}

static void step_next(struct bench *b, struct client *cl)
{
	struct clients *c = b->clients;
	char text[64];

	switch (cl->step) {
	case CLIENT_S_BANNER:
		cl->step = CLIENT_S_EHLO;
		say(b, cl, "EHLO client.example\r\n", 21);
		break;
	case CLIENT_S_EHLO:
		if (cl->held) {
			cl->step = CLIENT_S_HELD;
			c->held_ready++;
		} else if (b->opt.pipelining && !cl->pipelining) {
			client_fail(b, cl, "no-pipelining", 0);
		} else {
			message_begin(b, cl);
		}
		break;
	case CLIENT_S_MAIL:
	case CLIENT_S_RCPT:
		if (cl->rcpts_left == 0) {
			data_begin(b, cl);
			break;
		}
		cl->rcpts_left--;
		cl->step = CLIENT_S_RCPT;
		if (!b->opt.pipelining)
			say(b, cl, text, rcpt_text(text));
		break;
	case CLIENT_S_DATA:
		cl->step = CLIENT_S_BODY;
		cl->asked_ns = b->env.now_ns;
		body_send(b, cl);
		break;
	case CLIENT_S_BODY:
		if (!ledger_accept(&b->ledger, cl->message)) {
			client_fail(b, cl, "accepted-twice", 0);
			break;
		}
		c->messages++;
		c->bytes += cl->sent;
		cl->message = UINT64_MAX;
		if (cl->messages_left > 0)
			message_begin(b, cl);
		else
			quit_say(b, cl);
		break;
	case CLIENT_S_QUIT:
		hist_note(&c->session, b->env.now_ns - cl->started_ns);
		cl->asked_ns = b->env.now_ns;
		cl->step = CLIENT_S_FIN;
		break;
	default:
		break;
	}
}

static bool is_code(const char *line, unsigned len, unsigned code)
{
	return len >= 6 && line[0] == (char)('0' + code / 100) &&
	       line[1] == (char)('0' + code / 10 % 10) && line[2] == (char)('0' + code % 10) &&
	       (line[3] == ' ' || line[3] == '-') && line[len - 2] == '\r' && line[len - 1] == '\n';
}

// Where the backend names the message: it must be this one.
static bool
names_message(const struct bench *b, const struct client *cl, const char *line, unsigned len)
{
	if (cl->step != CLIENT_S_MAIL && cl->step != CLIENT_S_BODY)
		return true;
	return len >= 10 + MESSAGE_ID_DIGITS &&
	       message_id_parse(&b->messages, line + 10) == cl->message;
}

// One line of a reply. False: the session is over, or nothing more can be read.
static bool line_take(struct bench *b, struct client *cl)
{
	const char *line;
	unsigned len;
	bool last;

	if (!host_line(b, cl->conn, &line, &len))
		return false;
	if (step_code[cl->step] == 0) {
		client_fail(b, cl, "unasked-reply", 0);
		return false;
	}
	if (!is_code(line, len, step_code[cl->step])) {
		client_fail(b, cl, "code", len >= 3 ? (unsigned)strtoul(line, NULL, 10) : 0);
		return false;
	}
	if (!names_message(b, cl, line, len)) {
		client_fail(b, cl, "reply-of-another-message", 0);
		return false;
	}
	if (cl->step == CLIENT_S_BODY && cl->sent != cl->size) {
		client_fail(b, cl, "reply-before-the-end", 0);
		return false;
	}
	last = line[3] == ' ';
	if (cl->step == CLIENT_S_EHLO && memmem(line, len, "PIPELINING", 10) == line + 4)
		cl->pipelining = true;
	tcp_rx_drop(b->tcp, cl->conn, len);
	if (last) {
		hist_note(&b->clients->step[cl->step], b->env.now_ns - cl->asked_ns);
		step_next(b, cl);
	}
	return cl->conn.v != 0;
}

void client_run(struct bench *b, uint32_t idx)
{
	struct client *cl = &b->clients->client[idx];

	if (cl->step == CLIENT_S_BODY ||
	    (b->opt.bdat && b->opt.pipelining && cl->message != UINT64_MAX))
		body_send(b, cl);
	while (line_take(b, cl))
		;
}

void client_connected(struct bench *b, uint32_t idx)
{
	struct client *cl = &b->clients->client[idx];

	hist_note(&b->clients->step[CLIENT_S_CONNECT], b->env.now_ns - cl->asked_ns);
	cl->step = CLIENT_S_BANNER;
	cl->asked_ns = b->env.now_ns;
}

void client_fin(struct bench *b, uint32_t idx)
{
	struct client *cl = &b->clients->client[idx];

	if (cl->step != CLIENT_S_FIN) {
		client_fail(b, cl, "eof", 0);
		return;
	}
	hist_note(&b->clients->step[CLIENT_S_FIN], b->env.now_ns - cl->asked_ns);
	b->clients->ok++;
	tcp_release(b->tcp, cl->conn, false);
	client_end(b, cl);
}

void client_closed(struct bench *b, uint32_t idx, enum tcp_close_reason reason)
{
	static const char *const names[] = {
		[TCP_CLOSE_DONE] = "closed",
		[TCP_CLOSE_RESET] = "reset",
		[TCP_CLOSE_REFUSED] = "refused",
		[TCP_CLOSE_TIMEOUT] = "tcp-timeout",
		[TCP_CLOSE_UNREACHABLE] = "unreachable",
		[TCP_CLOSE_NO_MEMORY] = "no-memory",
	};
	struct client *cl = &b->clients->client[idx];

	cl->conn.v = 0;
	client_fail(b, cl, names[reason], 0);
}

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
			quit_say(b, cl);
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
	unsigned work = scan(b);

	if (c->stopping)
		return work;
	if (c->held_ready < b->opt.hold && !c->release)
		return work + holds_begin(b);
	return work + (b->opt.rate > 0 && clients_warm(b) ? open_loop(b) : closed_loop(b));
}
