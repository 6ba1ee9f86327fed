// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Ports, networks, source addresses, pools and services out of the file. Main thread.

#include "config/cfg_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// An endpoint's address and port as a key: they stand together.
#define ENDPOINT_KEY_LEN (sizeof(struct ip_addr) + sizeof(uint16_t))
static_assert(offsetof(struct ip_endpoint, port) == sizeof(struct ip_addr), "no gap");

// Names of an array of structures that begin with theirs. Twice the same name is an error of the
// file's syntax already.
static void names_index(
	struct cfg_reader *r,
	struct cfg_index *index,
	const void *array,
	size_t stride,
	unsigned count
)
{
	if (!cfg_index_init(index, count, 0))
		cfg_fail(r, NULL, "no memory");
	for (unsigned i = 0; i < count; i++)
		cfg_index_put(index, (const uint8_t *)array + i * stride, i);
}

static void *members_new(
	struct cfg_reader *r,
	const config_setting_t *group,
	size_t size,
	unsigned max,
	unsigned *ret
)
{
	unsigned n = group != NULL ? (unsigned)config_setting_length(group) : 0;
	void *array;

	if (n > max) {
		cfg_fail(r, group, "%u entries, at most %u", n, max);
		n = 0;
	}
	array = calloc(n > 0 ? n : 1, size);
	if (array == NULL) {
		cfg_fail(r, group, "no memory");
		n = 0;
	}
	*ret = n;
	return array;
}

// Routes know one gateway a family: another would never be used.
static bool family_has_gateway(const struct cfg *cfg, const struct ip_addr *like)
{
	for (unsigned p = 0; p < cfg->port_count; p++)
		for (unsigned i = 0; i < cfg->ports[p].gateway_count; i++)
			if (ip_addr_is_v4(&cfg->ports[p].gateways[i]) == ip_addr_is_v4(like))
				return true;
	return false;
}

static void port_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_port *port)
{
	const config_setting_t *list;
	uint64_t vlan = 0, mtu = 1500, queues = 0;

	cfg_name_take(r, s, port->name);
	if (!config_setting_is_group(s)) {
		cfg_fail(r, s, "wants a group { ... }");
		return;
	}
	cfg_keys_check(r, s, CFG_SEC_port);
	cfg_string(r, s, "device", port->device, sizeof(port->device));
	if (port->device[0] == '\0')
		cfg_fail(r, s, "device is missing");
	cfg_uint(r, s, "vlan", (uint64_t[2]){1, 4094}, &vlan);
	cfg_uint(r, s, "mtu", (uint64_t[2]){1280, 1500}, &mtu);
	cfg_uint(r, s, "queues", (uint64_t[2]){1, CFG_MAX_WORKERS}, &queues);
	port->vlan = (uint16_t)vlan;
	port->mtu = (uint16_t)mtu;
	port->queues = (uint16_t)queues;
	list = cfg_list(r, s, "addresses");
	for (int i = 0; list != NULL && i < config_setting_length(list); i++) {
		const char *text = cfg_element_text(r, list, (unsigned)i);

		if (port->address_count == CFG_MAX_ADDRESSES)
			cfg_fail(r, list, "more than %d addresses", CFG_MAX_ADDRESSES);
		else if (text != NULL &&
			 ip_prefix_parse(text, &port->addresses[port->address_count]) < 0)
			cfg_fail(r, list, "\"%.60s\" is not ADDRESS/LENGTH", text);
		else
			port->address_count++;
	}
	if (port->address_count == 0)
		cfg_fail(r, s, "addresses are missing");
	list = cfg_list(r, s, "gateways");
	for (int i = 0; list != NULL && i < config_setting_length(list); i++) {
		const char *text = cfg_element_text(r, list, (unsigned)i);

		struct ip_addr gateway;

		if (text == NULL)
			continue;
		if (ip_addr_parse(text, &gateway) < 0)
			cfg_fail(r, list, "\"%.60s\" is not an address", text);
		else if (family_has_gateway(r->cfg, &gateway))
			cfg_fail(r, list, "at most one gateway a family, of all ports together");
		else
			port->gateways[port->gateway_count++] = gateway;
	}
}

void cfg_ports_read(struct cfg_reader *r, const config_setting_t *root)
{
	const config_setting_t *g = cfg_group(r, root, "ports");

	if (g == NULL || config_setting_length(g) == 0) {
		cfg_fail(r, g, "ports are missing: at least one");
		return;
	}
	if (config_setting_length(g) > CFG_MAX_PORTS) {
		cfg_fail(r, g, "more than %d ports", CFG_MAX_PORTS);
		return;
	}
	for (int i = 0; i < config_setting_length(g); i++)
		port_read(
			r,
			config_setting_get_elem(g, (unsigned)i),
			&r->cfg->ports[r->cfg->port_count++]
		);
}

static void prefix_canonical(struct ip_prefix *p)
{
	for (unsigned bit = p->len; bit < 128; bit++)
		p->addr.b[bit / 8] &= (uint8_t)~(0x80U >> (bit % 8));
}

void cfg_networks_read(struct cfg_reader *r, const config_setting_t *root)
{
	const config_setting_t *g = cfg_group(r, root, "networks");

	r->cfg->networks =
		members_new(r, g, sizeof(struct cfg_network), 1024, &r->cfg->network_count);
	for (unsigned i = 0; i < r->cfg->network_count; i++) {
		const config_setting_t *s = config_setting_get_elem(g, i);
		struct cfg_network *n = &r->cfg->networks[i];

		cfg_name_take(r, s, n->name);
		if (!config_setting_is_array(s) && !config_setting_is_list(s)) {
			cfg_fail(r, s, "wants a list of prefixes");
			continue;
		}
		n->prefixes = members_new(r, s, sizeof(struct ip_prefix), 4096, &n->count);
		for (unsigned k = 0; k < n->count; k++) {
			const char *text = cfg_element_text(r, s, k);

			if (text != NULL && ip_prefix_parse(text, &n->prefixes[k]) < 0)
				cfg_fail(r, s, "\"%.60s\" is not a prefix", text);
			prefix_canonical(&n->prefixes[k]);
		}
	}
	names_index(
		r, &r->networks, r->cfg->networks, sizeof(struct cfg_network), r->cfg->network_count
	);
}

void cfg_sources_read(struct cfg_reader *r, const config_setting_t *root)
{
	const config_setting_t *g = cfg_group(r, root, "source_addresses");

	r->cfg->sources = members_new(r, g, sizeof(struct cfg_sources), 256, &r->cfg->source_count);
	for (unsigned i = 0; i < r->cfg->source_count; i++) {
		const config_setting_t *s = config_setting_get_elem(g, i);
		struct cfg_sources *n = &r->cfg->sources[i];

		cfg_name_take(r, s, n->name);
		if (!config_setting_is_array(s) && !config_setting_is_list(s)) {
			cfg_fail(r, s, "wants a list of addresses");
			continue;
		}
		n->addresses = members_new(r, s, sizeof(struct ip_addr), 1024, &n->count);
		for (unsigned k = 0; k < n->count; k++) {
			const char *text = cfg_element_text(r, s, k);

			if (text != NULL && ip_addr_parse(text, &n->addresses[k]) < 0)
				cfg_fail(r, s, "\"%.60s\" is not an address", text);
		}
	}
	names_index(
		r, &r->sources, r->cfg->sources, sizeof(struct cfg_sources), r->cfg->source_count
	);
}

static void probe_read(struct cfg_reader *r, const config_setting_t *pool, struct cfg_probe *probe)
{
	static const struct cfg_choice types[] = {{"smtp", 1}, {NULL, 0}};
	const config_setting_t *g = cfg_group(r, pool, "probe");
	uint64_t rise = 2, fall = 3;
	int type = 1;

	if (g == NULL)
		return;
	*probe = (struct cfg_probe){.enabled = true, .interval_ms = 10000, .timeout_ms = 30000};
	cfg_keys_check(r, g, CFG_SEC_probe);
	cfg_choose(r, g, "type", types, &type);
	cfg_duration(r, g, "interval", &probe->interval_ms);
	if (probe->interval_ms < 5000)
		cfg_fail(
			r,
			config_setting_get_member(g, "interval"),
			"at least 5s: backends count what probes do"
		);
	cfg_duration(r, g, "timeout", &probe->timeout_ms);
	cfg_uint(r, g, "rise", (uint64_t[2]){1, 100}, &rise);
	cfg_uint(r, g, "fall", (uint64_t[2]){1, 100}, &fall);
	probe->rise = (unsigned)rise;
	probe->fall = (unsigned)fall;
}

// Can it stand in a path of the API, in JSON and in a label as it is?
static bool name_is_plain(const char *name)
{
	return name[strspn(
		       name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:_"
	       )] == '\0';
}

static void backend_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_backend *b)
{
	char address[IP_ENDPOINT_STRLEN] = "";
	uint64_t weight = 100, max = 0;
	bool drain = false;

	if (!config_setting_is_group(s)) {
		cfg_fail(r, s, "wants a group { name = ...; address = ...; }");
		return;
	}
	cfg_keys_check(r, s, CFG_SEC_backend);
	cfg_string(r, s, "name", b->name, sizeof(b->name));
	if (b->name[0] == '\0')
		cfg_fail(r, s, "name is missing");
	else if (!name_is_plain(b->name))
		cfg_fail(
			r,
			config_setting_get_member(s, "name"),
			"a name has letters, digits, '-', '.', ':' and '_' only"
		);
	cfg_string(r, s, "address", address, sizeof(address));
	if (ip_endpoint_parse(address, &b->address) < 0)
		cfg_fail(r, s, "address wants ADDRESS:PORT");
	cfg_uint(r, s, "weight", (uint64_t[2]){0, 65535}, &weight);
	cfg_uint(r, s, "max_connections", (uint64_t[2]){0, 16000000}, &max);
	cfg_bool(r, s, "drain", &drain);
	b->weight = (uint32_t)weight;
	b->max_connections = (uint32_t)max;
	b->admin = drain ? BLOB_ADMIN_DRAIN : BLOB_ADMIN_ENABLED;
}

static void pool_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_pool *pool)
{
	static const struct cfg_choice schedulers[] = {
		{"weighted-least-connections", BLOB_SCHED_WLC},
		{"weighted-round-robin", BLOB_SCHED_WRR},
		{NULL, 0},
	};
	const config_setting_t *list;
	struct cfg_index names;
	int scheduler = BLOB_SCHED_WLC;

	*pool = (struct cfg_pool){
		.source = -1,
		.connect_timeout_ms = 3000,
		.banner_timeout_ms = 30000,
		.reply_timeout_ms = 660000,
		.end_of_data_timeout_ms = 720000,
	};
	cfg_balance_defaults(pool);
	cfg_name_take(r, s, pool->name);
	if (!config_setting_is_group(s)) {
		cfg_fail(r, s, "wants a group { ... }");
		return;
	}
	cfg_keys_check(r, s, CFG_SEC_pool);
	cfg_choose(r, s, "scheduler", schedulers, &scheduler);
	cfg_pool_client_read(r, s, pool);
	pool->scheduler = (enum blob_scheduler)scheduler;
	pool->source = cfg_source_find(r, s);
	cfg_duration(r, s, "connect_timeout", &pool->connect_timeout_ms);
	cfg_duration(r, s, "banner_timeout", &pool->banner_timeout_ms);
	cfg_duration(r, s, "reply_timeout", &pool->reply_timeout_ms);
	cfg_duration(r, s, "end_of_data_timeout", &pool->end_of_data_timeout_ms);
	probe_read(r, s, &pool->probe);
	cfg_balance_read(r, s, pool);
	cfg_pool_tls_read(r, s, pool);
	list = cfg_list(r, s, "backends");
	pool->backends =
		members_new(r, list, sizeof(struct cfg_backend), 4096, &pool->backend_count);
	if (pool->backend_count == 0)
		cfg_fail(r, s, "backends are missing");
	if (!cfg_index_init(&names, pool->backend_count, 0))
		cfg_fail(r, NULL, "no memory");
	for (unsigned i = 0; i < pool->backend_count; i++) {
		const config_setting_t *b = config_setting_get_elem(list, i);

		backend_read(r, b, &pool->backends[i]);
		if (cfg_index_put(&names, pool->backends[i].name, i) != CFG_INDEX_NONE)
			cfg_fail(r, b, "a backend of this name is there already");
	}
	cfg_index_release(&names);
	if (pool->probe.enabled)
		cfg_probe_sources_read(r, cfg_group(r, s, "probe"), pool);
}

void cfg_pools_read(struct cfg_reader *r, const config_setting_t *root)
{
	const config_setting_t *g = cfg_group(r, root, "pools");

	r->cfg->pools =
		members_new(r, g, sizeof(struct cfg_pool), BLOB_MAX_POOLS, &r->cfg->pool_count);
	if (r->cfg->pool_count == 0)
		cfg_fail(r, g, "pools are missing: at least one");
	for (unsigned i = 0; i < r->cfg->pool_count; i++)
		pool_read(r, config_setting_get_elem(g, i), &r->cfg->pools[i]);
	names_index(r, &r->pools, r->cfg->pools, sizeof(struct cfg_pool), r->cfg->pool_count);
	cfg_backups_read(r, g);
}

static void policy_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_policy *policy)
{
	static const struct cfg_choice bare[] = {
		{"reject", BLOB_BARE_LF_REJECT},
		{"restuff", BLOB_BARE_LF_RESTUFF},
		{"pass", BLOB_BARE_LF_PASS},
		{NULL, 0},
	};
	static const struct cfg_choice early[] = {
		{"reject", BLOB_EARLY_REJECT}, {"count", BLOB_EARLY_COUNT}, {NULL, 0}
	};
	int lf = policy->bare_lf, talk = policy->early_talker;

	cfg_policy_tls_read(r, s, policy);
	cfg_choose(r, s, "bare_lf", bare, &lf);
	cfg_choose(r, s, "early_talkers", early, &talk);
	policy->bare_lf = (enum blob_bare_lf)lf;
	policy->early_talker = (enum blob_early_talker)talk;
}

static void rule_read(
	struct cfg_reader *r,
	const config_setting_t *s,
	const struct cfg_service *service,
	struct cfg_rule *rule
)
{
	char from[MR_NAME_LEN] = "";

	rule->policy = service->policy;
	if (!config_setting_is_group(s)) {
		cfg_fail(r, s, "wants a group { from = ...; ... }");
		return;
	}
	cfg_keys_check(r, s, CFG_SEC_rule);
	cfg_string(r, s, "from", from, sizeof(from));
	rule->network = cfg_index_get(&r->networks, from);
	if (rule->network == CFG_INDEX_NONE)
		cfg_fail(r, s, "from = \"%s\" is not among networks", from);
	policy_read(r, s, &rule->policy);
	if (config_setting_get_member(s, "bare_lf") != NULL)
		cfg_pass_check(r, s, &rule->policy, service->pool);
	rule->policy.source = cfg_source_find(r, s);
	cfg_rule_client_read(r, s, service->pool, &rule->policy);
}

static void
limits_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_service *service)
{
	const config_setting_t *g = cfg_group(r, s, "limits");
	uint64_t size = 0, recipients = 0, sessions = 0;

	if (g == NULL)
		return;
	cfg_keys_check(r, g, CFG_SEC_limits);
	cfg_size(r, g, "message_size", &size);
	if (size > UINT32_MAX)
		cfg_fail(r, config_setting_get_member(g, "message_size"), "at most 4G less one");
	cfg_uint(r, g, "recipients", (uint64_t[2]){100, 65535}, &recipients);
	cfg_uint(r, g, "sessions_per_client", (uint64_t[2]){1, 1000000}, &sessions);
	cfg_tls_limits_read(r, g, service);
	service->sessions_per_client = (uint32_t)sessions;
	service->max_message_bytes = (uint32_t)size;
	service->max_recipients = (uint32_t)recipients;
}

static void service_listen(struct cfg_reader *r, const config_setting_t *s, unsigned index)
{
	struct cfg_service *service = &r->cfg->services[index];
	const config_setting_t *list = cfg_list(r, s, "listen");

	service->listen =
		members_new(r, list, sizeof(struct ip_endpoint), 256, &service->listen_count);
	if (service->listen_count == 0)
		cfg_fail(r, s, "listen is missing");
	for (unsigned i = 0; i < service->listen_count; i++) {
		const char *text = cfg_element_text(r, list, i);

		if (text != NULL && ip_endpoint_parse(text, &service->listen[i]) < 0)
			cfg_fail(r, list, "\"%.60s\" is not ADDRESS:PORT", text);
		else if (text != NULL &&
			 cfg_index_put(&r->listens, &service->listen[i], index) != CFG_INDEX_NONE)
			cfg_fail(r, list, "\"%.60s\" is listened on already", text);
	}
}

static void service_read(struct cfg_reader *r, const config_setting_t *s, unsigned index)
{
	struct cfg_service *service = &r->cfg->services[index];
	char pool[MR_NAME_LEN] = "";
	const config_setting_t *rules;

	*service = (struct cfg_service){
		.client_idle_ms = 300000,
		.data_idle_ms = 180000,
		.shakes_per_client = CFG_SHAKES_PER_CLIENT,
		.shakes_per_second = CFG_SHAKES_PER_SECOND,
		.tls_queue_ms = CFG_TLS_QUEUE_MS,
		.policy = {.source = -1},
	};
	cfg_name_take(r, s, service->name);
	if (!config_setting_is_group(s)) {
		cfg_fail(r, s, "wants a group { ... }");
		return;
	}
	cfg_keys_check(r, s, CFG_SEC_service);
	service_listen(r, s, index);
	cfg_string(r, s, "pool", pool, sizeof(pool));
	service->pool = cfg_index_get(&r->pools, pool);
	if (service->pool == CFG_INDEX_NONE)
		cfg_fail(r, s, "pool = \"%s\" is not among pools", pool);
	policy_read(r, s, &service->policy);
	cfg_pass_check(r, s, &service->policy, service->pool);
	cfg_duration(r, s, "idle_timeout", &service->client_idle_ms);
	cfg_duration(r, s, "data_timeout", &service->data_idle_ms);
	limits_read(r, s, service);
	cfg_service_header_read(r, s, service);
	cfg_tarpit_read(r, s, service);
	rules = cfg_list(r, s, "rules");
	service->rules = members_new(r, rules, sizeof(struct cfg_rule), 256, &service->rule_count);
	for (unsigned i = 0; i < service->rule_count; i++)
		rule_read(r, config_setting_get_elem(rules, i), service, &service->rules[i]);
	cfg_service_tls_judge(r, s, service);
	cfg_service_client_judge(r, s, service);
}

void cfg_services_read(struct cfg_reader *r, const config_setting_t *root)
{
	const config_setting_t *g = cfg_group(r, root, "virtual_services");

	r->cfg->services = members_new(
		r, g, sizeof(struct cfg_service), BLOB_MAX_SERVICES, &r->cfg->service_count
	);
	if (r->cfg->service_count == 0)
		cfg_fail(r, g, "virtual_services are missing: at least one");
	if (!cfg_index_init(&r->listens, BLOB_MAX_LISTENERS, ENDPOINT_KEY_LEN))
		cfg_fail(r, g, "no memory");
	for (unsigned i = 0; i < r->cfg->service_count; i++)
		service_read(r, config_setting_get_elem(g, i), i);
}
