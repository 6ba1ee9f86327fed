// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Dialogues with a service that offers STARTTLS or wants it, line by line, whole and an octet at a
// time: what is answered before TLS and in it (S1-S3, S5, S6, P8, P11). The seed picks one.

#include <stdlib.h>

#include "tests/sim/box.h"
#include "tests/sim/control.h"
#include "tests/sim/mail.h"
#include "tests/sim/scenario.h"

#define READY (3000 * SIM_MS)
#define OCTET_NS (2 * SIM_MS)

struct line {
	const char *say;  // NULL: nothing
	const char *want; // how the reply's last line begins; NULL: the end of the connection
	const char *in;   // what must stand in the whole reply, or with '!' must not
};

struct script {
	uint8_t mode;
	enum secure_plan secure;
	struct line line[20];
};

#define EHLO "EHLO client.sim.example\r\n"
static const struct script scripts[] = {
	{BLOB_TLS_STARTTLS_REQUIRED,
	 SECURE_NONE,
	 {{NULL, "220 mx.sim.example", NULL},
	  {"NOOP\r\n", "250 2.0.0", NULL},
	  {"MAIL FROM:<a@b.example>\r\n", "530 5.7.0", NULL},
	  {"HELO x\r\n", "530 5.7.0", NULL},
	  {"RSET\r\n", "530 5.7.0", NULL},
	  {"VRFY x\r\n", "530 5.7.0", NULL},
	  {"AUTH PLAIN AGEAYg==\r\n", "530 5.7.0", NULL},
	  {"BDAT 12 LAST\r\nQUIT\r\nQUIT\r\n", "530 5.7.0", NULL}, // octets, not commands
	  {"NONSENSE\r\n", "530 5.7.0", NULL},
	  {"STARTTLS now\r\n", "501 5.5.4", NULL},
	  {"NO\rOP\r\n", "500 5.5.2", NULL},
	  {"EHLO\r\n", "501 5.5.4", NULL},
	  {EHLO, "250 STARTTLS", "!AUTH"},
	  {"starttls \r\n", "220 2.0.0", NULL},
	  {"MAIL FROM:<a@b.example>\r\n", NULL, NULL}}}, // is no ClientHello
	{BLOB_TLS_STARTTLS_OPTIONAL,
	 SECURE_NONE,
	 {{NULL, "220 mx.sim.example", NULL},
	  {"HELO x\r\n", "250 mx.sim.example", NULL},
	  {"RSET\r\n", "250 2.0.0", NULL},
	  {"AUTH PLAIN AGEAYg==\r\n", "530 5.7.0", NULL},
	  {"XCLIENT ADDR=1.2.3.4\r\n", "500 5.5.1", NULL},
	  {"NONSENSE\r\n", "500 5.5.1", NULL},
	  {EHLO, "250 STARTTLS", "PIPELINING"},
	  {"MAIL FROM:<c0.m0@sim.example>\r\n", "250 2.1.0", NULL}, // the backend's
	  {"STARTTLS\r\n", "503 5.5.1", NULL},
	  {"AUTH PLAIN AGEAYg==\r\n", "530 5.7.0", NULL},
	  {"QUIT\r\n", "221 2.0.0 bye", NULL},
	  {NULL, NULL, NULL}}},
	{BLOB_TLS_STARTTLS_OPTIONAL,
	 SECURE_NONE,
	 {{NULL, "220 mx.sim.example", NULL},
	  {"EHLO x\r\nSTARTTLS\r\nNOOP\r\n", "554 5.5.0", "250 STARTTLS"},
	  {NULL, NULL, NULL}}},
	{BLOB_TLS_STARTTLS_OPTIONAL,
	 SECURE_NONE,
	 {{NULL, "220 mx.sim.example", NULL},
	  {EHLO, "250 STARTTLS", "!AUTH"},
	  {"RCPT TO:<r0.c0.m0@sim.example>\r\n", "503 5.5.1 MAIL first", NULL}, // the backend's
	  {"STARTTLS\r\n", "220 2.0.0", NULL},
	  {"NOOP\r\n", NULL, NULL}}}, // is no ClientHello
	{BLOB_TLS_STARTTLS_REQUIRED,
	 SECURE_STARTTLS,
	 {{NULL, "220 TLS", NULL},
	  {"STARTTLS\r\n", "503 5.5.1", NULL},
	  {"MAIL FROM:<c0.m0@sim.example>\r\n", "503 5.5.1 EHLO first", NULL},
	  {"RCPT TO:<r0.c0.m0@sim.example>\r\n", "503 5.5.1 EHLO first", NULL},
	  {"DATA\r\n", "503 5.5.1 EHLO first", NULL},
	  {"BDAT 6 LAST\r\nQUIT\r\n", "503 5.5.1 BDAT", NULL},
	  {"AUTH PLAIN AGEAYg==\r\n", "503 5.5.1 EHLO first", NULL},
	  {EHLO, "250 SIZE", "!STARTTLS"}, // the backend's
	  {"STARTTLS\r\n", "503 5.5.1", NULL},
	  {"MAIL FROM:<c0.m0@sim.example>\r\n", "250 2.1.0", NULL},
	  {"QUIT\r\n", "221 2.0.0 bye", NULL},
	  {NULL, NULL, NULL}}},
	{BLOB_TLS_IMPLICIT,
	 SECURE_IMPLICIT,
	 {{NULL, "220 mx.sim.example", NULL},
	  {EHLO, "250 SIZE", "!STARTTLS"},
	  {"QUIT\r\n", "221 2.0.0 bye", NULL},
	  {NULL, NULL, NULL}}},
};
#define SCRIPTS (sizeof(scripts) / sizeof(scripts[0]))

// Not an octet at a time: what follows STARTTLS would come behind its reply.
static bool injects(const struct script *script)
{
	for (unsigned i = 0; i < sizeof(script->line) / sizeof(script->line[0]); i++)
		if (script->line[i].say != NULL && strstr(script->line[i].say, "STARTTLS\r\nN"))
			return true;
	return false;
}

struct dialogue {
	struct sim *sim;
	const struct script *script;
	struct sim_host *host[2];
	struct backend_app *backend;
	struct box *box;
	struct ledger ledger;
	struct control_blob blob;
	struct ip_endpoint target;
	struct speaker speaker;
	bool slow, started, over;
	unsigned at;
	uint32_t said; // octets of the line
	uint64_t next_ns;
	char reply[4096];
	uint32_t len;
};

static const struct line *line_now(const struct dialogue *d)
{
	return &d->script->line[d->at];
}

static bool is_last_line(const char *reply, uint32_t len)
{
	const char *line = memrchr(reply, '\n', len - 1);

	line = line != NULL ? line + 1 : reply;
	return line[3] == ' ';
}

static void reply_judge(struct dialogue *d)
{
	const struct line *l = line_now(d);
	const char *last, *in = l->in;

	if (l->want == NULL) {
		sim_fail(d->sim, "a reply instead of the end", d->at, d->len);
		return;
	}
	d->reply[d->len] = '\0';
	last = memrchr(d->reply, '\n', d->len - 1);
	last = last != NULL ? last + 1 : d->reply;
	if (strncmp(last, l->want, strlen(l->want)) != 0) {
		if (d->sim->trace)
			printf("line %u: %s", d->at, d->reply);
		if (in == NULL || strstr(d->reply, in) != NULL)
			return; // of a group: more replies are to come
		sim_fail(d->sim, "another reply", d->at, strtoul(last, NULL, 10));
	}
	if (in != NULL && (strstr(d->reply, in + (in[0] == '!')) != NULL) == (in[0] == '!'))
		sim_fail(d->sim, "a reply without or with what should stand in it", d->at, 0);
	d->len = d->said = 0;
	d->at++;
}

static void on_data(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct dialogue *d = a;
	const uint8_t *p;
	uint32_t len;

	while (!d->over && speaker_peek(&d->speaker, &p, &len)) {
		for (uint32_t i = 0; i < len && d->len + 1 < sizeof(d->reply); i++) {
			d->reply[d->len++] = (char)p[i];
			if (p[i] == '\n' && is_last_line(d->reply, d->len))
				reply_judge(d);
		}
		speaker_drop(&d->speaker, len);
	}
}

static void over(struct dialogue *d)
{
	if (!d->over && line_now(d)->want != NULL)
		sim_fail(d->sim, "the connection ended before its time", d->at, d->len);
	d->over = true;
	speaker_close(&d->speaker, false);
}

static void on_connect(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct dialogue *d = a;

	d->speaker = (struct speaker){d->sim, d->host[0]->tcp, conn, d->script->secure, NULL};
	speaker_open(&d->speaker);
}

static void on_sent(void *a, struct tcp_conn_id conn, uint32_t user)
{
}

static void on_fin(void *a, struct tcp_conn_id conn, uint32_t user)
{
	over(a);
	tcp_release(((struct dialogue *)a)->host[0]->tcp, conn, true);
}

static void on_close(void *a, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	over(a);
}

static const struct tcp_ops dialogue_ops = {
	.on_syn = sim_no_syn,
	.on_accept = sim_no_accept,
	.on_connect = on_connect,
	.on_data = on_data,
	.on_sent = on_sent,
	.on_fin = on_fin,
	.on_close = on_close,
};

static void dialogue_turn(struct sim_host *host)
{
	struct dialogue *d = host->app;
	const struct tcp_connect_args args = {
		.remote = d->target, .rcv_window = 32768, .syn_timeout_ms = 60000
	};
	const char *say = line_now(d)->say;
	uint32_t left = say != NULL ? (uint32_t)strlen(say) - d->said : 0;
	struct tcp_conn_id conn;

	if (d->over || d->sim->now_ns < d->next_ns)
		return;
	d->next_ns = d->sim->now_ns + OCTET_NS;
	if (!d->started) {
		d->started = true;
		if (tcp_connect(host->tcp, &args, &conn) != 0)
			sim_fail(d->sim, "cannot connect", 0, 0);
	} else if (left > 0) {
		uint32_t n = d->slow ? 1 : left;

		speaker_write(&d->speaker, say + d->said, n);
		d->said += n;
	}
}

static uint32_t dialogue_next_ms(struct sim_host *host, uint32_t limit_ms)
{
	const struct dialogue *d = host->app;

	return d->over ? limit_ms : 1;
}

static bool dialogue_done(void *arg)
{
	struct dialogue *d = arg;
	struct tcp_usage usage;

	tcp_usage_get(d->host[0]->tcp, &usage);
	return d->over && box_idle(d->box) && backend_idle(d->backend) && usage.conns == 0 &&
	       usage.time_wait == 0;
}

static void blob_make(struct dialogue *d, const struct sim_host *box)
{
	const struct blob_service service = {
		.slot = 1,
		.client_idle_ms = 300000,
		.data_idle_ms = 180000,
		.tls_queue_ms = 30000,
		.policy = {.tls_mode = d->script->mode, .sources = UINT32_MAX, .tls_server = 1},
	};
	const struct blob_pool pool = {
		.backend_count = 1,
		.connect_timeout_ms = 3000,
		.banner_timeout_ms = 30000,
		.reply_timeout_ms = 660000,
		.end_of_data_timeout_ms = 720000,
	};

	d->blob.head = (struct blob_header){
		.magic = BLOB_MAGIC,
		.generation = 1,
		.length = sizeof(d->blob),
		.hostname = "mx.sim.example",
		.ledger = BLOB_LEDGER_FULL,
		.backends = {.count = 1},
	};
	d->blob.listener[0] = (struct blob_listener){.addr = box->addr4.addr, .port = 25};
	d->blob.listener[1] = (struct blob_listener){.addr = box->addr6.addr, .port = 25};
	d->blob.backend[0] = (struct blob_backend
	){.addr = d->host[1]->addr4.addr, .port = 25, .slot = 1, .weight = 1};
	control_blob_fill(&d->blob, &service, &pool);
}

void scenario_offer(struct sim *sim)
{
	const struct box_limits limits = {
		.max_sessions = 16, .max_conns = 64, .max_slices = 4096, .max_tls = 8
	};
	const struct backend_plan plan = {.pipelining = true, .chunking = true};
	struct dialogue *d = calloc(1, sizeof(*d));
	struct sim_host *box;

	if (d == NULL)
		abort();
	d->sim = sim;
	d->script = &scripts[sim->seed % SCRIPTS];
	d->slow = sim->seed / SCRIPTS % 2 != 0 && !injects(d->script);
	d->next_ns = sim->now_ns + READY;
	sim->wire = (struct sim_wire){.delay_us = 200};
	d->host[0] = sim_host_new(sim, 1);
	box = sim_host_new(sim, 1);
	d->host[1] = sim_host_new(sim, 1);
	d->target = (struct ip_endpoint){box->addr4.addr, 25};
	d->backend = backend_new(sim, d->host[1], &d->ledger, &plan);
	d->box = box_new(sim, box, &limits);
	sim_host_plain(d->host[0], &dialogue_ops, d);
	d->host[0]->app_turn = dialogue_turn;
	d->host[0]->app_next_ms = dialogue_next_ms;
	blob_make(d, box);
	box_generation(d->box, &d->blob.head);
	sim_run(sim, dialogue_done, d);
	if (sim->failed != NULL)
		printf("script %llu at line %u\n", (unsigned long long)(sim->seed % SCRIPTS), d->at
		);
	backend_free(d->backend);
	box_free(d->box);
	free(d);
}
