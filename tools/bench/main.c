// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// mailrace-bench: clients and backends of a Mailrace in one process, over a DPDK device. Exit
// status 0: every reply, byte and message was right; 1: not; 64: wrong usage; 71: no start.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "tools/bench/backend.h"
#include "tools/bench/bench.h"
#include "tools/bench/client.h"
#include "tools/bench/host.h"
#include "tools/bench/report.h"
#include "tools/bench/secure.h"

#define LINK_SECONDS 20
#define IDLE_TURNS_POLL 256U
#define IDLE_SLEEP_US 20
#define FLUSH_NS 200000000ULL   // FINs and their ACKs after the last session
#define CLOSE_NS 10000000000ULL // for the box to close what it has of ours

static volatile sig_atomic_t stop_signal;

static void on_signal(int signal)
{
	stop_signal = signal;
}

// Identities: at most what is asked for, or what the books hold.
static uint64_t messages_most(const struct options *o)
{
	uint64_t most = o->sessions * o->messages;

	return o->sessions == 0 || most > OPTIONS_MESSAGES_MAX ? OPTIONS_MESSAGES_MAX : most;
}

static bool bench_init(struct bench *b)
{
	if (!message_pool_init(&b->messages, b->opt.seed, b->opt.size_min, b->opt.size_max) ||
	    !ledger_init(&b->ledger, messages_most(&b->opt)) || !host_init(b))
		return false;
	b->clients = clients_new(b);
	b->backends = backends_new(b);
	if (b->opt.tls != 0 && (b->secure = secure_new(b)) == NULL)
		return false;
	return b->clients != NULL && b->backends != NULL;
}

static void bench_fini(struct bench *b)
{
	host_fini(b);
	clients_free(b->clients);
	secure_free(b->secure);
	backends_free(b->backends);
	ledger_fini(&b->ledger);
	message_pool_fini(&b->messages);
}

static void turns_until(struct bench *b, uint64_t end_ns, bool (*done)(const struct bench *b))
{
	unsigned idle = 0;

	while (b->env.now_ns < end_ns && stop_signal == 0 && !done(b)) {
		idle = host_turn(b) > 0 ? 0 : idle + 1;
		if (b->opt.idle_sleep && idle > IDLE_TURNS_POLL)
			usleep(IDLE_SLEEP_US);
	}
}

static bool holds_stand(const struct bench *b)
{
	return b->clients->held_ready == b->clients->holding &&
	       b->clients->begun - b->clients->failed >= b->opt.hold;
}

static bool never(const struct bench *b)
{
	return false;
}

static bool connections_gone(const struct bench *b)
{
	struct tcp_usage usage;

	tcp_usage_get(b->tcp, &usage);
	return usage.conns == 0 && usage.half_open == 0;
}

// Idle sessions, then the load, then the end of all.
static void bench_run(struct bench *b)
{
	uint64_t wait_ns = (uint64_t)b->opt.timeout_s * 2000000000ULL;
	uint64_t hold_ns = wait_ns + b->opt.hold * 1000000ULL; // at least a thousand a second
	uint64_t load_ns = b->opt.seconds != 0 ? b->opt.seconds * 1000000000ULL : UINT64_MAX / 2;
	uint64_t before;

	host_announce(b);
	if (b->opt.hold > 0) {
		turns_until(b, b->env.now_ns + hold_ns, holds_stand);
		fprintf(stderr, "holding %u\n", b->clients->held_ready);
	} else {
		turns_until(b, b->env.now_ns + wait_ns, clients_warm);
	}
	b->begun_ns = b->env.now_ns;
	b->busy_ns = 0;
	before = b->clients->session.count;
	if (b->opt.concurrent > 0)
		turns_until(b, b->env.now_ns + load_ns, clients_done);
	else
		turns_until(b, b->env.now_ns + load_ns, never);
	b->ended_ns = b->env.now_ns;
	b->measured = b->clients->session.count - before;
	stop_signal = 0; // the first one ends the load, another one the rest
	b->clients->stopping = true;
	turns_until(b, b->env.now_ns + wait_ns, clients_done);
	b->clients->release = true;
	turns_until(b, b->env.now_ns + hold_ns, clients_done);
	// who is owed our last ACK would send its FIN for minutes
	turns_until(b, b->env.now_ns + CLOSE_NS, connections_gone);
	turns_until(b, b->env.now_ns + FLUSH_NS, never);
}

static void signals_catch(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

int main(int argc, char **argv)
{
	struct bench *b = calloc(1, sizeof(*b));
	int status = EX_OSERR;

	if (b == NULL)
		return EX_OSERR;
	if (!options_parse(argc, argv, &b->opt)) {
		free(b);
		return EX_USAGE;
	}
	signals_catch();
	if (port_open(&b->port, &b->opt, argv[0])) {
		if (!bench_init(b)) {
			fprintf(stderr, "mailrace-bench: no memory\n");
		} else if (port_wait(&b->port, LINK_SECONDS)) {
			bench_run(b);
			status = report_judge(b) ? EX_OK : EXIT_FAILURE;
			report_print(b);
			if (b->opt.output != NULL && !report_write(b, b->opt.output))
				status = EXIT_FAILURE;
		}
		bench_fini(b);
		port_close(&b->port);
	}
	free(b);
	return status;
}
