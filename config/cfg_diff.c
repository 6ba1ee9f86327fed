// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a reload cannot change: keys that the dataplane reads at start only. Main thread.

#include <string.h>

#include "config/cfg.h"

static bool addresses_differ(const struct cfg_port *a, const struct cfg_port *b)
{
	if (a->address_count != b->address_count || a->gateway_count != b->gateway_count)
		return true;
	for (unsigned i = 0; i < a->address_count; i++)
		if (!ip_addr_eq(&a->addresses[i].addr, &b->addresses[i].addr) ||
		    a->addresses[i].len != b->addresses[i].len)
			return true;
	for (unsigned i = 0; i < a->gateway_count; i++)
		if (!ip_addr_eq(&a->gateways[i], &b->gateways[i]))
			return true;
	return false;
}

static bool ports_differ(const struct cfg *a, const struct cfg *b)
{
	if (a->port_count != b->port_count)
		return true;
	for (unsigned i = 0; i < a->port_count; i++) {
		const struct cfg_port *p = &a->ports[i], *q = &b->ports[i];

		if (strcmp(p->name, q->name) != 0 || strcmp(p->device, q->device) != 0 ||
		    p->vlan != q->vlan || p->mtu != q->mtu || p->queues != q->queues ||
		    addresses_differ(p, q))
			return true;
	}
	return false;
}

unsigned cfg_diff_start_only(
	const struct cfg *running,
	const struct cfg *next,
	const char *ret_keys[CFG_START_ONLY_MAX]
)
{
	const struct cfg_dataplane *a = &running->dataplane, *b = &next->dataplane;
	const struct {
		bool differs;
		const char *key;
	} keys[CFG_START_ONLY_MAX] = {
		{a->workers != b->workers, "dataplane.workers"},
		{a->max_sessions != b->max_sessions, "dataplane.max_sessions"},
		{a->hugepages_bytes != b->hugepages_bytes, "dataplane.hugepages"},
		{a->memory_bytes != b->memory_bytes, "dataplane.memory"},
		{a->buffers != b->buffers, "dataplane.buffers"},
		{a->idle_sleep != b->idle_sleep, "dataplane.idle_sleep"},
		{strcmp(a->user, b->user) != 0, "dataplane.user"},
		{strcmp(a->socket, b->socket) != 0, "dataplane.socket"},
		{strcmp(running->control.state_dir, next->control.state_dir) != 0,
		 "control.state_dir"},
		{!b->max_tls_derived && a->max_tls_connections != b->max_tls_connections,
		 "dataplane.max_tls_connections"},
		{a->max_tls_handshakes != b->max_tls_handshakes, "dataplane.max_tls_handshakes"},
		{a->crypto_threads != b->crypto_threads, "dataplane.crypto_threads"},
		{a->tls_engine_strict != b->tls_engine_strict, "dataplane.tls_engine_strict"},
		{ports_differ(running, next), "ports"},
		{running->ledger.keep == BLOB_LEDGER_OFF && next->ledger.keep != BLOB_LEDGER_OFF,
		 "ledger"},
	};
	unsigned n = 0;

	for (unsigned i = 0; i < CFG_START_ONLY_MAX; i++)
		if (keys[i].differs)
			ret_keys[n++] = keys[i].key;
	return n;
}
