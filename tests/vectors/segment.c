// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Statements about segments: what comes in, what must have gone out.

#include "tests/vectors/vec.h"

#include <rte_tcp.h>

#include <stdlib.h>

static uint8_t flags_parse(struct vec *v, const char *text)
{
	static const char letters[] = "FSRPAU"; // in the order of the bits
	uint8_t flags = 0;

	for (; *text != '\0'; text++) {
		const char *at = strchr(letters, *text);

		if (at != NULL)
			flags |= (uint8_t)(1U << (at - letters));
		else if (*text != '-')
			vec_fail(v, "flags are letters of FSRPAU, or -");
	}
	return flags;
}

static void raw_parse(struct vec *v, const char *hex, struct vec_seg *ret)
{
	char two[3] = "";

	for (; hex[0] != '\0' && hex[1] != '\0' && ret->raw_len < sizeof(ret->raw); hex += 2) {
		two[0] = hex[0];
		two[1] = hex[1];
		ret->raw[ret->raw_len++] = (uint8_t)strtoul(two, NULL, 16);
	}
	if (ret->raw_len % 4 != 0)
		vec_fail(v, "options are a multiple of four bytes");
}

// START:END,START:END... of the other side's sequence space.
static void sack_parse(struct vec *v, char *text, struct vec_seg *ret)
{
	char *rest = text;

	for (char *block; (block = strsep(&rest, ",")) != NULL;) {
		char *colon = strchr(block, ':');

		if (colon == NULL || ret->sack_count == VEC_SACK_MAX) {
			vec_fail(v, "blocks are START:END,START:END, at most four");
			return;
		}
		*colon = '\0';
		ret->sack[2 * ret->sack_count] = vec_number(v, block);
		ret->sack[2 * ret->sack_count++ + 1] = vec_number(v, colon + 1);
	}
}

// One option of a statement; returns how many words it took, 0: not known.
static unsigned word_take(struct vec *v, char **word, unsigned left, struct vec_seg *ret)
{
	const struct vec_flow *f = &v->flow[v->current];
	uint32_t arg;

	if (strcmp(word[0], "badsum") == 0) {
		ret->bad_sum = true;
		return 1;
	}
	if (strcmp(word[0], "sackok") == 0) {
		ret->has_sackok = true;
		return 1;
	}
	if (left < 2)
		return 0;
	if (strcmp(word[0], "sack") == 0) {
		sack_parse(v, word[1], ret);
		return 2;
	}
	arg = strcmp(word[0], "opt") != 0 ? vec_number(v, word[1]) : 0;
	if (strcmp(word[0], "ack") == 0)
		ret->ack = arg;
	else if (strcmp(word[0], "win") == 0)
		ret->wnd = (uint16_t)arg;
	else if (strcmp(word[0], "mss") == 0)
		ret->mss = (uint16_t)arg;
	else if (strcmp(word[0], "urg") == 0)
		ret->urg = (uint16_t)arg;
	else if (strcmp(word[0], "doff") == 0)
		ret->doff = (uint8_t)arg;
	else if (strcmp(word[0], "opt") == 0)
		raw_parse(v, word[1], ret);
	else if (strcmp(word[0], "ecr") == 0)
		ret->ts_ecr = f->our_ts + arg;
	else if (strcmp(word[0], "ws") == 0) {
		ret->has_ws = true;
		ret->wscale = (uint8_t)arg;
	} else if (strcmp(word[0], "ts") == 0) {
		ret->has_ts = true;
		ret->ts_val = f->peer_ts + arg;
	} else {
		return 0;
	}
	return 2;
}

// FLAGS SEQ[+LEN] and the options behind.
bool vec_seg_parse(struct vec *v, char **word, unsigned n, struct vec_seg *ret)
{
	const struct vec_flow *f = &v->flow[v->current];
	char *plus;

	*ret = (struct vec_seg){
		.sport = f->peer_port,
		.dport = f->local_port,
		.wnd = 65535,
		.ts_ecr = f->our_ts,
	};
	if (n < 3) {
		vec_fail(v, "wants FLAGS SEQ[+LEN]");
		return false;
	}
	ret->flags = flags_parse(v, word[1]);
	plus = strchr(word[2], '+');
	if (plus != NULL) {
		*plus = '\0';
		ret->len = vec_number(v, plus + 1);
	}
	ret->seq = vec_number(v, word[2]);
	for (unsigned i = 3; i < n;) {
		unsigned took = word_take(v, word + i, n - i, ret);

		if (took == 0) {
			vec_fail(v, "%s is not known, or wants a value", word[i]);
			return false;
		}
		i += took;
	}
	if (ret->len > 1460)
		vec_fail(v, "longer than a frame");
	return v->failed[0] == '\0';
}

void vec_in(struct vec *v, char **word, unsigned n)
{
	static uint8_t frame[VEC_FRAME_MAX];
	struct vec_seg seg;

	if (!vec_seg_parse(v, word, n, &seg))
		return;
	vec_frame_in(v, frame, vec_frame_build(v, &seg, frame));
	vec_settle(v);
}

static void seg_print(const struct vec *v, const struct vec_seg *s, char *out, size_t size)
{
	static const char letters[] = "FSRPAU";
	const struct vec_flow *f = &v->flow[v->current];
	char flags[8], sack[96] = "";
	unsigned k = 0;

	for (unsigned i = 0; i < 6; i++)
		if ((s->flags & 1U << i) != 0)
			flags[k++] = letters[i];
	flags[k] = '\0';
	for (unsigned i = 0; i < s->sack_count; i++)
		snprintf(
			sack + strlen(sack),
			sizeof(sack) - strlen(sack),
			"%s%d:%d",
			i == 0 ? " sack " : ",",
			(int)(s->sack[2 * i] - f->peer_isn),
			(int)(s->sack[2 * i + 1] - f->peer_isn)
		);
	snprintf(
		out,
		size,
		"%s %d+%u ack %d win %u%s%s at %llu ms",
		flags,
		(int)(s->seq - f->our_isn),
		s->len,
		(int)(s->ack - f->peer_isn),
		s->wnd,
		s->has_ts ? " ts" : "",
		sack,
		(unsigned long long)s->at_ms
	);
}

// The value behind a word of the statement; false: not there.
static bool word_value(struct vec *v, char **word, unsigned n, const char *name, uint32_t *ret)
{
	for (unsigned i = 3; i + 1 < n; i++) {
		if (strcmp(word[i], name) == 0) {
			*ret = vec_number(v, word[i + 1]);
			return true;
		}
	}
	return false;
}

static bool word_has(char **word, unsigned n, const char *name)
{
	for (unsigned i = 3; i < n; i++)
		if (strcmp(word[i], name) == 0)
			return true;
	return false;
}

// The blocks behind "sack": none there if the word is not.
static bool sack_differs(struct vec *v, char **word, unsigned n, const struct vec_seg *got)
{
	const struct vec_flow *f = &v->flow[v->current];
	struct vec_seg want = {0};

	for (unsigned i = 3; i + 1 < n; i++)
		if (strcmp(word[i], "sack") == 0)
			sack_parse(v, word[i + 1], &want);
	for (unsigned i = 0; i < 2 * want.sack_count; i++)
		if (i >= 2 * got->sack_count || got->sack[i] - f->peer_isn != want.sack[i])
			return true;
	return got->sack_count != want.sack_count;
}

// What differs between the statement and the segment; NULL: nothing.
static const char *difference(
	struct vec *v,
	char **word,
	unsigned n,
	const struct vec_seg *want,
	const struct vec_seg *got
)
{
	const struct vec_flow *f = &v->flow[v->current];
	uint8_t mask = (uint8_t)~((want->flags & RTE_TCP_PSH_FLAG) ? 0 : RTE_TCP_PSH_FLAG);
	uint32_t x;

	if (got->dport != f->peer_port || got->sport != f->local_port)
		return "flow";
	if ((got->flags & mask) != want->flags)
		return "flags";
	if (got->seq - f->our_isn != want->seq)
		return "seq";
	if (got->len != want->len)
		return "len";
	if (!got->payload_good)
		return "payload";
	if ((got->flags & RTE_TCP_ACK_FLAG) != 0 && got->ack - f->peer_isn != want->ack)
		return "ack";
	if (word_value(v, word, n, "win", &x) && got->wnd != x)
		return "win";
	if (word_value(v, word, n, "mss", &x) && got->mss != x)
		return "mss";
	if (word_value(v, word, n, "ws", &x) && (!got->has_ws || got->wscale != x))
		return "ws";
	if (word_value(v, word, n, "echo", &x) && (!got->has_ts || got->ts_ecr - f->peer_ts != x))
		return "echo";
	if (sack_differs(v, word, n, got))
		return "sack";
	if (word_has(word, n, "sackok") && !got->has_sackok)
		return "sackok";
	if (word_has(word, n, "nosack") && got->has_sackok)
		return "nosack";
	if (word_has(word, n, "nots") && got->has_ts)
		return "nots";
	if (word_has(word, n, "nows") && got->has_ws)
		return "nows";
	return NULL;
}

void vec_out(struct vec *v, char **word, unsigned n)
{
	const struct vec_seg *got = &v->out[v->out_head % VEC_OUT_MAX];
	char *plus = n > 2 ? strchr(word[2], '+') : NULL;
	struct vec_seg want = {0};
	const char *what;
	char text[224];

	if (n < 3) {
		vec_fail(v, "wants FLAGS SEQ[+LEN]");
		return;
	}
	want.flags = flags_parse(v, word[1]);
	if (plus != NULL) {
		*plus = '\0';
		want.len = vec_number(v, plus + 1);
	}
	want.seq = vec_number(v, word[2]);
	word_value(v, word, n, "ack", &want.ack);
	if (v->out_head == v->out_tail) {
		vec_fail(v, "nothing was sent");
		return;
	}
	v->out_head++;
	what = difference(v, word, n, &want, got);
	if (what != NULL) {
		seg_print(v, got, text, sizeof(text));
		vec_fail(v, "%s differs: %s", what, text);
	}
}

// icmp KIND ARG SEQ: an error that quotes a segment of ours.
void vec_icmp(struct vec *v, char **word, unsigned n)
{
	const struct vec_flow *f = &v->flow[v->current];
	struct vec_seg quoted = {.sport = f->peer_port, .dport = f->local_port};
	uint8_t frame[256];

	if (n != 4) {
		vec_fail(v, "wants KIND ARG SEQ");
		return;
	}
	quoted.seq = f->our_isn + vec_number(v, word[3]);
	vec_frame_in(v, frame, vec_icmp_build(v, &quoted, word[1], vec_number(v, word[2]), frame));
	vec_settle(v);
}
