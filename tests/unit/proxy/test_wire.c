// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A side that speaks TLS against a peer's record layer, without a handshake: records of every size
// in segments of every size, TLS 1.2 and 1.3 and each suite, moved on, dropped and written; what
// ends or breaks it. Every buffer comes back.

#include "dataplane/proxy/relay_inner_types.h"
#include "dataplane/tcp/tcp_inner_types.h"
#include "tests/eal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_MAX (1U << 20)

static uint64_t stats[STAT_COUNT];
static struct worker_env env = {.count = 1, .stats = stats};
static struct rte_mempool *pool, *small_pool, *ref_pool;
static struct tls_engine *engine;
static struct relay *relay;
static struct tls_state peer;
static struct tcp_pcb *pcb, *other;
static struct wire wire, plain;
static uint8_t text[TEXT_MAX], raw[TLS_RECORD_MAX + 64];
static uint32_t text_at, text_len, sent_at; // read so far, written so far, and seen at `other`

static bool
on_syn(void *app,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	return false;
}

static const struct tcp_ops ops = {.on_syn = on_syn};

static struct tcp_pcb *open_new(uint16_t port)
{
	const struct flow_key key = {.local_port = port};
	struct tcp_pcb *p = pcb_alloc(relay->tcp, &key);

	assert_non_null(p);
	p->state = TCP_S_ESTABLISHED;
	p->mss = 1400;
	p->rcv_cap = 1 << 20;
	return p;
}

static void keys_make(uint16_t version, uint16_t suite)
{
	struct tls_secrets x = {.version = version, .suite = suite, .server = true};

	memset(x.client, 1, sizeof(x.client));
	memset(x.server_secret, 2, sizeof(x.server_secret));
	memset(x.master, 3, sizeof(x.master));
	memset(x.client_random, 4, sizeof(x.client_random));
	assert_true(tls_state_derive(&relay->wire_tls[wire.tls].st, &x));
	x.server = false;
	assert_true(tls_state_derive(&peer, &x));
}

static void start(uint16_t version, uint16_t suite, uint32_t slices)
{
	const struct tcp_config config = {
		.env = &env,
		.ops = &ops,
		.small_pool = small_pool,
		.ref_pool = ref_pool,
		.max_conns = 8,
		.max_minis = 4,
		.max_slices = slices,
	};

	relay = calloc(1, sizeof(*relay));
	assert_non_null(relay);
	relay->env = &env;
	relay->config = (struct relay_config){.tls = engine, .max_tls = 4};
	relay->tcp = tcp_stack_new(&config);
	assert_non_null(relay->tcp);
	assert_true(wire_tls_init(relay));
	pcb = open_new(1);
	other = open_new(2);
	wire = (struct wire){{pcb_index(relay->tcp, pcb)}, wire_tls_get(relay, 1)};
	plain = (struct wire){.conn = {pcb_index(relay->tcp, other)}};
	relay->wire_tls[wire.tls].phase = WIRE_OPEN;
	keys_make(version, suite);
	text_at = text_len = sent_at = 0;
}

static void stop(void)
{
	queues_drop(relay->tcp, pcb);
	queues_drop(relay->tcp, other);
	wire_tls_put(relay, &wire.tls);
	assert_int_equal(relay->wire_ids.used, 0);
	assert_int_equal(relay->tcp->slices.used, 0);
	wire_tls_free(relay);
	tcp_stack_free(relay->tcp);
	free(relay);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	assert_int_equal(rte_mempool_in_use_count(small_pool), 0);
}

static void arrive(const uint8_t *data, uint32_t n)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint32_t idx;

	assert_non_null(m);
	memcpy(rte_pktmbuf_append(m, (uint16_t)n), data, n);
	idx = slice_new(relay->tcp, m, pcb->rcv_nxt, m->data_off, (uint16_t)n);
	assert_int_not_equal(idx, 0);
	pcb->rcv_nxt += n;
	rx_append(relay->tcp, pcb, idx);
}

static void arrive_in_pieces(const uint8_t *data, uint32_t len, uint32_t piece)
{
	for (uint32_t n; len > 0; data += n, len -= n) {
		n = piece < len ? piece : len;
		arrive(data, n);
	}
}

// The peer sends a record of n bytes.
static void peer_send(uint32_t n, uint32_t piece)
{
	const struct tls_seg seg = {text + text_len, n};

	assert_true(text_len + n <= TEXT_MAX);
	for (uint32_t i = 0; i < n; i++)
		text[text_len + i] = (uint8_t)random();
	arrive_in_pieces(raw, tls_record_seal(engine, &peer, TLS_T_DATA, &seg, 1, raw), piece);
	text_len += n;
}

static void rx_compare(void)
{
	uint32_t at = 0, len;
	const uint8_t *p;

	assert_int_equal(wire_rx_bytes(relay, wire), text_len - text_at);
	while (wire_rx_peek(relay, wire, at, &p, &len)) {
		assert_true(at + len <= text_len - text_at);
		assert_memory_equal(p, text + text_at + at, len);
		at += len;
	}
	assert_int_equal(at, text_len - text_at);
}

// Some of it goes on to a plain connection, some is dropped.
static void use_some(void)
{
	uint32_t have = wire_rx_bytes(relay, wire);
	uint32_t n = have > 0 ? (uint32_t)random() % have + 1 : 0, at = 0;

	if (random() % 3 == 0) {
		wire_rx_drop(relay, wire, n);
	} else {
		uint32_t moved = wire_tx_move(relay, plain, wire, n);

		for (uint32_t i = other->tx_head; i != 0; i = relay->tcp->slice[i].next) {
			const struct tcp_slice *sl = &relay->tcp->slice[i];

			assert_memory_equal(slice_data(sl), text + text_at + at, sl->len);
			at += sl->len;
		}
		assert_int_equal(at, moved);
		n = moved;
		queues_drop(relay->tcp, other);
	}
	text_at += n;
}

static void records_of_every_size(uint16_t version, uint16_t suite)
{
	start(version, suite, 4096);
	srandom(suite);
	for (unsigned i = 0; i < 60; i++) {
		static const uint32_t pieces[] = {3, 100, 257, 300, 1000, 1400};

		peer_send(
			(uint32_t)random() % (random() % 2 == 0 ? 200 : TLS_PLAIN_MAX) + 1,
			pieces[random() % 6]
		);
		if (random() % 2 == 0)
			continue;
		assert_int_equal(wire_fill(relay, wire), WIRE_GOES_ON);
		rx_compare();
		use_some();
		rx_compare();
	}
	assert_int_equal(wire_fill(relay, wire), WIRE_GOES_ON);
	rx_compare();
	stop();
}

static void each_version_and_suite(void **state)
{
	records_of_every_size(TLS_V13, 0x1301);
	records_of_every_size(TLS_V13, 0x1302);
	records_of_every_size(TLS_V13, 0x1303);
	records_of_every_size(TLS_V12, 0xc02b);
	records_of_every_size(TLS_V12, 0xc02c);
	records_of_every_size(TLS_V12, 0xcca9);
}

// Buffers that others hold too are not appended to: each piece stays one.
static void a_record_in_very_many_pieces(void **state)
{
	struct rte_mbuf *held[300];
	unsigned count = 0;

	start(TLS_V13, 0x1301, 4096);
	for (unsigned i = 0; i < 3; i++) {
		const struct tls_seg seg = {text + text_len, 9000};
		uint32_t len = tls_record_seal(engine, &peer, TLS_T_DATA, &seg, 1, raw);

		text_len += 9000;
		for (uint32_t at = 0; at < len; at += 110) {
			arrive(raw + at, at + 110 < len ? 110 : len - at);
			held[count] = relay->tcp->slice[pcb->rx_tail].m;
			rte_mbuf_refcnt_update(held[count++], 1);
		}
		assert_int_equal(wire_fill(relay, wire), WIRE_GOES_ON);
		rx_compare();
		wire_rx_drop(relay, wire, 9000);
		text_at = text_len;
	}
	while (count > 0)
		rte_pktmbuf_free(held[--count]);
	stop();
}

// The peer reads one record at the front of what we have sent.
static uint32_t peer_read(uint8_t *out)
{
	struct tls_opened opened;
	enum tls_alert alert;
	uint32_t n = 0, len;

	for (uint32_t i = pcb->tx_head; i != 0 && n < sizeof(raw); i = relay->tcp->slice[i].next) {
		const struct tcp_slice *sl = &relay->tcp->slice[i];
		uint32_t take = sl->len < sizeof(raw) - n ? sl->len : (uint32_t)sizeof(raw) - n;

		memcpy(raw + n, slice_data(sl), take);
		n += take;
	}
	if (n < TLS_RECORD_HEADER)
		return 0;
	len = tls_record_length(&peer, raw, &alert);
	assert_in_range(len, TLS_RECORD_HEADER, n);
	assert_int_equal(
		tls_record_open(engine, &peer, &(struct tls_seg){raw, len}, 1, &opened), TLS_OK
	);
	memcpy(out, raw + opened.off, opened.len);
	pcb->snd_una += len;
	pcb->snd_nxt = pcb->snd_max = pcb->snd_una;
	tx_acked(relay->tcp, pcb, len);
	return opened.len;
}

// With so few queue entries that many writes find none: those were not made, and take no number.
static void writes_are_whole_or_not_at_all(void **state)
{
	static uint8_t out[TLS_PLAIN_MAX];
	unsigned refused = 0;

	start(TLS_V12, 0xc02b, 12);
	for (unsigned i = 0; i < 400; i++) {
		uint32_t n = (uint32_t)random() % 2000 + 1, got;

		memset(text, (int)i, n);
		if (!wire_tx_write(relay, wire, text, n)) {
			refused++;
			assert_true(pcb->tx_bytes > 0);
			while (peer_read(out) > 0)
				;
			continue;
		}
		if (random() % 4 != 0)
			continue;
		while ((got = peer_read(out)) > 0)
			assert_int_equal(out[0], out[got - 1]);
	}
	assert_true(refused > 0);
	stop();
}

static void a_body_is_sealed_on_its_way(void **state)
{
	static uint8_t out[TLS_PLAIN_MAX];
	uint32_t at = 0, got;

	start(TLS_V13, 0x1301, 4096);
	for (unsigned i = 0; i < 40; i++) { // arrives at the plain side
		struct tcp_pcb *p = pcb;

		for (uint32_t k = 0; k < 1000; k++)
			text[text_len + k] = (uint8_t)random();
		pcb = other;
		arrive(text + text_len, 1000);
		pcb = p;
		text_len += 1000;
	}
	assert_int_equal(wire_tx_move(relay, wire, plain, text_len), text_len);
	assert_int_equal(tcp_rx_bytes(relay->tcp, plain.conn), 0);
	while ((got = peer_read(out)) > 0) {
		assert_memory_equal(out, text + at, got);
		at += got;
	}
	assert_int_equal(at, text_len);
	stop();
}

static void a_bad_record_ends_it(void **state)
{
	const struct tls_seg seg = {text, 100};
	uint32_t n;

	start(TLS_V13, 0x1301, 64);
	peer_send(50, 1400);
	n = tls_record_seal(engine, &peer, TLS_T_DATA, &seg, 1, raw);
	raw[40] ^= 1;
	arrive(raw, n);
	assert_int_equal(wire_fill(relay, wire), WIRE_BROKEN);
	rx_compare(); // what came before stands
	assert_true(pcb->tx_bytes > 0);
	assert_true(relay->wire_tls[wire.tls].st.wr_closed);
	wire_end(relay, wire);
	n = pcb->tx_bytes;
	wire_end(relay, wire); // no second alert
	assert_int_equal(pcb->tx_bytes, n);
	stop();
	start(TLS_V12, 0xc02f, 64);
	arrive((const uint8_t *)"MAIL FROM:<>\r\n", 14);
	assert_int_equal(wire_fill(relay, wire), WIRE_BROKEN);
	stop();
}

static void close_notify_and_truncation(void **state)
{
	uint8_t out[TLS_REPLY_MAX];

	start(TLS_V13, 0x1303, 64);
	peer_send(50, 1400);
	arrive(out, tls_alert_seal(engine, &peer, TLS_ALERT_CLOSE_NOTIFY, out));
	arrive((const uint8_t *)"more", 4); // is never looked at
	assert_int_equal(wire_fill(relay, wire), WIRE_ENDED);
	assert_int_equal(wire_fill(relay, wire), WIRE_ENDED);
	rx_compare();
	assert_int_equal(tcp_rx_bytes(relay->tcp, wire.conn), 50);
	assert_true(wire_fin(relay, wire));
	stop();
	start(TLS_V12, 0xc02b, 64);
	peer_send(50, 1400);
	text_len = 50;
	arrive(raw, 30); // half a record
	assert_int_equal(wire_fill(relay, wire), WIRE_GOES_ON);
	assert_false(wire_fin(relay, wire)); // without close_notify
	assert_int_equal(tcp_rx_bytes(relay->tcp, wire.conn), 50);
	rx_compare();
	stop();
}

static void too_many_empty_records_end_it(void **state)
{
	enum wire_result result = WIRE_GOES_ON;
	unsigned i;

	start(TLS_V13, 0x1301, 64);
	for (i = 0; i < 200 && result == WIRE_GOES_ON; i++) {
		arrive(raw, tls_record_seal(engine, &peer, TLS_T_DATA, NULL, 0, raw));
		result = wire_fill(relay, wire);
	}
	assert_int_equal(result, WIRE_BROKEN);
	assert_in_range(i, 10, 100);
	stop();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_version_and_suite),
		cmocka_unit_test(a_record_in_very_many_pieces),
		cmocka_unit_test(writes_are_whole_or_not_at_all),
		cmocka_unit_test(a_body_is_sealed_on_its_way),
		cmocka_unit_test(a_bad_record_ends_it),
		cmocka_unit_test(close_notify_and_truncation),
		cmocka_unit_test(too_many_empty_records_end_it),
	};
	int failed;

	if (!eal_start(64))
		return 1;
	pool = rte_pktmbuf_pool_create("in", 8191, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	small_pool = rte_pktmbuf_pool_create("small", 4095, 0, 0, RTE_PKTMBUF_HEADROOM + 512, 0);
	ref_pool = rte_pktmbuf_pool_create("ref", 255, 0, 0, 0, 0);
	engine = tls_engine_new(PK_ENGINE_BUILTIN);
	if (pool == NULL || small_pool == NULL || ref_pool == NULL || engine == NULL)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tls_engine_free(engine);
	return failed;
}
