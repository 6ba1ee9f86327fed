// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A bundle of credentials that a hostile control process has made: refused with a reason, or good
// for all that reads it, TLS included. Input: how, then patches of a good bundle (place, length,
// octets) and where it is cut; or the whole bundle.

#include <stdlib.h>
#include <string.h>

#include "config/certs.h"
#include "dataplane/credentials.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/tls/peer.h"

#define GOOD_MAX 8192

static uint8_t good[GOOD_MAX];
static size_t good_len, texts; // where they begin
static struct tls_engine *engine;

static uint32_t put(const void *data, size_t len)
{
	uint32_t at = (uint32_t)good_len;

	if (good_len + len > GOOD_MAX)
		abort();
	memcpy(good + good_len, data, len);
	good_len += (len + 7) / 8 * 8;
	return at;
}

// One certificate, used by a server that asks for clients' and by a client that pins.
static void good_make(void)
{
	static struct peer_cert cert;
	struct creds_header h = {.magic = CREDS_MAGIC, .tickets = {.rotation_s = 60}};
	struct creds_cert c = {.name = "mail", .not_after = 2000000000};
	struct creds_server s = {.ref_count = 1, .client_auth = CREDS_AUTH_REQUEST, .tickets = 1};
	struct creds_client k = {.verify = CREDS_VERIFY_NAME, .cert = 1, .name = "x.example"};
	const uint32_t ref = 0;

	engine = tls_engine_new(PK_ENGINE_BUILTIN);
	if (engine == NULL)
		abort();
	peer_cert_make(&cert, PEER_EC256, "mx.fuzz.example");
	put(&h, sizeof(h));
	h.certs = (struct blob_array){put(&c, sizeof(c)), 1};
	h.refs = (struct blob_array){put(&ref, sizeof(ref)), 1};
	h.servers = (struct blob_array){put(&s, sizeof(s)), 1};
	h.clients = (struct blob_array){put(&k, sizeof(k)), 1};
	texts = good_len;
	c.chain.len = (uint32_t)cert.pair.chain.len;
	c.chain.off = put(cert.pair.chain.data, cert.pair.chain.len);
	c.key.len = (uint32_t)cert.pair.key.len;
	c.key.off = put(cert.pair.key.data, cert.pair.key.len);
	s.ca = k.ca = c.chain;
	h.length = (uint32_t)good_len;
	memcpy(good, &h, sizeof(h));
	memcpy(good + h.certs.off, &c, sizeof(c));
	memcpy(good + h.servers.off, &s, sizeof(s));
	memcpy(good + h.clients.off, &k, sizeof(k));
	peer_cert_free(&cert);
}

static uint8_t *patched(struct fuzz_in *in, uint8_t how, size_t *len)
{
	uint8_t *bundle = fuzz_copy(good, good_len), *copy;

	while (in->left > 3) {
		size_t at = fuzz_u16(in), n;
		const uint8_t *octets = fuzz_bytes(in, fuzz_u8(in) % 8 + 1U, &n);

		at %= at & 1 ? texts : good_len; // mostly in what stands around the texts
		n = n < good_len - at ? n : good_len - at;
		memcpy(bundle + at, octets, n);
	}
	*len = good_len;
	if (how & 2)
		*len -= fuzz_u16(in) % (good_len - texts + 8);
	copy = fuzz_copy(bundle, *len);
	fuzz_free(bundle, good_len);
	return copy;
}

static void texts_read(const uint8_t *base, size_t len, const struct creds_text *t)
{
	if (t->len == 0)
		return;
	FUZZ_CHECK(t->off < len && t->len <= len - t->off && base[t->off + t->len - 1] == '\0');
	FUZZ_CHECK(strlen((const char *)base + t->off) + 1 == t->len);
}

static void fields_read(const uint8_t *base, size_t len)
{
	const struct creds_header *h = (const struct creds_header *)base;
	const struct creds_cert *c = (const struct creds_cert *)(base + h->certs.off);
	const struct creds_server *s = (const struct creds_server *)(base + h->servers.off);
	const struct creds_client *k = (const struct creds_client *)(base + h->clients.off);
	const uint32_t *ref = (const uint32_t *)(base + h->refs.off);

	FUZZ_CHECK(h->tickets.rotation_s > 0 && h->tickets.shared <= 1);
	for (uint32_t i = 0; i < h->certs.count; i++) {
		FUZZ_CHECK(strnlen(c[i].name, MR_NAME_LEN) < MR_NAME_LEN);
		texts_read(base, len, &c[i].chain);
		texts_read(base, len, &c[i].key);
	}
	for (uint32_t i = 0; i < h->servers.count; i++) {
		texts_read(base, len, &s[i].ca);
		for (uint32_t n = 0; n < s[i].ref_count; n++)
			FUZZ_CHECK(ref[s[i].refs + n] < h->certs.count);
	}
	for (uint32_t i = 0; i < h->clients.count; i++) {
		texts_read(base, len, &k[i].ca);
		FUZZ_CHECK(k[i].cert <= h->certs.count && strnlen(k[i].name, 256) < 256);
	}
}

// As a worker of the dataplane gets them.
static void parse(uint8_t *data, size_t len)
{
	const struct credentials_config config = {
		.engine = &engine, .workers = 1, .max_handshakes = 2
	};
	const struct bundle bundle = {.data = data, .len = len};
	char reason[192] = "";
	struct credentials *c = credentials_new(&config, &bundle, reason);

	FUZZ_CHECK((c == NULL) == (reason[0] != '\0'));
	credentials_free(c, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t how = fuzz_u8(&in);
	const char *reason = NULL;
	struct blob_tls expected = {.servers = 1, .clients = 1};
	struct creds_header *h;
	uint8_t *bundle;
	size_t len;

	if (good_len == 0)
		good_make();
	len = in.left;
	bundle = how & 1 ? fuzz_copy(in.at, in.left) : patched(&in, how, &len);
	h = (struct creds_header *)bundle;
	if (len >= sizeof(*h) && (how & 4) == 0) {
		h->length = (uint32_t)len;
		expected.servers = h->servers.count;
		expected.clients = h->clients.count;
	}
	if (creds_check(bundle, len, &expected, &reason) == 0) {
		fields_read(bundle, len);
		if ((how & 24) == 24) // it takes a millisecond
			parse(bundle, len);
	} else {
		FUZZ_CHECK(reason != NULL && strncmp(reason, "credentials: ", 13) == 0);
	}
	fuzz_free(bundle, len);
	return 0;
}
