// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See scan_rig.h.

#include "tests/unit/proxy/scan_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/eal.h"

static struct {
	struct blob_header head;
	struct blob_service service;
	struct blob_pool pool;
	struct blob_backend backend;
} blob;
uint64_t stats[STAT_COUNT];
struct worker_env env;
static struct rte_mempool *pool, *small_pool, *ref_pool;
struct shm_backend_local backends[2];
static struct shm_service_local services[2];
static struct shm_backend_signals signals[2];
static struct shm_backend_ctl ctl[2];
struct relay *relay;
struct session *session;
static uint64_t session_was;
struct tcp_pcb *client, *leg;
// What arrived from each side, and what left to the other.
static uint8_t in[2][STREAM_MAX], out[2][STREAM_MAX];
static uint32_t in_len[2], out_len[2];

static void blob_make(void)
{
	const uint8_t *base = (const uint8_t *)&blob;

	blob.head = (struct blob_header){
		.magic = BLOB_MAGIC,
		.generation = 1,
		.length = sizeof(blob),
		.hostname = "mx.test",
		.services = {(uint32_t)((const uint8_t *)&blob.service - base), 1},
		.pools = {(uint32_t)((const uint8_t *)&blob.pool - base), 1},
		.backends = {(uint32_t)((const uint8_t *)&blob.backend - base), 1},
	};
	blob.service = (struct blob_service){.slot = 1, .client_idle_ms = 300000};
	blob.pool = (struct blob_pool){
		.backend_count = 1,
		.banner_timeout_ms = 30000,
		.end_of_data_timeout_ms = 720000,
	};
	blob.backend = (struct blob_backend){.slot = 1, .weight = 1};
}

static struct tcp_pcb *open_new(uint16_t port, uint32_t user)
{
	const struct flow_key key = {.local_port = port};
	struct tcp_pcb *p = pcb_alloc(relay->tcp, &key);

	assert_non_null(p);
	p->state = TCP_S_ESTABLISHED;
	p->mss = 1400;
	p->rcv_cap = 1 << 20;
	p->user = user;
	return p;
}

void start(uint32_t slices)
{
	struct relay_config config = {
		.env = &env,
		.shm =
			{
				.backends = backends,
				.services = services,
				.signals = signals,
				.backend_ctl = ctl,
				.backend_slots = 2,
				.service_slots = 2,
			},
		.max_sessions = 4,
	};
	struct tcp_config tcp = {
		.env = &env,
		.ops = &relay_tcp_ops,
		.small_pool = small_pool,
		.ref_pool = ref_pool,
		.max_conns = 8,
		.max_minis = 4,
		.max_slices = slices,
	};
	const struct lb_view view = {
		.blob = &blob.head, .ctl = ctl, .local = backends, .slots = 2, .workers = 1
	};
	uint32_t idx;

	memset(stats, 0, sizeof(stats));
	memset(backends, 0, sizeof(backends));
	memset(services, 0, sizeof(services));
	memset(signals, 0, sizeof(signals));
	env = (struct worker_env){.count = 1, .stats = stats, .now_ns = 1000000000};
	relay = relay_new(&config);
	assert_non_null(relay);
	tcp.app = relay;
	relay_attach(relay, tcp_stack_new(&tcp));
	assert_non_null(relay->tcp);
	relay_generation(relay, &blob.head, NULL);
	idx = idpool_get(&relay->ids);
	session = session_of(relay, idx);
	client = open_new(1, idx);
	leg = open_new(2, idx | TCP_USER_LEG);
	*session = (struct session){
		.client = {pcb_index(relay->tcp, client)},
		.leg = {pcb_index(relay->tcp, leg)},
		.id = 1,
		.state = RELAY_S_PASS,
		.leg_state = LEG_S_BANNER,
		.service_slot = 1,
		.backend_slot = 1,
		.tried = {1},
		.tried_count = 1,
		.started_ms = env_now_ms(&env),
		.touched_ms = env_now_ms(&env),
		.leg_since_us = relay_now_us(relay),
	};
	session_was = session->id;
	assert_int_equal(lb_pick(relay->lb, &view, 0, NULL, 0), 0); // its lease
	services[1].active = 1;
	backends[1].active = backends[1].connecting = 1;
	session_timer(relay, session);
	memset(in_len, 0, sizeof(in_len));
	memset(out_len, 0, sizeof(out_len));
}

bool is_alive(void)
{
	return session->id == session_was && session->client.v != 0 && session->leg.v != 0;
}

void stop(void)
{
	if (session->id == session_was) {
		if (session->client.v != 0)
			client_forget(relay, session);
		if (session->leg.v != 0)
			leg_forget(relay, session);
		session_free(relay, session);
	}
	tcp_stack_free(relay->tcp); // frees what queues hold
	relay_free(relay);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	assert_int_equal(rte_mempool_in_use_count(small_pool), 0);
	assert_int_equal(rte_mempool_in_use_count(ref_pool), 0);
}

// Everything queued for the peer is sent and acknowledged.
static void drain(unsigned to, struct tcp_pcb *p)
{
	uint32_t n = 0;

	for (uint32_t i = p->tx_head; i != 0; i = relay->tcp->slice[i].next) {
		const struct tcp_slice *sl = &relay->tcp->slice[i];

		assert_true(out_len[to] + sl->len <= STREAM_MAX);
		memcpy(out[to] + out_len[to], slice_data(sl), sl->len);
		out_len[to] += sl->len;
		n += sl->len;
	}
	if (n == 0)
		return;
	p->snd_una += n;
	p->snd_nxt = p->snd_max = p->snd_una;
	tx_acked(relay->tcp, p, n);
}

static void arrive(unsigned from, const uint8_t *data, uint32_t n)
{
	struct tcp_pcb *p = from == 0 ? client : leg;
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint32_t idx;

	assert_non_null(m);
	memcpy(rte_pktmbuf_append(m, (uint16_t)n), data, n);
	idx = slice_new(relay->tcp, m, p->rcv_nxt, m->data_off, (uint16_t)n);
	assert_int_not_equal(idx, 0);
	p->rcv_nxt += n;
	rx_append(relay->tcp, p, idx);
	memcpy(in[from] + in_len[from], data, n);
	in_len[from] += n;
	relay_tcp_ops.on_data(
		relay,
		(struct tcp_conn_id){pcb_index(relay->tcp, p)},
		session_index(relay, session) | (from == 0 ? 0 : TCP_USER_LEG)
	);
}

// From 0 to the backend's side and back: what arrived has left, nothing waits and nothing is added.
void bytes_compare(void)
{
	drain(0, leg);
	drain(1, client);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(in_len[i], out_len[i]);
		assert_memory_equal(in[i], out[i], in_len[i]);
	}
}

void say(const struct step *step, uint32_t piece, uint32_t cut)
{
	uint32_t len = step->len != 0 ? step->len : (uint32_t)strlen(step->text), at = 0;

	env.now_ns += 1000000;
	while (at < len) {
		uint32_t n = len - at < piece ? len - at : piece;

		if (at < cut && at + n > cut)
			n = cut - at;
		arrive(step->who == 'B', (const uint8_t *)step->text + at, n);
		at += n;
	}
}

void outcome_get(struct outcome *ret)
{
	const struct shm_backend_local *b = &backends[1];

	memset(ret, 0, sizeof(*ret));
	memcpy(ret->stats, stats, sizeof(stats));
	for (unsigned i = 0; i < SHM_VERB_GROUPS; i++)
		ret->hist[i] = b->latency[i].count;
	for (unsigned i = 0; i < SHM_SIGNALS; i++)
		ret->signal[i] = signals[1].signal[i];
	ret->failing = signals[1].failing;
	ret->mails = signals[1].mails;
	ret->rcpt_votes = signals[1].rcpt_votes;
	ret->eod_votes = signals[1].eod_votes;
	ret->recipients = b->recipients;
	ret->messages = b->messages;
	ret->bytes = b->bytes;
	ret->replies_4xx = b->replies_4xx;
	ret->replies_5xx = b->replies_5xx;
	ret->replies_421 = b->replies_421;
	ret->flags = session->flags;
	ret->body_bytes = session->body_bytes;
	ret->state = session->state;
	ret->leg_state = session->leg_state;
	for (unsigned i = 0; i < session->pending_count; i++) {
		unsigned k = (session->pending_head + i) % SESSION_PENDING_MAX;

		ret->pending +=
			session->pending_verb[k] == SMTP_V_AGAIN ? session->pending_us[k] : 1;
	}
}

void play(const struct step *steps, unsigned n, uint32_t piece, unsigned step, uint32_t cut)
{
	start(4096);
	for (unsigned i = 0; i < n; i++) {
		say(&steps[i], i == step ? STREAM_MAX : piece, i == step ? cut : UINT32_MAX);
		bytes_compare();
	}
}

bool rig_init(void)
{
	if (!eal_start(64))
		return false;
	pool = rte_pktmbuf_pool_create("in", 8191, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	small_pool = rte_pktmbuf_pool_create("small", 4095, 0, 0, RTE_PKTMBUF_HEADROOM + 512, 0);
	ref_pool = rte_pktmbuf_pool_create("ref", 255, 0, 0, 0, 0);
	blob_make();
	return pool != NULL && small_pool != NULL && ref_pool != NULL;
}
