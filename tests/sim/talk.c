// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See talk.h.

#include "tests/sim/talk.h"

#include <stdlib.h>
#include <string.h>

#define CLIENT 0
#define BACKEND 1

static void put(struct talk *t, unsigned who, const void *data, uint32_t len, enum talk_mark mark)
{
	if (t->len[who] + len > TALK_MAX)
		abort();
	memcpy(t->text[who] + t->len[who], data, len);
	memset(t->mark[who] + t->len[who] + 1, mark == TALK_REST ? TALK_NOTHING : mark, len);
	t->len[who] += len;
	t->mark[who][t->len[who]] = (uint8_t)mark;
}

static void line(struct talk *t, unsigned who, enum talk_mark mark, const char *text)
{
	put(t, who, text, (uint32_t)strlen(text), mark);
}

static void turn_end(struct talk *t, unsigned who)
{
	if (t->turns == TALK_TURNS_MAX)
		abort();
	t->turn[t->turns++] = (struct talk_turn){(uint8_t)who, t->len[who]};
}

static void octets(struct talk *t, struct rng *rng, unsigned who, uint32_t n, enum talk_mark mark)
{
	static const char likely[] =
		"\r\n.\r\n\r\nQUIT\r\n421 x\r\n250 ok\r\nBDAT 5\r\n\0\r\r\n\n.\n";

	while (n > 0) {
		uint8_t piece[sizeof(likely)];
		uint32_t len = 1 + rng_below(rng, sizeof(piece));

		len = len < n ? len : n;
		for (uint32_t i = 0; i < len; i++)
			piece[i] = (uint8_t)rng_next(rng);
		if (rng_below(rng, 3) == 0)
			memcpy(piece, likely + rng_below(rng, sizeof(likely) - len + 1), len);
		put(t, who, piece, len, mark);
		n -= len;
	}
}

// Any octets, dots at the begin of lines doubled.
static void body(struct talk *t, struct rng *rng)
{
	uint32_t first = t->len[CLIENT], n = rng_below(rng, 4000);
	bool start = true;

	for (uint32_t i = 0; i < n; i++) {
		static const uint8_t likely[] = "\r\n..\r\n\0";
		uint8_t b = rng_below(rng, 4) == 0 ? likely[rng_below(rng, sizeof(likely))]
						   : (uint8_t)rng_next(rng);
		uint32_t at = t->len[CLIENT];

		if (start && b == '.')
			put(t, CLIENT, ".", 1, TALK_BODY);
		put(t, CLIENT, &b, 1, TALK_BODY);
		start = b == '\n' && at > first && t->text[CLIENT][at - 1] == '\r';
	}
	if (!start)
		line(t, CLIENT, TALK_BODY, "\r\n");
	line(t, CLIENT, TALK_BODY, ".\r");
	line(t, CLIENT, TALK_REST, "\n");
	turn_end(t, CLIENT);
	line(t, BACKEND, TALK_REST, rng_below(rng, 4) ? "250 2.0.0 queued\r\n" : "554 5.6.0 no\r\n"
	);
	turn_end(t, BACKEND);
}

static void envelope(struct talk *t, struct rng *rng, unsigned rcpts)
{
	char text[40];

	line(t, CLIENT, TALK_REST, "MAIL FROM:<a@b>\r\n");
	for (unsigned i = 0; i < rcpts; i++) {
		snprintf(text, sizeof(text), "RCPT TO:<%u@d>\r\n", i);
		line(t, CLIENT, TALK_REST, text);
	}
}

static void envelope_replies(struct talk *t, struct rng *rng, unsigned rcpts)
{
	line(t, BACKEND, TALK_NOTHING, "250 2.1.0 ok\r\n");
	for (unsigned i = 0; i < rcpts; i++)
		line(t, BACKEND, TALK_NOTHING, i % 3 == 1 ? "550-no\r\n550 no\r\n" : "250 ok\r\n");
}

static void mail_by_data(struct talk *t, struct rng *rng)
{
	unsigned rcpts = 1 + rng_below(rng, rng_below(rng, 4) == 0 ? 200 : 5);

	envelope(t, rng, rcpts);
	if (rng_below(rng, 2)) {
		turn_end(t, CLIENT);
		envelope_replies(t, rng, rcpts);
		turn_end(t, BACKEND);
		line(t, CLIENT, TALK_NOTHING, "DATA\r\n");
	} else {
		line(t, CLIENT, TALK_NOTHING, "DATA\r\n");
		envelope_replies(t, rng, rcpts);
	}
	turn_end(t, CLIENT);
	line(t, BACKEND, TALK_NOTHING, "354 go on\r\n");
	turn_end(t, BACKEND);
	body(t, rng);
}

static void mail_by_chunks(struct talk *t, struct rng *rng)
{
	unsigned chunks = 1 + rng_below(rng, 4);

	envelope(t, rng, 1);
	envelope_replies(t, rng, 1);
	for (unsigned i = 1; i <= chunks; i++) {
		uint32_t n = rng_below(rng, 3000);
		char text[40];

		snprintf(text, sizeof(text), "BDAT %u%s\r\n", n, i == chunks ? " LAST" : "");
		line(t, CLIENT, n > 0 ? TALK_BODY : TALK_REST, text);
		octets(t, rng, CLIENT, n, TALK_BODY);
		t->mark[CLIENT][t->len[CLIENT]] = TALK_REST;
		line(t, BACKEND, i == chunks ? TALK_REST : TALK_NOTHING, "250 2.0.0 octets\r\n");
	}
	turn_end(t, CLIENT);
	turn_end(t, BACKEND);
}

static void small_talk(struct talk *t, struct rng *rng)
{
	for (unsigned i = 1 + rng_below(rng, 6); i > 0; i--) {
		line(t, CLIENT, TALK_REST, rng_below(rng, 2) ? "NOOP\r\n" : "RSET\r\n");
		line(t, BACKEND, i == 1 ? TALK_REST : TALK_NOTHING, "250 ok\r\n");
	}
	turn_end(t, CLIENT);
	turn_end(t, BACKEND);
}

static void authentication(struct talk *t, struct rng *rng)
{
	line(t, CLIENT, TALK_NOTHING, "AUTH LOGIN\r\n");
	turn_end(t, CLIENT);
	line(t, BACKEND, TALK_NOTHING, "334 VXNlcm5hbWU6\r\n");
	turn_end(t, BACKEND);
	line(t, CLIENT, TALK_REST, "RSET\r\n"); // an answer
	turn_end(t, CLIENT);
	line(t, BACKEND, TALK_REST, rng_below(rng, 2) ? "235 ok\r\n" : "535 no\r\n");
	turn_end(t, BACKEND);
}

static void opaque(struct talk *t, struct rng *rng)
{
	for (unsigned i = 1 + rng_below(rng, 6); i > 0; i--) {
		unsigned who = rng_below(rng, 2);

		octets(t, rng, who, 1 + rng_below(rng, 3000), TALK_NOTHING);
		turn_end(t, who);
	}
}

static void farewell(struct talk *t, struct rng *rng)
{
	switch (rng_below(rng, 3)) {
	case 0:
		line(t, CLIENT, TALK_NOTHING, "QUIT\r\n");
		turn_end(t, CLIENT);
		line(t, BACKEND, TALK_NOTHING, "221 bye\r\n");
		turn_end(t, BACKEND);
		break;
	case 1:
		line(t,
		     CLIENT,
		     TALK_NOTHING,
		     rng_below(rng, 2) ? "STARTTLS\r\n" : "X-ANONYMOUSTLS\r\n");
		turn_end(t, CLIENT);
		line(t, BACKEND, TALK_NOTHING, "220 go\r\n");
		turn_end(t, BACKEND);
		opaque(t, rng);
		break;
	default:
		put(t, CLIENT, "\0", 1, TALK_NOTHING); // is no command
		turn_end(t, CLIENT);
		opaque(t, rng);
		break;
	}
	if (t->turn[t->turns - 1].end != t->len[t->turn[t->turns - 1].who])
		abort();
}

void talk_draw(struct talk *t, struct rng *rng, unsigned number)
{
	static void (*const parts[])(struct talk *t, struct rng *rng) = {
		mail_by_data,
		mail_by_chunks,
		small_talk,
		authentication,
	};
	char ehlo[64];

	t->mark[CLIENT][0] = t->mark[BACKEND][0] = TALK_REST;
	line(t, BACKEND, TALK_REST, TALK_BANNER);
	turn_end(t, BACKEND);
	snprintf(ehlo, sizeof(ehlo), TALK_EHLO, number);
	line(t, CLIENT, TALK_REST, ehlo);
	turn_end(t, CLIENT);
	line(t, BACKEND, TALK_REST, "250-sim\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
	turn_end(t, BACKEND);
	for (unsigned i = rng_below(rng, 5); i > 0; i--)
		parts[rng_below(rng, 4)](t, rng);
	farewell(t, rng);
}
