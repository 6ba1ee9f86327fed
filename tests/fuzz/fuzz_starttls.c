// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A worker of the product with a service that offers STARTTLS, wants it or begins with TLS; a
// client that says lines, octets and records, whole or spoilt, in whatever segments, before and
// after the switch. Judged: what was said in clear behind a STARTTLS that was answered yes reaches
// no backend and is not answered in clear; where TLS is wanted nothing reaches one but what was
// said in it; nor does anything behind a spoilt record; in the end nothing is left. Each line of
// the client bears a number, by which a backend's text tells when it was said. Input: mode, segment
// size, then records (kind, octets).

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/eal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtual.h"
#include "tests/sim/box.h"
#include "tests/sim/control.h"
#include "tests/sim/kit.h"

#define LEGS_MAX 8
#define STREAM_MAX 16384
#define MARK "mark" // and four digits
#define TIME_MAX_MS 90000U
#define END_MS 1500000U
#define CLIENT LEGS_MAX

struct stream {
	struct tcp_conn_id conn;
	bool open, in_data;
	uint32_t len, line; // line: where the one begins that is not answered yet
	uint8_t text[STREAM_MAX];
};

enum shake { CLEAR, SHAKING, SECURE, DEAD };

struct play {
	struct sim sim;
	struct sim_host *client_host, *backend_host;
	struct box *box;
	struct control_blob blob;
	struct stream client, leg[LEGS_MAX];
	unsigned legs;
	unsigned marks;     // lines said
	unsigned starttls;  // marks when the last STARTTLS was said
	unsigned forbidden; // the first of the marks that no backend may see; UINT_MAX: none
	unsigned from;      // the first that one may see
	uint32_t yes_at;    // behind the reply that said yes; 0: none did
	enum shake shake;
	struct tls_hs *hs;
	struct tls_state st;
	uint32_t time_left; // milliseconds that the records may still let pass
	uint32_t in_at;     // of the client's text, not used yet
};

static void stream_read(struct tcp_stack *tcp, struct stream *s)
{
	const uint8_t *at;
	uint32_t len;

	while (tcp_rx_peek(tcp, s->conn, 0, &at, &len)) {
		uint32_t n = len < STREAM_MAX - s->len ? len : STREAM_MAX - s->len;

		memcpy(s->text + s->len, at, n);
		s->len += n;
		tcp_rx_drop(tcp, s->conn, len);
	}
}

static bool
on_syn(void *app,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	struct play *p = app;

	*ret = (struct tcp_listen_info){.rcv_window = 60000};
	return local->port == 25 && p->legs < LEGS_MAX;
}

static uint32_t on_accept(void *app, struct tcp_conn_id conn, uint32_t cookie)
{
	struct play *p = app;

	if (p->legs == LEGS_MAX)
		return TCP_USER_REFUSE;
	p->leg[p->legs].conn = conn;
	p->leg[p->legs].open = true;
	tcp_tx_write(p->backend_host->tcp, conn, "220 backend\r\n", 13);
	return p->legs++;
}

static void on_quiet(void *app, struct tcp_conn_id conn, uint32_t user)
{
}

static bool says(const uint8_t *line, const uint8_t *end, const char *verb)
{
	size_t n = strlen(verb);

	return (size_t)(end - line) >= n && strncasecmp((const char *)line, verb, n) == 0;
}

static const char *answer_to(struct stream *s, const uint8_t *line, const uint8_t *lf)
{
	if (s->in_data) {
		s->in_data = !says(line, lf, ".\r");
		return s->in_data ? NULL : "250 stored\r\n";
	}
	s->in_data = says(line, lf, "DATA");
	return s->in_data               ? "354 go on\r\n"
	       : says(line, lf, "EHLO") ? "250-backend\r\n250 PIPELINING\r\n"
	       : says(line, lf, "QUIT") ? "221 bye\r\n"
					: "250 ok\r\n";
}

static void leg_answer(struct play *p, struct stream *s)
{
	const uint8_t *lf;

	while ((lf = memchr(s->text + s->line, '\n', s->len - s->line)) != NULL) {
		const char *answer = answer_to(s, s->text + s->line, lf);

		s->line = (uint32_t)(lf - s->text) + 1;
		if (answer != NULL)
			tcp_tx_write(
				p->backend_host->tcp, s->conn, answer, (uint32_t)strlen(answer)
			);
	}
}

static void on_data(void *app, struct tcp_conn_id conn, uint32_t user)
{
	struct play *p = app;

	if (user == CLIENT) {
		stream_read(p->client_host->tcp, &p->client);
		return;
	}
	stream_read(p->backend_host->tcp, &p->leg[user]);
	leg_answer(p, &p->leg[user]);
}

static void on_fin(void *app, struct tcp_conn_id conn, uint32_t user)
{
	struct play *p = app;

	if (user != CLIENT)
		tcp_shutdown(p->backend_host->tcp, conn);
}

static void
on_close(void *app, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	struct play *p = app;

	(user == CLIENT ? &p->client : &p->leg[user])->open = false;
}

static const struct tcp_ops ops = {
	.on_syn = on_syn,
	.on_accept = on_accept,
	.on_connect = on_quiet,
	.on_data = on_data,
	.on_sent = on_quiet,
	.on_fin = on_fin,
	.on_close = on_close,
};

static void no_turn(struct sim_host *host)
{
}

static uint32_t no_timer(struct sim_host *host, uint32_t limit_ms)
{
	return limit_ms;
}

static void blob_make(struct play *p, uint8_t mode, const struct sim_host *box)
{
	static const uint8_t modes[] = {
		BLOB_TLS_STARTTLS_OPTIONAL, BLOB_TLS_STARTTLS_REQUIRED, BLOB_TLS_IMPLICIT
	};
	const struct blob_service service = {
		.slot = 1,
		.client_idle_ms = 5000,
		.data_idle_ms = 3000,
		.policy = {.tls_mode = modes[mode % 3], .tls_server = 1, .sources = UINT32_MAX},
	};
	const struct blob_pool pool = {
		.backend_count = 1,
		.connect_timeout_ms = 1000,
		.banner_timeout_ms = 2000,
		.reply_timeout_ms = 4000,
		.end_of_data_timeout_ms = 4000,
	};

	p->blob.head = (struct blob_header){
		.magic = BLOB_MAGIC,
		.generation = 1,
		.length = sizeof(p->blob),
		.ledger = BLOB_LEDGER_FULL,
		.hostname = "mx.example",
		.backends = {.count = 1},
	};
	p->blob.listener[0] = (struct blob_listener){.addr = box->addr4.addr, .port = 25};
	p->blob.listener[1] = (struct blob_listener){.addr = box->addr6.addr, .port = 25};
	p->blob.backend[0] = (struct blob_backend
	){.addr = p->backend_host->addr4.addr, .port = 25, .slot = 1, .weight = 1};
	control_blob_fill(&p->blob, &service, &pool);
	box_generation(p->box, &p->blob.head);
}

static void play_init(struct play *p, uint8_t mode, uint16_t mss)
{
	const struct box_limits limits = {
		.max_sessions = 4, .max_conns = 16, .max_slices = 512, .max_tls = 4
	};
	struct tcp_connect_args args = {.rcv_window = 60000, .user = CLIENT, .mss_max = mss};
	struct sim_host *box;

	virtual_init(&p->sim);
	p->forbidden = mode % 3 == 2 ? 0 : UINT32_MAX;
	p->from = mode % 3 != 0 ? UINT32_MAX : 0;
	p->client_host = sim_host_new(&p->sim, 1);
	box = sim_host_new(&p->sim, 1);
	p->backend_host = sim_host_new(&p->sim, 1);
	sim_host_plain(p->client_host, &ops, p);
	sim_host_plain(p->backend_host, &ops, p);
	p->client_host->app_turn = p->backend_host->app_turn = no_turn;
	p->client_host->app_next_ms = p->backend_host->app_next_ms = no_timer;
	p->box = box_new(&p->sim, box, &limits);
	blob_make(p, mode, box);
	virtual_advance(&p->sim, 3000); // until all addresses have been probed
	args.remote = (struct ip_endpoint){box->addr4.addr, 25};
	FUZZ_CHECK(tcp_connect(p->client_host->tcp, &args, &p->client.conn) == 0);
	p->client.open = true;
	for (unsigned i = 0; i < 100 && p->client.len == 0 && mode % 3 != 2; i++)
		virtual_advance(&p->sim, 100); // its banner
}

static void play_fini(struct play *p)
{
	if (p->client.open)
		tcp_release(p->client_host->tcp, p->client.conn, true);
	p->client.open = false;
	for (unsigned i = 0; i < END_MS / 10000 && !box_idle(p->box); i++) {
		for (unsigned k = 0; k < p->legs; k++)
			if (p->leg[k].open)
				tcp_release(p->backend_host->tcp, p->leg[k].conn, true);
		for (unsigned k = 0; k < p->legs; k++)
			p->leg[k].open = false;
		virtual_advance(&p->sim, 10000);
	}
	FUZZ_CHECK(box_idle(p->box) && box_load(p->box) == 0);
	virtual_advance(&p->sim, 70000); // TIME_WAIT of the other hosts
	tls_hs_free(p->hs);
	box_free(p->box);
	sim_wire_clear(&p->sim);
	for (unsigned h = 0; h < p->sim.host_count; h++)
		sim_host_free(p->sim.host[h]);
	eal_pools_check();
}

static void forbid(struct play *p, unsigned mark)
{
	if (mark < p->forbidden)
		p->forbidden = mark;
}

static void send(struct play *p, const void *data, size_t len)
{
	if (p->client.open && len > 0)
		tcp_tx_write(p->client_host->tcp, p->client.conn, data, (uint32_t)len);
}

// Text of the client, in clear or in a record; spoilt: an octet of the record is not right.
static void say(struct play *p, const void *text, size_t len, uint8_t spoilt)
{
	uint8_t out[1024 + TLS_SEAL_OVERHEAD];
	const struct tls_seg seg = {(uint8_t *)(uintptr_t)text, (uint32_t)len};
	uint32_t n;

	if (p->shake != SECURE) {
		send(p, text, len);
		return;
	}
	n = tls_record_seal(kit.peer, &p->st, TLS_T_DATA, &seg, 1, out);
	if (n > 0 && spoilt != 0) {
		out[spoilt % n] ^= spoilt;
		forbid(p, p->marks); // and all that follows
	}
	send(p, out, n);
}

static void line_say(struct play *p, uint8_t which, uint8_t spoilt)
{
	static const char *const lines[] = {
		"EHLO " MARK "%04u.example\r\n",
		"STARTTLS\r\n",
		"MAIL FROM:<" MARK "%04u@x.example>\r\n",
		"RCPT TO:<" MARK "%04u@x.example>\r\n",
		"DATA\r\n",
		"x: " MARK "%04u\r\n.\r\n",
		"QUIT\r\n",
		"NOOP " MARK "%04u\r\n",
	};
	char text[64];
	int n;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	n = snprintf(text, sizeof(text), lines[which & 7], p->marks);
#pragma GCC diagnostic pop
	say(p, text, (size_t)n, spoilt);
	p->marks++;
	if ((which & 7) == 1 && p->shake == CLEAR)
		p->starttls = p->marks;
}

// Has STARTTLS been answered yes? The only reply that begins so.
static void yes_look(struct play *p)
{
	const uint8_t *at = memmem(p->client.text, p->client.len, "220 2.0.0 ", 10), *lf;

	if (p->yes_at != 0 || p->shake != CLEAR || at == NULL)
		return;
	lf = memchr(at, '\n', p->client.len - (size_t)(at - p->client.text));
	if (lf == NULL)
		return;
	p->yes_at = p->in_at = (uint32_t)(lf - p->client.text) + 1;
	forbid(p, p->starttls);
}

static void shake_run(struct play *p)
{
	while (p->shake == SHAKING) {
		struct tls_step step = {
			.in = p->client.text + p->in_at, .in_len = p->client.len - p->in_at
		};
		struct tls_info info;
		enum tls_result r = tls_hs_step(p->hs, &step, &p->st, &info);

		p->in_at += step.taken;
		send(p, step.out, step.out_len);
		if (r == TLS_OK)
			p->shake = SECURE;
		else if (r == TLS_FATAL)
			p->shake = DEAD;
		else if (step.taken == 0 || r != TLS_WANT_IN)
			return;
		if (r != TLS_OK)
			continue;
		tls_hs_free(p->hs);
		p->hs = NULL;
		if (p->marks == p->starttls) // else somebody has spoken in clear meanwhile
			p->forbidden = UINT32_MAX;
		if (p->from == UINT32_MAX)
			p->from = p->marks;
	}
}

static void shake_begin(struct play *p, uint8_t old, bool implicit)
{
	if (p->shake != CLEAR || !p->client.open || (p->yes_at == 0 && !implicit))
		return;
	p->hs = tls_hs_new(kit.peer_client[old & 1], KIT_NAME);
	FUZZ_CHECK(p->hs != NULL);
	p->shake = SHAKING;
	virtual_settle(&p->sim);
	shake_run(p);
}

// No marks among them.
static void octets_take(struct fuzz_in *in, uint8_t max, uint8_t out[256], size_t *ret_n)
{
	const uint8_t *octets = fuzz_bytes(in, max, ret_n);

	for (size_t i = 0; i < *ret_n; i++)
		out[i] = octets[i] == 'm' ? 'n' : octets[i];
}

static void record(struct play *p, struct fuzz_in *in, bool implicit)
{
	static const uint16_t ms[] = {0, 1, 50, 300, 2000, 6000, 12000, 40000};
	uint8_t kind = fuzz_u8(in), more = kind & 0x80 ? fuzz_u8(in) : 0;
	uint8_t octets[256];
	uint32_t pass;
	size_t n;

	switch (kind & 7) {
	case 0:
	case 1:
	case 2:
		line_say(p, kind >> 3, more);
		break;
	case 3: // in clear, whatever is spoken
		octets_take(in, more, octets, &n);
		send(p, octets, n);
		if (p->shake == SECURE && n > 0)
			forbid(p, p->marks);
		break;
	case 4:
		octets_take(in, more, octets, &n);
		say(p, octets, n, 0);
		break;
	case 5:
		shake_begin(p, kind >> 3, implicit);
		break;
	case 6:
		if (p->client.open && (kind & 0x78) == 0x78)
			tcp_shutdown(p->client_host->tcp, p->client.conn);
		break;
	default:
		pass = ms[kind >> 3 & 7] < p->time_left ? ms[kind >> 3 & 7] : p->time_left;
		p->time_left -= pass;
		virtual_advance(&p->sim, pass);
		break;
	}
	if ((kind & 0x40) == 0)
		return; // the next goes out with it
	virtual_settle(&p->sim);
	yes_look(p);
	shake_run(p);
}

static void legs_check(const struct play *p)
{
	for (unsigned i = 0; i < p->legs; i++) {
		const struct stream *s = &p->leg[i];

		for (uint32_t k = 0; k + 8 <= s->len; k++) {
			char digits[5] = "";
			unsigned long mark;

			if (memcmp(s->text + k, MARK, 4) != 0)
				continue;
			memcpy(digits, s->text + k + 4, 4);
			mark = strtoul(digits, NULL, 10);
			FUZZ_CHECK(mark >= p->from && mark < p->forbidden);
		}
	}
}

// Behind the yes there is nothing in clear.
static void client_check(const struct play *p)
{
	const uint8_t *at = p->client.text + p->yes_at;

	if (p->yes_at != 0 && p->client.len > p->yes_at)
		FUZZ_CHECK(at[0] == TLS_T_ALERT || at[0] == TLS_T_HANDSHAKE);
	if (p->yes_at != 0 && p->client.len > p->yes_at + 1)
		FUZZ_CHECK(at[1] == 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t mode = fuzz_u8(&in), mss = fuzz_u8(&in);
	struct play *p = calloc(1, sizeof(*p));

	if (p == NULL)
		abort();
	p->time_left = TIME_MAX_MS;
	play_init(p, mode, mss & 1 ? (uint16_t)(64 + (mss >> 1)) : 0);
	for (unsigned i = 0; in.left > 0 && i < 40; i++)
		record(p, &in, mode % 3 == 2);
	virtual_advance(&p->sim, 1000);
	yes_look(p);
	play_fini(p);
	client_check(p);
	legs_check(p);
	free(p);
	return 0;
}
