// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The switch between the worker's stack and those of fibers. Worker thread.

#include "tls/fiber.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GUARD 4096U
#define STACK_FILL 0xa5

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif

#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the callee-saved registers and the stack pointer, goes on where `to` was saved.
void fiber_switch(void **save, void *to);
__asm__(".text\n"
	".globl fiber_switch\n"
	".hidden fiber_switch\n"
	".type fiber_switch, @function\n"
	"fiber_switch:\n"
	"	push %rbp\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	pop %rbp\n"
	"	ret\n"
	".size fiber_switch, . - fiber_switch\n");

static void leave_for_fiber(struct fibers *f, struct fiber *fiber, void **fake)
{
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(fake, fiber->stack, FIBER_STACK);
#endif
}

static void back_on_main(struct fibers *f, void *fake)
{
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
}

static void arrived_on_fiber(struct fibers *f, struct fiber *fiber)
{
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(fiber->shadow_stack, &f->main_stack, &f->main_size);
#endif
}

static void leave_for_main(struct fibers *f, struct fiber *fiber)
{
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(
		fiber->done ? NULL : &fiber->shadow_stack, f->main_stack, f->main_size
	);
#endif
}

bool fibers_init(struct fibers *f)
{
	for (unsigned i = 0; i < FIBER_COUNT; i++) {
		struct fiber *fiber = &f->slot[i];
		uint8_t *m =
			mmap(NULL,
			     GUARD + FIBER_STACK,
			     PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
			     -1,
			     0);

		if (m == MAP_FAILED || mprotect(m, GUARD, PROT_NONE) != 0) {
			fibers_release(f);
			return false;
		}
		fiber->stack = m + GUARD;
		memset(fiber->stack, STACK_FILL, FIBER_STACK);
		fiber->next = f->spare;
		f->spare = fiber;
	}
	return true;
}

void fibers_release(struct fibers *f)
{
	for (unsigned i = 0; i < FIBER_COUNT; i++) {
		if (f->slot[i].stack == NULL)
			continue;
		explicit_bzero(f->slot[i].stack, FIBER_STACK); // key material passed over it
		munmap(f->slot[i].stack - GUARD, GUARD + FIBER_STACK);
		f->slot[i].stack = NULL;
	}
}

// The only fibers that run are those of the engine whose turn it is: found through this when a new
// fiber's first instruction runs, which has no argument. Set around each switch.
static _Thread_local struct fibers *starting;

static void fiber_main(void)
{
	struct fibers *f = starting;
	struct fiber *fiber = f->current;

	arrived_on_fiber(f, fiber);
	fiber->fn(fiber->arg);
	fiber->done = true;
	leave_for_main(f, fiber);
	fiber_switch(&fiber->sp, f->main_sp);
	abort(); // a fiber that is done never runs again
}

static void fiber_enter(struct fibers *f, struct fiber *fiber)
{
	void *fake = NULL;

	f->current = fiber;
	starting = f;
	leave_for_fiber(f, fiber, &fake);
	fiber_switch(&f->main_sp, fiber->sp);
	back_on_main(f, fake);
	f->current = NULL;
	if (fiber->done) {
		fiber->next = f->spare;
		f->spare = fiber;
	}
}

struct fiber *fiber_start(struct fibers *f, void (*fn)(void *arg), void *arg)
{
	struct fiber *fiber = f->spare;
	void **sp;

	if (fiber == NULL)
		return NULL;
	f->spare = fiber->next;
	fiber->next = NULL;
	fiber->fn = fn;
	fiber->arg = arg;
	fiber->done = false;
	fiber->shadow_stack = NULL;
	sp = (void **)(void *)(fiber->stack + FIBER_STACK);
	*--sp = NULL; // so that the stack is aligned as after a call
	*--sp = (void *)(uintptr_t)fiber_main;
	for (unsigned i = 0; i < 6; i++)
		*--sp = NULL;
	fiber->sp = sp;
	fiber_enter(f, fiber);
	return fiber;
}

void fiber_wait(struct fibers *f)
{
	struct fiber *fiber = f->current;

	leave_for_main(f, fiber);
	fiber_switch(&fiber->sp, f->main_sp);
	arrived_on_fiber(f, fiber);
}

void fiber_resume(struct fibers *f, struct fiber *fiber)
{
	fiber_enter(f, fiber);
}

size_t fibers_high_water(const struct fibers *f)
{
	size_t most = 0;

	for (unsigned i = 0; i < FIBER_COUNT; i++) {
		const uint8_t *p = f->slot[i].stack;
		size_t unused = 0;

		while (unused < FIBER_STACK && p[unused] == STACK_FILL)
			unused++;
		if (FIBER_STACK - unused > most)
			most = FIBER_STACK - unused;
	}
	return most;
}
