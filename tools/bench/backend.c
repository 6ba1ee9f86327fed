// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// One server connection: commands, bodies compared with what the identity makes, replies at once or
// after the delay (nothing more is read meanwhile: a tarpit). One thread.

#include "tools/bench/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/bench/host.h"

#define RCV_WINDOW (256U << 10)
#define NONE UINT32_MAX

const char *const backend_verb_names[BACKEND_V_COUNT] = {
#define X(sym) #sym,
	BACKEND_VERBS(X)
#undef X
};

enum leg_reply {
	REPLY_NONE,
	REPLY_BANNER,
	REPLY_EHLO,
	REPLY_MAIL,
	REPLY_OK,
	REPLY_GO_ON,
	REPLY_STORED,
	REPLY_BYE,
	REPLY_SEQUENCE,
	REPLY_UNKNOWN,
	REPLY_COUNT
};

static const char *const reply_text[REPLY_COUNT] = {
	[REPLY_BANNER] = "220 backend.example ESMTP\r\n",
	[REPLY_EHLO] = "250-backend.example\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n"
		       "250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n",
	[REPLY_MAIL] = "250 2.1.0 ",
	[REPLY_OK] = "250 2.1.5 ok\r\n",
	[REPLY_GO_ON] = "354 go on\r\n",
	[REPLY_STORED] = "250 2.0.0 ",
	[REPLY_BYE] = "221 2.0.0 bye\r\n",
	[REPLY_SEQUENCE] = "503 5.5.1 bad sequence of commands\r\n",
	[REPLY_UNKNOWN] = "500 5.5.2 unknown\r\n",
};

struct backends *backends_new(const struct bench *b)
{
	struct backends *s = calloc(1, sizeof(*s));
	uint32_t sessions = b->opt.concurrent + b->opt.hold;

	if (s == NULL)
		return NULL;
	s->count = sessions + sessions / 8 + 256; // those that finish while others begin
	s->leg = calloc(s->count, sizeof(struct leg));
	s->free.next = calloc(s->count, sizeof(uint32_t));
	if (s->leg == NULL || s->free.next == NULL) {
		backends_free(s);
		return NULL;
	}
	for (uint32_t i = 0; i < s->count; i++)
		s->free.next[i] = i + 1;
	s->due_head = s->due_tail = NONE;
	return s;
}

void backends_free(struct backends *s)
{
	if (s == NULL)
		return;
	free(s->leg);
	free(s->free.next);
	free(s);
}

bool backend_listens(
	const struct bench *b,
	const struct ip_endpoint *local,
	struct tcp_listen_info *ret
)
{
	for (unsigned i = 0; i < b->opt.backend_count; i++) {
		if (b->opt.backend[i].port == local->port &&
		    ip_addr_eq(&b->opt.backend[i].addr, &local->addr)) {
			*ret = (struct tcp_listen_info){.cookie = i, .rcv_window = RCV_WINDOW};
			return true;
		}
	}
	return false;
}

static void leg_end(struct bench *b, struct leg *leg)
{
	struct backends *s = b->backends;

	leg->conn.v = 0;
	leg->state = LEG_FREE;
	s->active--;
	if (leg->due_ns != 0)
		return; // still in the list of delayed replies: free after it
	s->free.next[leg - s->leg] = s->free.head;
	s->free.head = (uint32_t)(leg - s->leg);
}

static void leg_fail(struct bench *b, struct leg *leg, const char *what)
{
	static const char *const where[] = {"free", "command", "body"};

	ledger_fail(&b->ledger, what, where[leg->state], 0);
	if (leg->conn.v != 0)
		tcp_abort(b->tcp, leg->conn);
	leg_end(b, leg);
}

static void reply_send(struct bench *b, struct leg *leg)
{
	enum leg_reply reply = (enum leg_reply)leg->reply;
	const char *text = reply_text[reply];
	uint32_t len = (uint32_t)strlen(text);
	char named[64];

	leg->reply = REPLY_NONE;
	if (reply == REPLY_MAIL || reply == REPLY_STORED) {
		memcpy(named, text, len);
		message_id_format(&b->messages, leg->message, named + len);
		memcpy(named + len + MESSAGE_ID_DIGITS, "\r\n", 2);
		text = named;
		len += MESSAGE_ID_DIGITS + 2;
	}
	if (reply == REPLY_STORED)
		leg->message = UINT64_MAX;
	if (!tcp_tx_write(b->tcp, leg->conn, text, len)) {
		leg_fail(b, leg, "backend-no-buffer");
		return;
	}
	if (reply != REPLY_BYE)
		return;
	b->backends->legs_ok++;
	tcp_release(b->tcp, leg->conn, true);
	leg_end(b, leg);
}

static void leg_reply(struct bench *b, struct leg *leg, enum leg_reply reply)
{
	struct backends *s = b->backends;
	uint32_t idx = (uint32_t)(leg - s->leg);

	leg->reply = (uint8_t)reply;
	if (b->opt.delay_ms == 0) {
		reply_send(b, leg);
		return;
	}
	leg->due_ns = b->env.now_ns + (uint64_t)b->opt.delay_ms * 1000000ULL;
	leg->next_due = NONE;
	if (s->due_tail != NONE)
		s->leg[s->due_tail].next_due = idx;
	else
		s->due_head = idx;
	s->due_tail = idx;
}

uint32_t backend_accept(struct bench *b, struct tcp_conn_id conn, uint32_t cookie)
{
	struct backends *s = b->backends;
	uint32_t idx = s->free.head;
	struct leg *leg = &s->leg[idx];

	if (idx == s->count) {
		ledger_fail(&b->ledger, "backend-full", "accept", 0);
		return TCP_USER_REFUSE;
	}
	s->free.head = s->free.next[idx];
	s->active++;
	s->legs++;
	s->connections[cookie]++;
	*leg = (struct leg){
		.conn = conn,
		.state = LEG_COMMAND,
		.backend = (uint8_t)cookie,
		.message = UINT64_MAX,
	};
	leg_reply(b, leg, REPLY_BANNER);
	return idx | BENCH_USER_LEG;
}

static enum backend_verb verb_of(const char *line, unsigned len)
{
	for (unsigned v = 0; v < BACKEND_V_OTHER; v++)
		if (len >= 6 && memcmp(line, backend_verb_names[v], 4) == 0)
			return (enum backend_verb)v;
	return BACKEND_V_OTHER;
}

static void leg_mail(struct bench *b, struct leg *leg, const char *line, unsigned len)
{
	uint64_t id = len >= 12 + MESSAGE_ID_DIGITS && memcmp(line, "MAIL FROM:<b", 12) == 0
			      ? message_id_parse(&b->messages, line + 12)
			      : UINT64_MAX;

	if (id == UINT64_MAX || id >= b->ledger.issued) {
		leg_fail(b, leg, "message-invented");
		return;
	}
	if (leg->message != UINT64_MAX || leg->ehlos == 0) {
		leg_reply(b, leg, REPLY_SEQUENCE);
		return;
	}
	leg->message = id;
	leg->rcpts = 0;
	leg_reply(b, leg, REPLY_MAIL);
}

static void leg_bdat(struct bench *b, struct leg *leg, const char *line)
{
	char *end;

	leg->left = (uint32_t)strtoul(line + 5, &end, 10); // ends at the CRLF at the latest
	if (strncmp(end, " LAST\r\n", 7) != 0) {
		leg_fail(b, leg, "chunk-changed");
		return;
	}
	leg->chunk = true;
	leg->pos = 0;
	leg->state = LEG_BODY;
}

static void leg_ehlo(struct bench *b, struct leg *leg)
{
	if (leg->ehlos++ > 0) {
		b->backends->second_ehlos++;
		leg_fail(b, leg, "second-ehlo");
		return;
	}
	leg_reply(b, leg, REPLY_EHLO);
}

static void leg_command(struct bench *b, struct leg *leg, const char *line, unsigned len)
{
	enum backend_verb verb = verb_of(line, len);
	bool ready = leg->message != UINT64_MAX && leg->rcpts == b->opt.recipients;

	b->backends->verb[verb]++;
	switch (verb) {
	case BACKEND_V_EHLO:
		leg_ehlo(b, leg);
		break;
	case BACKEND_V_MAIL:
		leg_mail(b, leg, line, len);
		break;
	case BACKEND_V_RCPT:
		leg->rcpts++;
		leg_reply(b, leg, leg->message != UINT64_MAX ? REPLY_OK : REPLY_SEQUENCE);
		break;
	case BACKEND_V_DATA:
		leg->chunk = false;
		leg->pos = 0;
		leg->state = ready ? LEG_BODY : LEG_COMMAND;
		leg_reply(b, leg, ready ? REPLY_GO_ON : REPLY_SEQUENCE);
		break;
	case BACKEND_V_BDAT:
		if (ready)
			leg_bdat(b, leg, line);
		else
			leg_fail(b, leg, "chunk-without-envelope");
		break;
	case BACKEND_V_QUIT:
		leg_reply(b, leg, REPLY_BYE);
		break;
	default: // no client here says anything else
		leg_fail(b, leg, "verb-of-nobody");
		break;
	}
}

static void body_stored(struct bench *b, struct leg *leg, const struct message *m)
{
	struct backends *s = b->backends;

	if (!ledger_store(&b->ledger, leg->message)) {
		leg_fail(b, leg, "stored-twice");
		return;
	}
	s->messages++;
	s->bytes += m->len;
	leg->state = LEG_COMMAND;
	leg_reply(b, leg, REPLY_STORED);
}

// Compares what has come with what the message is. False: nothing more to read now.
static bool body_take(struct bench *b, struct leg *leg)
{
	struct message m;
	const uint8_t *have;
	uint32_t len;

	message_make(&b->messages, leg->message, leg->chunk, &m);
	if (leg->chunk && leg->pos == 0 && leg->left != m.wire_len) {
		leg_fail(b, leg, "chunk-of-wrong-size");
		return false;
	}
	while (leg->pos < m.wire_len && tcp_rx_peek(b->tcp, leg->conn, 0, &have, &len)) {
		uint32_t n;
		const uint8_t *want = message_run(&m, leg->pos, &n);

		n = n < len ? n : len;
		if (memcmp(have, want, n) != 0) {
			leg_fail(b, leg, "body-differs");
			return false;
		}
		tcp_rx_drop(b->tcp, leg->conn, n);
		leg->pos += n;
	}
	if (leg->pos < m.wire_len)
		return false;
	body_stored(b, leg, &m);
	return leg->conn.v != 0;
}

void backend_run(struct bench *b, uint32_t idx)
{
	struct leg *leg = &b->backends->leg[idx];
	bool more = true;

	while (more && leg->state != LEG_FREE && leg->due_ns == 0) {
		const char *line;
		unsigned len;

		if (leg->state == LEG_BODY) {
			more = body_take(b, leg);
			continue;
		}
		more = host_line(b, leg->conn, &line, &len);
		if (!more)
			break;
		if (len < 2 || line[len - 2] != '\r') {
			leg_fail(b, leg, "line-without-crlf");
			return;
		}
		char copy[BENCH_LINE_MAX + 1];

		memcpy(copy, line, len);
		copy[len] = '\0';
		tcp_rx_drop(b->tcp, leg->conn, len);
		leg_command(b, leg, copy, len);
	}
	if (leg->state != LEG_FREE && leg->fin && leg->due_ns == 0)
		leg_fail(b, leg, "backend-eof"); // without QUIT
}

void backend_fin(struct bench *b, uint32_t idx)
{
	b->backends->leg[idx].fin = true;
	backend_run(b, idx);
}

void backend_closed(struct bench *b, uint32_t idx, enum tcp_close_reason reason)
{
	struct leg *leg = &b->backends->leg[idx];

	leg->conn.v = 0;
	leg_fail(b, leg, reason == TCP_CLOSE_RESET ? "backend-reset" : "backend-closed");
}

unsigned backends_turn(struct bench *b)
{
	struct backends *s = b->backends;
	unsigned work = 0;

	for (; s->due_head != NONE && s->leg[s->due_head].due_ns <= b->env.now_ns; work++) {
		uint32_t idx = s->due_head;
		struct leg *leg = &s->leg[idx];

		s->due_head = leg->next_due;
		if (s->due_head == NONE)
			s->due_tail = NONE;
		leg->due_ns = 0;
		if (leg->state == LEG_FREE) { // ended meanwhile
			s->free.next[idx] = s->free.head;
			s->free.head = idx;
			continue;
		}
		reply_send(b, leg);
		if (leg->state != LEG_FREE)
			backend_run(b, idx);
	}
	return work;
}
