// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Events of a connection among those of others: in order, none of an earlier one that had the same
// index, the oldest forgotten.

#include "dataplane/tcp/tcp_inner_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct worker_env env;
static struct tcp_pcb pcb[4];
static struct tcp_trace_ring ring;
static struct tcp_stack stack = {.env = &env, .pcb = pcb, .trace = &ring};

static unsigned events(uint32_t conn, struct tcp_event *ret, unsigned max)
{
	uint32_t at = 0;
	unsigned n = 0;

	while (n < max && tcp_event_next(&stack, (struct tcp_conn_id){conn}, &at, &ret[n]))
		n++;
	return n;
}

static void only_its_own(void **state)
{
	struct tcp_event e[8];

	memset(&ring, 0, sizeof(ring));
	for (unsigned life = 0; life < 2; life++) {
		env.now_ns += 1000000000;
		tcp_trace(&stack, &pcb[2], TCP_TRACE_NEW);
		pcb_state_set(&stack, &pcb[2], TCP_S_SYN_SENT);
		pcb_state_set(&stack, &pcb[1], TCP_S_CLOSE_WAIT);
		pcb[2].snd_una = 77;
		tcp_trace(&stack, &pcb[2], TCP_TRACE_RETRANSMIT);
	}
	assert_int_equal(events(2, e, 8), 3);
	assert_string_equal(e[0].what, "new");
	assert_string_equal(e[1].state, "syn-sent");
	assert_string_equal(e[2].what, "retransmit");
	assert_int_equal(e[2].seq, 77);
	env.now_ns += 500000000;
	assert_int_equal(events(1, e, 8), 2);
	assert_int_equal(e[1].age_ms, 500);
	assert_int_equal(e[0].age_ms, 1500);
	assert_int_equal(events(3, e, 8), 0);
}

static void the_oldest_make_room(void **state)
{
	static struct tcp_event e[TCP_TRACE_EVENTS + 1];

	memset(&ring, 0, sizeof(ring));
	tcp_trace(&stack, &pcb[1], TCP_TRACE_NEW);
	for (unsigned i = 0; i < TCP_TRACE_EVENTS + 10; i++)
		tcp_trace(&stack, &pcb[i % 2 + 1], TCP_TRACE_TIMEOUT);
	assert_int_equal(events(1, e, TCP_TRACE_EVENTS + 1), TCP_TRACE_EVENTS / 2);
	assert_string_equal(e[0].what, "timeout");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_its_own),
		cmocka_unit_test(the_oldest_make_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
