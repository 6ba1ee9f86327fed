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
#include "tools/bench/secure.h"

#define CHUNK (64U << 10)    // of a message written at once
#define TX_HELD (128U << 10) // bytes a client keeps unacknowledged
#define SAY_MAX 16384U

const char *const client_step_names[CLIENT_S_COUNT] = {
#define X(sym, name) name,
	CLIENT_STEPS(X)
#undef X
};

static const unsigned step_code[CLIENT_S_COUNT] = {
	[CLIENT_S_BANNER] = 220,
	[CLIENT_S_EHLO] = 250,
	[CLIENT_S_STARTTLS] = 220,
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
	if (cl->secure)
		secure_end(b, idx);
	c->free.next[idx] = c->free.head;
	c->free.head = idx;
}

void client_fail(struct bench *b, struct client *cl, const char *what, unsigned code)
{
	ledger_fail(&b->ledger, what, client_step_names[cl->step], code);
	b->clients->failed++;
	if (cl->conn.v != 0)
		tcp_abort(b->tcp, cl->conn);
	client_end(b, cl);
}

static bool client_write(struct bench *b, struct client *cl, const void *data, uint32_t len)
{
	if (cl->secure)
		return secure_write(b, (uint32_t)(cl - b->clients->client), data, len);
	return tcp_tx_write(b->tcp, cl->conn, data, len);
}

static void say(struct bench *b, struct client *cl, const char *text, uint32_t len)
{
	cl->asked_ns = b->env.now_ns;
	if (!client_write(b, cl, text, len))
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
		if (!client_write(b, cl, p, n))
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

void client_quit(struct bench *b, struct client *cl)
{
	cl->step = CLIENT_S_QUIT;
	say(b, cl, "QUIT\r\n", 6);
}

static void ehlo_say(struct bench *b, struct client *cl)
{
	cl->step = CLIENT_S_EHLO;
	say(b, cl, "EHLO client.example\r\n", 21);
}

// After 220 to STARTTLS.
static void shake_begin(struct bench *b, struct client *cl)
{
	cl->step = CLIENT_S_SHAKE;
	cl->asked_ns = b->env.now_ns;
	cl->secure = true;
	if (secure_begin(b, (uint32_t)(cl - b->clients->client)))
		return;
	cl->secure = false;
	client_fail(b, cl, "no-memory", 0);
}

static void ehlo_answered(struct bench *b, struct client *cl)
{
	if (b->opt.tls != 0 && !cl->secure) {
		cl->step = CLIENT_S_STARTTLS;
		say(b, cl, "STARTTLS\r\n", 10);
	} else if (cl->held) {
		cl->step = CLIENT_S_HELD;
		b->clients->held_ready++;
	} else if (b->opt.pipelining && !cl->pipelining) {
		client_fail(b, cl, "no-pipelining", 0);
	} else {
		message_begin(b, cl);
	}
}

static void step_next(struct bench *b, struct client *cl)
{
	struct clients *c = b->clients;
	char text[64];

	switch (cl->step) {
	case CLIENT_S_BANNER:
		ehlo_say(b, cl);
		break;
	case CLIENT_S_EHLO:
		ehlo_answered(b, cl);
		break;
	case CLIENT_S_STARTTLS:
		shake_begin(b, cl);
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
			client_quit(b, cl);
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

	if (cl->secure ? !secure_line(b, (uint32_t)(cl - b->clients->client), &line, &len)
		       : !host_line(b, cl->conn, &line, &len))
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
	if (cl->secure)
		secure_drop(b, (uint32_t)(cl - b->clients->client), len);
	else
		tcp_rx_drop(b->tcp, cl->conn, len);
	if (last) {
		hist_note(&b->clients->step[cl->step], b->env.now_ns - cl->asked_ns);
		step_next(b, cl);
	}
	return cl->conn.v != 0;
}

// What came is deciphered. False: nothing is to be read as text yet, or the session is over.
static bool secure_take(struct bench *b, struct client *cl)
{
	switch (secure_run(b, (uint32_t)(cl - b->clients->client))) {
	case SECURE_WAITS:
		return false;
	case SECURE_BROKEN:
		client_fail(b, cl, "tls", 0);
		return false;
	case SECURE_DONE:
		break;
	}
	if (cl->step == CLIENT_S_SHAKE) {
		hist_note(&b->clients->step[CLIENT_S_SHAKE], b->env.now_ns - cl->asked_ns);
		ehlo_say(b, cl);
	}
	return cl->conn.v != 0;
}

void client_run(struct bench *b, uint32_t idx)
{
	struct client *cl = &b->clients->client[idx];

	if (cl->secure && !secure_take(b, cl))
		return;
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
	if (cl->secure)
		secure_close(b, idx);
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
