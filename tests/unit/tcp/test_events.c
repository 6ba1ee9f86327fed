// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a connection still tells when it ends, when a delayed ACK is asked for again, who counts for
// whose window, and what a worker that stood still makes of the connections that wait.

#include "dataplane/tcp/tcp_inner_types.h"
#include "tests/eal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t stats[STAT_COUNT];
static struct worker_env env = {.count = 1, .stats = stats};
static struct rte_mempool *small_pool, *ref_pool;
static char told[16]; // a letter for each event, in order
static struct tcp_stack *stack;

static void tell(char what)
{
	size_t n = strlen(told);

	assert_true(n + 1 < sizeof(told));
	told[n] = what;
	told[n + 1] = '\0';
}

static bool
on_syn(void *app,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	return false;
}

static uint32_t on_accept(void *app, struct tcp_conn_id conn, uint32_t cookie)
{
	tell('a');
	return 7;
}

static void on_data(void *app, struct tcp_conn_id conn, uint32_t user)
{
	tell('d');
}

static void on_sent(void *app, struct tcp_conn_id conn, uint32_t user)
{
	tell('s');
}

static void on_fin(void *app, struct tcp_conn_id conn, uint32_t user)
{
	tell('f');
}

static void on_close(void *app, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason why)
{
	tell(why == TCP_CLOSE_DONE ? 'D' : why == TCP_CLOSE_RESET ? 'R' : 'O');
}

static const struct tcp_ops ops = {
	.on_syn = on_syn,
	.on_accept = on_accept,
	.on_data = on_data,
	.on_sent = on_sent,
	.on_fin = on_fin,
	.on_close = on_close,
};

static int stack_begin(void **state)
{
	const struct tcp_config config = {
		.env = &env,
		.ops = &ops,
		.small_pool = small_pool,
		.ref_pool = ref_pool,
		.max_conns = 8,
		.max_minis = 4,
		.max_slices = 64,
	};

	env.now_ns = 1000000000U;
	told[0] = '\0';
	stack = tcp_stack_new(&config);
	return stack != NULL ? 0 : -1;
}

static int stack_end(void **state)
{
	tcp_stack_free(stack);
	return 0;
}

static struct tcp_pcb *open_new(uint16_t port)
{
	const struct flow_key key = {.local_port = port};
	struct tcp_pcb *p = pcb_alloc(stack, &key);

	assert_non_null(p);
	pcb_state_set(stack, p, TCP_S_ESTABLISHED);
	return p;
}

static const char *ended(unsigned events, enum tcp_close_reason reason)
{
	struct tcp_pcb *p = open_new(1);

	pcb_event(stack, p, events);
	pcb_kill(stack, p, reason);
	tcp_events_run(stack);
	return told;
}

static void a_reset_leaves_nothing_to_tell_but_itself(void **state)
{
	// data and FIN of one burst with the reset: its octets are dropped, so the FIN's place is
	// not that which the application would reckon
	assert_string_equal(ended(TCP_EV_DATA | TCP_EV_SENT | TCP_EV_FIN, TCP_CLOSE_RESET), "R");
}

static void a_connection_that_ended_in_the_same_burst_is_accepted_first(void **state)
{
	assert_string_equal(ended(TCP_EV_ACCEPT | TCP_EV_DATA, TCP_CLOSE_RESET), "aR");
}

static void a_full_end_is_told_in_order(void **state)
{
	assert_string_equal(ended(TCP_EV_SENT | TCP_EV_FIN, TCP_CLOSE_DONE), "sfD");
}

static void a_delayed_ack_without_buffer_waits_its_time_again(void **state)
{
	struct tcp_pcb *p = open_new(1);

	p->flags |= TCP_F_DELACK;
	p->delack_at_ms = env_now_ms(&env);
	tcp_timer_fire(stack, pcb_index(stack, p));
	assert_true((p->flags & TCP_F_ACK_NOW) != 0);
	// the ACK itself ends this; as long as it cannot be sent, it is not tried each millisecond
	assert_int_equal(p->delack_at_ms, env_now_ms(&env) + TCP_DELACK_MS);
	assert_true(tcp_next_timer_ms(stack, 1000) >= TCP_DELACK_MS);
}

static void a_new_peer_frees_the_former_ones(void **state)
{
	struct tcp_pcb *a = open_new(1), *b = open_new(2), *c = open_new(3), *d = open_new(4);
	const struct tcp_conn_id a_id = {pcb_index(stack, a)}, b_id = {pcb_index(stack, b)};
	const struct tcp_conn_id c_id = {pcb_index(stack, c)}, d_id = {pcb_index(stack, d)};

	tcp_peer_set(stack, a_id, b_id);
	tcp_peer_set(stack, c_id, d_id);
	tcp_peer_set(stack, a_id, d_id);
	assert_int_equal(a->peer, d_id.v);
	assert_int_equal(d->peer, a_id.v);
	assert_int_equal(b->peer, 0);
	assert_int_equal(c->peer, 0);    // else it would count what d owes to a
	tcp_peer_set(stack, d_id, a_id); // once more, from the other side
	assert_int_equal(a->peer, d_id.v);
	assert_int_equal(d->peer, a_id.v);
	tcp_peer_set(stack, a_id, (struct tcp_conn_id){0});
	assert_int_equal(a->peer, 0);
	assert_int_equal(d->peer, 0);
}

static void time_wait_new(uint16_t port)
{
	const struct flow_key key = {.local_port = port};
	uint32_t idx = mini_push(stack, &stack->tw, TCP_TIME_WAIT_MS);

	assert_true(idx != 0);
	memcpy(&stack->tw.mini[idx], &key, sizeof(key));
	assert_true(flow_insert(stack, &key, TCP_INDEX_MINI | TCP_INDEX_TIME_WAIT | idx));
}

static void what_waited_while_the_worker_stood_still_is_over(void **state)
{
	time_wait_new(1);
	time_wait_new(2);
	env.now_ns += 200000000000U; // further than 16 bits of ticks reach
	time_wait_new(3);            // by the burst that is read first
	tcp_check(stack);
	assert_int_equal(tcp_next_timer_ms(stack, 1000), 0);
	tcp_timers_run(stack);
	assert_int_equal(stack->tw.fifo.count, 1);
	tcp_check(stack);
	env.now_ns += 59000000000U;
	tcp_timers_run(stack);
	assert_int_equal(stack->tw.fifo.count, 1); // has its own minute
	env.now_ns += 1100000000U;
	tcp_timers_run(stack);
	assert_int_equal(stack->tw.fifo.count, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, stack_begin, stack_end)
		CASE(a_reset_leaves_nothing_to_tell_but_itself),
		CASE(a_connection_that_ended_in_the_same_burst_is_accepted_first),
		CASE(a_full_end_is_told_in_order),
		CASE(a_delayed_ack_without_buffer_waits_its_time_again),
		CASE(a_new_peer_frees_the_former_ones),
		CASE(what_waited_while_the_worker_stood_still_is_over),
#undef CASE
	};
	if (!eal_start(64))
		return 1;
	small_pool = rte_pktmbuf_pool_create("small", 63, 0, 0, RTE_PKTMBUF_HEADROOM + 512, 0);
	ref_pool = rte_pktmbuf_pool_create("ref", 63, 0, 0, 0, 0);
	if (small_pool == NULL || ref_pool == NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
