// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Which addresses and listeners are the configuration's: asked for every packet, so a table for
// each generation, made when a worker takes it over. Worker thread.

#include <string.h>

#include "dataplane/proxy/relay_inner_types.h"

static_assert(
	LOCALS_SIZE >= 2 * (BLOB_MAX_LISTENERS + BLOB_MAX_SOURCES) &&
		(LOCALS_SIZE & (LOCALS_SIZE - 1)) == 0,
	"half empty, masked"
);

static uint32_t hash_of(const struct ip_addr *addr, uint16_t port)
{
	uint64_t a, b;

	memcpy(&a, addr->b, sizeof(a));
	memcpy(&b, addr->b + 8, sizeof(b));
	a = (a ^ port) * 0x9e3779b97f4a7c15ULL; // the addresses are the operator's own: no key
	b = (b ^ (a >> 29)) * 0xbf58476d1ce4e5b9ULL;
	return (uint32_t)(b >> 32);
}

// Entry n: listener n - 1, or beyond them source address n - 1 - listeners.
static const struct ip_addr *addr_at(const struct relay *r, uint32_t n)
{
	uint32_t listeners = r->blob->listeners.count;
	const struct blob_listener *l = blob_at(r->blob, &r->blob->listeners, 0, sizeof(*l));
	const struct blob_source *s = blob_at(r->blob, &r->blob->sources, 0, sizeof(*s));

	return n <= listeners ? &l[n - 1].addr : &s[n - 1 - listeners].addr;
}

static void addr_add(struct relay *r, uint32_t n)
{
	uint32_t i = hash_of(addr_at(r, n), 0);

	for (; r->locals.addr[i % LOCALS_SIZE] != 0; i++)
		if (ip_addr_eq(addr_at(r, r->locals.addr[i % LOCALS_SIZE]), addr_at(r, n)))
			return;
	r->locals.addr[i % LOCALS_SIZE] = n;
}

void locals_build(struct relay *r)
{
	uint32_t listeners = r->blob->listeners.count;

	memset(&r->locals, 0, sizeof(r->locals));
	for (uint32_t n = 1; n <= listeners + r->blob->sources.count; n++)
		addr_add(r, n);
	for (uint32_t n = 1; n <= listeners; n++) {
		const struct blob_listener *l =
			blob_at(r->blob, &r->blob->listeners, n - 1, sizeof(*l));
		uint32_t i = hash_of(&l->addr, l->port);

		while (r->locals.listener[i % LOCALS_SIZE] != 0)
			i++;
		r->locals.listener[i % LOCALS_SIZE] = n;
	}
}

bool relay_is_local(const struct relay *r, const struct ip_addr *addr)
{
	uint32_t i = hash_of(addr, 0);

	for (; r->locals.addr[i % LOCALS_SIZE] != 0; i++)
		if (ip_addr_eq(addr_at(r, r->locals.addr[i % LOCALS_SIZE]), addr))
			return true;
	return false;
}

const struct blob_listener *listener_at(const struct relay *r, const struct ip_endpoint *at)
{
	uint32_t i = hash_of(&at->addr, at->port);

	for (; r->locals.listener[i % LOCALS_SIZE] != 0; i++) {
		const struct blob_listener *l =
			blob_at(r->blob,
				&r->blob->listeners,
				r->locals.listener[i % LOCALS_SIZE] - 1,
				sizeof(*l));

		if (l->port == at->port && ip_addr_eq(&l->addr, &at->addr))
			return l;
	}
	return NULL;
}
