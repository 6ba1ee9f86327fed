// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Validation of a blob that somebody else may have written: the caller has copied it to private
// memory. Pure.

#include "config/cfg.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

struct check {
	const uint8_t *base;
	const struct blob_header *head;
	size_t len;
	unsigned backend_slots, service_slots;
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

static bool range_ok(uint32_t first, uint32_t count, uint32_t total)
{
	return first <= total && count <= total - first;
}

static bool name_ok(const char *name, size_t len)
{
	return name[0] != '\0' && memchr(name, '\0', len) != NULL;
}

static bool head_ok(struct check *c)
{
	struct blob_header copy;
	const struct blob_header *h = c->head;
	uLong crc;

	if (h->magic != BLOB_MAGIC)
		return refuse(c, "magic");
	if (h->abi_major != MR_ABI_MAJOR)
		return refuse(c, "ABI version");
	if (h->length != c->len)
		return refuse(c, "length");
	memcpy(&copy, h, sizeof(copy));
	copy.crc32 = 0;
	crc = crc32(0, (const Bytef *)&copy, sizeof(copy));
	crc = crc32(crc, (const Bytef *)c->base + sizeof(copy), (uInt)(c->len - sizeof(copy)));
	if (crc != h->crc32)
		return refuse(c, "crc32");
	if (!name_ok(h->hostname, sizeof(h->hostname)))
		return refuse(c, "hostname");
	if (h->ledger > BLOB_LEDGER_FULL)
		return refuse(c, "ledger");
	if (h->tls.servers > CREDS_MAX_SETS || h->tls.clients > CREDS_MAX_SETS)
		return refuse(c, "number of TLS credentials");
	for (const char *p = h->hostname; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~')
			return refuse(c, "hostname");
	return true;
}

static bool arrays_ok(struct check *c)
{
	const struct blob_header *h = c->head;

	if (!array_ok(c, &h->listeners, sizeof(struct blob_listener), BLOB_MAX_LISTENERS))
		return refuse(c, "listeners");
	if (!array_ok(c, &h->services, sizeof(struct blob_service), BLOB_MAX_SERVICES))
		return refuse(c, "services");
	if (!array_ok(c, &h->pools, sizeof(struct blob_pool), BLOB_MAX_POOLS))
		return refuse(c, "pools");
	if (!array_ok(c, &h->backends, sizeof(struct blob_backend), BLOB_MAX_BACKENDS))
		return refuse(c, "backends");
	if (!array_ok(c, &h->sources, sizeof(struct blob_source), BLOB_MAX_SOURCES))
		return refuse(c, "sources");
	if (!array_ok(c, &h->prefixes, sizeof(struct blob_prefix), BLOB_MAX_PREFIXES))
		return refuse(c, "prefixes");
	if (!array_ok(c, &h->rules, sizeof(struct blob_rule), BLOB_MAX_RULES))
		return refuse(c, "rules");
	return true;
}

static bool policy_ok(const struct check *c, const struct blob_policy *p)
{
	bool ends_tls = p->tls_mode >= BLOB_TLS_STARTTLS_OPTIONAL;

	if (p->tls_mode > BLOB_TLS_IMPLICIT || p->tls_server > c->head->tls.servers ||
	    (p->tls_server != 0) != ends_tls)
		return false;
	if (p->bare_lf > BLOB_BARE_LF_PASS || p->early_talker > BLOB_EARLY_COUNT ||
	    p->client_address > 1 + BLOB_CLIENT_XCLIENT)
		return false;
	return p->sources == UINT32_MAX ||
	       range_ok(p->sources, p->source_count, c->head->sources.count);
}

// Behind rules that are in range.
static bool tarpit_ok(const struct blob_header *h, const struct blob_service *s)
{
	uint32_t first = s->rules + s->rule_count + s->header_rules;

	return range_ok(first, s->tarpit_rules, h->rules.count) &&
	       range_ok(first + s->tarpit_rules, s->tarpit_spared, h->rules.count) &&
	       s->tarpit_delay_ms <= BLOB_MAX_TARPIT_DELAY_MS &&
	       s->tarpit_errors <= BLOB_MAX_TARPIT_ERRORS;
}

static bool services_ok(struct check *c)
{
	const struct blob_header *h = c->head;
	const struct blob_listener *l = (const struct blob_listener *)(c->base + h->listeners.off);
	const struct blob_service *s = (const struct blob_service *)(c->base + h->services.off);
	const struct blob_rule *r = (const struct blob_rule *)(c->base + h->rules.off);

	for (uint32_t i = 0; i < h->listeners.count; i++)
		if (l[i].service >= h->services.count || l[i].port == 0)
			return refuse(c, "listener's service or port");
	for (uint32_t i = 0; i < h->services.count; i++) {
		if (!name_ok(s[i].name, sizeof(s[i].name)) || s[i].slot == 0 ||
		    s[i].slot >= c->service_slots)
			return refuse(c, "service's name or slot");
		if (s[i].pool >= h->pools.count ||
		    !range_ok(s[i].rules, s[i].rule_count, h->rules.count) ||
		    !range_ok(s[i].rules + s[i].rule_count, s[i].header_rules, h->rules.count))
			return refuse(c, "service's pool or rules");
		if (!tarpit_ok(h, &s[i]))
			return refuse(c, "service's tarpit");
		if (!policy_ok(c, &s[i].policy) || s[i].client_idle_ms == 0 ||
		    s[i].data_idle_ms == 0)
			return refuse(c, "service's policy or timeouts");
		if (s[i].shakes_per_second > BLOB_MAX_SHAKES_PER_SECOND || s[i].tls_queue_ms == 0 ||
		    s[i].tls_overflow > BLOB_OVERFLOW_PLAINTEXT)
			return refuse(c, "service's limits of handshakes");
	}
	for (uint32_t i = 0; i < h->rules.count; i++)
		if (!range_ok(r[i].prefixes, r[i].prefix_count, h->prefixes.count) ||
		    !policy_ok(c, &r[i].policy))
			return refuse(c, "rule");
	return true;
}

static bool pools_ok(struct check *c)
{
	const struct blob_header *h = c->head;
	const struct blob_pool *p = (const struct blob_pool *)(c->base + h->pools.off);
	const struct blob_backend *b = (const struct blob_backend *)(c->base + h->backends.off);
	const struct blob_prefix *x = (const struct blob_prefix *)(c->base + h->prefixes.off);

	for (uint32_t i = 0; i < h->pools.count; i++) {
		if (!name_ok(p[i].name, sizeof(p[i].name)) || p[i].scheduler > BLOB_SCHED_WLC)
			return refuse(c, "pool's name or scheduler");
		if (!range_ok(p[i].backends, p[i].backend_count, h->backends.count) ||
		    !range_ok(p[i].sources, p[i].source_count, h->sources.count))
			return refuse(c, "pool's backends or sources");
		if (p[i].backup > h->pools.count || p[i].backup == i + 1)
			return refuse(c, "pool's backup");
		if (p[i].tls_mode > BLOB_LEG_IMPLICIT || p[i].tls_client > h->tls.clients ||
		    (p[i].tls_client != 0) != (p[i].tls_mode != BLOB_LEG_PLAIN))
			return refuse(c, "pool's TLS");
		if (p[i].client_address > BLOB_CLIENT_XCLIENT)
			return refuse(c, "pool's client address");
		if (p[i].connect_timeout_ms == 0 || p[i].banner_timeout_ms == 0 ||
		    p[i].reply_timeout_ms == 0 || p[i].end_of_data_timeout_ms == 0)
			return refuse(c, "pool's timeouts");
	}
	for (uint32_t i = 0; i < h->backends.count; i++)
		if (!name_ok(b[i].name, sizeof(b[i].name)) || b[i].slot == 0 ||
		    b[i].slot >= c->backend_slots || b[i].port == 0 || b[i].weight > 65535 ||
		    b[i].pool >= h->pools.count || b[i].admin > BLOB_ADMIN_DRAIN)
			return refuse(c, "backend");
	for (uint32_t i = 0; i < h->prefixes.count; i++)
		if (x[i].len > 128)
			return refuse(c, "prefix length");
	return true;
}

int blob_check(
	const void *blob,
	size_t len,
	unsigned backend_slots,
	unsigned service_slots,
	const char **ret_reason
)
{
	struct check c = {
		.base = blob,
		.head = blob,
		.len = len,
		.backend_slots = backend_slots,
		.service_slots = service_slots
	};

	if (len < sizeof(struct blob_header) || len > BLOB_MAX_BYTES) {
		*ret_reason = "length";
		return -EINVAL;
	}
	if (head_ok(&c) && arrays_ok(&c) && services_ok(&c) && pools_ok(&c))
		return 0;
	*ret_reason = c.reason;
	return -EINVAL;
}
