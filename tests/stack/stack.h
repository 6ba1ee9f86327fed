// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The TCP/IP stack behind an interface like that of sockets, for test drivers from outside: virtual
// time, IP packets in and out by call, no devices, no threads, no sleeping. One thread; several
// stacks may live in it. DPDK must be initialized (tests/eal.h). Returns are 0 or more, or a
// negative errno as the socket call of the same name has it.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"

struct stack;

struct stack_config {
	const struct ip_prefix *addresses; // of the host, with host bits
	unsigned address_count;
	uint16_t mtu;  // bytes of an IP packet
	uint64_t seed; // of ports, sequence numbers, keys
	// An IP packet leaves. Never called from inside stack_receive: only by stack_run.
	void (*transmit)(void *user, const uint8_t *packet, uint32_t len);
	void *user;
};

// What can be set while it runs, as sysctls can; for connections opened after it.
enum stack_knob {
	STACK_RCV_WINDOW,  // bytes (65535)
	STACK_MSS_MAX,     // bytes, 0: of the path only (0)
	STACK_SYN_TIMEOUT, // ms (30000)
};

// NULL: no memory. Its clock begins at 1 s.
struct stack *stack_new(const struct stack_config *config);
// Aborts when a buffer is lost.
void stack_free(struct stack *s);
// An IP packet arrives (at most 2,000 bytes). What it causes is sent by the next stack_run.
void stack_receive(struct stack *s, const uint8_t *packet, uint32_t len);
// Does all that is due at now_ns, which never goes back.
void stack_run(struct stack *s, uint64_t now_ns);
// When it wants to be run at the latest though nothing arrives: ns of its clock, now after a call.
uint64_t stack_next_ns(const struct stack *s);
// 0 or -EINVAL.
int stack_knob_set(struct stack *s, enum stack_knob knob, uint32_t value);

// socket.c: descriptors from 0.
int stack_listen(struct stack *s, uint16_t port);
// -EAGAIN: none waits.
int stack_accept(struct stack *s, int listener);
// Returns at once; stack_send and stack_recv tell -EINPROGRESS until it stands.
int stack_connect(struct stack *s, const struct ip_endpoint *remote);
// All bytes, or -EAGAIN.
int stack_send(struct stack *s, int fd, const void *data, uint32_t len);
// What came in order first, before a reset too. 0: the peer's FIN. -EAGAIN, -ECONNRESET,
// -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH.
int stack_recv(struct stack *s, int fd, void *data, uint32_t size);
int stack_shutdown(struct stack *s, int fd); // FIN after what was sent
int stack_close(struct stack *s, int fd);    // of a listener: RST for those not accepted yet
int stack_abort(struct stack *s, int fd);    // RST
// RFC 9293's name of the connection's state, "CLOSED" when it is gone.
const char *stack_state(const struct stack *s, int fd);
