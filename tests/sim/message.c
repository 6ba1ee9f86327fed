// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Message bodies made from their identity: sizes from empty to hundreds of kilobytes, lines with
// leading dots, empty lines, long lines. Both ends make the same bytes, so a stored body is
// compared with a complete one.

#include "tests/sim/mail.h"

static struct rng message_rng(uint64_t seed, unsigned client, unsigned message)
{
	struct rng rng;

	rng_seed(&rng, seed * 1000003 + client * 101 + message * 7919 + 1);
	return rng;
}

static uint32_t fixed_size; // 0: drawn

void message_size_fix(uint32_t bytes)
{
	fixed_size = bytes;
}

const char *const sim_ehlo[2] = {
	"EHLO client.sim.example\r\n",
	"EHLO "
	"a-name-that-is-longer.than-what-a-session-keeps-of-it.in-its-own-256-octets.sim."
	"example\r\n",
};

uint32_t message_size(uint64_t seed, unsigned client, unsigned message)
{
	struct rng rng = message_rng(seed, client, message);

	if (fixed_size != 0)
		return fixed_size;
	switch (rng_below(&rng, 10)) {
	case 0:
		return 40; // hardly more than the first line
	case 1:
		return 40 + rng_below(&rng, 300U << 10);
	case 2:
	case 3:
		return 40 + rng_below(&rng, 40U << 10);
	default:
		return 40 + rng_below(&rng, 5000);
	}
}

uint32_t message_make(uint64_t seed, unsigned client, unsigned message, uint8_t *buf)
{
	struct rng rng = message_rng(seed, client, message);
	uint32_t want = message_size(seed, client, message);
	uint32_t n = (uint32_t)snprintf((char *)buf, 64, "X-Sim: %u %u\r\n\r\n", client, message);

	while (n < want) {
		uint32_t line =
			rng_below(&rng, 6) == 0 ? rng_below(&rng, 990) : rng_below(&rng, 78);

		for (unsigned dots = rng_below(&rng, 5) == 0 ? 1 + rng_below(&rng, 3) : 0; dots > 0;
		     dots--)
			buf[n++] = '.';
		for (uint32_t i = 0; i < line; i++)
			buf[n++] = (uint8_t)(' ' + rng_below(&rng, 95));
		buf[n++] = '\r';
		buf[n++] = '\n';
	}
	return n;
}

uint32_t message_careless(const uint8_t *in, uint32_t len, uint8_t *out)
{
	struct rng rng;
	uint32_t n = 0;

	rng_seed(&rng, len);
	for (uint32_t i = 0; i < len; i++) {
		bool end = in[i] == '\r' && i + 2 < len; // the last one stays
		// a CR before an empty line would make a right line end with what follows
		unsigned kind = end ? rng_below(&rng, in[i + 2] == '\r' ? 3 : 4) : 0;

		if (kind < 2) {
			out[n++] = in[i];
			continue;
		}
		out[n++] = kind == 2 ? '\n' : '\r';
		i++;
	}
	return n;
}

// Dots of lines after CRLF.
static uint32_t stuff(const uint8_t *in, uint32_t len, uint8_t *out)
{
	uint32_t n = 0;
	bool start = true;

	for (uint32_t i = 0; i < len; i++) {
		if (start && in[i] == '.')
			out[n++] = '.';
		out[n++] = in[i];
		start = in[i] == '\n' && i > 0 && in[i - 1] == '\r';
	}
	return n;
}

uint32_t
message_wire(uint64_t seed, unsigned client, unsigned message, bool is_careless, uint8_t *out)
{
	static uint8_t text[MESSAGE_MAX], careless[MESSAGE_MAX];
	uint32_t len = message_make(seed, client, message, text);

	if (is_careless)
		len = message_careless(text, len, careless);
	len = stuff(is_careless ? careless : text, len, out);
	memcpy(out + len, ".\r\n", 3);
	return len + 3;
}

uint32_t
message_chunks(uint64_t seed, unsigned client, unsigned message, unsigned count, uint8_t *out)
{
	uint8_t *whole = malloc(MESSAGE_MAX);
	uint32_t len, at = 0, used = 0;

	if (whole == NULL)
		abort();
	len = message_make(seed, client, message, whole);
	for (unsigned i = count; i > 0; i--) {
		uint32_t n = i > 1 ? (len - at) / i : len - at;

		used += (uint32_t
		)snprintf((char *)out + used, 32, "BDAT %u%s\r\n", n, i > 1 ? "" : " LAST");
		memcpy(out + used, whole + at, n);
		used += n;
		at += n;
	}
	free(whole);
	return used;
}

bool message_line_end(uint8_t *body, uint32_t *len)
{
	uint32_t start = *len - 1;

	while (start > 0 && (body[start - 1] != '\n' || start < 2 || body[start - 2] != '\r'))
		start--;
	if (body[start] != '.')
		return false;
	if (*len - start == 3 && body[start + 1] == '\r') {
		*len = start;
		return true;
	}
	memmove(body + start, body + start + 1, *len - start - 1);
	(*len)--;
	return false;
}

bool message_is(uint64_t seed, unsigned client, unsigned message, const uint8_t *body, uint32_t len)
{
	static uint8_t whole[MESSAGE_MAX], careless[MESSAGE_MAX];
	uint32_t n = message_make(seed, client, message, whole);

	if (n == len && memcmp(whole, body, len) == 0)
		return true;
	n = message_careless(whole, n, careless); // passed on as it was
	return n == len && memcmp(careless, body, len) == 0;
}
