// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Rings to helper threads, and the helpers' loop. A helper looks at the rings of its engines in
// turn; when all were empty for a while it sleeps on an eventfd. A worker that puts a job writes to
// it then: a system call of a microsecond for a job of hundreds. Helpers never wake workers, which
// look at their ring each turn. Helper threads, but for away_put and away_get.

#include "tls/away.h"
#include "tls/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define IDLE_LOOKS 2000 // with nothing to do, before it sleeps: some dozen microseconds

struct ring {
	_Alignas(64) uint32_t head; // written by the consumer
	_Alignas(64) uint32_t tail; // by the producer
	_Alignas(64) struct away_job *slot[AWAY_SLOTS];
};

struct away {
	struct ring to, from;
	struct helper *helper;
};

struct helper {
	_Alignas(64) uint32_t asleep; // written by the helper and, to wake it, by workers
	int event;
};

struct tls_helpers {
	unsigned threads, engines;
	uint32_t stop;
	struct helper *helper; // [threads]
	struct away *away;     // [engines]; each of helper index % threads
};

static bool ring_put(struct ring *r, struct away_job *job)
{
	uint32_t tail = r->tail;

	if (tail - __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) == AWAY_SLOTS)
		return false;
	r->slot[tail % AWAY_SLOTS] = job;
	__atomic_store_n(&r->tail, tail + 1, __ATOMIC_RELEASE);
	return true;
}

static struct away_job *ring_get(struct ring *r)
{
	uint32_t head = r->head;
	struct away_job *job;

	if (head == __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE))
		return NULL;
	job = r->slot[head % AWAY_SLOTS];
	__atomic_store_n(&r->head, head + 1, __ATOMIC_RELEASE);
	return job;
}

static void helper_wake(struct helper *h)
{
	const uint64_t one = 1;

	if (write(h->event, &one, sizeof(one)) < 0)
		return; // EAGAIN: it is woken already
}

bool away_put(struct away *a, struct away_job *job)
{
	if (!ring_put(&a->to, job))
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); // the job before the look, as in helper_sleep
	if (__atomic_load_n(&a->helper->asleep, __ATOMIC_RELAXED) != 0)
		helper_wake(a->helper);
	return true;
}

struct away_job *away_get(struct away *a)
{
	return ring_get(&a->from);
}

// One job of each of its engines.
static unsigned helper_look(struct tls_helpers *hs, unsigned thread)
{
	unsigned n = 0;

	for (unsigned i = thread; i < hs->engines; i += hs->threads) {
		struct away_job *job = ring_get(&hs->away[i].to);

		if (job == NULL)
			continue;
		job->run(job->arg);
		ring_put(&hs->away[i].from, job); // never full: there is room for all fibers
		n++;
	}
	return n;
}

static void helper_sleep(struct tls_helpers *hs, unsigned thread)
{
	struct helper *h = &hs->helper[thread];
	uint64_t count;

	__atomic_store_n(&h->asleep, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (helper_look(hs, thread) == 0 && !__atomic_load_n(&hs->stop, __ATOMIC_ACQUIRE) &&
	    read(h->event, &count, sizeof(count)) < 0 && errno != EINTR)
		abort(); // a descriptor of ours is gone
	__atomic_store_n(&h->asleep, 0, __ATOMIC_RELAXED);
}

void tls_helper_run(struct tls_helpers *hs, unsigned thread)
{
	unsigned idle = 0;

	while (!__atomic_load_n(&hs->stop, __ATOMIC_ACQUIRE)) {
		if (helper_look(hs, thread) > 0) {
			idle = 0;
		} else if (++idle < IDLE_LOOKS) {
			__builtin_ia32_pause();
		} else {
			helper_sleep(hs, thread);
			idle = 0;
		}
	}
}

void tls_helpers_stop(struct tls_helpers *hs)
{
	__atomic_store_n(&hs->stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < hs->threads; i++)
		helper_wake(&hs->helper[i]);
}

static void *zeroed(size_t count, size_t size)
{
	void *p = aligned_alloc(64, count * size); // size: a multiple of 64

	if (p != NULL)
		memset(p, 0, count * size);
	return p;
}

struct tls_helpers *tls_helpers_new(unsigned threads, unsigned engines)
{
	struct tls_helpers *hs = calloc(1, sizeof(*hs));

	if (hs == NULL)
		return NULL;
	hs->helper = zeroed(threads, sizeof(struct helper));
	hs->away = zeroed(engines, sizeof(struct away));
	if (hs->helper == NULL || hs->away == NULL) {
		tls_helpers_free(hs);
		errno = ENOMEM;
		return NULL;
	}
	for (; hs->threads < threads; hs->threads++) {
		hs->helper[hs->threads].event = eventfd(0, EFD_CLOEXEC);
		if (hs->helper[hs->threads].event < 0) {
			tls_helpers_free(hs);
			return NULL;
		}
	}
	for (; hs->engines < engines; hs->engines++)
		hs->away[hs->engines].helper = &hs->helper[hs->engines % threads];
	return hs;
}

void tls_helpers_free(struct tls_helpers *hs)
{
	if (hs == NULL)
		return;
	for (unsigned i = 0; i < hs->threads; i++)
		close(hs->helper[i].event);
	free(hs->helper);
	free(hs->away);
	free(hs);
}

struct away *tls_helpers_away(struct tls_helpers *hs, unsigned engine)
{
	return &hs->away[engine];
}
