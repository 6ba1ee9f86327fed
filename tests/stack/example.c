// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// How a driver from outside uses the stack (docs/testing.md): packets by hand, and two stacks with
// a wire between them that loses, delays and swaps by a seed.

#include <errno.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "tests/eal.h"
#include "tests/stack/stack.h"

#define WIRE_PACKETS 4096
#define WIRE_BYTES 2000
#define MS 1000000ULL
#define STREAM (512U << 10)
#define OWN 0xc0000201U // 192.0.2.1
#define PEER 0xc0000209U
#define TURNS_MAX 2000000U

struct packet {
	uint64_t at_ns;
	uint32_t len;
	unsigned to; // 0: on no way
	uint8_t data[WIRE_BYTES];
};

static struct {
	struct stack *end[2];
	struct packet packet[WIRE_PACKETS];
	struct rng rng;
	uint64_t now_ns;
	unsigned loss; // of 1000
	unsigned sent, lost;
	uint64_t trace; // of all that was sent
} wire;

struct port {
	unsigned side;
};

static void transmit(void *user, const uint8_t *data, uint32_t len)
{
	const struct port *port = user;

	wire.sent++;
	wire.trace = wire.trace * 31 + wire.now_ns;
	for (uint32_t i = 0; i < len; i++)
		wire.trace = wire.trace * 31 + data[i];
	if (rng_below(&wire.rng, 1000) < wire.loss) {
		wire.lost++;
		return;
	}
	for (unsigned i = 0; i < WIRE_PACKETS; i++) {
		struct packet *p = &wire.packet[i];

		if (p->to != 0)
			continue;
		assert_true(len <= WIRE_BYTES);
		*p = (struct packet){.to = 2 - port->side, .len = len};
		p->at_ns = wire.now_ns + (20 + rng_below(&wire.rng, 3)) * MS; // 0 to 2 ms: swaps
		memcpy(p->data, data, len);
		return;
	}
	wire.lost++;
}

// The next thing that happens: a packet that arrives, or a timer of an end.
static void turn(void)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < 2; i++)
		if (wire.end[i] != NULL && stack_next_ns(wire.end[i]) < next)
			next = stack_next_ns(wire.end[i]);
	for (unsigned i = 0; i < WIRE_PACKETS; i++)
		if (wire.packet[i].to != 0 && wire.packet[i].at_ns < next)
			next = wire.packet[i].at_ns;
	wire.now_ns = next > wire.now_ns ? next : wire.now_ns;
	for (unsigned i = 0; i < WIRE_PACKETS; i++) {
		struct packet *p = &wire.packet[i];

		if (p->to == 0 || p->at_ns > wire.now_ns)
			continue;
		if (wire.end[p->to - 1] != NULL)
			stack_receive(wire.end[p->to - 1], p->data, p->len);
		p->to = 0;
	}
	for (unsigned i = 0; i < 2; i++)
		if (wire.end[i] != NULL)
			stack_run(wire.end[i], wire.now_ns);
}

static struct stack *end_new(unsigned side, bool v6)
{
	static struct port ports[2] = {{0}, {1}};
	struct ip_prefix address;
	struct stack_config config = {
		.addresses = &address,
		.address_count = 1,
		.mtu = 1500,
		.seed = 7 + side,
		.transmit = transmit,
		.user = &ports[side],
	};
	const char *const text[2][2] = {
		{"192.0.2.1/24", "192.0.2.2/24"}, {"2001:db8::1/64", "2001:db8::2/64"}
	};

	assert_int_equal(ip_prefix_parse(text[v6][side], &address), 0);
	return stack_new(&config);
}

static void wire_open(bool v6, unsigned loss)
{
	memset(&wire, 0, sizeof(wire));
	wire.loss = loss;
	wire.now_ns = 5000 * MS;
	rng_seed(&wire.rng, 3);
	for (unsigned i = 0; i < 2; i++) {
		wire.end[i] = end_new(i, v6);
		assert_non_null(wire.end[i]);
		stack_run(wire.end[i], wire.now_ns);
	}
}

static void wire_close(void)
{
	for (unsigned i = 0; i < 2; i++)
		stack_free(wire.end[i]);
}

static uint8_t octet(unsigned side, uint32_t at)
{
	return (uint8_t)(at * 31 + (at >> 9) + side);
}

struct side {
	struct stack *s;
	int fd;
	unsigned number;
	uint32_t sent, got;
	bool fin;
};

// Sends its stream and FIN, checks the other's.
static void side_run(struct side *e)
{
	uint8_t data[4096];
	int n;

	while (e->sent < STREAM) {
		for (uint32_t i = 0; i < sizeof(data); i++)
			data[i] = octet(e->number, e->sent + i);
		if (stack_send(e->s, e->fd, data, sizeof(data)) < 0)
			break;
		e->sent += sizeof(data);
		if (e->sent == STREAM)
			assert_int_equal(stack_shutdown(e->s, e->fd), 0);
		else if (e->sent % 65536 == 0)
			break; // more with the next turn
	}
	while ((n = stack_recv(e->s, e->fd, data, sizeof(data))) > 0)
		for (int i = 0; i < n; i++, e->got++)
			assert_int_equal(data[i], octet(1 - e->number, e->got));
	if (n == 0)
		e->fin = true;
	else
		assert_true(n == -EAGAIN || n == -EINPROGRESS);
}

static struct ip_endpoint server(bool v6, unsigned port)
{
	struct ip_endpoint to;
	char text[64];

	snprintf(text, sizeof(text), v6 ? "[2001:db8::2]:%u" : "192.0.2.2:%u", port);
	assert_int_equal(ip_endpoint_parse(text, &to), 0);
	return to;
}

// What went over the wire, as a number.
static uint64_t streams_both_ways(bool v6)
{
	struct side a = {.number = 0}, b = {.number = 1, .fd = -1};
	struct ip_endpoint to = server(v6, 25);
	int listener;

	wire_open(v6, 20);
	listener = stack_listen(wire.end[1], 25);
	assert_true(listener >= 0);
	assert_int_equal(stack_listen(wire.end[1], 25), -EADDRINUSE);
	a.s = wire.end[0];
	b.s = wire.end[1];
	a.fd = stack_connect(a.s, &to);
	assert_true(a.fd >= 0);
	assert_int_equal(stack_send(a.s, a.fd, "x", 1), -EINPROGRESS);
	for (unsigned i = 0; i < TURNS_MAX && !(a.fin && b.fin); i++) {
		turn();
		if (b.fd < 0)
			b.fd = stack_accept(b.s, listener);
		side_run(&a);
		if (b.fd >= 0)
			side_run(&b);
	}
	assert_true(a.got == STREAM && b.got == STREAM && a.fin && b.fin);
	assert_true(wire.lost > 0);
	assert_int_equal(stack_close(a.s, a.fd), 0);
	assert_int_equal(stack_close(b.s, b.fd), 0);
	assert_int_equal(stack_close(b.s, listener), 0);
	for (unsigned i = 0; i < 1000; i++)
		turn();
	wire_close();
	return wire.trace;
}

static void test_streams(void **state)
{
	uint64_t first = streams_both_ways(false);

	assert_true(streams_both_ways(false) == first); // the same calls, the same packets
	assert_true(streams_both_ways(true) != first);
}

static void refused_and_silent(bool v6)
{
	struct ip_endpoint to = server(v6, 26);
	char byte;
	int fd;

	wire_open(v6, 0);
	fd = stack_connect(wire.end[0], &to);
	for (unsigned i = 0; i < 1000 && stack_recv(wire.end[0], fd, &byte, 1) == -EINPROGRESS; i++)
		turn();
	assert_int_equal(stack_recv(wire.end[0], fd, &byte, 1), -ECONNREFUSED);
	stack_close(wire.end[0], fd);
	wire.loss = 1000;
	assert_int_equal(stack_knob_set(wire.end[0], STACK_MSS_MAX, 65536), -EINVAL);
	assert_int_equal(stack_knob_set(wire.end[0], STACK_SYN_TIMEOUT, 5000), 0);
	fd = stack_connect(wire.end[0], &to);
	for (unsigned i = 0; i < 1000 && stack_recv(wire.end[0], fd, &byte, 1) == -EINPROGRESS; i++)
		turn();
	assert_int_equal(stack_recv(wire.end[0], fd, &byte, 1), -ETIMEDOUT);
	assert_string_equal(stack_state(wire.end[0], fd), "CLOSED");
	stack_close(wire.end[0], fd);
	wire_close();
}

static void test_refused_and_silent(void **state)
{
	refused_and_silent(false);
	refused_and_silent(true);
}

// What came before a reset is read first; a listener that closes takes along whom nobody accepted.
static void resets(bool v6)
{
	struct ip_endpoint to = server(v6, 25);
	int listener, fd, got;
	char data[16];

	wire_open(v6, 0);
	listener = stack_listen(wire.end[1], 25);
	assert_int_equal(stack_accept(wire.end[1], -1), -EBADF);
	fd = stack_connect(wire.end[0], &to);
	for (unsigned i = 0; i < 1000 && stack_send(wire.end[0], fd, "before", 6) != 6; i++)
		turn();
	for (unsigned i = 0; i < 50; i++)
		turn();
	got = stack_accept(wire.end[1], listener);
	assert_true(got >= 0);
	assert_int_equal(stack_accept(wire.end[1], got), -EINVAL);
	assert_int_equal(stack_accept(wire.end[1], listener), -EAGAIN);
	assert_int_equal(stack_abort(wire.end[0], fd), 0);
	for (unsigned i = 0; i < 50; i++)
		turn();
	assert_string_equal(stack_state(wire.end[1], got), "CLOSED");
	assert_int_equal(stack_recv(wire.end[1], got, data, 4), 4);
	assert_int_equal(stack_recv(wire.end[1], got, data + 4, 12), 2);
	assert_memory_equal(data, "before", 6);
	assert_int_equal(stack_recv(wire.end[1], got, data, 16), -ECONNRESET);
	stack_close(wire.end[1], got);
	fd = stack_connect(wire.end[0], &to);
	for (unsigned i = 0; i < 50; i++)
		turn();
	assert_int_equal(stack_recv(wire.end[0], fd, data, 16), -EAGAIN);
	assert_int_equal(stack_close(wire.end[1], listener), 0);
	for (unsigned i = 0; i < 50; i++)
		turn();
	assert_int_equal(stack_recv(wire.end[0], fd, data, 16), -ECONNRESET);
	stack_close(wire.end[0], fd);
	wire_close();
}

static void test_resets(void **state)
{
	resets(false);
	resets(true);
}

static struct {
	uint8_t data[WIRE_BYTES];
	uint32_t len;
} shown;

static void show(void *user, const uint8_t *data, uint32_t len)
{
	memcpy(shown.data, data, len);
	shown.len = len;
}

// What a script driver does: a SYN by hand, and a look at the answer.
static void test_by_hand(void **state)
{
	struct ip_prefix address;
	struct stack_config config = {
		.addresses = &address, .address_count = 1, .mtu = 1500, .seed = 1, .transmit = show
	};
	struct {
		struct rte_ipv4_hdr ip;
		struct rte_tcp_hdr tcp;
		uint8_t mss[4];
	} syn = {
		.ip = {.version_ihl = 0x45, .time_to_live = 64, .next_proto_id = 6},
		.tcp = {.data_off = 0x60, .tcp_flags = RTE_TCP_SYN_FLAG},
		.mss = {2, 4, 1000 >> 8, 1000 & 255},
	};
	const struct rte_ipv4_hdr *ip = (const struct rte_ipv4_hdr *)shown.data;
	const struct rte_tcp_hdr *tcp = (const struct rte_tcp_hdr *)(shown.data + 20);
	struct stack *s;
	int listener;

	assert_int_equal(ip_prefix_parse("192.0.2.1/24", &address), 0);
	s = stack_new(&config);
	assert_non_null(s);
	stack_knob_set(s, STACK_RCV_WINDOW, 20000);
	listener = stack_listen(s, 25);
	syn.ip.total_length = rte_cpu_to_be_16(sizeof(syn));
	syn.ip.src_addr = rte_cpu_to_be_32(PEER);
	syn.ip.dst_addr = rte_cpu_to_be_32(OWN);
	syn.ip.hdr_checksum = rte_ipv4_cksum(&syn.ip);
	syn.tcp.src_port = rte_cpu_to_be_16(4000);
	syn.tcp.dst_port = rte_cpu_to_be_16(25);
	syn.tcp.sent_seq = rte_cpu_to_be_32(1000);
	syn.tcp.rx_win = rte_cpu_to_be_16(30000);
	syn.tcp.cksum = rte_ipv4_udptcp_cksum(&syn.ip, &syn.tcp);
	stack_run(s, 5000 * MS);
	stack_receive(s, (const uint8_t *)&syn, sizeof(syn));
	assert_int_equal(shown.len, 0); // nothing leaves before it is run
	stack_run(s, 5001 * MS);
	assert_true(shown.len >= 40);
	assert_int_equal(rte_be_to_cpu_32(ip->dst_addr), PEER);
	assert_int_equal(tcp->tcp_flags, RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG);
	assert_int_equal(rte_be_to_cpu_32(tcp->recv_ack), 1001);
	assert_int_equal(rte_be_to_cpu_16(tcp->rx_win), 20000);
	assert_int_equal(stack_accept(s, listener), -EAGAIN);
	shown.len = 0;
	stack_run(s, 6100 * MS); // its retransmission (RFC 6298: 1 s)
	assert_true(shown.len >= 40 && tcp->tcp_flags == (RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG));
	stack_close(s, listener);
	stack_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_refused_and_silent),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_by_hand),
	};

	if (!eal_start(128))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
