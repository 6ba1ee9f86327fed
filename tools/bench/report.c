// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The report of a run. Main thread.

#include "tools/bench/report.h"

#include <jansson.h>
#include <stdio.h>

#include "tools/bench/backend.h"
#include "tools/bench/bench.h"
#include "tools/bench/client.h"
#include "tools/bench/secure.h"

static double seconds(const struct bench *b)
{
	return (double)(b->ended_ns - b->begun_ns) / 1e9;
}

static double rate(const struct bench *b)
{
	return seconds(b) > 0 ? (double)b->measured / seconds(b) : 0;
}

bool report_judge(struct bench *b)
{
	const struct backends *s = b->backends;
	uint64_t lost, unconfirmed;

	ledger_compare(&b->ledger, &lost, &unconfirmed);
	if (lost > 0)
		ledger_fail(&b->ledger, "messages-lost", "books", 0);
	if (unconfirmed > 0)
		ledger_fail(&b->ledger, "messages-unconfirmed", "books", 0);
	if (b->clients->ok + b->clients->failed != b->clients->begun)
		ledger_fail(&b->ledger, "sessions-left-over", "books", 0);
	if (s->verb[BACKEND_V_RSET] + s->verb[BACKEND_V_NOOP] + s->verb[BACKEND_V_HELO] > 0)
		ledger_fail(&b->ledger, "verbs-of-nobody", "books", 0);
	if (s->legs_ok != s->legs)
		ledger_fail(&b->ledger, "legs-without-quit", "books", 0);
	return b->ledger.failures == 0;
}

static void hist_print(const char *name, const struct hist *h)
{
	if (h->count == 0)
		return;
	printf("  %-12s %10llu  %9.1f %9.1f %9.1f %9.1f %9.1f\n",
	       name,
	       (unsigned long long)h->count,
	       (double)hist_quantile_ns(h, 0.5) / 1e3,
	       (double)hist_quantile_ns(h, 0.9) / 1e3,
	       (double)hist_quantile_ns(h, 0.99) / 1e3,
	       (double)hist_quantile_ns(h, 0.999) / 1e3,
	       (double)h->max_ns / 1e3);
}

void report_print(const struct bench *b)
{
	const struct clients *c = b->clients;
	const struct backends *s = b->backends;

	printf("%llu sessions: %llu failed; %llu in %.3f s, %.0f a second; %llu messages, %.1f MB "
	       "accepted\n",
	       (unsigned long long)c->begun,
	       (unsigned long long)c->failed,
	       (unsigned long long)b->measured,
	       seconds(b),
	       rate(b),
	       (unsigned long long)c->messages,
	       (double)c->bytes / 1e6);
	printf("us              count        p50       p90       p99     p99.9       max\n");
	hist_print("session", &c->session);
	for (unsigned i = 0; i < CLIENT_S_HELD; i++)
		hist_print(client_step_names[i], &c->step[i]);
	printf("backends: %llu connections, %llu messages;",
	       (unsigned long long)s->legs,
	       (unsigned long long)s->messages);
	for (unsigned v = 0; v < BACKEND_V_COUNT; v++)
		printf(" %s %llu", backend_verb_names[v], (unsigned long long)s->verb[v]);
	printf("\ngenerator: busy %.0f %%, %llu segments sent again, %llu starts late\n",
	       seconds(b) > 0 ? (double)b->busy_ns / 1e7 / seconds(b) : 0,
	       (unsigned long long)b->stats[STAT_TCP_RETRANSMITS],
	       (unsigned long long)c->late_starts);
	for (unsigned i = 0; i < b->ledger.failure_count; i++)
		printf("FAILED %s: %llu\n",
		       b->ledger.failure[i].name,
		       (unsigned long long)b->ledger.failure[i].count);
}

static json_t *hist_json(const struct hist *h)
{
	return json_pack(
		"{s:I, s:f, s:f, s:f, s:f, s:f, s:f}",
		"count",
		(json_int_t)h->count,
		"mean_us",
		h->count > 0 ? h->sum_ns / 1e3 / (double)h->count : 0.0,
		"p50_us",
		(double)hist_quantile_ns(h, 0.5) / 1e3,
		"p90_us",
		(double)hist_quantile_ns(h, 0.9) / 1e3,
		"p99_us",
		(double)hist_quantile_ns(h, 0.99) / 1e3,
		"p999_us",
		(double)hist_quantile_ns(h, 0.999) / 1e3,
		"max_us",
		(double)h->max_ns / 1e3
	);
}

static json_t *latency_json(const struct clients *c)
{
	json_t *o = json_object();

	json_object_set_new(o, "session", hist_json(&c->session));
	for (unsigned i = 0; i < CLIENT_S_HELD; i++)
		json_object_set_new(o, client_step_names[i], hist_json(&c->step[i]));
	return o;
}

static json_t *backends_json(const struct bench *b)
{
	const struct backends *s = b->backends;
	json_t *o = json_object(), *each = json_array();

	for (unsigned v = 0; v < BACKEND_V_COUNT; v++)
		json_object_set_new(o, backend_verb_names[v], json_integer((json_int_t)s->verb[v]));
	for (unsigned i = 0; i < b->opt.backend_count; i++)
		json_array_append_new(each, json_integer((json_int_t)s->connections[i]));
	json_object_set_new(o, "connections", each);
	json_object_set_new(o, "messages", json_integer((json_int_t)s->messages));
	json_object_set_new(o, "bytes", json_integer((json_int_t)s->bytes));
	json_object_set_new(o, "sessions", json_integer((json_int_t)s->legs));
	json_object_set_new(o, "sessions_quit", json_integer((json_int_t)s->legs_ok));
	json_object_set_new(o, "second_ehlos", json_integer((json_int_t)s->second_ehlos));
	return o;
}

static json_t *books_json(const struct bench *b)
{
	json_t *o = json_object(), *failures = json_object();
	uint64_t lost, unconfirmed;

	ledger_compare(&b->ledger, &lost, &unconfirmed);
	for (unsigned i = 0; i < b->ledger.failure_count; i++)
		json_object_set_new(
			failures,
			b->ledger.failure[i].name,
			json_integer((json_int_t)b->ledger.failure[i].count)
		);
	json_object_set_new(o, "issued", json_integer((json_int_t)b->ledger.issued));
	json_object_set_new(o, "accepted", json_integer((json_int_t)b->ledger.accepted_count));
	json_object_set_new(o, "stored", json_integer((json_int_t)b->ledger.stored_count));
	json_object_set_new(o, "lost", json_integer((json_int_t)lost));
	json_object_set_new(o, "unconfirmed", json_integer((json_int_t)unconfirmed));
	json_object_set_new(o, "failures", failures);
	return o;
}

bool report_write(const struct bench *b, const char *path)
{
	const struct clients *c = b->clients;
	json_t *o = json_object();
	bool ok;

	json_object_set_new(o, "seconds", json_real(seconds(b)));
	json_object_set_new(o, "tsc_hz", json_real(1e9 / b->port.ns_per_cycle));
	json_object_set_new(o, "sessions_per_second", json_real(rate(b)));
	json_object_set_new(o, "sessions", json_integer((json_int_t)c->begun));
	json_object_set_new(o, "sessions_ok", json_integer((json_int_t)c->ok));
	json_object_set_new(o, "sessions_failed", json_integer((json_int_t)c->failed));
	json_object_set_new(o, "resumed", json_integer((json_int_t)secure_resumed(b->secure)));
	json_object_set_new(o, "late_starts", json_integer((json_int_t)c->late_starts));
	json_object_set_new(o, "bytes", json_integer((json_int_t)c->bytes));
	json_object_set_new(o, "generator_busy", json_real((double)b->busy_ns / 1e9 / seconds(b)));
	json_object_set_new(
		o, "retransmits", json_integer((json_int_t)b->stats[STAT_TCP_RETRANSMITS])
	);
	json_object_set_new(o, "latency", latency_json(c));
	json_object_set_new(o, "backends", backends_json(b));
	json_object_set_new(o, "messages", books_json(b));
	ok = json_dump_file(o, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0;
	json_decref(o);
	if (!ok)
		fprintf(stderr, "mailrace-bench: cannot write %s\n", path);
	return ok;
}
