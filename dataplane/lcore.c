// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The loop of a worker. The only place where a worker reads a clock or sleeps.

#include "dataplane/lcore.h"

#include <rte_cycles.h>

#include <time.h>
#include <unistd.h>

#include "dataplane/credentials.h"
#include "tls/ticket.h"

#define IDLE_TURNS_POLL 16
#define OTHERS_NS 16000000ULL
#define LINKS_NS 100000000ULL
#define COMMANDS_A_TURN 4
#define LONG_TURN_NS 1000000ULL

uint64_t lcore_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

// The first turns after work poll; then short sleeps that grow while nothing comes.
static void idle(struct lcore *l, uint32_t turns)
{
	if (turns > IDLE_TURNS_POLL)
		usleep(turns < 4096 ? 10 : turns < 16384 ? 50 : 200);
}

static void addresses_announce(struct net *net, const struct blob_header *blob)
{
	const uint8_t *base = (const uint8_t *)blob;
	const struct blob_listener *l = (const void *)(base + blob->listeners.off);
	const struct blob_source *s = (const void *)(base + blob->sources.off);

	net_announce_begin(net);
	for (uint32_t i = 0; i < blob->listeners.count; i++)
		net_announce(net, &l[i].addr);
	for (uint32_t i = 0; i < blob->sources.count; i++)
		net_announce(net, &s[i].addr);
	net_announce_end(net);
}

static void generation_say(struct lcore *l)
{
	__atomic_store_n(
		&l->worker.shm->seen_generation, l->taken->blob->generation, __ATOMIC_RELEASE
	);
}

static void generation_take(struct lcore *l, const struct lcore_generation *next)
{
	const struct tls_set *old = l->taken != NULL ? l->taken->tls : NULL;

	relay_generation(l->worker.relay, next->blob, next->tls);
	l->taken = next; // between turns nothing refers to the one before
	if (l->worker.env.id == 0)
		addresses_announce(l->worker.net, next->blob);
	if (old != NULL && old != next->tls)
		l->leaving = old;
	else
		generation_say(l);
}

// Credentials that are no longer those of this worker are given back here: only this thread knows
// which handshakes still use them. Main waits to be told.
static void leaving_run(struct lcore *l, bool all)
{
	if (l->leaving == NULL || (!all && !credentials_thin(l->leaving)))
		return;
	credentials_put(l->leaving);
	l->leaving = NULL;
	generation_say(l);
}

// After a generation that needs them.
static void tickets_take(struct lcore *l)
{
	const struct ticket_keys *next = atomic_load_explicit(&l->tickets, memory_order_acquire);

	if (next == atomic_load_explicit(&l->tickets_taken, memory_order_relaxed))
		return;
	tls_engine_tickets_set(l->engine, next);
	atomic_store_explicit(&l->tickets_taken, next, memory_order_release);
}

// What the other workers carry, for weighted least connections.
static void others_sum(struct lcore *l)
{
	if (l->worker.env.now_ns - l->others_ns < OTHERS_NS)
		return;
	l->others_ns = l->worker.env.now_ns;
	for (uint32_t slot = 0; slot < l->backend_slots; slot++) {
		uint32_t sum = 0;

		for (uint16_t i = 0; i + 1 < l->worker.env.count; i++)
			sum += __atomic_load_n(&l->others[i][slot].active, __ATOMIC_RELAXED);
		l->others_active[slot] = sum;
	}
}

// A link that comes up: what was sent on it before is lost, and who is on it may be another.
static void links_watch(struct lcore *l)
{
	struct worker *w = &l->worker;

	if (w->env.now_ns - l->links_ns < LINKS_NS)
		return;
	l->links_ns = w->env.now_ns;
	for (uint8_t p = 0; p < w->port_count; p++) {
		bool told = __atomic_load_n(&l->ports[p].name[0], __ATOMIC_ACQUIRE) != '\0';
		bool up = __atomic_load_n(&l->ports[p].link_up, __ATOMIC_RELAXED) != 0;

		if (told && up && l->link_down[p])
			net_link_up(w->net, p);
		l->link_down[p] = told && !up;
	}
}

// Bounded: a session list is 256 events.
static unsigned commands_run(struct lcore *l)
{
	struct ctl_msg msg;
	unsigned n = 0;

	for (; n < COMMANDS_A_TURN; n++) {
		enum ctl_ring_result got = ctl_ring_get(l->commands, &msg);

		if (got == CTL_RING_EMPTY)
			break;
		if (got == CTL_RING_MSG)
			worker_command(&l->worker, &msg);
		else
			stat_inc(&l->worker.env, STAT_CTL_BAD_RING);
	}
	return n;
}

static void publish(struct lcore *l)
{
	struct worker *w = &l->worker;
	struct tcp_usage usage;

	tcp_usage_get(w->tcp, &usage);
	w->shm->sessions = relay_sessions(w->relay);
	w->shm->connections = usage.conns;
	w->shm->half_open = usage.half_open;
	w->shm->time_wait = usage.time_wait;
	__atomic_store_n(&w->shm->heartbeat_ns, w->env.now_ns, __ATOMIC_RELAXED);
}

static uint64_t cycles_now(void)
{
	return rte_rdtsc();
}

int lcore_run(void *arg)
{
	struct lcore *l = arg;
	struct worker *w = &l->worker;
	uint32_t idle_turns = 0;

	if (TURN_METER) {
		l->meter.cycles = cycles_now;
		w->meter = &l->meter;
	}
	for (;;) {
		enum lcore_phase phase = atomic_load_explicit(l->phase, memory_order_relaxed);
		const struct lcore_generation *next =
			atomic_load_explicit(&l->next, memory_order_acquire);
		uint64_t end;
		unsigned work;

		w->env.now_ns = lcore_clock_ns();
		if (next != l->taken)
			generation_take(l, next);
		tickets_take(l);
		leaving_run(l, phase == LCORE_STOP);
		if (phase == LCORE_STOP)
			break;
		if (phase == LCORE_DRAIN && !l->draining) {
			relay_stop(w->relay);
			l->draining = true;
		}
		work = commands_run(l);
		work += worker_turn(w);
		stat_inc(&w->env, STAT_WORKER_TURNS);
		publish(l);
		if (w->env.count > 1)
			others_sum(l);
		if (w->env.id == 0)
			links_watch(l);
		if (work == 0) {
			stat_inc(&w->env, STAT_WORKER_IDLE_TURNS);
			if (l->idle_sleep)
				idle(l, ++idle_turns);
			continue;
		}
		idle_turns = 0;
		end = lcore_clock_ns();
		stat_add(&w->env, STAT_WORKER_BUSY_NS, end - w->env.now_ns);
		if (end - w->env.now_ns >= LONG_TURN_NS)
			stat_inc(&w->env, STAT_WORKER_LONG_TURNS);
		if ((end - w->env.now_ns) / 1000 > w->shm->longest_turn_us)
			w->shm->longest_turn_us = (uint32_t)((end - w->env.now_ns) / 1000);
	}
	tcp_reset_all(w->tcp); // peers need not find out by their timeouts
	net_flush(w->net);
	return 0;
}
