// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Records of a session that has left mbedTLS (RFC 8446 5, RFC 5246 6.2.3.3 with RFC 5288 and 7905):
// opened in place over any pieces, made in one. Worker thread.

#include "tls/engine.h"

#include <string.h>

#define RECORDS_MAX (1ULL << 24) // a direction; RFC 8446 5.5 allows 2^24.5 full ones with AES-GCM
#define EXPLICIT_NONCE 8         // TLS 1.2 AES-GCM

static uint32_t explicit_len(const struct tls_state *st)
{
	return st->version == TLS_V12 && st->aead != TLS_CHACHA20_POLY1305 ? EXPLICIT_NONCE : 0;
}

static uint32_t overhead(const struct tls_state *st)
{
	return explicit_len(st) + AEAD_TAG + (st->version == TLS_V13 ? 1 : 0);
}

static void be64_put(uint8_t *out, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint8_t)(v >> (56 - 8 * i));
}

uint32_t tls_record_length(
	const struct tls_state *st,
	const uint8_t h[TLS_RECORD_HEADER],
	enum tls_alert *ret_alert
)
{
	uint32_t len = (uint32_t)h[3] << 8 | h[4];
	bool type = st->version == TLS_V13 ? h[0] == TLS_T_DATA
					   : h[0] >= TLS_T_ALERT && h[0] <= TLS_T_DATA;

	// after a 1.3 handshake everything comes as data; a late change_cipher_spec is not allowed
	*ret_alert = TLS_ALERT_UNEXPECTED_MESSAGE;
	if (!type || h[1] != 3 || h[2] != 3)
		return 0;
	*ret_alert = TLS_ALERT_RECORD_OVERFLOW;
	if (len > TLS_RECORD_MAX - TLS_RECORD_HEADER || len > TLS_PLAIN_MAX + overhead(st) + 255)
		return 0;
	*ret_alert = TLS_ALERT_DECODE_ERROR;
	return len >= overhead(st) ? TLS_RECORD_HEADER + len : 0;
}

// Nonce and additional data of one record; head: its first bytes (header and explicit nonce).
struct record_crypt {
	struct aead_op op;
	uint8_t nonce[AEAD_NONCE];
	uint8_t aad[13];
};

static void crypt_begin(
	struct tls_engine *e,
	const struct tls_state *st,
	const struct tls_half *half,
	const uint8_t *head,
	uint32_t plain
)
{
	struct record_crypt c;
	uint8_t seq[8];

	be64_put(seq, half->seq);
	memcpy(c.nonce, half->iv, AEAD_NONCE);
	if (explicit_len(st) > 0)
		memcpy(c.nonce + 4, head + TLS_RECORD_HEADER, EXPLICIT_NONCE);
	else
		for (unsigned i = 0; i < 8; i++)
			c.nonce[4 + i] ^= seq[i];
	c.op = (struct aead_op){
		.aead = (enum tls_aead)st->aead,
		.key = half->key,
		.nonce = c.nonce,
		.aad = head,
		.aad_len = TLS_RECORD_HEADER,
	};
	if (st->version == TLS_V12) {
		memcpy(c.aad, seq, 8);
		memcpy(c.aad + 8, head, 3);
		c.aad[11] = (uint8_t)(plain >> 8);
		c.aad[12] = (uint8_t)plain;
		c.op.aad = c.aad;
		c.op.aad_len = sizeof(c.aad);
	}
	aead_begin(e, &c.op);
}

// Copies n bytes at off out of the pieces.
static void segs_read(const struct tls_seg *segs, uint32_t off, uint8_t *out, uint32_t n)
{
	while (n > 0) {
		uint32_t take;

		if (off >= segs->len) {
			off -= segs->len;
			segs++;
			continue;
		}
		take = segs->len - off < n ? segs->len - off : n;
		memcpy(out, segs->data + off, take);
		out += take;
		n -= take;
		off += take;
	}
}

static void segs_open(struct tls_engine *e, const struct tls_seg *segs, uint32_t off, uint32_t n)
{
	while (n > 0) {
		uint32_t take;

		if (off >= segs->len) {
			off -= segs->len;
			segs++;
			continue;
		}
		take = segs->len - off < n ? segs->len - off : n;
		aead_open(e, segs->data + off, segs->data + off, take);
		n -= take;
		off += take;
	}
}

// TLS 1.3: the type stands behind the content, zeros of padding behind it. Returns the length of
// the content; *ret_type 0: there was none.
static uint32_t
inner_type(const struct tls_seg *segs, uint32_t off, uint32_t len, uint8_t *ret_type)
{
	*ret_type = 0;
	while (len > 0 && *ret_type == 0) {
		segs_read(segs, off + len - 1, ret_type, 1);
		len--;
	}
	return len;
}

enum tls_result tls_record_open(
	struct tls_engine *e,
	struct tls_state *st,
	const struct tls_seg *segs,
	unsigned count,
	struct tls_opened *ret
)
{
	uint8_t head[TLS_RECORD_HEADER + EXPLICIT_NONCE], tag[AEAD_TAG], got[AEAD_TAG], type;
	uint32_t whole = 0, body;

	for (unsigned i = 0; i < count; i++)
		whole += segs[i].len;
	*ret = (struct tls_opened){.alert = TLS_ALERT_BAD_RECORD_MAC};
	ret->off = TLS_RECORD_HEADER + explicit_len(st);
	if (whole < ret->off + AEAD_TAG || st->rd.seq >= RECORDS_MAX)
		return TLS_FATAL;
	body = whole - ret->off - AEAD_TAG;
	segs_read(segs, 0, head, ret->off);
	segs_read(segs, whole - AEAD_TAG, tag, AEAD_TAG);
	crypt_begin(e, st, &st->rd, head, body);
	segs_open(e, segs, ret->off, body);
	aead_end(e, got, true);
	if (!bytes_equal(tag, got, AEAD_TAG))
		return TLS_FATAL;
	st->rd.seq++;
	type = head[0];
	ret->len = st->version == TLS_V13 ? inner_type(segs, ret->off, body, &type) : body;
	ret->type = (enum tls_type)type;
	ret->alert = TLS_ALERT_UNEXPECTED_MESSAGE;
	if (type < TLS_T_ALERT || type > TLS_T_DATA)
		return TLS_FATAL;
	ret->alert = TLS_ALERT_RECORD_OVERFLOW;
	return ret->len <= tls_plain_max(st) ? TLS_OK : TLS_FATAL;
}

uint32_t tls_record_seal(
	struct tls_engine *e,
	struct tls_state *st,
	enum tls_type type,
	const struct tls_seg *segs,
	unsigned count,
	uint8_t *out
)
{
	const uint8_t inner = (uint8_t)type;
	uint32_t plain = 0, body;
	uint8_t *p = out + TLS_RECORD_HEADER + explicit_len(st);

	for (unsigned i = 0; i < count; i++)
		plain += segs[i].len;
	if (st->wr_closed || st->wr.seq >= RECORDS_MAX || plain > tls_plain_max(st))
		return 0;
	body = plain + overhead(st);
	out[0] = st->version == TLS_V13 ? TLS_T_DATA : inner;
	out[1] = out[2] = 3;
	out[3] = (uint8_t)(body >> 8);
	out[4] = (uint8_t)body;
	if (explicit_len(st) > 0)
		be64_put(out + TLS_RECORD_HEADER, st->wr.seq);
	crypt_begin(e, st, &st->wr, out, plain);
	for (unsigned i = 0; i < count; p += segs[i].len, i++)
		aead_seal(e, p, segs[i].data, segs[i].len);
	if (st->version == TLS_V13)
		aead_seal(e, p++, &inner, 1);
	aead_end(e, p, false);
	st->wr.seq++;
	return TLS_RECORD_HEADER + body;
}
