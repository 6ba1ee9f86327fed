// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// From the model to the generation blob. Main thread of control, and of the dataplane at start.

#include "config/cfg_slots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct totals {
	uint32_t listeners, services, pools, backends, sources, prefixes, rules;
};

static struct totals count_all(const struct cfg *cfg)
{
	struct totals t = {.services = cfg->service_count, .pools = cfg->pool_count};

	for (unsigned i = 0; i < cfg->service_count; i++) {
		t.listeners += cfg->services[i].listen_count;
		t.rules += cfg->services[i].rule_count + cfg->services[i].header_count +
			   cfg->services[i].tarpit_listed + cfg->services[i].tarpit_spared;
	}
	for (unsigned i = 0; i < cfg->pool_count; i++)
		t.backends += cfg->pools[i].backend_count;
	for (unsigned i = 0; i < cfg->source_count; i++)
		t.sources += cfg->sources[i].count;
	for (unsigned i = 0; i < cfg->network_count; i++)
		t.prefixes += cfg->networks[i].count;
	return t;
}

static uint32_t place(uint32_t *length, struct blob_array *array, uint32_t count, size_t size)
{
	array->off = *length;
	array->count = count;
	*length = (uint32_t)((*length + count * size + 7) / 8 * 8);
	return array->off;
}

// First index of a group in the flat array of sources or prefixes.
static uint32_t sources_before(const struct cfg *cfg, int group)
{
	uint32_t n = 0;

	for (int i = 0; i < group; i++)
		n += cfg->sources[i].count;
	return n;
}

static uint32_t prefixes_before(const struct cfg *cfg, unsigned group)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < group; i++)
		n += cfg->networks[i].count;
	return n;
}

static bool mode_ends_tls(enum blob_tls_mode mode)
{
	return mode >= BLOB_TLS_STARTTLS_OPTIONAL;
}

bool cfg_has_tls(const struct cfg *cfg)
{
	return cfg->tls_server_count + cfg->tls_client_count > 0;
}

static struct blob_policy policy_of(const struct cfg *cfg, const struct cfg_policy *from)
{
	return (struct blob_policy){
		.tls_mode = (uint8_t)from->tls_mode,
		.bare_lf = (uint8_t)from->bare_lf,
		.early_talker = (uint8_t)from->early_talker,
		.sources = from->source >= 0 ? sources_before(cfg, from->source) : UINT32_MAX,
		.source_count = from->source >= 0 ? cfg->sources[from->source].count : 0,
		.tls_server = mode_ends_tls(from->tls_mode) ? from->tls_server : 0,
		.client_address = (uint8_t)from->client_address,
	};
}

// No new name may take the slot of one that comes later.
static void slots_keep(const struct cfg *cfg, struct cfg_slots *slots)
{
	char name[CFG_SLOT_NAME_LEN];

	cfg_slots_begin(slots);
	for (unsigned i = 0; i < cfg->service_count; i++)
		cfg_slots_keep(slots, CFG_SLOT_SERVICE, cfg->services[i].name);
	for (unsigned i = 0; i < cfg->pool_count; i++) {
		for (unsigned k = 0; k < cfg->pools[i].backend_count; k++) {
			cfg_slot_name(cfg->pools[i].name, cfg->pools[i].backends[k].name, name);
			cfg_slots_keep(slots, CFG_SLOT_BACKEND, name);
		}
	}
}

// Rules of which only the networks count.
static uint32_t networks_fill(
	const struct cfg *cfg,
	const struct cfg_service *from,
	const unsigned *network,
	unsigned count,
	struct blob_rule *rule
)
{
	for (unsigned k = 0; k < count; k++)
		rule[k] = (struct blob_rule){
			.prefixes = prefixes_before(cfg, network[k]),
			.prefix_count = cfg->networks[network[k]].count,
			.policy = policy_of(cfg, &from->policy),
		};
	return count;
}

static bool services_fill(const struct cfg *cfg, struct cfg_slots *slots, struct blob_header *h)
{
	struct blob_service *service = (struct blob_service *)((uint8_t *)h + h->services.off);
	struct blob_listener *listener = (struct blob_listener *)((uint8_t *)h + h->listeners.off);
	struct blob_rule *rule = (struct blob_rule *)((uint8_t *)h + h->rules.off);
	uint32_t rules = 0;

	for (unsigned i = 0; i < cfg->service_count; i++, service++) {
		const struct cfg_service *from = &cfg->services[i];

		memcpy(service->name, from->name, sizeof(service->name));
		service->slot = cfg_slots_get(slots, CFG_SLOT_SERVICE, from->name);
		if (service->slot == 0)
			return false;
		service->pool = from->pool;
		service->policy = policy_of(cfg, &from->policy);
		service->rules = rules;
		service->rule_count = from->rule_count;
		service->sessions_per_client = from->sessions_per_client;
		service->max_message_bytes = from->max_message_bytes;
		service->max_recipients = from->max_recipients;
		service->client_idle_ms = from->client_idle_ms;
		service->data_idle_ms = from->data_idle_ms;
		service->shakes_per_client = from->shakes_per_client;
		service->shakes_per_second = from->shakes_per_second;
		service->tls_queue_ms = from->tls_queue_ms;
		service->tls_overflow = from->tls_overflow;
		for (unsigned k = 0; k < from->listen_count; k++, listener++)
			*listener = (struct blob_listener){
				.addr = from->listen[k].addr,
				.port = from->listen[k].port,
				.service = (uint16_t)i,
			};
		for (unsigned k = 0; k < from->rule_count; k++, rules++)
			rule[rules] = (struct blob_rule){
				.prefixes = prefixes_before(cfg, from->rules[k].network),
				.prefix_count = cfg->networks[from->rules[k].network].count,
				.policy = policy_of(cfg, &from->rules[k].policy),
			};
		service->header_rules = from->header_count;
		rules += networks_fill(
			cfg, from, from->header_networks, from->header_count, &rule[rules]
		);
		service->tarpit_rules = from->tarpit_listed;
		service->tarpit_spared = from->tarpit_spared;
		service->tarpit_delay_ms = from->tarpit_delay_ms;
		service->tarpit_errors = from->tarpit_errors;
		rules += networks_fill(
			cfg,
			from,
			from->tarpit_networks,
			from->tarpit_listed + from->tarpit_spared,
			&rule[rules]
		);
	}
	return true;
}

static bool pools_fill(const struct cfg *cfg, struct cfg_slots *slots, struct blob_header *h)
{
	struct blob_pool *pool = (struct blob_pool *)((uint8_t *)h + h->pools.off);
	struct blob_backend *backend = (struct blob_backend *)((uint8_t *)h + h->backends.off);
	uint32_t n = 0;

	for (unsigned i = 0; i < cfg->pool_count; i++, pool++) {
		const struct cfg_pool *from = &cfg->pools[i];

		memcpy(pool->name, from->name, sizeof(pool->name));
		pool->backends = n;
		pool->backend_count = from->backend_count;
		pool->sources = from->source >= 0 ? sources_before(cfg, from->source) : 0;
		pool->source_count = from->source >= 0 ? cfg->sources[from->source].count : 0;
		pool->scheduler = (uint8_t)from->scheduler;
		pool->connect_timeout_ms = from->connect_timeout_ms;
		pool->banner_timeout_ms = from->banner_timeout_ms;
		pool->reply_timeout_ms = from->reply_timeout_ms;
		pool->end_of_data_timeout_ms = from->end_of_data_timeout_ms;
		pool->slow_start_ms = from->slow_start_ms;
		pool->flags = from->soft_bounce ? BLOB_POOL_F_SOFT_BOUNCE : 0;
		pool->backup = (uint16_t)(from->backup + 1);
		pool->tls_mode = (uint8_t)from->tls_mode;
		pool->tls_client = from->tls_client;
		pool->client_address = (uint8_t)from->client_address;
		for (unsigned k = 0; k < from->backend_count; k++, n++) {
			const struct cfg_backend *b = &from->backends[k];
			char name[CFG_SLOT_NAME_LEN];

			cfg_slot_name(from->name, b->name, name);
			memcpy(backend[n].name, b->name, sizeof(backend[n].name));
			backend[n].addr = b->address.addr;
			backend[n].port = b->address.port;
			backend[n].admin = (uint8_t)b->admin;
			backend[n].slot = cfg_slots_get(slots, CFG_SLOT_BACKEND, name);
			backend[n].weight = b->weight;
			backend[n].max_connections = b->max_connections;
			backend[n].pool = i;
			if (backend[n].slot == 0)
				return false;
		}
	}
	return true;
}

static void lists_fill(const struct cfg *cfg, struct blob_header *h)
{
	struct blob_source *source = (struct blob_source *)((uint8_t *)h + h->sources.off);
	struct blob_prefix *prefix = (struct blob_prefix *)((uint8_t *)h + h->prefixes.off);

	for (unsigned i = 0; i < cfg->source_count; i++)
		for (unsigned k = 0; k < cfg->sources[i].count; k++)
			*source++ = (struct blob_source){cfg->sources[i].addresses[k]};
	for (unsigned i = 0; i < cfg->network_count; i++)
		for (unsigned k = 0; k < cfg->networks[i].count; k++)
			*prefix++ = (struct blob_prefix){
				.addr = cfg->networks[i].prefixes[k].addr,
				.len = cfg->networks[i].prefixes[k].len,
			};
}

static void crc_set(struct blob_header *h)
{
	h->crc32 = 0;
	h->crc32 = (uint32_t)crc32(0, (const Bytef *)h, h->length);
}

void blob_tls_set(struct blob_header *blob, const uint8_t digest[32], uint64_t recipe)
{
	memcpy(blob->tls.digest, digest, sizeof(blob->tls.digest));
	blob->tls.recipe = recipe;
	crc_set(blob);
}

int cfg_blob_build(
	const struct cfg *cfg,
	struct cfg_slots *slots,
	uint64_t generation,
	void **ret_blob,
	size_t *ret_len,
	struct cfg_errors *errs
)
{
	struct totals t = count_all(cfg);
	struct blob_header head = {
		.magic = BLOB_MAGIC,
		.abi_major = MR_ABI_MAJOR,
		.abi_minor = MR_ABI_MINOR,
		.generation = generation,
		.tls = {.servers = cfg->tls_server_count, .clients = cfg->tls_client_count},
		.ledger = cfg->ledger.keep,
	};
	uint32_t length = sizeof(head);
	struct blob_header *h;

	place(&length, &head.listeners, t.listeners, sizeof(struct blob_listener));
	place(&length, &head.services, t.services, sizeof(struct blob_service));
	place(&length, &head.pools, t.pools, sizeof(struct blob_pool));
	place(&length, &head.backends, t.backends, sizeof(struct blob_backend));
	place(&length, &head.sources, t.sources, sizeof(struct blob_source));
	place(&length, &head.prefixes, t.prefixes, sizeof(struct blob_prefix));
	place(&length, &head.rules, t.rules, sizeof(struct blob_rule));
	head.length = length;
	snprintf(head.hostname, sizeof(head.hostname), "%s", cfg->hostname);
	h = calloc(1, length);
	if (h == NULL)
		return -ENOMEM;
	*h = head;
	slots_keep(cfg, slots);
	if (length > BLOB_MAX_BYTES || !services_fill(cfg, slots, h) ||
	    !pools_fill(cfg, slots, h)) {
		free(h);
		errs->errors++;
		if (errs->count < CFG_MAX_ERRORS)
			snprintf(
				errs->item[errs->count++].reason,
				sizeof(errs->item[0].reason),
				"more backends or services than the running dataplane has slots "
				"for: restart it"
			);
		return -ENOSPC;
	}
	lists_fill(cfg, h);
	crc_set(h);
	*ret_blob = h;
	*ret_len = length;
	return 0;
}
