// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The simulator's SMTP clients: each walks through its plan (messages, recipients, pipelining,
// vanishing) and writes into the ledger what it was told.

#include "tests/sim/mail.h"

#include <stdlib.h>

#define CLIENT_PATIENCE_NS (1800ULL * 1000 * SIM_MS)
#define CLIENT_BANNER_NS (300ULL * 1000 * SIM_MS)
#define CLIENT_WINDOW 65536U

enum client_step { C_START, C_BANNER, C_EHLO, C_MAIL, C_RCPT, C_DATA, C_BODY, C_QUIT, C_DONE };

struct client {
	struct client_plan plan;
	unsigned id;
	enum client_step step;
	struct tcp_conn_id conn;
	struct speaker speaker;
	uint64_t deadline_ns;
	unsigned message, rcpt_asked, rcpt_seen, rcpt_ok, replies;
	bool can_pipeline, can_bdat, mail_ok, data_asked;
	unsigned chunks_left; // whose replies are awaited
	uint8_t *body;        // stuffed, with the final dot; or a BDAT command and its octets
	uint32_t body_len, body_sent;
	uint64_t resume_ns; // 0: not pausing; nothing is read until then
	int code;           // of the reply that waits for it
	int code_before;    // of the line before, of the same reply
	char line[600];
	unsigned line_len;
};

struct client_app {
	struct sim *sim;
	struct sim_host *host;
	struct ledger *ledger;
	struct ip_endpoint target[2];
	struct client client[SIM_CLIENTS_MAX];
	unsigned count;
};

static void client_end(struct client_app *app, struct client *c, bool in_order)
{
	if (c->step == C_DONE)
		return;
	c->step = C_DONE;
	app->ledger->sessions_ended++;
	if (!in_order)
		app->ledger->sessions_cut++;
	speaker_close(&c->speaker, false); // whoever lets go of it has said so before
	free(c->body);
	c->body = NULL;
}

static void client_say(struct client_app *app, struct client *c, const char *text)
{
	speaker_write(&c->speaker, text, (uint32_t)strlen(text));
}

static void client_body_make(struct client_app *app, struct client *c)
{
	if (c->body == NULL && (c->body = malloc(2 * MESSAGE_MAX + 640)) == NULL)
		abort();
	c->body_sent = c->body_len = 0;
	c->chunks_left = 1;
	if (c->plan.bdat && c->can_bdat) {
		c->chunks_left = c->plan.chunks > 0 ? c->plan.chunks : 1;
		c->body_len =
			message_chunks(app->sim->seed, c->id, c->message, c->chunks_left, c->body);
	} else {
		c->body_len =
			message_wire(app->sim->seed, c->id, c->message, c->plan.careless, c->body);
	}
}

static void client_body_push(struct client_app *app, struct client *c)
{
	while (c->step != C_DONE && c->body_sent < c->body_len) {
		uint32_t n = c->body_len - c->body_sent;
		uint32_t queued = tcp_tx_bytes(app->host->tcp, c->conn);

		n = n > c->plan.piece ? c->plan.piece : n;
		if (queued >= CLIENT_WINDOW ||
		    !speaker_write(&c->speaker, c->body + c->body_sent, n))
			return;
		c->body_sent += n;
	}
}

static void client_quit_now(struct client_app *app, struct client *c)
{
	c->step = C_QUIT;
	client_say(app, c, "QUIT\r\n");
}

static bool is_eager(const struct client *c)
{
	return c->plan.eager && c->plan.pipelining && c->can_pipeline && c->plan.bdat &&
	       c->can_bdat;
}

static void client_body_start(struct client_app *app, struct client *c)
{
	c->step = C_BODY;
	if (is_eager(c))
		return; // on its way
	client_body_make(app, c);
	client_body_push(app, c);
}

static void client_rcpt_say(struct client_app *app, struct client *c)
{
	char cmd[128];

	// every fourth recipient is one that backends refuse
	snprintf(
		cmd,
		sizeof(cmd),
		"RCPT TO:<%s%u.c%u.m%u@sim.example>\r\n",
		c->rcpt_asked % 4 == 3 ? "bad" : "r",
		c->rcpt_asked,
		c->id,
		c->message
	);
	c->rcpt_asked++;
	client_say(app, c, cmd);
}

static void client_mail_start(struct client_app *app, struct client *c)
{
	char cmd[128];

	if (c->message == c->plan.messages) {
		client_quit_now(app, c);
		return;
	}
	c->step = C_MAIL;
	c->rcpt_asked = c->rcpt_seen = c->rcpt_ok = 0;
	c->data_asked = false;
	snprintf(cmd, sizeof(cmd), "MAIL FROM:<c%u.m%u@sim.example>\r\n", c->id, c->message);
	client_say(app, c, cmd);
	if (c->plan.pipelining && c->can_pipeline) {
		while (c->rcpt_asked < c->plan.rcpts)
			client_rcpt_say(app, c);
		if (!(c->plan.bdat && c->can_bdat))
			client_say(app, c, "DATA\r\n");
		c->data_asked = !(c->plan.bdat && c->can_bdat) || is_eager(c);
		if (is_eager(c)) {
			client_body_make(app, c);
			client_body_push(app, c);
		}
	}
}

static void client_mail_end(struct client_app *app, struct client *c, int code)
{
	if (code == 250) {
		app->ledger->client_ok[c->id][c->message] = 1;
		app->ledger->mails_ok++;
		if (app->ledger->stored[c->id][c->message] == 0)
			sim_fail(app->sim, "accepted, and stored nowhere", c->id, c->message);
	} else {
		app->ledger->mails_refused++;
	}
	c->message++;
	client_mail_start(app, c);
}

static void client_rcpts_over(struct client_app *app, struct client *c)
{
	if (c->rcpt_ok == 0 && !c->data_asked) {
		// nothing to send: this client gives up politely
		app->ledger->mails_refused++;
		client_quit_now(app, c);
		return;
	}
	if (c->plan.bdat && c->can_bdat) {
		client_body_start(app, c);
		return;
	}
	c->step = C_DATA;
	if (!c->data_asked)
		client_say(app, c, "DATA\r\n");
	c->data_asked = true;
}

static void client_rcpt_reply(struct client_app *app, struct client *c, int code)
{
	if (code == 250) {
		c->rcpt_ok++;
		app->ledger->rcpt_client[c->id][c->message] |= (uint8_t)(1U << c->rcpt_seen);
		if ((app->ledger->rcpt_backend[c->id][c->message] & (1U << c->rcpt_seen)) == 0)
			sim_fail(app->sim, "recipient accepted by us alone", c->id, c->rcpt_seen);
	}
	c->rcpt_seen++;
	if (c->rcpt_seen == c->plan.rcpts)
		client_rcpts_over(app, c);
	else if (c->rcpt_asked == c->rcpt_seen)
		client_rcpt_say(app, c);
}

static void client_reply(struct client_app *app, struct client *c, int code)
{
	switch (c->step) {
	case C_BANNER:
		if (code != 220) {
			client_quit_now(app, c);
			break;
		}
		c->step = C_EHLO;
		if (!c->plan.early)
			client_say(app, c, sim_ehlo[c->plan.long_name]);
		break;
	case C_EHLO:
		if (code == 250)
			client_mail_start(app, c);
		else
			client_quit_now(app, c);
		break;
	case C_MAIL:
		c->mail_ok = code == 250;
		c->step = C_RCPT;
		if (!c->mail_ok && !c->data_asked && c->rcpt_asked == 0) {
			app->ledger->mails_refused++;
			client_quit_now(app, c);
		} else if (c->rcpt_asked == 0) {
			client_rcpt_say(app, c);
		}
		break;
	case C_RCPT:
		client_rcpt_reply(app, c, code);
		break;
	case C_DATA:
		if (code == 354)
			client_body_start(app, c);
		else
			client_mail_end(app, c, code);
		break;
	case C_BODY:
		if (--c->chunks_left == 0)
			client_mail_end(app, c, code);
		break;
	case C_QUIT:
		speaker_close(&c->speaker, c->id % 2 == 0);
		tcp_release(app->host->tcp, c->conn, true);
		client_end(app, c, true);
		break;
	default:
		break;
	}
}

static void client_vanish(struct client_app *app, struct client *c)
{
	if (c->plan.vanish == VANISH_FIN)
		tcp_release(app->host->tcp, c->conn, true);
	else
		tcp_abort(
			app->host->tcp, c->conn
		); // a silent one is a host that forgets: it answers RST later
	client_end(app, c, true);
}

static void client_line(struct client_app *app, struct client *c)
{
	c->line[c->line_len] = '\0';
	if (c->line_len < 3) {
		sim_fail(app->sim, "reply line too short", c->id, c->line_len);
		return;
	}
	if (c->step == C_EHLO) {
		c->can_pipeline = c->can_pipeline || strstr(c->line, "PIPELINING") != NULL;
		c->can_bdat = c->can_bdat || strstr(c->line, "CHUNKING") != NULL;
	}
	if (c->code_before != 0 && c->code_before != (int)strtol(c->line, NULL, 10))
		sim_fail(app->sim, "a reply whose code changes", c->id, (uint64_t)c->code_before);
	c->code_before = c->line[3] == '-' ? (int)strtol(c->line, NULL, 10) : 0;
	if (c->code_before != 0)
		return;
	c->replies++;
	c->deadline_ns = app->sim->now_ns + CLIENT_PATIENCE_NS;
	if (strncmp(c->line, "421", 3) == 0)
		c->chunks_left = 1; // the rest will not be answered
	if (strstr(c->line, "Idle too long") != NULL && c->plan.pause_ms == 0 &&
	    c->body_sent == c->body_len)
		sim_fail(app->sim, "called idle while a reply is owed", c->id, c->step);
	if (app->sim->trace)
		printf("%10.3f client %u step %d: %s\n",
		       (double)app->sim->now_ns / 1e9,
		       c->id,
		       c->step,
		       c->line);
	if (c->plan.vanish != VANISH_NEVER && c->replies > c->plan.vanish_step) {
		client_vanish(app, c);
		return;
	}
	c->code = (int)strtol(c->line, NULL, 10);
	if (c->plan.pause_ms > 0 && c->replies == c->plan.pause_step)
		c->resume_ns = app->sim->now_ns + c->plan.pause_ms * SIM_MS;
	else
		client_reply(app, c, c->code);
}

static void on_data(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct client_app *app = a;
	struct client *c = &app->client[user];
	const uint8_t *p;
	uint32_t len;

	while (c->step != C_DONE && c->resume_ns == 0 && speaker_peek(&c->speaker, &p, &len)) {
		uint32_t used = 0;

		while (used < len && c->step != C_DONE) {
			uint8_t b = p[used++];

			if (b != '\n') {
				if (b != '\r' && c->line_len + 1 < sizeof(c->line))
					c->line[c->line_len++] = (char)b;
				continue;
			}
			speaker_drop(&c->speaker, used);
			used = len = 0;
			client_line(app, c);
			c->line_len = 0;
		}
		if (c->step != C_DONE && used > 0)
			speaker_drop(&c->speaker, used);
	}
}

static void on_connect(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct client_app *app = a;
	struct client *c = &app->client[user];

	header_send(app->host->tcp, conn, c->plan.header, &app->ledger->client_at[user]);
	app->ledger->client_tls[user] = c->plan.secure != SECURE_NONE;
	c->speaker = (struct speaker){app->sim, app->host->tcp, conn, c->plan.secure, NULL};
	speaker_open(&c->speaker);
	if (c->plan.early)
		client_say(app, c, sim_ehlo[c->plan.long_name]);
}

static void on_sent(void *a, struct tcp_conn_id conn, uint32_t user)
{
	client_body_push(a, &((struct client_app *)a)->client[user]);
}

static void on_fin(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct client_app *app = a;
	struct client *c = &app->client[user];

	if (c->resume_ns != 0)
		return; // noticed when the pause is over
	tcp_release(app->host->tcp, conn, true);
	client_end(app, c, c->step == C_QUIT);
}

static void on_close(void *a, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	struct client_app *app = a;

	if (app->sim->trace)
		printf("%10.3f client %u closed: %d\n", (double)app->sim->now_ns / 1e9, user, reason
		);
	client_end(app, &app->client[user], false);
}

static const struct tcp_ops client_ops = {
	.on_syn = sim_no_syn,
	.on_accept = sim_no_accept,
	.on_connect = on_connect,
	.on_data = on_data,
	.on_sent = on_sent,
	.on_fin = on_fin,
	.on_close = on_close,
};

// The pause is over: the reply is answered, and what came meanwhile is read.
static void client_resume(struct client_app *app, struct client *c)
{
	uint32_t user = (uint32_t)(c - app->client);
	struct tcp_info info;

	c->resume_ns = 0;
	client_reply(app, c, c->code);
	if (c->step != C_DONE)
		on_data(app, c->conn, user);
	if (c->step == C_DONE)
		return;
	tcp_info_get(app->host->tcp, c->conn, &info);
	if (info.fin_received)
		on_fin(app, c->conn, user);
}

static void clients_turn(struct sim_host *host)
{
	struct client_app *app = host->app;

	for (unsigned i = 0; i < app->count; i++) {
		struct client *c = &app->client[i];
		struct tcp_connect_args args = {
			.remote = app->target[c->plan.ipv6],
			.user = i,
			.rcv_window = 32768,
			.syn_timeout_ms = 120000,
		};

		if (c->resume_ns != 0 && c->step != C_DONE && app->sim->now_ns >= c->resume_ns)
			client_resume(app, c);
		if (c->step == C_START && app->sim->now_ns >= c->plan.start_ns) {
			c->step = C_BANNER;
			c->deadline_ns = app->sim->now_ns + CLIENT_BANNER_NS;
			if (tcp_connect(host->tcp, &args, &c->conn) != 0)
				sim_fail(app->sim, "client cannot connect", i, 0);
		} else if (app->sim->now_ns <= c->deadline_ns || c->step == C_START) {
			continue;
		} else if (c->step == C_BANNER || (c->plan.reset && c->step != C_DONE)) {
			// the box was full and its RST was lost: a client gives up (RFC
			// 5321 4.5.3.2.1)
			tcp_abort(host->tcp, c->conn);
			client_end(app, c, false);
		} else if (c->step != C_DONE) {
			sim_fail(app->sim, "client waits without end", i, c->step);
		}
	}
}

static uint32_t clients_next_ms(struct sim_host *host, uint32_t limit_ms)
{
	const struct client_app *app = host->app;

	for (unsigned i = 0; i < app->count; i++) {
		const struct client *c = &app->client[i];
		uint64_t at = c->step == C_START ? c->plan.start_ns : c->resume_ns;
		uint64_t left = at > app->sim->now_ns ? at - app->sim->now_ns : 0;

		if ((c->step == C_START || c->resume_ns != 0) && left / SIM_MS < limit_ms)
			limit_ms = (uint32_t)(left / SIM_MS);
	}
	return limit_ms;
}

struct client_app *clients_new(
	struct sim *sim,
	struct sim_host *host,
	struct ledger *ledger,
	const struct ip_endpoint target[2]
)
{
	struct client_app *app = calloc(1, sizeof(*app));

	if (app == NULL)
		abort();
	app->sim = sim;
	app->host = host;
	app->ledger = ledger;
	app->target[0] = target[0];
	app->target[1] = target[1];
	sim_host_plain(host, &client_ops, app);
	host->app_turn = clients_turn;
	host->app_next_ms = clients_next_ms;
	return app;
}

void clients_add(struct client_app *app, const struct client_plan *plan)
{
	struct client *c = &app->client[app->count];

	c->plan = *plan;
	if (c->plan.piece == 0)
		c->plan.piece = 1400;
	c->id = app->count++;
}

bool clients_done(const struct client_app *app)
{
	for (unsigned i = 0; i < app->count; i++)
		if (app->client[i].step != C_DONE)
			return false;
	return true;
}

void clients_free(struct client_app *app)
{
	for (unsigned i = 0; i < app->count; i++)
		free(app->client[i].body);
	free(app);
}
