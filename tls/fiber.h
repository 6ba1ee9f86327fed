// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Fibers: calls of mbedTLS that may wait for a batch of public-key work without stopping the
// worker. A few stacks a worker, each with a guard page, made at start; switching by own assembly
// (System V x86-64: callee-saved registers only). Never handed to another thread.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIBER_COUNT 64     // those that wait for a helper keep theirs for milliseconds
#define FIBER_STACK 65536U // measured high-water: see tls_engine_stack_used()

struct fiber {
	void *sp;
	uint8_t *stack;     // lowest usable byte
	void *shadow_stack; // of the address sanitizer
	void (*fn)(void *arg);
	void *arg;
	struct fiber *next;
	bool done;
};

struct fibers {
	struct fiber slot[FIBER_COUNT];
	struct fiber *spare;
	struct fiber *current; // NULL: the worker's own stack
	void *main_sp;
	const void *main_stack; // of the address sanitizer
	size_t main_size;
};

bool fibers_init(struct fibers *f); // false + errno
void fibers_release(struct fibers *f);
// Runs fn until it ends or waits; NULL: no stack is free. The fiber is spare again once done.
struct fiber *fiber_start(struct fibers *f, void (*fn)(void *arg), void *arg);
// On a fiber: back to the worker, until fiber_resume.
void fiber_wait(struct fibers *f);
void fiber_resume(struct fibers *f, struct fiber *fiber);
// Bytes of the deepest stack ever used.
size_t fibers_high_water(const struct fibers *f);
