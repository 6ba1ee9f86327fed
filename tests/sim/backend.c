// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The simulator's SMTP backends: strict about what they are told (one EHLO a leg, only CRLF lines,
// bodies byte-equal to a complete message) and unpleasant as planned (delays, refusals, deaths).

#include "tests/sim/mail.h"

#include <stdlib.h>

#define LEGS_MAX 512
#define BANNER "220 backend.sim.example ESMTP"
#define LEG_IDLE_NS (1500ULL * 1000 * SIM_MS) // a server gives a silent client up

enum leg_state { L_FREE, L_COMMAND, L_DATA, L_BDAT, L_ENDED };

struct leg {
	enum leg_state state;
	struct tcp_conn_id conn;
	struct speaker speaker;
	struct sim_header header;
	bool headed; // it has come, or none has to
	bool fin;
	uint64_t heard_ns;
	unsigned ehlos;
	int client, message; // of the transaction, -1: none
	unsigned rcpts_ok;
	uint32_t die_at; // octets of the body, 0: does not
	char line[1200];
	unsigned line_len;
	uint8_t *body;
	uint32_t body_len, bdat_left;
	bool bdat_last, line_start_cr;
	bool in_chunks; // a chunk that is not the last has come
	bool left;      // told its client in a body that it goes: nothing is stored any more
	// a delayed reply: while it waits nothing more is read (a tarpit)
	char reply[512];
	uint64_t reply_at_ns; // 0: none
	uint64_t read_at_ns;  // a slow reader goes on then
	bool close_after;
};

struct backend_app {
	struct sim *sim;
	struct sim_host *host;
	struct ledger *ledger;
	struct backend_plan plan;
	struct leg leg[LEGS_MAX];
	uint32_t open;
};

static void leg_reply(struct backend_app *app, struct leg *leg, const char *text)
{
	snprintf(leg->reply, sizeof(leg->reply), "%s\r\n", text);
	leg->reply_at_ns = app->sim->now_ns + (uint64_t)app->plan.reply_delay_ms * SIM_MS + 1;
}

static void leg_end(struct backend_app *app, struct leg *leg)
{
	speaker_close(&leg->speaker, leg->close_after);
	free(leg->body);
	leg->body = NULL;
	if (leg->state != L_FREE)
		app->open--;
	leg->state = L_FREE;
}

static void leg_die(struct backend_app *app, struct leg *leg)
{
	tcp_abort(app->host->tcp, leg->conn);
	leg_end(app, leg);
}

// A body is complete: it must be one that its client made, whole.
static void body_store(struct backend_app *app, struct leg *leg)
{
	unsigned c = (unsigned)leg->client, m = (unsigned)leg->message;

	if (!message_is(app->sim->seed, c, m, leg->body, leg->body_len))
		sim_fail(app->sim, "stored body differs from the one sent", c, leg->body_len);
	else if (app->ledger->stored[c][m]++ > 0)
		sim_fail(app->sim, "message stored twice", c, m);
}

static void body_end(struct backend_app *app, struct leg *leg)
{
	static const char *const stored[] = {"250 2.0.0 ok", "250-2.0.0 ok\r\n250 queued as SIM"};
	struct rng *rng = &app->host->env.rng;

	leg->state = L_COMMAND;
	if (leg->left)
		return;
	if (rng_below(rng, 1000000) < app->plan.reject_eod_ppm) {
		leg_reply(app, leg, "554 5.6.0 content");
	} else {
		body_store(app, leg);
		if (rng_below(rng, 1000000) < app->plan.die_after_dot_ppm)
			return leg_die(app, leg);
		leg->close_after = rng_below(rng, 1000000) < app->plan.torn_eod_ppm;
		leg_reply(app, leg, leg->close_after ? "250-2.0.0 ok" : stored[rng_below(rng, 2)]);
	}
	leg->client = -1;
	leg->in_chunks = false;
}

// A chunk without recipients is read and refused as others (RFC 3030 4.2), one of several waits for
// the next.
static void chunk_end(struct backend_app *app, struct leg *leg)
{
	if (leg->rcpts_ok == 0 || leg->client < 0) {
		leg->state = L_COMMAND;
		leg_reply(app, leg, "503 5.5.1 no valid recipients");
	} else if (leg->bdat_last) {
		body_end(app, leg);
	} else {
		leg->state = L_COMMAND;
		leg->in_chunks = true;
		if (!leg->left)
			leg_reply(app, leg, "250 2.0.0 chunk");
	}
}

static void leg_rcpt(struct backend_app *app, struct leg *leg)
{
	unsigned n, c, m;

	if (leg->client < 0) {
		leg_reply(app, leg, "503 5.5.1 MAIL first");
	} else if (strncmp(leg->line, "RCPT TO:<bad", 12) == 0) {
		leg_reply(app, leg, "550 5.1.1 User unknown");
	} else if (sscanf(leg->line, "RCPT TO:<r%u.c%u.m%u@", &n, &c, &m) == 3 &&
		   (int)c == leg->client) {
		app->ledger->rcpt_backend[c][m] |= (uint8_t)(1U << n);
		leg->rcpts_ok++;
		leg_reply(app, leg, "250 2.1.5 ok");
	} else {
		sim_fail(
			app->sim, "recipient that its client did not name", (uint64_t)leg->client, 0
		);
	}
}

static void body_begin(struct backend_app *app, struct leg *leg)
{
	leg->body_len = 0;
	free(leg->body);
	leg->body = malloc(MESSAGE_MAX);
	if (leg->body == NULL)
		abort();
	leg->die_at = rng_below(&app->host->env.rng, 1000000) < app->plan.die_in_body_ppm
			      ? 1 + rng_below(&app->host->env.rng, 8000)
			      : 0;
}

static void leg_bdat(struct backend_app *app, struct leg *leg)
{
	char last[8] = "";

	sscanf(leg->line, "BDAT %u %7s", &leg->bdat_left, last);
	leg->bdat_last = strcmp(last, "LAST") == 0;
	if (!leg->in_chunks)
		body_begin(app, leg);
	leg->state = L_BDAT;
	if (leg->bdat_left == 0)
		chunk_end(app, leg);
}

static void leg_ehlo(struct backend_app *app, struct leg *leg)
{
	char text[400];

	if (strncmp(leg->line, sim_ehlo[0], strlen(leg->line)) != 0 &&
	    strncmp(leg->line, sim_ehlo[1], strlen(leg->line)) != 0 &&
	    strcmp(leg->line, "EHLO mx.sim.example") != 0)
		sim_fail(app->sim, "an EHLO that is nobody's", app->host->id, strlen(leg->line));
	if (++leg->ehlos > 1)
		sim_fail(app->sim, "a second EHLO on one leg", leg->ehlos, app->host->id);
	snprintf(
		text,
		sizeof(text),
		"250-backend%u.sim.example\r\n%s%s250-XCLIENT NAME ADDR "
		"PORT\r\n250-8BITMIME\r\n250 "
		"SIZE 10000000",
		app->host->id,
		app->plan.pipelining ? "250-PIPELINING\r\n" : "",
		app->plan.chunking ? "250-CHUNKING\r\n" : ""
	);
	leg_reply(app, leg, text);
}

static void leg_command(struct backend_app *app, struct leg *leg)
{
	unsigned c, m;

	if (app->sim->trace)
		printf("%10.3f backend %u: %s\n",
		       (double)app->sim->now_ns / 1e9,
		       app->host->id,
		       leg->line);
	if (strncmp(leg->line, "EHLO ", 5) == 0) {
		leg_ehlo(app, leg);
	} else if (app->plan.way == BLOB_CLIENT_XCLIENT && strncmp(leg->line, "XCLIENT ", 8) == 0) {
		xclient_take(app->sim, leg->line, &leg->header);
		leg->ehlos = 0; // begins anew
		leg_reply(app, leg, BANNER);
	} else if (sscanf(leg->line, "MAIL FROM:<c%u.m%u@", &c, &m) == 2) {
		header_judge(app->sim, app->ledger, app->plan.way, &leg->header, c);
		leg->client = (int)c;
		leg->message = (int)m;
		leg->rcpts_ok = 0;
		leg->in_chunks = false;
		leg_reply(app, leg, "250 2.1.0 ok");
	} else if (strncmp(leg->line, "RCPT ", 5) == 0) {
		leg_rcpt(app, leg);
	} else if (strcmp(leg->line, "DATA") == 0) {
		if (leg->rcpts_ok == 0) {
			leg_reply(app, leg, "554 5.5.1 no valid recipients");
			return;
		}
		body_begin(app, leg);
		leg->state = L_DATA;
		leg_reply(app, leg, "354 go on");
	} else if (strncmp(leg->line, "BDAT ", 5) == 0) {
		leg_bdat(app, leg);
	} else if (strcmp(leg->line, "QUIT") == 0) {
		leg_reply(app, leg, "221 2.0.0 bye");
		leg->close_after = true;
	} else {
		sim_fail(app->sim, "a verb that no client sent", (uint64_t)leg->line[0], 0);
	}
}

static void leg_leave(struct backend_app *app, struct leg *leg)
{
	leg->left = app->plan.leave != LEAVE_RST;
	if (app->plan.leave == LEAVE_RST)
		leg_die(app, leg);
	else if (app->plan.leave == LEAVE_421)
		speaker_write(&leg->speaker, "421 4.3.2 bye\r\n", 15);
	else
		tcp_shutdown(app->host->tcp, leg->conn);
}

static void body_byte(struct backend_app *app, struct leg *leg, uint8_t b)
{
	if (leg->body_len == MESSAGE_MAX) {
		sim_fail(app->sim, "body too long", leg->body_len, 0);
		return;
	}
	leg->body[leg->body_len++] = b;
	if (leg->body_len == leg->die_at) {
		leg_leave(app, leg);
		if (leg->state == L_FREE)
			return;
	}
	if (leg->state == L_BDAT) {
		if (--leg->bdat_left == 0)
			chunk_end(app, leg);
		return;
	}
	if (b != '\n' || leg->body_len < 2 || leg->body[leg->body_len - 2] != '\r')
		return;
	if (message_line_end(leg->body, &leg->body_len)) // a strict server: CRLF only
		body_end(app, leg);
}

// Reads until a reply has to wait.
static void leg_read(struct backend_app *app, struct leg *leg)
{
	const uint8_t *p;
	uint32_t len;

	while (leg->state != L_FREE && leg->reply_at_ns == 0 &&
	       app->sim->now_ns >= leg->read_at_ns && speaker_peek(&leg->speaker, &p, &len)) {
		uint8_t copy[2048];
		uint32_t n = len < sizeof(copy) ? len : sizeof(copy);
		uint32_t i = 0;

		memcpy(copy, p, n);
		while (i < n && leg->state != L_FREE && leg->reply_at_ns == 0) {
			uint8_t b = copy[i++];

			if (leg->state != L_COMMAND) {
				body_byte(app, leg, b);
			} else if (b == '\n') {
				if (leg->line_len == 0 || leg->line[leg->line_len - 1] != '\r')
					sim_fail(app->sim, "bare LF in a command", 0, 0);
				else
					leg->line[leg->line_len - 1] = '\0';
				leg->line_len = 0;
				leg_command(app, leg);
			} else if (leg->line_len + 1 < sizeof(leg->line)) {
				leg->line[leg->line_len++] = (char)b;
			}
		}
		if (leg->state != L_FREE)
			speaker_drop(&leg->speaker, i);
		if (leg->state == L_DATA || leg->state == L_BDAT)
			leg->read_at_ns = app->sim->now_ns + app->plan.read_pause_ms * SIM_MS;
	}
}

static void leg_finish(struct backend_app *app, struct leg *leg)
{
	if (app->plan.accept_on_fin && (leg->state != L_COMMAND || leg->in_chunks) &&
	    leg->body_len > 0 && leg->client >= 0)
		body_store(app, leg);
	tcp_release(app->host->tcp, leg->conn, true);
	leg_end(app, leg);
}

// Nothing is said before it has come.
static bool leg_header(struct backend_app *app, struct leg *leg)
{
	leg->headed = header_take(app->sim, app->host->tcp, leg->conn, app->plan.way, &leg->header);
	if (leg->headed)
		speaker_open(&leg->speaker);
	else if (leg->fin)
		leg_finish(app, leg);
	else if (app->sim->now_ns - leg->heard_ns > LEG_IDLE_NS)
		leg_die(app, leg);
	return leg->headed;
}

static void leg_turn(struct backend_app *app, struct leg *leg)
{
	const uint8_t *p;
	uint32_t len;
	struct tcp_conn_id conn = leg->conn;
	bool ready;

	if (!leg->headed && !leg_header(app, leg))
		return;
	ready = speaker_ready(&leg->speaker);
	if (leg->reply_at_ns != 0 && app->sim->now_ns >= leg->reply_at_ns && ready) {
		leg->reply_at_ns = 0;
		speaker_write(&leg->speaker, leg->reply, (uint32_t)strlen(leg->reply));
		if (leg->close_after) {
			leg_end(app, leg);
			tcp_release(app->host->tcp, conn, true);
			return;
		}
	}
	if (tcp_rx_bytes(app->host->tcp, leg->conn) > 0 && !app->plan.silent) // which never reads
		leg->heard_ns = app->sim->now_ns;
	else if (app->sim->now_ns - leg->heard_ns > LEG_IDLE_NS) {
		leg_die(app, leg);
		return;
	}
	leg_read(app, leg);
	if (leg->state != L_FREE && leg->fin && (leg->reply_at_ns == 0 || !ready) &&
	    !speaker_peek(&leg->speaker, &p, &len))
		leg_finish(app, leg);
}

static void backend_turn(struct sim_host *host)
{
	struct backend_app *app = host->app;

	for (unsigned i = 0; i < LEGS_MAX && app->open > 0; i++)
		if (app->leg[i].state != L_FREE)
			leg_turn(app, &app->leg[i]);
}

static uint32_t backend_next_ms(struct sim_host *host, uint32_t limit_ms)
{
	const struct backend_app *app = host->app;

	for (unsigned i = 0; i < LEGS_MAX && app->open > 0; i++) {
		uint64_t at = app->leg[i].reply_at_ns;

		if (at == 0 && app->leg[i].read_at_ns > app->sim->now_ns)
			at = app->leg[i].read_at_ns;
		if (app->leg[i].state != L_FREE && at != 0 && app->leg[i].headed) {
			uint64_t left =
				at > app->sim->now_ns ? (at - app->sim->now_ns) / SIM_MS : 0;

			limit_ms = left < limit_ms ? (uint32_t)left : limit_ms;
		}
	}
	return limit_ms;
}

static bool
on_syn(void *a,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	struct backend_app *app = a;

	*ret = (struct tcp_listen_info){.rcv_window = 65536};
	return local->port == 25 && !app->plan.refuse;
}

static uint32_t on_accept(void *a, struct tcp_conn_id conn, uint32_t cookie)
{
	struct backend_app *app = a;

	for (uint32_t i = 0; i < LEGS_MAX; i++) {
		struct leg *leg = &app->leg[i];

		if (leg->state != L_FREE)
			continue;
		*leg = (struct leg){
			.state = L_COMMAND,
			.conn = conn,
			.client = -1,
			.heard_ns = app->sim->now_ns,
			.speaker = {app->sim, app->host->tcp, conn, app->plan.secure, NULL},
			.headed = !header_comes(app->plan.way),
		};
		if (leg->headed)
			speaker_open(&leg->speaker);
		app->open++;
		if (!app->plan.silent) {
			leg_reply(app, leg, app->plan.banner_421 ? "421 4.3.2 not now" : BANNER);
			leg->reply_at_ns += (uint64_t)app->plan.banner_delay_ms * SIM_MS;
			leg->close_after = app->plan.banner_421;
		} else {
			leg->reply_at_ns = UINT64_MAX;
		}
		return i;
	}
	return TCP_USER_REFUSE;
}

static void on_event(void *a, struct tcp_conn_id conn, uint32_t user)
{
	leg_turn(a, &((struct backend_app *)a)->leg[user]);
}

static void on_nothing(void *a, struct tcp_conn_id conn, uint32_t user)
{
}

static void on_fin(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct backend_app *app = a;
	struct leg *leg = &app->leg[user];

	leg->fin = true;
	if (app->plan.silent)
		leg_finish(app, leg);
	else
		leg_turn(app, leg);
}

static void on_close(void *a, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	leg_end(a, &((struct backend_app *)a)->leg[user]);
}

static const struct tcp_ops backend_ops = {
	.on_syn = on_syn,
	.on_accept = on_accept,
	.on_connect = on_nothing,
	.on_data = on_event,
	.on_sent = on_nothing,
	.on_fin = on_fin,
	.on_close = on_close,
};

struct backend_app *backend_new(
	struct sim *sim,
	struct sim_host *host,
	struct ledger *ledger,
	const struct backend_plan *plan
)
{
	struct backend_app *app = calloc(1, sizeof(*app));

	if (app == NULL)
		abort();
	app->sim = sim;
	app->host = host;
	app->ledger = ledger;
	app->plan = *plan;
	sim_host_plain(host, &backend_ops, app);
	host->app_turn = backend_turn;
	host->app_next_ms = backend_next_ms;
	return app;
}

bool backend_idle(const struct backend_app *app)
{
	return app->open == 0;
}

void backend_free(struct backend_app *app)
{
	for (unsigned i = 0; i < LEGS_MAX; i++)
		free(app->leg[i].body);
	free(app);
}
