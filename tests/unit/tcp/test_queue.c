// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Receive and transmit queues of two connections against plain byte strings, by random operations:
// arrivals, reads, writes, moves from one to the other, acknowledgements; with plenty of buffers
// and with hardly any. Every buffer and entry comes back.

#include "dataplane/tcp/tcp_inner_types.h"
#include "tests/eal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL_MAX (1U << 20)

static uint64_t stats[STAT_COUNT];
static struct worker_env env = {.count = 1, .stats = stats};
static struct rte_mempool *pool, *small_pool, *ref_pool;

// What the queues must hold.
struct model {
	uint8_t bytes[MODEL_MAX];
	uint32_t head, tail;
};
static struct model rx_model, tx_model;

static bool
on_syn(void *app,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	return false;
}

static const struct tcp_ops ops = {.on_syn = on_syn};

static struct tcp_stack *stack_new(uint32_t slices)
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
	struct tcp_stack *s = tcp_stack_new(&config);

	assert_non_null(s);
	rx_model.head = rx_model.tail = tx_model.head = tx_model.tail = 0;
	return s;
}

static struct tcp_pcb *open_new(struct tcp_stack *s, uint16_t port)
{
	const struct flow_key key = {.local_port = port};
	struct tcp_pcb *p = pcb_alloc(s, &key);

	assert_non_null(p);
	p->state = TCP_S_ESTABLISHED;
	p->mss = 1000;
	p->rcv_cap = 100000;
	return p;
}

static void model_put(struct model *m, const uint8_t *data, uint32_t n)
{
	assert_true(m->tail + n <= MODEL_MAX);
	memcpy(m->bytes + m->tail, data, n);
	m->tail += n;
}

static void random_bytes(uint8_t *out, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] = (uint8_t)random();
}

// A segment of n bytes arrives in order.
static void arrive(struct tcp_stack *s, struct tcp_pcb *p, uint32_t n)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint32_t idx;

	if (m == NULL)
		return;
	random_bytes((uint8_t *)rte_pktmbuf_append(m, (uint16_t)n), n);
	idx = slice_new(s, m, p->rcv_nxt, m->data_off, (uint16_t)n);
	if (idx == 0) {
		rte_pktmbuf_free(m);
		return;
	}
	model_put(&rx_model, rte_pktmbuf_mtod(m, const uint8_t *), n);
	p->rcv_nxt += n;
	rx_append(s, p, idx);
}

static void rx_compare(const struct tcp_stack *s, struct tcp_conn_id conn)
{
	uint32_t have = tcp_rx_bytes(s, conn), at = 0, len;
	const uint8_t *ptr;

	assert_int_equal(have, rx_model.tail - rx_model.head);
	while (tcp_rx_peek(s, conn, at, &ptr, &len)) {
		assert_memory_equal(ptr, rx_model.bytes + rx_model.head + at, len);
		at += len;
	}
	assert_int_equal(at, have);
}

static void tx_compare(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	uint32_t at = 0;

	assert_int_equal(p->tx_bytes, tx_model.tail - tx_model.head);
	for (uint32_t idx = p->tx_head; idx != 0; idx = s->slice[idx].next) {
		const struct tcp_slice *sl = &s->slice[idx];

		assert_int_equal(sl->seq, p->snd_una + at);
		assert_memory_equal(slice_data(sl), tx_model.bytes + tx_model.head + at, sl->len);
		at += sl->len;
	}
	assert_int_equal(at, p->tx_bytes);
}

static void ack(struct tcp_stack *s, struct tcp_pcb *p, uint32_t n)
{
	p->snd_una += n;
	p->snd_nxt = p->snd_max = p->snd_una;
	tx_model.head += n;
	if (n > 0)
		tx_acked(s, p, n);
}

static void write_some(struct tcp_stack *s, struct tcp_pcb *p, uint32_t n)
{
	uint8_t data[2000];
	const struct tcp_conn_id id = {pcb_index(s, p)};

	random_bytes(data, n);
	if (tcp_tx_write(s, id, data, n))
		model_put(&tx_model, data, n);
}

static void move_some(struct tcp_stack *s, struct tcp_pcb *to, struct tcp_pcb *from, uint32_t n)
{
	const struct tcp_conn_id a = {pcb_index(s, to)}, b = {pcb_index(s, from)};
	uint32_t have = tcp_rx_bytes(s, b), moved;

	n = n < have ? n : have;
	moved = tcp_tx_move(s, a, b, n);
	assert_true(moved <= n);
	model_put(&tx_model, rx_model.bytes + rx_model.head, moved);
	rx_model.head += moved;
}

// Bytes leave from the middle, and others are written over in place.
static void cut_some(struct tcp_stack *s, struct tcp_conn_id id, uint32_t n)
{
	uint32_t have = tcp_rx_bytes(s, id), off = have > 0 ? (uint32_t)random() % have : 0, len;
	uint8_t *at = rx_model.bytes + rx_model.head + off, *ptr;

	n = n < have - off ? n : have - off;
	memmove(at, at + n, have - off - n);
	rx_model.tail -= n;
	tcp_rx_cut(s, id, off, n);
	if (!tcp_rx_piece(s, id, off, &ptr, &len))
		return;
	random_bytes(ptr, len);
	memcpy(at, ptr, len);
}

static void step(struct tcp_stack *s, struct tcp_pcb *from, struct tcp_pcb *to)
{
	const struct tcp_conn_id id = {pcb_index(s, from)};
	uint32_t n = (uint32_t)random() % (random() % 2 == 0 ? 40 : 1400) + 1;
	uint32_t have = tcp_rx_bytes(s, id);

	switch (random() % 7) {
	case 6:
		cut_some(s, id, random() % 2 == 0 ? 3 * n : n % 30);
		break;
	case 0:
	case 1:
		arrive(s, from, n);
		break;
	case 2:
		n = n < have ? n : have;
		tcp_rx_drop(s, id, n);
		rx_model.head += n;
		break;
	case 3:
		write_some(s, to, n);
		break;
	case 4:
		move_some(s, to, from, 3 * n);
		break;
	default:
		ack(s, to, 4 * n < to->tx_bytes ? 4 * n : to->tx_bytes);
		break;
	}
}

static void model_compact(struct model *m)
{
	memmove(m->bytes, m->bytes + m->head, m->tail - m->head);
	m->tail -= m->head;
	m->head = 0;
}

static void queues_run(uint32_t slices, unsigned steps)
{
	struct tcp_stack *s = stack_new(slices);
	struct tcp_pcb *from = open_new(s, 1), *to = open_new(s, 2);
	const struct tcp_conn_id id = {pcb_index(s, from)};

	to->snd_una = to->snd_nxt = to->snd_max = UINT32_MAX - 5000; // across the wrap
	for (unsigned i = 0; i < steps; i++) {
		step(s, from, to);
		rx_compare(s, id);
		tx_compare(s, to);
		if (rx_model.tail > MODEL_MAX / 2 || tx_model.tail > MODEL_MAX / 2) {
			model_compact(&rx_model);
			model_compact(&tx_model);
		}
		if (i % 100 == 0) // not without end
			ack(s, to, to->tx_bytes);
	}
	queues_drop(s, from);
	queues_drop(s, to);
	assert_int_equal(s->slices.used, 0);
	tcp_stack_free(s);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	assert_int_equal(rte_mempool_in_use_count(small_pool), 0);
	assert_int_equal(rte_mempool_in_use_count(ref_pool), 0);
}

static void random_operations(void **state)
{
	srandom(1);
	queues_run(4096, 20000);
}

static void random_operations_with_few_entries(void **state)
{
	srandom(2);
	stats[STAT_TCP_NO_SLICE] = 0;
	queues_run(12, 20000);
	assert_true(stats[STAT_TCP_NO_SLICE] > 0);
}

static void small_pieces_share_a_buffer(void **state)
{
	struct tcp_stack *s = stack_new(64);
	struct tcp_pcb *p = open_new(s, 1);

	for (unsigned i = 0; i < 300; i++)
		arrive(s, p, 3);
	assert_int_equal(p->rx_bytes, 900);
	assert_true(s->slices.used <= 2); // 3-byte segments must not pin 300 buffers
	assert_true(rte_mempool_in_use_count(pool) <= 2);
	for (unsigned i = 0; i < 100; i++)
		write_some(s, p, 4);
	assert_true(rte_mempool_in_use_count(small_pool) <= 1);
	queues_drop(s, p);
	tcp_stack_free(s);
}

static void writes_are_whole_or_not_at_all(void **state)
{
	struct tcp_stack *s = stack_new(2);
	struct tcp_pcb *p = open_new(s, 1);
	const struct tcp_conn_id id = {pcb_index(s, p)};
	static const uint8_t data[4000];

	assert_false(tcp_tx_write(s, id, data, sizeof(data))); // needs more entries than there are
	assert_int_equal(p->tx_bytes, 0);
	assert_int_equal(s->slices.used, 0);
	assert_true(tcp_tx_write(s, id, data, 700));
	assert_false(tcp_tx_write(s, id, data, sizeof(data)));
	assert_int_equal(p->tx_bytes, 700);
	p->flags |= TCP_F_FIN_QUEUED;
	assert_false(tcp_tx_write(s, id, data, 1)); // nothing behind the FIN
	queues_drop(s, p);
	tcp_stack_free(s);
}

static void the_window_counts_what_the_other_leg_holds(void **state)
{
	struct tcp_stack *s = stack_new(4096);
	struct tcp_pcb *from = open_new(s, 1), *to = open_new(s, 2);
	const struct tcp_conn_id a = {pcb_index(s, from)}, b = {pcb_index(s, to)};

	from->rcv_cap = 10000;
	from->rcv_adv = from->rcv_nxt; // nothing offered yet: no promise to keep
	assert_int_equal(tcp_rcv_window(s, from), 10000);
	arrive(s, from, 1400);
	from->rcv_adv = from->rcv_nxt;
	assert_int_equal(tcp_rcv_window(s, from), 8600);
	tcp_peer_set(s, a, b);
	assert_int_equal(tcp_tx_move(s, b, a, 1400), 1400);
	assert_int_equal(tcp_rcv_window(s, from), 8600);
	to->snd_una += 1400;
	tx_acked(s, to, 1400);
	assert_int_equal(tcp_rcv_window(s, from), 10000);
	for (unsigned i = 0; i < 7; i++)
		arrive(s, from, 1350);
	from->rcv_adv = from->rcv_nxt;
	assert_int_equal(tcp_rcv_window(s, from), 0); // 550 left: less than a segment, so none
	from->rcv_adv = from->rcv_nxt + 300;
	assert_int_equal(tcp_rcv_window(s, from), 300); // but never less than was offered
	queues_drop(s, from);
	queues_drop(s, to);
	tcp_stack_free(s);
}

// However short memory is: what can only be read as a whole comes in whole.
static void the_least_has_room(void **state)
{
	for (unsigned has = 0; has < 2; has++) {
		struct tcp_stack *s = stack_new(100);
		struct tcp_pcb *p = open_new(s, 1), *others = open_new(s, 2);
		const uint32_t record = 16645;
		uint32_t window;

		if (has)
			tcp_rx_least_set(s, (struct tcp_conn_id){pcb_index(s, p)}, record);
		for (unsigned i = 0; i < 80; i++)
			arrive(s, others, 1000);
		tcp_pressure_run(s);
		assert_in_range(s->pressure, TCP_PRESSURE_PRUNE, TCP_PRESSURE_ABORT);
		rx_model.head = rx_model.tail = 0;
		// as its peer sends: a segment when that fits, and what is left
		while (p->rx_bytes < record) {
			uint32_t left = record - p->rx_bytes;

			p->rcv_adv = p->rcv_nxt; // nothing is offered yet
			window = tcp_rcv_window(s, p);
			if (window < (left < p->mss ? left : p->mss))
				break;
			arrive(s, p, left < p->mss ? left : p->mss);
		}
		assert_int_equal(p->rx_bytes == record, has);
		p->rcv_adv = p->rcv_nxt;
		assert_in_range(tcp_rcv_window(s, p), 0, 3 * p->mss); // and hardly more
		queues_drop(s, p);
		queues_drop(s, others);
		tcp_stack_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations),
		cmocka_unit_test(random_operations_with_few_entries),
		cmocka_unit_test(small_pieces_share_a_buffer),
		cmocka_unit_test(writes_are_whole_or_not_at_all),
		cmocka_unit_test(the_window_counts_what_the_other_leg_holds),
		cmocka_unit_test(the_least_has_room),
	};
	if (!eal_start(64))
		return 1;
	pool = rte_pktmbuf_pool_create("in", 4095, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	small_pool = rte_pktmbuf_pool_create("small", 4095, 0, 0, RTE_PKTMBUF_HEADROOM + 512, 0);
	ref_pool = rte_pktmbuf_pool_create("ref", 4095, 0, 0, 0, 0);
	if (pool == NULL || small_pool == NULL || ref_pool == NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
