// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Validation of a bundle of credentials that somebody else may have written: the caller has copied
// it to private memory. What the texts hold is for TLS to judge. Pure.

#include "config/certs.h"

#include <errno.h>
#include <string.h>

struct check {
	const uint8_t *base;
	const struct creds_header *head;
	size_t len;
	const char *reason;
};

static bool refuse(struct check *c, const char *reason)
{
	c->reason = reason;
	return false;
}

static bool array_ok(const struct check *c, const struct blob_array *a, size_t size, uint32_t max)
{
	return a->off % 8 == 0 && a->off >= sizeof(*c->head) && a->count <= max &&
	       a->off <= c->len && a->count * size <= c->len - a->off;
}

// Nothing, or PEM with one NUL, at its end.
static bool text_ok(const struct check *c, const struct creds_text *t, uint32_t max, bool needed)
{
	if (t->len == 0)
		return !needed;
	return t->len > 1 && t->len <= max + 1 && t->off >= sizeof(*c->head) && t->off <= c->len &&
	       t->len <= c->len - t->off &&
	       memchr(c->base + t->off, '\0', t->len) == c->base + t->off + t->len - 1;
}

static bool tickets_ok(struct check *c)
{
	const struct creds_tickets *t = &c->head->tickets;
	uint8_t any = 0;

	for (unsigned i = 0; i < sizeof(t->secret); i++)
		any |= t->secret[i];
	if (t->rotation_s < CREDS_ROTATION_MIN_S || t->rotation_s > CREDS_ROTATION_MAX_S ||
	    t->shared > 1 || (any != 0) != (t->shared == 1))
		return refuse(c, "credentials: tickets");
	return true;
}

static bool arrays_ok(struct check *c)
{
	const struct creds_header *h = c->head;
	uint32_t refs = CREDS_MAX_SETS * CREDS_MAX_OF_SERVER;

	if (h->magic != CREDS_MAGIC || h->length != c->len)
		return refuse(c, "credentials: magic or length");
	if (!array_ok(c, &h->certs, sizeof(struct creds_cert), CREDS_MAX_CERTS) ||
	    !array_ok(c, &h->refs, sizeof(uint32_t), refs) ||
	    !array_ok(c, &h->servers, sizeof(struct creds_server), CREDS_MAX_SETS) ||
	    !array_ok(c, &h->clients, sizeof(struct creds_client), CREDS_MAX_SETS))
		return refuse(c, "credentials: arrays");
	return true;
}

static bool certs_ok(struct check *c)
{
	const struct creds_header *h = c->head;
	const struct creds_cert *cert = (const struct creds_cert *)(c->base + h->certs.off);
	const uint32_t *ref = (const uint32_t *)(c->base + h->refs.off);

	for (uint32_t i = 0; i < h->certs.count; i++)
		if (cert[i].name[0] == '\0' ||
		    memchr(cert[i].name, '\0', sizeof(cert[i].name)) == NULL ||
		    !text_ok(c, &cert[i].chain, CREDS_MAX_CHAIN, true) ||
		    !text_ok(c, &cert[i].key, CREDS_MAX_KEY, true))
			return refuse(c, "credentials: certificate");
	for (uint32_t i = 0; i < h->refs.count; i++)
		if (ref[i] >= h->certs.count)
			return refuse(c, "credentials: reference to a certificate");
	return true;
}

static bool sets_ok(struct check *c)
{
	const struct creds_header *h = c->head;
	const struct creds_server *s = (const struct creds_server *)(c->base + h->servers.off);
	const struct creds_client *k = (const struct creds_client *)(c->base + h->clients.off);

	for (uint32_t i = 0; i < h->servers.count; i++)
		if (s[i].ref_count == 0 || s[i].ref_count > CREDS_MAX_OF_SERVER ||
		    s[i].refs > h->refs.count || s[i].ref_count > h->refs.count - s[i].refs ||
		    s[i].client_auth > CREDS_AUTH_REQUIRE || s[i].tickets > 1 ||
		    !text_ok(c, &s[i].ca, CREDS_MAX_CA, s[i].client_auth != CREDS_AUTH_NONE))
			return refuse(c, "credentials: server");
	for (uint32_t i = 0; i < h->clients.count; i++) {
		bool ca = k[i].verify == CREDS_VERIFY_CA || k[i].verify == CREDS_VERIFY_NAME;

		if (k[i].verify > CREDS_VERIFY_PIN || k[i].cert > h->certs.count ||
		    !text_ok(c, &k[i].ca, CREDS_MAX_CA, ca) ||
		    memchr(k[i].name, '\0', sizeof(k[i].name)) == NULL)
			return refuse(c, "credentials: client");
	}
	return true;
}

// What each worker will parse: a text counts as often as it is used.
static bool parsed_ok(struct check *c)
{
	const struct creds_header *h = c->head;
	const struct creds_cert *cert = (const struct creds_cert *)(c->base + h->certs.off);
	const uint32_t *ref = (const uint32_t *)(c->base + h->refs.off);
	const struct creds_server *s = (const struct creds_server *)(c->base + h->servers.off);
	const struct creds_client *k = (const struct creds_client *)(c->base + h->clients.off);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < h->servers.count; i++) {
		sum += s[i].ca.len;
		for (uint32_t n = 0; n < s[i].ref_count; n++)
			sum += cert[ref[s[i].refs + n]].chain.len +
			       cert[ref[s[i].refs + n]].key.len;
	}
	for (uint32_t i = 0; i < h->clients.count; i++) {
		sum += k[i].ca.len;
		if (k[i].cert != 0)
			sum += cert[k[i].cert - 1].chain.len + cert[k[i].cert - 1].key.len;
	}
	return sum <= CREDS_MAX_PARSED ||
	       refuse(c, "credentials: more than 4 MiB, each as often as it is used");
}

int creds_check(
	const void *bundle,
	size_t len,
	const struct blob_tls *expected,
	const char **ret_reason
)
{
	struct check c = {.base = bundle, .head = bundle, .len = len, .reason = ""};

	if (len < sizeof(struct creds_header) || len > CREDS_MAX_BYTES) {
		*ret_reason = "credentials: length";
		return -EINVAL;
	}
	if (arrays_ok(&c) && tickets_ok(&c) && certs_ok(&c) && sets_ok(&c) && parsed_ok(&c) &&
	    (c.head->servers.count != expected->servers ||
	     c.head->clients.count != expected->clients))
		refuse(&c, "credentials: not as many as the generation names");
	*ret_reason = c.reason;
	return c.reason[0] == '\0' ? 0 : -EINVAL;
}
