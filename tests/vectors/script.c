// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Reads a file of vectors and runs each of them four times: both families, and with the peer's
// sequence numbers and timestamps far from and just before their wrap.

#include "tests/vectors/vec.h"

#include <stdarg.h>
#include <stdlib.h>

#define LINES_MAX 4096
#define LINE_MAX_LEN 256

struct script {
	char line[LINES_MAX][LINE_MAX_LEN];
	unsigned count;
};

void vec_fail(struct vec *v, const char *format, ...)
{
	va_list args;

	if (v->failed[0] != '\0')
		return;
	va_start(args, format);
	vsnprintf(v->failed, sizeof(v->failed), format, args);
	va_end(args);
}

uint32_t vec_number(struct vec *v, const char *text)
{
	char *end;
	long long x = strtoll(text, &end, 0);

	if (*end != '\0' || end == text)
		vec_fail(v, "%s is not a number", text);
	return (uint32_t)x;
}

static void quiet(struct vec *v)
{
	char *word[] = {"out", "-", "0"};

	if (v->out_head == v->out_tail)
		return;
	vec_out(v, word, 3); // fails with a picture of what was sent
	vec_fail(v, "an empty segment was sent");
}

static void until(struct vec *v, uint32_t least, uint32_t most)
{
	uint64_t start = vec_now_ms(v), took;

	while (v->out_head == v->out_tail && vec_now_ms(v) - start < most && v->failed[0] == '\0')
		vec_advance(v, 1);
	took = vec_now_ms(v) - start;
	if (v->out_head == v->out_tail || took < least)
		vec_fail(
			v,
			"%s after %llu ms",
			v->out_head == v->out_tail ? "nothing" : "sent",
			(unsigned long long)took
		);
}

static void stat_is(struct vec *v, const char *name, uint32_t want)
{
	for (unsigned i = 0; i < STAT_COUNT; i++) {
		char full[80];

		snprintf(full, sizeof(full), "%s_%s", stat_descs[i].group, stat_descs[i].name);
		if (strcmp(full, name) != 0)
			continue;
		if (v->stats[i] != want)
			vec_fail(v, "%s is %llu", name, (unsigned long long)v->stats[i]);
		return;
	}
	vec_fail(v, "no counter %s", name);
}

static void flow_set(struct vec *v, unsigned i)
{
	struct vec_flow *f = &v->flow[i % VEC_FLOWS_MAX];

	v->current = i % VEC_FLOWS_MAX;
	if (f->peer_port != 0)
		return;
	*f = (struct vec_flow){
		.peer_port = (uint16_t)(40000 + i),
		.local_port = VEC_PORT,
		.peer_isn = v->isn,
		.peer_ts = v->ts,
	};
}

// listen [window N] [mss N] [deny]
static void listen_set(struct vec *v, char **word, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		if (strcmp(word[i], "deny") == 0)
			v->deny = true;
		else if (strcmp(word[i], "window") == 0 && i + 1 < n)
			v->listen.rcv_window = vec_number(v, word[++i]);
		else if (strcmp(word[i], "mss") == 0 && i + 1 < n)
			v->listen.mss_max = (uint16_t)vec_number(v, word[++i]);
		else
			vec_fail(v, "listen what?");
	}
}

static void line_run(struct vec *v, const char *line);

// Handshakes that most vectors begin with: a round trip of 333 ms makes a time-out of 1 s.
static bool macro(struct vec *v, const char *name)
{
	static const struct {
		const char *name;
		const char *line[6];
	} macros[] = {
		{"accepted",
		 {"in S 0 mss 1460", "out SA 0 ack 1", "wait 333", "in A 1 ack 1", "event accept"}},
		{"accepted-ts",
		 {"in S 0 mss 1460 ws 7 ts 0",
		  "out SA 0 ack 1 echo 0",
		  "wait 333",
		  "in A 1 ack 1 ts 0",
		  "event accept"}},
		{"accepted-sack",
		 {"in S 0 mss 1460 sackok",
		  "out SA 0 ack 1 sackok",
		  "wait 333",
		  "in A 1 ack 1",
		  "event accept"}},
		{"accepted-sack-ts",
		 {"in S 0 mss 1460 ws 7 ts 0 sackok",
		  "out SA 0 ack 1 sackok",
		  "wait 333",
		  "in A 1 ack 1 ts 0",
		  "event accept"}},
		{"connected",
		 {"app connect 3000",
		  "out S 0",
		  "wait 333",
		  "in SA 0 ack 1 mss 1460",
		  "out A 1 ack 1",
		  "event connect"}},
		{"connected-ts",
		 {"app connect 3000",
		  "out S 0",
		  "wait 333",
		  "in SA 0 ack 1 mss 1460 ws 7 ts 0",
		  "out A 1 ack 1 echo 0",
		  "event connect"}},
	};

	for (unsigned m = 0; m < sizeof(macros) / sizeof(macros[0]); m++) {
		if (strcmp(macros[m].name, name) != 0)
			continue;
		for (unsigned i = 0; i < 6 && macros[m].line[i] != NULL; i++)
			line_run(v, macros[m].line[i]);
		return true;
	}
	return false;
}

static bool statement_of_time(struct vec *v, char **word, unsigned n)
{
	if (strcmp(word[0], "wait") == 0 && n == 2)
		vec_advance(v, vec_number(v, word[1]));
	else if (strcmp(word[0], "until") == 0 && n == 3)
		until(v, vec_number(v, word[1]), vec_number(v, word[2]));
	else if (strcmp(word[0], "idle") == 0 && n == 2) // days without any timer of a connection
		vec_advance(v, vec_number(v, word[1]) * 86400000U);
	else
		return false;
	return true;
}

static void statement(struct vec *v, char **word, unsigned n)
{
	if (strcmp(word[0], "out") == 0) {
		vec_out(v, word, n);
		return;
	}
	if (strcmp(word[0], "event") == 0) {
		vec_event(v, word, n);
		return;
	}
	if (strcmp(word[0], "state") == 0 && n == 2) {
		vec_state(v, word[1]);
		return;
	}
	if (strcmp(word[0], "stat") == 0 && n == 3) {
		stat_is(v, word[1], vec_number(v, word[2]));
		return;
	}
	if (strcmp(word[0], "flow") == 0 && n == 2) {
		flow_set(v, vec_number(v, word[1]));
		return;
	}
	quiet(v); // all that was sent has been named before anything else happens
	if (strcmp(word[0], "in") == 0)
		vec_in(v, word, n);
	else if (strcmp(word[0], "app") == 0)
		vec_app(v, word, n);
	else if (strcmp(word[0], "icmp") == 0)
		vec_icmp(v, word, n);
	else if (strcmp(word[0], "hold") == 0 && n == 2)
		vec_hold(v, vec_number(v, word[1]));
	else if (strcmp(word[0], "hold-blocks") == 0)
		vec_hold_blocks(v);
	else if (strcmp(word[0], "listen") == 0)
		listen_set(v, word, n);
	else if (!statement_of_time(v, word, n) && !macro(v, word[0]) &&
		 strcmp(word[0], "quiet") != 0)
		vec_fail(v, "what is this?");
}

static void line_run(struct vec *v, const char *line)
{
	char copy[LINE_MAX_LEN], *word[VEC_WORDS_MAX], *save;
	unsigned n = 0;

	snprintf(copy, sizeof(copy), "%s", line);
	copy[strcspn(copy, "#\r\n")] = '\0';
	for (char *w = strtok_r(copy, " \t", &save); w != NULL && n < VEC_WORDS_MAX;
	     w = strtok_r(NULL, " \t", &save))
		word[n++] = w;
	if (n > 0)
		statement(v, word, n);
}

static void ends_quietly(struct vec *v)
{
	quiet(v);
	while (v->event_head != v->event_tail && v->failed[0] == '\0') {
		unsigned i = v->event_head++ % VEC_EVENTS_MAX;

		if (v->event[i].kind != VEC_EV_ACCEPT)
			vec_fail(v, "an event that nobody asked for: kind %u", v->event[i].kind);
	}
}

// Lines first to last - 1. Returns true when all went as written.
static bool vector_run(struct vec *pools, const struct script *s, unsigned first, unsigned last)
{
	for (unsigned variant = 0; variant < 4; variant++) {
		struct vec *v = calloc(1, sizeof(*v));
		bool good;

		if (v == NULL)
			abort();
		v->pool = pools->pool;
		v->small_pool = pools->small_pool;
		v->ref_pool = pools->ref_pool;
		v->v6 = (variant & 1) != 0;
		v->isn = (variant & 2) != 0 ? 0xffffff80U : 5000;
		v->ts = (variant & 2) != 0 ? 0xfffffff0U : 700;
		v->listen.rcv_window = 16384;
		ip_addr_parse(v->v6 ? "2001:db8::1" : "10.0.0.1", &v->local);
		ip_addr_parse(v->v6 ? "2001:db8::2" : "10.0.0.2", &v->peer);
		vec_host_start(v);
		flow_set(v, 0);
		for (v->line = first; v->line < last && v->failed[0] == '\0'; v->line++)
			line_run(v, s->line[v->line]);
		if (v->failed[0] == '\0')
			ends_quietly(v);
		vec_hold(v, 0);
		vec_host_stop(v);
		good = v->failed[0] == '\0';
		if (!good)
			printf("%s:%u: IPv%d, variant %u: %s\n    %s",
			       pools->file,
			       v->line,
			       v->v6 ? 6 : 4,
			       variant,
			       v->failed,
			       v->line <= last && v->line > 0 ? s->line[v->line - 1] : "\n");
		free(v);
		if (!good)
			return false;
	}
	return true;
}

unsigned vec_file_run(const char *path, struct vec *v, const char *only, unsigned *ret_run)
{
	struct script *s = calloc(1, sizeof(*s));
	FILE *f = fopen(path, "re");
	unsigned failed = 0, first = 0;

	if (s == NULL || f == NULL) {
		perror(path);
		exit(1);
	}
	while (s->count < LINES_MAX && fgets(s->line[s->count], LINE_MAX_LEN, f) != NULL)
		s->count++;
	fclose(f);
	v->file = path;
	for (unsigned i = 0; i <= s->count; i++) {
		bool head = i < s->count && strncmp(s->line[i], "== ", 3) == 0;

		if (i < s->count && !head)
			continue;
		if (first > 0 && (only == NULL || strstr(s->line[first - 1], only) != NULL)) {
			++*ret_run;
			if (!vector_run(v, s, first, i)) {
				printf("FAILED: %s", s->line[first - 1]);
				failed++;
			}
		}
		first = i + 1;
	}
	free(s);
	return failed;
}
