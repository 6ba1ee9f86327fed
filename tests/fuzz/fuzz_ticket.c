// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Session tickets that somebody brings: any octets, and good ones spoilt. Judged: only what was
// sealed here under a key in force opens, as it was sealed, while it lives. Input: which keys are
// in force, facts, the session's octets, then patches; or the whole ticket.

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tls/ticket.h"

static int64_t now_s = 1000000;

static int64_t now_ms(void)
{
	return now_s * 1000;
}

static struct tls_engine *engine_have(uint8_t kind)
{
	static const uint8_t secret[2][TICKET_SECRET] = {{1}, {2}};
	static struct tls_engine *engine;
	struct ticket_keys keys = {0};

	if (engine == NULL)
		engine = tls_engine_new(PK_ENGINE_BUILTIN);
	if (engine == NULL)
		abort();
	tls_engine_clock_set(engine, now_ms);
	now_s = 1000000;
	ticket_keys_derive(&keys, secret[kind & 1], now_s, 3600);
	if ((kind & 6) == 6)
		keys.count = 0;
	tls_engine_tickets_set(engine, &keys);
	return engine;
}

static void facts_take(struct fuzz_in *in, struct ticket_facts *f)
{
	size_t n;
	const uint8_t *octets;

	memset(f, 0, sizeof(*f)); // compared as octets
	f->version = fuzz_u16(in);
	f->suite = fuzz_u16(in);
	f->offers = fuzz_u16(in);
	f->verify_result = fuzz_u32(in);
	f->issued_ms = (int64_t)fuzz_u64(in);
	f->expires_s = (int64_t)(fuzz_u64(in) & 0xffffffffffff);
	f->not_after_s = (int64_t)(fuzz_u64(in) & 0xffffffffffff);
	octets = fuzz_bytes(in, sizeof(f->binding), &n);
	memcpy(f->binding, octets, n);
}

static enum tls_ticket_refusal
bring(struct tls_engine *e,
      const uint8_t *ticket,
      size_t len,
      struct ticket_facts *f,
      uint8_t *session)
{
	uint8_t *copy = fuzz_copy(ticket, len);
	enum tls_ticket_refusal r;
	uint32_t n = UINT32_MAX;

	memset(f, 0, sizeof(*f));
	r = ticket_open(e, copy, (uint32_t)len, f, session, &n);
	FUZZ_CHECK(r >= TLS_TICKET_TAKEN && r <= TLS_TICKET_MALFORMED);
	if (r == TLS_TICKET_TAKEN)
		FUZZ_CHECK(n <= TICKET_SESSION);
	fuzz_free(copy, len);
	return r;
}

static void spoil(struct fuzz_in *in, uint8_t *ticket, uint32_t *len)
{
	while (in->left > 2) {
		uint32_t at = fuzz_u16(in) % *len;

		ticket[at] ^= fuzz_u8(in);
	}
	if (in->left == 1)
		*len -= fuzz_u8(in) % *len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t kind = fuzz_u8(&in), ticket[TICKET_MAX], good[TICKET_MAX], got[TICKET_SESSION];
	struct tls_engine *e = engine_have(kind);
	struct ticket_facts sealed, opened;
	const uint8_t *session;
	enum tls_ticket_refusal r;
	uint32_t len, was;
	size_t n;

	if (kind & 8) { // any octets: nobody can make one
		r = bring(e, in.at, in.left, &opened, got);
		FUZZ_CHECK(r == TLS_TICKET_UNKNOWN_KEY || r == TLS_TICKET_MALFORMED);
		return 0;
	}
	facts_take(&in, &sealed);
	session = fuzz_bytes(&in, fuzz_u16(&in) % (TICKET_SESSION + 2), &n);
	len = was = ticket_seal(e, sealed.binding, &sealed, session, (uint32_t)n, ticket);
	FUZZ_CHECK((len == 0) == ((kind & 6) == 6 || n > TICKET_SESSION) && len <= TICKET_MAX);
	if (len == 0)
		return 0;
	memcpy(good, ticket, len);
	spoil(&in, ticket, &len);
	r = bring(e, ticket, len, &opened, got);
	if (len != was || memcmp(good, ticket, len) != 0) {
		FUZZ_CHECK(r == TLS_TICKET_UNKNOWN_KEY || r == TLS_TICKET_MALFORMED);
		return 0;
	}
	FUZZ_CHECK((r == TLS_TICKET_TAKEN) == (sealed.expires_s > now_s));
	FUZZ_CHECK(r == TLS_TICKET_TAKEN || r == TLS_TICKET_EXPIRED);
	FUZZ_CHECK(memcmp(&sealed, &opened, sizeof(sealed)) == 0 && memcmp(session, got, n) == 0);
	engine_have(kind ^ 1); // another box's keys
	FUZZ_CHECK(bring(e, ticket, len, &opened, got) == TLS_TICKET_UNKNOWN_KEY);
	return 0;
}
