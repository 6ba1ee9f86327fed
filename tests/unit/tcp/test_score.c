// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The scoreboard against one flag an octet: random writes, transmissions, blocks that are right and
// blocks that are nonsense, acknowledgements, losses; with plenty of queue entries and with hardly
// any, when blocks may be marked in part but never beyond what was told. The octets stay the same.

#include "dataplane/tcp/tcp_loss_inner_types.h"
#include "tests/eal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OCTETS (1U << 20)

static uint64_t stats[STAT_COUNT];
static struct worker_env env = {.count = 1, .stats = stats};
static struct rte_mempool *pool, *small_pool, *ref_pool;
static const struct tcp_ops ops;

// By octet of the stream, from its start.
static uint8_t bytes[OCTETS];
static bool told[OCTETS];
static uint32_t first; // sequence number of the first

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
	return s;
}

static struct tcp_pcb *open_new(struct tcp_stack *s)
{
	const struct flow_key key = {.local_port = 1};
	struct tcp_pcb *p = pcb_alloc(s, &key);

	assert_non_null(p);
	p->state = TCP_S_ESTABLISHED;
	p->flags = TCP_F_SACK;
	p->mss = 1000;
	p->srtt_us8 = 8 * 20000;
	p->snd_wnd = OCTETS;
	first = UINT32_MAX - 10000; // across the wrap
	p->snd_una = p->snd_nxt = p->snd_max = p->recover = first;
	memset(told, 0, sizeof(told));
	return p;
}

static void write_some(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t n = (uint32_t)random() % 3000 + 1, at = p->snd_una + p->tx_bytes - first;

	for (uint32_t i = 0; i < n; i++)
		bytes[at + i] = (uint8_t)random();
	tcp_tx_write(s, (struct tcp_conn_id){pcb_index(s, p)}, bytes + at, n);
}

// As the output does it: what is sent next is marked with the time.
static void send_some(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t left = p->snd_una + p->tx_bytes - p->snd_nxt, to;

	if (left == 0)
		return;
	to = p->snd_nxt + 1 + (uint32_t)random() % left;
	for (uint32_t idx = p->tx_head; idx != 0; idx = s->slice[idx].next) {
		struct tcp_slice *sl = &s->slice[idx];

		if (seq_diff(sl->seq + sl->len, p->snd_nxt) > 0 && seq_diff(sl->seq, to) < 0)
			sl->mark = mark_now(s);
	}
	p->snd_nxt = p->snd_max = to;
}

// A segment that acknowledges to ack and tells of the blocks.
static struct tcp_news
ack_in(struct tcp_stack *s,
       struct tcp_pcb *p,
       uint32_t ack,
       const struct tcp_block *block,
       unsigned n)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct rte_tcp_hdr *tcp = (struct rte_tcp_hdr *)rte_pktmbuf_append(m, 60);
	struct tcp_seg seg = {.m = m, .ack = ack};
	struct tcp_news news;

	memset(tcp, 0, 60);
	if (n > 0) {
		unsigned len = tcp_options_sack((uint8_t *)(tcp + 1), block, n);

		assert_true(tcp_options_parse(tcp, (unsigned)sizeof(*tcp) + len, &seg));
	}
	tcp_score_input(s, p, &seg, &news);
	if (seq_diff(ack, p->snd_una) > 0) {
		uint32_t acked = ack - p->snd_una;

		p->snd_una = ack;
		tx_acked(s, p, acked);
	}
	rte_pktmbuf_free(m);
	return news;
}

static void compare(const struct tcp_stack *s, const struct tcp_pcb *p, bool whole)
{
	const struct tcp_loss *l = loss_of(s, p);
	uint32_t sacked = 0, lost = 0, at = p->snd_una;

	for (uint32_t idx = p->tx_head; idx != 0; idx = s->slice[idx].next) {
		const struct tcp_slice *sl = &s->slice[idx];
		bool is_sacked = (sl->mark & TCP_SL_SACKED) != 0;

		assert_int_equal(sl->seq, at);
		assert_memory_equal(slice_data(sl), bytes + (at - first), sl->len);
		at += sl->len;
		sacked += is_sacked ? sl->len : 0;
		lost += (sl->mark & TCP_SL_LOST) != 0 ? sl->len : 0;
		for (uint32_t i = 0; i < sl->len && p->loss != 0; i++) {
			bool was_told = told[sl->seq - first + i];

			assert_true(whole ? is_sacked == was_told : !is_sacked || was_told);
		}
	}
	assert_int_equal(at - p->snd_una, p->tx_bytes);
	assert_int_equal(p->loss != 0 ? l->sacked : 0, sacked);
	assert_int_equal(p->loss != 0 ? l->lost : 0, lost);
	assert_int_equal(s->losses.used, p->loss != 0);
}

static void blocks_in(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t flight = p->snd_nxt - p->snd_una;
	struct tcp_block block[TCP_SACK_BLOCKS_MAX];
	unsigned n = 1 + (unsigned)random() % TCP_SACK_BLOCKS_MAX;
	uint32_t ack = p->snd_una + (random() % 3 == 0 && flight > 2 ? random() % flight : 0);

	for (unsigned i = 0; i < n; i++) {
		uint32_t span = p->snd_nxt - ack;

		block[i].start = ack + 1 + (span > 1 ? (uint32_t)random() % (span - 1) : 0);
		block[i].end = block[i].start + 1 + (uint32_t)random() % 2500;
		if (random() % 8 == 0)
			block[i].end = block[i].start - (uint32_t)random() % 3;
		if (random() % 16 == 0)
			block[i].start = (uint32_t)random();
		// the first may be a D-SACK, which marks nothing
		if (i == 0 && n > 1 && seq_diff(block[0].end, p->snd_nxt) > 0)
			block[0].end = block[0].start;
	}
	// what counts of them, from the rules
	for (unsigned i = 0; i < n; i++) {
		const struct tcp_block *b = &block[i];
		bool twice = i == 0 && n > 1 && seq_diff(b->end, b->start) > 0 &&
			     seq_diff(b->start, block[1].start) >= 0 &&
			     seq_diff(b->end, block[1].end) <= 0 &&
			     seq_diff(b->end, p->snd_nxt) <= 0;

		if (twice || seq_diff(b->end, b->start) <= 0 || seq_diff(b->start, ack) <= 0 ||
		    seq_diff(b->end, p->snd_nxt) > 0)
			continue;
		for (uint32_t k = b->start; k != b->end; k++)
			told[k - first] = true;
	}
	ack_in(s, p, ack, block, n);
}

static void lose_some(struct tcp_stack *s, struct tcp_pcb *p)
{
	for (uint32_t idx = p->tx_head; idx != 0 && p->loss != 0; idx = s->slice[idx].next) {
		if (seq_diff(s->slice[idx].seq, p->snd_nxt) >= 0)
			return;
		if ((s->slice[idx].mark & (TCP_SL_SACKED | TCP_SL_LOST)) == 0 && random() % 3 == 0)
			slice_lost(s, p, loss_of(s, p), idx);
	}
}

static void board_run(uint32_t slices, unsigned steps)
{
	struct tcp_stack *s = stack_new(slices);
	struct tcp_pcb *p = open_new(s);

	for (unsigned i = 0; i < steps && p->snd_una - first < OCTETS - 100000; i++) {
		env.now_ns += (uint64_t)(random() % 5) * 1000000U;
		switch (random() % 8) {
		case 0:
		case 1:
			if (p->tx_bytes < 30000)
				write_some(s, p);
			break;
		case 2:
		case 3:
			send_some(s, p);
			break;
		case 4:
			lose_some(s, p);
			break;
		case 5:
			if (random() % 20 == 0) { // all of it, and the block goes back
				ack_in(s, p, p->snd_nxt, NULL, 0);
				loss_forget(s, p);
				memset(told, 0, sizeof(told));
			}
			break;
		default:
			blocks_in(s, p);
			break;
		}
		compare(s, p, slices > 1000);
	}
	assert_true(p->snd_una - first > 20000); // across the wrap
	loss_forget(s, p);
	queues_drop(s, p);
	assert_int_equal(s->slices.used, 0);
	tcp_stack_free(s);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	assert_int_equal(rte_mempool_in_use_count(small_pool), 0);
}

static void random_blocks(void **state)
{
	srandom(1);
	stats[STAT_TCP_SACK_IGNORED] = stats[STAT_TCP_DSACK_IN] = 0;
	board_run(4096, 30000);
	assert_true(stats[STAT_TCP_SACK_IGNORED] > 0);
	assert_true(stats[STAT_TCP_DSACK_IN] > 0);
}

static void random_blocks_with_few_entries(void **state)
{
	srandom(2);
	stats[STAT_TCP_NO_SLICE] = 0;
	board_run(70, 30000);
	assert_true(stats[STAT_TCP_NO_SLICE] > 0);
}

static void without_a_block_nothing_is_marked(void **state)
{
	struct tcp_stack *s = stack_new(4096);
	struct tcp_pcb *p = open_new(s);
	const struct tcp_block b = {first + 100, first + 200};

	while (idpool_get(&s->losses) != 0)
		;
	write_some(s, p);
	p->snd_nxt = p->snd_max = p->snd_una + p->tx_bytes;
	stats[STAT_TCP_NO_LOSS_BLOCK] = 0;
	assert_false(ack_in(s, p, first, &b, 1).sacked);
	assert_int_equal(p->loss, 0);
	assert_int_equal(stats[STAT_TCP_NO_LOSS_BLOCK], 1);
	queues_drop(s, p);
	tcp_stack_free(s);
}

// A slice that was told of, or lost, and then grows would count octets never sent.
static void a_marked_slice_does_not_grow(void **state)
{
	struct tcp_stack *s = stack_new(64);
	struct tcp_pcb *p = open_new(s);
	const struct tcp_conn_id id = {pcb_index(s, p)};
	const struct tcp_block b = {first + 10, first + 20};

	memset(bytes, 7, 30);
	assert_true(tcp_tx_write(s, id, bytes, 20));
	p->snd_nxt = p->snd_max = first + 20;
	told[10] = told[11] = told[12] = told[13] = told[14] = true;
	told[15] = told[16] = told[17] = told[18] = told[19] = true;
	assert_true(ack_in(s, p, first, &b, 1).sacked);
	assert_int_equal(loss_of(s, p)->sacked, 10);
	assert_true(tcp_tx_write(s, id, bytes + 20, 10));
	compare(s, p, true);
	loss_forget(s, p);
	assert_int_equal(s->slice[p->tx_head].mark & (TCP_SL_SACKED | TCP_SL_LOST), 0);
	queues_drop(s, p);
	tcp_stack_free(s);
}

// A received segment moved to the transmit queue: a slice of its own.
static void move_in(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_pcb *from, uint16_t n)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	const struct tcp_conn_id to = {pcb_index(s, p)}, id = {pcb_index(s, from)};

	memset(rte_pktmbuf_append(m, n), 7, n);
	rx_append(s, from, slice_new(s, m, 0, m->data_off, n));
	assert_int_equal(tcp_tx_move(s, to, id, n), n);
}

static void sent_mark(struct tcp_stack *s, struct tcp_pcb *p, uint32_t from)
{
	for (uint32_t idx = p->tx_head; idx != 0; idx = s->slice[idx].next)
		if (seq_diff(s->slice[idx].seq, from) >= 0)
			s->slice[idx].mark = mark_now(s);
	p->snd_nxt = p->snd_max = p->snd_una + p->tx_bytes;
}

// RFC 8985 6.2: what was sent later has arrived, and the reordering window is over.
static void rack_marks_what_was_sent_before(void **state)
{
	struct tcp_stack *s = stack_new(64);
	const struct flow_key key = {.local_port = 2};
	struct tcp_pcb *p = open_new(s), *from = pcb_alloc(s, &key);
	const struct tcp_block b = {first + 2000, first + 3000};
	struct tcp_loss *l;

	from->state = TCP_S_ESTABLISHED;
	env.now_ns = 1000000000; // two segments at once, one 10 ms later, one 20 ms later
	move_in(s, p, from, 1000);
	move_in(s, p, from, 1000);
	sent_mark(s, p, first);
	env.now_ns += 10000000;
	move_in(s, p, from, 1000);
	sent_mark(s, p, first + 2000);
	env.now_ns += 10000000;
	move_in(s, p, from, 1000);
	sent_mark(s, p, first + 3000);
	env.now_ns += 10000000; // the third is told of 20 ms after it was sent
	assert_true(ack_in(s, p, first, &b, 1).sacked);
	l = loss_of(s, p);
	assert_int_equal(l->rtt_ms, 20);
	// the reordering window is a quarter of that: those of 30 ms ago are lost
	assert_int_equal(tcp_rack_detect(s, p, l), 0);
	assert_int_equal(l->lost, 2000);
	assert_int_equal(l->sacked, 1000);
	loss_forget(s, p);
	queues_drop(s, p);
	tcp_stack_free(s);
}

// Sent in the same millisecond, they wait for the reordering window.
static void rack_waits_for_what_is_late(void **state)
{
	struct tcp_stack *s = stack_new(64);
	const struct flow_key key = {.local_port = 2};
	struct tcp_pcb *p = open_new(s), *from = pcb_alloc(s, &key);
	const struct tcp_block b = {first + 1000, first + 2000};

	from->state = TCP_S_ESTABLISHED;
	env.now_ns = 1000000000;
	move_in(s, p, from, 1000);
	move_in(s, p, from, 1000);
	sent_mark(s, p, first);
	env.now_ns += 20000000;
	ack_in(s, p, first, &b, 1);
	assert_int_equal(tcp_rack_detect(s, p, loss_of(s, p)), 5);
	assert_int_equal(loss_of(s, p)->lost, 0);
	env.now_ns += 4000000;
	assert_int_equal(tcp_rack_detect(s, p, loss_of(s, p)), 1);
	env.now_ns += 1000000;
	assert_int_equal(tcp_rack_detect(s, p, loss_of(s, p)), 0);
	assert_int_equal(loss_of(s, p)->lost, 1000);
	// D-SACK: it was only late, so the window is twice as long next time
	ack_in(s, p, first + 2000, NULL, 0);
	tcp_rack_dsack(p, loss_of(s, p));
	assert_int_equal(loss_of(s, p)->reo_mult, 2);
	tcp_rack_dsack(p, loss_of(s, p));
	assert_int_equal(loss_of(s, p)->reo_mult, 3);
	loss_forget(s, p);
	queues_drop(s, p);
	tcp_stack_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_blocks),
		cmocka_unit_test(random_blocks_with_few_entries),
		cmocka_unit_test(without_a_block_nothing_is_marked),
		cmocka_unit_test(a_marked_slice_does_not_grow),
		cmocka_unit_test(rack_marks_what_was_sent_before),
		cmocka_unit_test(rack_waits_for_what_is_late),
	};
	if (!eal_start(64))
		return 1;
	pool = rte_pktmbuf_pool_create("in", 1023, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	small_pool = rte_pktmbuf_pool_create("small", 4095, 0, 0, RTE_PKTMBUF_HEADROOM + 512, 0);
	ref_pool = rte_pktmbuf_pool_create("ref", 255, 0, 0, 0, 0);
	if (pool == NULL || small_pool == NULL || ref_pool == NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
