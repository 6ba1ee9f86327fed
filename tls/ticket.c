// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Tickets and their keys, see ticket.h. A ticket is the key's name, a random nonce, and under
// AES-256-GCM the facts it is bound to with the session's bytes. Worker thread; making keys: main
// thread.

#include "tls/ticket.h"
#include "tls/engine.h"

#include <mbedtls/md.h>

#include <string.h>
#include <sys/random.h>

#define FORMAT 1
#define FACTS 64 // bytes in front of the session
#define HEAD (TICKET_NAME + AEAD_NONCE)

static_assert(HEAD + FACTS + TICKET_SESSION + AEAD_TAG <= TICKET_MAX, "the longest session fits");

bool ticket_keys_fresh(struct ticket_keys *keys, int64_t now_s, uint32_t rotation_s)
{
	struct ticket_key key = {.until_s = now_s + 2 * (int64_t)rotation_s};
	uint8_t random[TICKET_NAME + sizeof(key.key)];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return false;
	memcpy(key.name, random, TICKET_NAME);
	memcpy(key.key, random + TICKET_NAME, sizeof(key.key));
	if (keys->count > 0)
		keys->key[1] = keys->key[0];
	keys->key[0] = key;
	keys->count = keys->count > 0 ? 2 : 1;
	keys->lifetime_s = rotation_s;
	explicit_bzero(random, sizeof(random));
	explicit_bzero(&key, sizeof(key));
	return true;
}

static void
derive(const uint8_t secret[TICKET_SECRET], const char *what, uint64_t span, uint8_t ret[32])
{
	uint8_t text[32] = {0};
	size_t n = strlen(what);

	memcpy(text, what, n);
	for (unsigned i = 0; i < 8; i++)
		text[n++] = (uint8_t)(span >> (56 - 8 * i));
	mbedtls_md_hmac(
		mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), secret, TICKET_SECRET, text, n, ret
	);
}

void ticket_keys_derive(
	struct ticket_keys *keys,
	const uint8_t secret[TICKET_SECRET],
	int64_t now_s,
	uint32_t rotation_s
)
{
	static const int order[TICKET_KEYS_MAX] = {0, -1, 1};
	int64_t span = now_s / rotation_s;
	uint8_t name[32];

	keys->count = TICKET_KEYS_MAX;
	keys->lifetime_s = rotation_s;
	for (unsigned i = 0; i < TICKET_KEYS_MAX; i++) {
		struct ticket_key *k = &keys->key[i];
		uint64_t n = (uint64_t)(span + order[i]);

		derive(secret, "ticket name", n, name);
		memcpy(k->name, name, TICKET_NAME);
		derive(secret, "ticket key", n, k->key);
		k->until_s = (int64_t)(n + 2) * rotation_s;
	}
}

static uint8_t *be_put(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
	return p + n;
}

static uint64_t be_get(const uint8_t **p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | (*p)[i];
	*p += n;
	return v;
}

static void facts_write(const struct ticket_facts *f, uint8_t out[FACTS])
{
	uint8_t *p = be_put(out, FORMAT, 2);

	p = be_put(p, f->version, 2);
	p = be_put(p, f->suite, 2);
	p = be_put(p, f->offers, 2);
	p = be_put(p, f->verify_result, 4);
	p = be_put(p, (uint64_t)f->issued_ms, 8);
	p = be_put(p, (uint64_t)f->expires_s, 6);
	p = be_put(p, (uint64_t)f->not_after_s, 6);
	memcpy(p, f->binding, sizeof(f->binding));
}

static bool facts_read(const uint8_t in[FACTS], struct ticket_facts *f)
{
	const uint8_t *p = in;
	uint64_t format = be_get(&p, 2);

	f->version = (uint16_t)be_get(&p, 2);
	f->suite = (uint16_t)be_get(&p, 2);
	f->offers = (uint16_t)be_get(&p, 2);
	f->verify_result = (uint32_t)be_get(&p, 4);
	f->issued_ms = (int64_t)be_get(&p, 8);
	f->expires_s = (int64_t)be_get(&p, 6);
	f->not_after_s = (int64_t)be_get(&p, 6);
	memcpy(f->binding, p, sizeof(f->binding));
	return format == FORMAT;
}

static void crypt_begin(struct tls_engine *e, const struct ticket_key *key, const uint8_t *head)
{
	const struct aead_op op = {
		.aead = TLS_AES_256_GCM,
		.key = key->key,
		.nonce = head + TICKET_NAME,
		.aad = head,
		.aad_len = TICKET_NAME,
	};

	aead_begin(e, &op);
}

uint32_t ticket_seal(
	struct tls_engine *e,
	const uint8_t nonce[12],
	const struct ticket_facts *facts,
	const uint8_t *session,
	uint32_t session_len,
	uint8_t *out
)
{
	const struct ticket_keys *keys = tls_engine_tickets(e);
	uint8_t plain[FACTS], *p = out + HEAD;

	if (keys->count == 0 || session_len > TICKET_SESSION)
		return 0;
	memcpy(out, keys->key[0].name, TICKET_NAME);
	memcpy(out + TICKET_NAME, nonce, AEAD_NONCE);
	facts_write(facts, plain);
	crypt_begin(e, &keys->key[0], out);
	aead_seal(e, p, plain, FACTS);
	aead_seal(e, p + FACTS, session, session_len);
	aead_end(e, p + FACTS + session_len, false);
	return HEAD + FACTS + session_len + AEAD_TAG;
}

static const struct ticket_key *key_find(const struct tls_engine *e, const uint8_t *name)
{
	const struct ticket_keys *keys = tls_engine_tickets(e);

	for (uint32_t i = 0; i < keys->count; i++)
		if (memcmp(keys->key[i].name, name, TICKET_NAME) == 0)
			return &keys->key[i];
	return NULL;
}

enum tls_ticket_refusal ticket_open(
	struct tls_engine *e,
	const uint8_t *ticket,
	uint32_t len,
	struct ticket_facts *facts,
	uint8_t *session,
	uint32_t *ret_len
)
{
	int64_t now_s = tls_engine_now_ms(e) / 1000;
	const struct ticket_key *key;
	uint8_t plain[FACTS], tag[AEAD_TAG];
	uint32_t body;

	if (len < HEAD + FACTS + AEAD_TAG || len > TICKET_MAX)
		return TLS_TICKET_MALFORMED;
	body = len - HEAD - FACTS - AEAD_TAG;
	if (body > TICKET_SESSION)
		return TLS_TICKET_MALFORMED;
	key = key_find(e, ticket);
	if (key == NULL)
		return TLS_TICKET_UNKNOWN_KEY;
	crypt_begin(e, key, ticket);
	aead_open(e, plain, ticket + HEAD, FACTS);
	aead_open(e, session, ticket + HEAD + FACTS, body);
	aead_end(e, tag, true);
	if (!bytes_equal(tag, ticket + len - AEAD_TAG, AEAD_TAG) || !facts_read(plain, facts)) {
		explicit_bzero(session, body);
		return TLS_TICKET_MALFORMED;
	}
	*ret_len = body;
	if (now_s >= key->until_s || now_s >= facts->expires_s)
		return TLS_TICKET_EXPIRED;
	return TLS_TICKET_TAKEN;
}
