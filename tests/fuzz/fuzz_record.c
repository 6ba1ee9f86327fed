// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Records of a session, sealed by one end, spoilt on the way, opened by the other: lengths told,
// one opened over any pieces, what is no data handled, as proxy/wire.c does it. Judged: what is
// opened is what was sealed, in order, and after the first octet that is not as it was sent nothing
// is. Input: version and suite, then commands: seal one, and ways to spoil what is on its way.

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tls/tls.h"

#define WIRE_MAX 65536
#define RECORDS 64

struct sent {
	enum tls_type type;
	uint32_t len;
	uint8_t fill;
};

struct play {
	struct tls_engine *engine;
	struct tls_state from, to;
	struct sent sent[RECORDS];
	unsigned sealed, opened;
	uint8_t wire[WIRE_MAX], clean[WIRE_MAX]; // as it comes, as it was sent
	uint32_t len, clean_len;
	bool ended;
};

static void states_make(struct play *p, uint8_t kind)
{
	static const uint16_t suites[2][3] = {{0xc02b, 0xc030, 0xcca9}, {0x1301, 0x1302, 0x1303}};
	struct tls_secrets x = {
		.version = kind & 1 ? TLS_V13 : TLS_V12, .suite = suites[kind & 1][(kind >> 1) % 3]
	};

	memset(x.client, 1, sizeof(x.client));
	memset(x.server_secret, 2, sizeof(x.server_secret));
	memset(x.master, 3, sizeof(x.master));
	FUZZ_CHECK(tls_state_derive(&p->from, &x));
	x.server = true;
	FUZZ_CHECK(tls_state_derive(&p->to, &x));
}

// What the text of a record is made of: data, or a message that a peer may send after a handshake.
static uint32_t text_make(struct fuzz_in *in, struct sent *s, uint8_t *text)
{
	uint8_t command = fuzz_u8(in);
	size_t n;
	const uint8_t *octets;

	s->type = command & 1 ? TLS_T_DATA : command & 2 ? TLS_T_HANDSHAKE : TLS_T_ALERT;
	if (s->type == TLS_T_DATA) {
		s->len = command & 4 ? fuzz_u16(in) % (TLS_PLAIN_MAX + 1) : fuzz_u8(in) % 40;
		s->fill = command;
		memset(text, s->fill, s->len);
		return s->len;
	}
	octets = fuzz_bytes(in, fuzz_u8(in) % 40, &n);
	memcpy(text, octets, n);
	s->len = (uint32_t)n;
	return s->len;
}

static bool is_update(const struct play *p, const struct sent *s, const uint8_t *text)
{
	return p->from.version == TLS_V13 && s->type == TLS_T_HANDSHAKE && s->len == 5 &&
	       text[0] == 24;
}

static void seal(struct play *p, struct fuzz_in *in)
{
	static uint8_t text[TLS_PLAIN_MAX], out[TLS_RECORD_MAX];
	struct sent *s = &p->sent[p->sealed];
	struct tls_seg segs[2];
	uint32_t len;

	if (p->sealed == RECORDS || p->len > WIRE_MAX - TLS_RECORD_MAX ||
	    p->clean_len > WIRE_MAX - TLS_RECORD_MAX)
		return;
	len = text_make(in, s, text);
	segs[0] = (struct tls_seg){text, len / 2};
	segs[1] = (struct tls_seg){text + len / 2, len - len / 2};
	len = tls_record_seal(p->engine, &p->from, s->type, segs, 2, out);
	FUZZ_CHECK(len > 0 && len <= s->len + TLS_SEAL_OVERHEAD);
	if (is_update(p, s, text))
		FUZZ_CHECK(tls_half_update(&p->from, &p->from.wr));
	memcpy(p->wire + p->len, out, len);
	memcpy(p->clean + p->clean_len, out, len);
	p->len += len;
	p->clean_len += len;
	p->sealed++;
}

// Somebody on the way.
static void spoil(struct play *p, struct fuzz_in *in, uint8_t how)
{
	uint32_t at = p->len > 0 ? fuzz_u16(in) % p->len : 0, n;
	size_t got;
	const uint8_t *octets;

	if (p->len == 0)
		return;
	switch (how & 3) {
	case 0:
		p->wire[at] ^= (uint8_t)(1U << (how >> 2 & 7));
		break;
	case 1: // cut out
		n = fuzz_u8(in) % (p->len - at + 1);
		memmove(p->wire + at, p->wire + at + n, p->len - at - n);
		p->len -= n;
		break;
	case 2: // put in
		octets = fuzz_bytes(in, fuzz_u8(in) % 64, &got);
		if (p->len + got > WIRE_MAX)
			return;
		memmove(p->wire + at + got, p->wire + at, p->len - at);
		memcpy(p->wire + at, octets, got);
		p->len += (uint32_t)got;
		break;
	default: // the same once more
		n = p->len - at;
		if (p->len + n > WIRE_MAX)
			return;
		memcpy(p->wire + p->len, p->wire + at, n);
		p->len += n;
		break;
	}
}

// Of what was opened: type and octets are those sealed.
static void opened_check(struct play *p, const struct tls_opened *o, const uint8_t *text)
{
	const struct sent *s = &p->sent[p->opened];

	FUZZ_CHECK(p->opened < p->sealed);
	FUZZ_CHECK(o->type == s->type && o->len == s->len);
	for (uint32_t i = 0; s->type == TLS_T_DATA && i < o->len; i++)
		FUZZ_CHECK(text[i] == s->fill);
	p->opened++;
}

// The first record of the wire; false: there is no whole one, or no more will come.
static bool record_open(struct play *p, uint32_t pieces)
{
	struct tls_seg segs[TLS_SEGS_MAX];
	struct tls_opened o;
	struct tls_reply reply;
	enum tls_alert alert;
	uint8_t *copy;
	bool same, went;
	uint32_t len, step, n = 0;

	if (p->ended || p->len < TLS_RECORD_HEADER)
		return false;
	len = tls_record_length(&p->to, p->wire, &alert);
	p->ended = len == 0;
	if (p->ended || p->len < len)
		return false;
	FUZZ_CHECK(len <= TLS_RECORD_MAX);
	same = len <= p->clean_len && memcmp(p->wire, p->clean, len) == 0;
	copy = fuzz_copy(p->wire, len);
	step = len / (pieces % (TLS_SEGS_MAX - 1) + 1) + 1;
	for (uint32_t at = 0; at < len; at += step)
		segs[n++] = (struct tls_seg){copy + at, at + step < len ? step : len - at};
	went = tls_record_open(p->engine, &p->to, segs, n, &o) == TLS_OK;
	FUZZ_CHECK(went == same); // verified, or refused
	if (went) {
		FUZZ_CHECK(o.off + o.len <= len);
		opened_check(p, &o, copy + o.off);
		if (o.type == TLS_T_DATA)
			went = tls_data_budget(&p->to, o.len);
		else
			went = tls_post_handle(
				       p->engine, &p->to, o.type, copy + o.off, o.len, &reply
			       ) == TLS_OK;
		if (o.type != TLS_T_DATA)
			FUZZ_CHECK(reply.len <= TLS_REPLY_MAX);
		p->clean_len -= len;
		memmove(p->clean, p->clean + len, p->clean_len);
	}
	fuzz_free(copy, len);
	p->ended = !went;
	p->len -= len;
	memmove(p->wire, p->wire + len, p->len);
	return went;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tls_engine *engine;
	static struct play play;
	struct fuzz_in in = {data, size};
	struct play *p = &play;

	if (engine == NULL)
		engine = tls_engine_new(PK_ENGINE_BUILTIN);
	if (engine == NULL)
		abort();
	memset(p, 0, sizeof(*p));
	p->engine = engine;
	states_make(p, fuzz_u8(&in));
	while (in.left > 0 && !p->ended) {
		uint8_t command = fuzz_u8(&in);

		switch (command & 7) {
		case 0:
		case 1:
		case 2:
			seal(p, &in);
			break;
		case 3:
			spoil(p, &in, command >> 3);
			break;
		default:
			while (record_open(p, command >> 3)) {
			}
			break;
		}
	}
	while (record_open(p, 1)) {
	}
	return 0;
}
