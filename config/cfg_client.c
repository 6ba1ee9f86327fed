// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// How backends learn who the client is, and of whom we learn it. Main thread.

#include "config/cfg_parts.h"

#include <stdlib.h>
#include <string.h>

static const struct cfg_choice ways[] = {
	{"snat", BLOB_CLIENT_SNAT},
	{"transparent", -1},
	{"proxy-v1", BLOB_CLIENT_PROXY_V1},
	{"proxy-v2", BLOB_CLIENT_PROXY_V2},
	{"xclient", BLOB_CLIENT_XCLIENT},
	{NULL, 0},
};

void cfg_pool_client_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_pool *pool)
{
	int way = BLOB_CLIENT_SNAT;

	cfg_choose(r, s, "client_address", ways, &way);
	pool->client_address = (enum blob_client_address)way;
}

static bool has_header(enum blob_client_address way)
{
	return way == BLOB_CLIENT_PROXY_V1 || way == BLOB_CLIENT_PROXY_V2;
}

// A listener either wants a header or takes none. One that goes by who connects tells its clients
// apart by the source address.
static void rule_judge(
	struct cfg_reader *r,
	const config_setting_t *s,
	const struct cfg_pool *pool,
	enum blob_client_address way
)
{
	if (has_header(way) != has_header(pool->client_address) &&
	    config_setting_get_member(s, "source") == NULL)
		cfg_warn(
			r,
			config_setting_get_member(s, "client_address"),
			"%s a PROXY header, and pool \"%s\" %s: its backends must tell the two "
			"apart, as by a source of the rule's own",
			has_header(way) ? "with" : "without",
			pool->name,
			has_header(way) ? "without" : "with"
		);
}

void cfg_rule_client_read(
	struct cfg_reader *r,
	const config_setting_t *s,
	unsigned pool,
	struct cfg_policy *policy
)
{
	int way = -1;

	cfg_choose(r, s, "client_address", ways, &way);
	if (way < 0)
		return;
	policy->client_address = 1 + (unsigned)way;
	if (pool < r->cfg->pool_count)
		rule_judge(r, s, &r->cfg->pools[pool], (enum blob_client_address)way);
}

unsigned cfg_network_names(
	struct cfg_reader *r,
	const config_setting_t *g,
	const char *key,
	unsigned *network
)
{
	const config_setting_t *list = cfg_list(r, g, key);
	int n = list != NULL ? config_setting_length(list) : 0;
	unsigned count = 0;

	if (list == NULL)
		return 0;
	if (n == 0 || n > CFG_NETWORKS_MAX) {
		cfg_fail(r, list, "wants 1 to %d names of networks", CFG_NETWORKS_MAX);
		return 0;
	}
	for (int i = 0; i < n; i++) {
		const char *name = cfg_element_text(r, list, (unsigned)i);
		uint32_t found = name != NULL ? cfg_index_get(&r->networks, name) : CFG_INDEX_NONE;

		if (name != NULL && found == CFG_INDEX_NONE)
			cfg_fail(r, list, "\"%.60s\" is not among networks", name);
		else if (name != NULL)
			network[count++] = found;
	}
	return count;
}

void cfg_service_header_read(
	struct cfg_reader *r,
	const config_setting_t *s,
	struct cfg_service *service
)
{
	unsigned network[CFG_NETWORKS_MAX];
	unsigned n = cfg_network_names(r, s, "proxy_protocol_from", network);

	if (n == 0)
		return;
	service->header_networks = calloc(n, sizeof(*network));
	if (service->header_networks == NULL) {
		cfg_fail(r, s, "proxy_protocol_from: no memory");
		return;
	}
	memcpy(service->header_networks, network, n * sizeof(*network));
	service->header_count = n;
	r->cfg->dataplane.headers = true;
}

// How a pool's backends, or those of its backup, are told of clients of this policy.
static bool says_xclient(const struct cfg *cfg, unsigned pool, const struct cfg_policy *policy)
{
	const struct cfg_pool *p = &cfg->pools[pool];

	if (policy->client_address != 0)
		return policy->client_address == 1 + BLOB_CLIENT_XCLIENT;
	return p->client_address == BLOB_CLIENT_XCLIENT ||
	       (p->backup >= 0 && cfg->pools[p->backup].client_address == BLOB_CLIENT_XCLIENT);
}

void cfg_service_client_judge(
	struct cfg_reader *r,
	const config_setting_t *s,
	const struct cfg_service *service
)
{
	bool any = false;

	if (service->pool >= r->cfg->pool_count)
		return;
	for (unsigned i = 0; i <= service->rule_count; i++) {
		const struct cfg_policy *p =
			i < service->rule_count ? &service->rules[i].policy : &service->policy;

		any = any || (p->tls_mode == BLOB_TLS_PASSTHROUGH &&
			      says_xclient(r->cfg, service->pool, p));
	}
	if (any)
		cfg_fail(
			r,
			s,
			"passthrough leaves the whole dialogue to client and backend: no XCLIENT "
			"of ours can stand in it; proxy-v1 and proxy-v2 can stand before it"
		);
}
