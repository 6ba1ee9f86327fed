// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Which source addresses are used towards which backends: a group may hold both families, and what
// it is used for must find one of the backend's. Main thread.

#include "config/cfg_parts.h"

int cfg_source_find(struct cfg_reader *r, const config_setting_t *group)
{
	char name[MR_NAME_LEN] = "";
	uint32_t found;

	cfg_string(r, group, "source", name, sizeof(name));
	if (name[0] == '\0')
		return -1;
	found = cfg_index_get(&r->sources, name);
	if (found != CFG_INDEX_NONE)
		return (int)found;
	cfg_fail(
		r,
		config_setting_get_member(group, "source"),
		"\"%s\" is not among source_addresses",
		name
	);
	return -1;
}

static const struct ip_addr *address_for(const struct cfg_sources *group, bool v4)
{
	for (unsigned i = 0; i < group->count; i++)
		if (ip_addr_is_v4(&group->addresses[i]) == v4)
			return &group->addresses[i];
	return NULL;
}

// The first backend that the group has no address for, or NULL.
static const struct cfg_backend *
backend_without(const struct cfg_sources *group, const struct cfg_pool *pool)
{
	for (unsigned i = 0; i < pool->backend_count; i++)
		if (address_for(group, ip_addr_is_v4(&pool->backends[i].address.addr)) == NULL)
			return &pool->backends[i];
	return NULL;
}

static const char *family_of(const struct cfg_backend *b)
{
	return ip_addr_is_v4(&b->address.addr) ? "IPv4" : "IPv6";
}

// Probes come from the group or not at all: what a server counts against their address must not
// hit the traffic's.
void cfg_probe_sources_read(
	struct cfg_reader *r,
	const config_setting_t *probe,
	struct cfg_pool *pool
)
{
	int index = cfg_source_find(r, probe);
	const struct cfg_sources *group = index >= 0 ? &r->cfg->sources[index] : NULL;
	const struct cfg_backend *without = group != NULL ? backend_without(group, pool) : NULL;

	if (without != NULL)
		cfg_fail(
			r,
			config_setting_get_member(probe, "source"),
			"\"%s\" has no %s address for backend \"%s\"",
			group->name,
			family_of(without),
			without->name
		);
	for (int v4 = 0; group != NULL && v4 < 2; v4++) {
		const struct ip_addr *a = address_for(group, v4);

		if (a != NULL)
			pool->probe.source[v4] = *a;
	}
}

static void group_warn(
	struct cfg_reader *r,
	const config_setting_t *at,
	int source,
	const struct cfg_pool *pool
)
{
	const struct cfg_sources *group = source >= 0 ? &r->cfg->sources[source] : NULL;
	const struct cfg_backend *without = group != NULL ? backend_without(group, pool) : NULL;

	if (without != NULL)
		cfg_warn(
			r,
			config_setting_get_member(at, "source"),
			"\"%s\" has no %s address for backend \"%s\" of pool \"%s\": it sees the "
			"port's own",
			group->name,
			family_of(without),
			without->name,
			pool->name
		);
}

void cfg_sources_check(struct cfg_reader *r, const config_setting_t *root)
{
	const config_setting_t *pools = cfg_group(r, root, "pools");
	const config_setting_t *services = cfg_group(r, root, "virtual_services");

	for (unsigned i = 0; i < r->cfg->pool_count; i++)
		group_warn(
			r,
			config_setting_get_elem(pools, i),
			r->cfg->pools[i].source,
			&r->cfg->pools[i]
		);
	for (unsigned i = 0; i < r->cfg->service_count; i++) {
		const struct cfg_service *s = &r->cfg->services[i];
		const config_setting_t *at = config_setting_get_elem(services, i);
		const config_setting_t *rules = cfg_list(r, at, "rules");

		for (unsigned k = 0; k < s->rule_count; k++)
			group_warn(
				r,
				config_setting_get_elem(rules, k),
				s->rules[k].policy.source,
				&r->cfg->pools[s->pool]
			);
	}
}
