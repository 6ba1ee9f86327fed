// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A worker of the product between a client and backends that say anything, ordered about by a
// control process that says anything: hosts and wire are the simulator's. Judged: what the client
// is told are reply lines, what a backend is told has no line end of its own making (in
// passthrough: each is told what the other said, and of ours what may stand there), the same octets
// in other segments have the same effect, every command of control is answered once, and in the end
// nothing is left. Input: policy, segment sizes, then records (kind, length, octets).

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/fuzz/eal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtual.h"
#include "tests/sim/box.h"
#include "tests/sim/control.h"

#define LEGS_MAX 16
#define STREAM_MAX 65536
#define TIME_MAX_MS 500000U
// Between records. What a record sets off is over well within it, acknowledgements that wait
// included, and no time-out ends when the next one is due: a leg that was opened a millisecond
// later would change places with it. So the order of things is the same whatever the segments.
#define RECORD_MS 500
#define TIMEOUT_MS(n) ((n) + 70) // also when one follows on another, six times
#define END_MS 1500000U          // the longest time-outs of a probe, and TIME_WAIT

struct stream {
	struct tcp_conn_id conn;
	bool open, reset;
	uint32_t len, said_len;
	uint8_t text[STREAM_MAX]; // what it was told
	uint8_t said[STREAM_MAX];
};

struct play {
	struct sim sim;
	struct sim_host *client_host, *backend_host;
	struct box *box;
	struct control_blob blob[2];
	unsigned blob_now;
	struct stream client, leg[LEGS_MAX];
	unsigned legs;
	uint16_t mss;
	uint32_t probes, lists; // commands less answers
	uint32_t time_left;     // milliseconds that the records may still let pass
};

struct script {
	const uint8_t *at;
	size_t len;
	uint8_t policy, limits;
	uint16_t mss;
	bool v6;
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

static void stream_say(struct tcp_stack *tcp, struct stream *s, const uint8_t *octets, uint32_t len)
{
	if (!tcp_tx_write(tcp, s->conn, octets, len))
		return;
	FUZZ_CHECK(s->said_len + len <= STREAM_MAX); // a hundred records of 255
	memcpy(s->said + s->said_len, octets, len);
	s->said_len += len;
}

static bool
on_syn(void *app,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	struct play *p = app;

	*ret = (struct tcp_listen_info){.rcv_window = 60000, .mss_max = p->mss};
	return local->port == 25 && p->legs < LEGS_MAX;
}

static uint32_t on_accept(void *app, struct tcp_conn_id conn, uint32_t cookie)
{
	struct play *p = app;

	if (p->legs == LEGS_MAX)
		return TCP_USER_REFUSE;
	p->leg[p->legs].conn = conn;
	p->leg[p->legs].open = true;
	return p->legs++;
}

#define CLIENT LEGS_MAX // user word of the client's connection

static struct stream *stream_of(struct play *p, uint32_t user)
{
	return user == CLIENT ? &p->client : &p->leg[user];
}

static void on_quiet(void *app, struct tcp_conn_id conn, uint32_t user)
{
}

static void on_data(void *app, struct tcp_conn_id conn, uint32_t user)
{
	struct play *p = app;

	stream_read(
		user == CLIENT ? p->client_host->tcp : p->backend_host->tcp, stream_of(p, user)
	);
}

static void
on_close(void *app, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	stream_of(app, user)->open = false;
	stream_of(app, user)->reset = reason == TCP_CLOSE_RESET;
}

static const struct tcp_ops ops = {
	.on_syn = on_syn,
	.on_accept = on_accept,
	.on_connect = on_quiet,
	.on_data = on_data,
	.on_sent = on_quiet,
	.on_fin = on_quiet,
	.on_close = on_close,
};

static void no_turn(struct sim_host *host)
{
}

static uint32_t no_timer(struct sim_host *host, uint32_t limit_ms)
{
	return limit_ms;
}

static bool on_event(void *up, const struct ctl_msg *msg)
{
	struct play *p = up;

	p->probes -= msg->type == CTL_EVT_PROBE;
	p->lists -= msg->type == CTL_EVT_SESSION_END;
	return true;
}

static void blob_make(struct play *p, const struct script *s, const struct sim_host *box)
{
	struct control_blob *b = &p->blob[0];
	const struct blob_service service = {
		.slot = 1,
		.client_idle_ms = TIMEOUT_MS(5000),
		.data_idle_ms = TIMEOUT_MS(3000),
		.max_message_bytes = s->limits & 1 ? 100 : 0,
		.max_recipients = s->limits & 2 ? 2 : 0,
		.sessions_per_client = s->limits & 4 ? 1 : 0,
		.policy =
			{
				.bare_lf = s->policy % 3,
				.early_talker = (s->policy >> 2) & 1,
				.tls_mode = (s->policy & 0x38) == 0x38,
				.sources = UINT32_MAX,
			},
	};
	const struct blob_pool pool = {
		.backend_count = 2,
		.scheduler = s->limits >> 7,
		.connect_timeout_ms = TIMEOUT_MS(1000),
		.banner_timeout_ms = TIMEOUT_MS(2000),
		.reply_timeout_ms = TIMEOUT_MS(4000),
		.end_of_data_timeout_ms = TIMEOUT_MS(4000),
	};

	b->head = (struct blob_header){
		.magic = BLOB_MAGIC,
		.generation = 1,
		.length = sizeof(*b),
		.ledger = BLOB_LEDGER_FULL,
		.hostname = "mx.example",
		.backends = {.count = 2},
	};
	b->listener[0] = (struct blob_listener){.addr = box->addr4.addr, .port = 25};
	b->listener[1] = (struct blob_listener){.addr = box->addr6.addr, .port = 25};
	for (unsigned i = 0; i < 2; i++)
		b->backend[i] = (struct blob_backend){
			.addr = i == 0 ? p->backend_host->addr4.addr : p->backend_host->addr6.addr,
			.port = 25,
			.slot = i + 1,
			.weight = 1,
		};
	control_blob_fill(b, &service, &pool);
	box_generation(p->box, &b->head);
}

static void play_init(struct play *p, const struct script *s)
{
	const struct box_limits limits = {.max_sessions = 8, .max_conns = 32, .max_slices = 1024};
	struct tcp_connect_args args = {.rcv_window = 60000, .user = CLIENT, .mss_max = s->mss};
	struct sim_host *box;

	virtual_init(&p->sim);
	p->mss = s->mss;
	p->client_host = sim_host_new(&p->sim, 1);
	box = sim_host_new(&p->sim, 1);
	p->backend_host = sim_host_new(&p->sim, 1);
	sim_host_plain(p->client_host, &ops, p);
	sim_host_plain(p->backend_host, &ops, p);
	p->client_host->app_turn = p->backend_host->app_turn = no_turn;
	p->client_host->app_next_ms = p->backend_host->app_next_ms = no_timer;
	p->box = box_new(&p->sim, box, &limits);
	box_event_set(p->box, on_event, p);
	blob_make(p, s, box);
	virtual_advance(
		&p->sim, 3000
	); // until all addresses have been probed: none asks from one in doubt
	args.remote = (struct ip_endpoint){s->v6 ? box->addr6.addr : box->addr4.addr, 25};
	FUZZ_CHECK(tcp_connect(p->client_host->tcp, &args, &p->client.conn) == 0);
	p->client.open = true;
	virtual_settle(&p->sim);
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
	FUZZ_CHECK(p->probes == 0 && p->lists == 0);
	virtual_advance(&p->sim, 70000); // TIME_WAIT of the other hosts
	box_free(p->box);
	sim_wire_clear(&p->sim);
	for (unsigned h = 0; h < p->sim.host_count; h++)
		sim_host_free(p->sim.host[h]);
	eal_pools_check();
}

// Anything as a command of control, the header as it may be or not.
static void command(struct play *p, const uint8_t *octets, size_t len)
{
	struct ctl_msg msg = {.type = octets[0] & 3};

	if ((octets[0] & 4) != 0) { // one that is understood
		msg.probe.generation = p->blob[p->blob_now].head.generation;
		msg.probe.backend_index = octets[0] >> 7;
		msg.probe.backend_slot = p->blob[p->blob_now].backend[octets[0] >> 7].slot;
		msg.probe.timeout_ms = TIMEOUT_MS(1000);
		msg.probe.connect_timeout_ms = TIMEOUT_MS(1000);
	} else {
		memcpy(msg.body, octets + 1, len - 1 < sizeof(msg.body) ? len - 1 : sizeof(msg.body)
		);
	}
	msg.request_id = 7;
	p->probes += msg.type == CTL_CMD_PROBE;
	p->lists += msg.type == CTL_CMD_SESSION_LIST;
	box_command(p->box, 0, &msg);
}

// A new generation in which everything has moved; the old one is gone.
static void generation_swap(struct play *p)
{
	const struct control_blob *old = &p->blob[p->blob_now];
	struct control_blob *b = &p->blob[1 - p->blob_now];

	*b = *old;
	b->head.generation++;
	b->backend[0] = old->backend[1];
	b->backend[1] = old->backend[0];
	p->blob_now = 1 - p->blob_now;
	box_generation(p->box, &b->head);
	memset(&p->blob[1 - p->blob_now], 0xa5, sizeof(*b));
}

static struct stream *leg_now(struct play *p)
{
	for (unsigned i = p->legs; i > 0; i--)
		if (p->leg[i - 1].open)
			return &p->leg[i - 1];
	return NULL;
}

static void hang_up(struct sim_host *host, struct stream *s, bool reset)
{
	if (s == NULL || !s->open)
		return;
	if (!reset) {
		tcp_shutdown(host->tcp, s->conn);
		return;
	}
	tcp_abort(host->tcp, s->conn);
	s->open = false;
}

static void record(struct play *p, struct fuzz_in *in)
{
	static const uint32_t ms[] = {500, 1000, 1500, 2500, 4500, 6000, 30000, 100000};
	struct stream *leg = leg_now(p);
	uint8_t kind = fuzz_u8(in);
	uint32_t pass;
	size_t len;
	const uint8_t *octets = fuzz_bytes(in, kind & 64 ? fuzz_u8(in) : 0, &len);

	switch (kind & 7) {
	case 0:
	case 1:
		if (p->client.open)
			stream_say(p->client_host->tcp, &p->client, octets, (uint32_t)len);
		break;
	case 2:
	case 3:
		if (leg != NULL)
			stream_say(p->backend_host->tcp, leg, octets, (uint32_t)len);
		break;
	case 4:
		pass = ms[(kind >> 3) & 7] < p->time_left ? ms[(kind >> 3) & 7] : p->time_left;
		p->time_left -= pass;
		virtual_advance(&p->sim, pass);
		break;
	case 5:
		hang_up(p->client_host, &p->client, kind & 8);
		break;
	case 6:
		hang_up(p->backend_host, leg, kind & 8);
		break;
	default:
		if (len > 0)
			command(p, octets, len);
		else if (kind & 8)
			generation_swap(p);
		else
			box_backend_ctl(p->box)[1 + (kind >> 7)].admin = (kind >> 4) & 3;
		break;
	}
	virtual_advance(&p->sim, RECORD_MS);
}

// Lines of replies, whatever the backend said.
static void client_check(const struct stream *s)
{
	const uint8_t *line = s->text, *end = s->text + s->len;

	while (line < end) {
		const uint8_t *lf = memchr(line, '\n', (size_t)(end - line));

		if (lf == NULL)
			return; // cut off by the end
		FUZZ_CHECK(lf - line >= 4 && lf[-1] == '\r' && line[0] >= '2' && line[0] <= '5');
		FUZZ_CHECK(line[3] == ' ' || line[3] == '-' || line[3] == '\r');
		line = lf + 1;
	}
}

static bool has_word(const struct script *s, const char *word)
{
	for (size_t i = 0; i + 4 <= s->len; i++)
		if (strncasecmp((const char *)s->at + i, word, 4) == 0)
			return true;
	return false;
}

// No line end but CRLF goes to a server (SMTP smuggling), but in chunks that are counted.
static void leg_check(const struct stream *s)
{
	for (uint32_t i = 0; i < s->len; i++) {
		FUZZ_CHECK(s->text[i] != '\n' || (i > 0 && s->text[i - 1] == '\r'));
		FUZZ_CHECK(s->text[i] != '\r' || i + 1 == s->len || s->text[i + 1] == '\n');
	}
}

// How many octets of `told` are those that `by` said first.
static uint32_t same_octets(const struct stream *told, const struct stream *by)
{
	uint32_t n = 0;

	while (n < told->len && n < by->said_len && told->text[n] == by->said[n])
		n++;
	return n;
}

// One of control's, which is no client's.
static bool is_probe(const struct stream *leg)
{
	static const char says[] = "EHLO mx.example\r\nQUIT\r\n";

	return leg->len < sizeof(says) && memcmp(leg->text, says, leg->len) == 0;
}

// Nothing is changed, left out or added but QUIT to a backend and one reply of ours to the client;
// a backend whose greeting refused may have been left for another, unheard.
static void pass_check(const struct play *p)
{
	bool heard = p->client.len == 0;

	for (unsigned i = 0; i < p->legs; i++) {
		const struct stream *leg = &p->leg[i];
		uint32_t n = same_octets(leg, &p->client);
		uint32_t same = same_octets(&p->client, leg);

		FUZZ_CHECK(
			n == leg->len ||
			(leg->len - n == 6 && memcmp(leg->text + n, "QUIT\r\n", 6) == 0) ||
			is_probe(leg)
		);
		heard = heard || same == p->client.len ||
			(p->client.len - same > 4 && memcmp(p->client.text + same, "421 ", 4) == 0);
	}
	FUZZ_CHECK(heard || memcmp(p->client.text, "421 ", 4) == 0);
}

static struct play *play_run(const struct script *s)
{
	struct fuzz_in in = {s->at, s->len};
	struct play *p = calloc(1, sizeof(*p));
	bool passthrough = (s->policy & 0x38) == 0x38;

	if (p == NULL)
		abort();
	p->time_left = TIME_MAX_MS;
	play_init(p, s);
	for (unsigned i = 0; in.left > 0 && i < 100; i++)
		record(p, &in);
	play_fini(p);
	if (passthrough)
		pass_check(p);
	else
		client_check(&p->client);
	for (unsigned i = 0; i < p->legs && !passthrough; i++)
		if (s->policy % 3 != BLOB_BARE_LF_PASS && !has_word(s, "BDAT") &&
		    !has_word(s, "AUTH"))
			leg_check(&p->leg[i]);
	return p;
}

// Of a body that was broken off (too large, say) more or less has gone before that.
static void same_check(const struct stream *a, const struct stream *b)
{
	const struct stream *less = a->len < b->len ? a : b;

	FUZZ_CHECK(a->len == b->len || (a->reset && b->reset));
	FUZZ_CHECK(memcmp(a->text, b->text, less->len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	struct script s = {.policy = fuzz_u8(&in), .limits = fuzz_u8(&in)};
	uint8_t mss = fuzz_u8(&in);
	struct play *one, *two;

	s.v6 = mss & 1;
	s.at = in.at;
	s.len = in.left;
	one = play_run(&s);
	if (mss & 2) {
		s.mss = (uint16_t)(64 + (mss >> 2));
		two = play_run(&s);
		FUZZ_CHECK(one->client.len == two->client.len && one->legs == two->legs);
		FUZZ_CHECK(memcmp(one->client.text, two->client.text, one->client.len) == 0);
		for (unsigned i = 0; i < one->legs; i++)
			same_check(&one->leg[i], &two->leg[i]);
		free(two);
	}
	free(one);
	return 0;
}
