// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// From the file to the model: the outer groups. Main thread.

#include "config/cfg_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define CRYPTO_SHARE 4 // workers to a helper thread

static void defaults_set(struct cfg *cfg, const char *path)
{
	snprintf(cfg->path, sizeof(cfg->path), "%s", path);
	cfg->dataplane = (struct cfg_dataplane){
		.workers = 1,
		.max_sessions = 10000,
		.memory_bytes = 512U << 20,
		.buffers = 16384,
		.idle_sleep = true,
		.socket = "/run/mailrace/dataplane.sock",
		.max_tls_connections = UINT32_MAX,
		.max_tls_handshakes = 2048,
		.crypto_threads = 1,
	};
	snprintf(cfg->control.socket, sizeof(cfg->control.socket), "/run/mailrace/control.sock");
	snprintf(cfg->control.state_dir, sizeof(cfg->control.state_dir), CFG_DEFAULT_STATE_DIR);
	ip_endpoint_parse("127.0.0.1:9825", &cfg->exporter.listen);
	cfg->tickets.rotation_s = 12 * 3600;
}

static void dataplane_read(struct cfg_reader *r, const config_setting_t *root)
{
	struct cfg_dataplane *d = &r->cfg->dataplane;
	const config_setting_t *g = cfg_group(r, root, "dataplane");
	uint64_t workers = d->workers, sessions = d->max_sessions, buffers = d->buffers;
	uint64_t tls = d->max_tls_connections, handshakes = d->max_tls_handshakes;
	uint64_t helpers = UINT64_MAX;

	if (g == NULL)
		return;
	cfg_keys_check(r, g, CFG_SEC_dataplane);
	cfg_uint(r, g, "workers", (uint64_t[2]){1, CFG_MAX_WORKERS}, &workers);
	cfg_uint(r, g, "max_sessions", (uint64_t[2]){16, 16000000}, &sessions);
	cfg_uint(r, g, "buffers", (uint64_t[2]){4096, 16000000}, &buffers);
	cfg_uint(r, g, "max_tls_connections", (uint64_t[2]){0, 32000000}, &tls);
	cfg_uint(r, g, "max_tls_handshakes", (uint64_t[2]){16, 1000000}, &handshakes);
	cfg_uint(r, g, "crypto_threads", (uint64_t[2]){0, CFG_MAX_WORKERS}, &helpers);
	cfg_size(r, g, "hugepages", &d->hugepages_bytes);
	cfg_size(r, g, "memory", &d->memory_bytes);
	cfg_bool(r, g, "idle_sleep", &d->idle_sleep);
	cfg_bool(r, g, "tls_engine_strict", &d->tls_engine_strict);
	cfg_string(r, g, "user", d->user, sizeof(d->user));
	cfg_string(r, g, "socket", d->socket, sizeof(d->socket));
	d->workers = (unsigned)workers;
	d->crypto_threads = helpers != UINT64_MAX ? (unsigned)helpers
						  : (d->workers + CRYPTO_SHARE - 1) / CRYPTO_SHARE;
	d->max_sessions = (uint32_t)sessions;
	d->buffers = (uint32_t)buffers;
	d->max_tls_connections = (uint32_t)tls;
	d->max_tls_handshakes = (uint32_t)handshakes;
}

uint32_t cfg_share(uint32_t total, unsigned workers, unsigned worker)
{
	uint32_t share = total / workers + (worker < total % workers);

	return share > 0 ? share : 1;
}

// Memory for TLS is taken at start: with TLS in the file as many as sessions, without it none,
// unless the file says how many.
static void tls_room_set(struct cfg_reader *r)
{
	struct cfg_dataplane *d = &r->cfg->dataplane;
	bool needed = cfg_has_tls(r->cfg);

	d->max_tls_derived = d->max_tls_connections == UINT32_MAX;
	if (d->max_tls_derived)
		d->max_tls_connections = needed ? d->max_sessions : 0;
	else if (d->max_tls_connections == 0 && needed)
		cfg_fail(
			r,
			NULL,
			"dataplane.max_tls_connections = 0: then no tls may name certificates, "
			"nor a pool begin TLS"
			"only"
		);
}

static void control_read(struct cfg_reader *r, const config_setting_t *root)
{
	const config_setting_t *g = cfg_group(r, root, "control");
	char listen[IP_ENDPOINT_STRLEN] = "";

	if (g != NULL) {
		cfg_keys_check(r, g, CFG_SEC_control);
		cfg_string(r, g, "socket", r->cfg->control.socket, sizeof(r->cfg->control.socket));
		cfg_string(
			r,
			g,
			"admin_group",
			r->cfg->control.admin_group,
			sizeof(r->cfg->control.admin_group)
		);
		cfg_string(
			r,
			g,
			"read_group",
			r->cfg->control.read_group,
			sizeof(r->cfg->control.read_group)
		);
		cfg_string(r, g, "user", r->cfg->control.user, sizeof(r->cfg->control.user));
		cfg_string(
			r,
			g,
			"state_dir",
			r->cfg->control.state_dir,
			sizeof(r->cfg->control.state_dir)
		);
	}
	g = cfg_group(r, root, "exporter");
	if (g == NULL)
		return;
	cfg_keys_check(r, g, CFG_SEC_exporter);
	cfg_string(r, g, "listen", listen, sizeof(listen));
	cfg_string(r, g, "user", r->cfg->exporter.user, sizeof(r->cfg->exporter.user));
	if (listen[0] != '\0' && ip_endpoint_parse(listen, &r->cfg->exporter.listen) < 0)
		cfg_fail(r, config_setting_get_member(g, "listen"), "wants ADDRESS:PORT");
}

static void total_check(struct cfg_reader *r, const char *what, uint64_t total, unsigned max)
{
	if (total > max)
		cfg_fail(r, NULL, "%" PRIu64 " %s in all, at most %u", total, what, max);
}

// What a generation can hold, whatever the groups it is spread over.
static void totals_check(struct cfg_reader *r)
{
	const struct cfg *cfg = r->cfg;
	uint64_t backends = 0, listeners = 0, rules = 0, sources = 0, prefixes = 0;

	for (unsigned i = 0; i < cfg->pool_count; i++)
		backends += cfg->pools[i].backend_count;
	for (unsigned i = 0; i < cfg->service_count; i++) {
		listeners += cfg->services[i].listen_count;
		rules += cfg->services[i].rule_count + cfg->services[i].header_count +
			 cfg->services[i].tarpit_listed + cfg->services[i].tarpit_spared;
	}
	for (unsigned i = 0; i < cfg->network_count; i++)
		prefixes += cfg->networks[i].count;
	for (unsigned i = 0; i < cfg->source_count; i++)
		sources += cfg->sources[i].count;
	total_check(r, "backends", backends, BLOB_MAX_BACKENDS);
	total_check(r, "listeners", listeners, BLOB_MAX_LISTENERS);
	total_check(r, "rules", rules, BLOB_MAX_RULES);
	total_check(r, "source addresses", sources, BLOB_MAX_SOURCES);
	total_check(r, "prefixes", prefixes, BLOB_MAX_PREFIXES);
}

static void root_read(struct cfg_reader *r, const config_setting_t *root)
{
	cfg_keys_check(r, root, CFG_SEC_root);
	cfg_string(r, root, "hostname", r->cfg->hostname, sizeof(r->cfg->hostname));
	if (r->cfg->hostname[0] == '\0')
		cfg_fail(r, NULL, "hostname is missing");
	for (const char *c = r->cfg->hostname; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~') {
			cfg_fail(
				r, config_setting_get_member(root, "hostname"), "is not a host name"
			);
			break;
		}
	}
	dataplane_read(r, root);
	control_read(r, root);
	cfg_ports_read(r, root);
	cfg_networks_read(r, root);
	cfg_sources_read(r, root);
	cfg_certificates_read(r, root);
	cfg_tickets_read(r, root);
	cfg_pools_read(r, root);
	cfg_services_read(r, root);
	cfg_ledger_read(r, root);
	totals_check(r);
	if (r->errs->errors == 0)
		cfg_sources_check(r, root);
	tls_room_set(r);
	// room for as much again, so that reloads can add
	r->cfg->dataplane.backend_slots = 64;
	r->cfg->dataplane.service_slots = 64;
	for (unsigned i = 0; i < r->cfg->pool_count; i++)
		r->cfg->dataplane.backend_slots += 2 * r->cfg->pools[i].backend_count;
	r->cfg->dataplane.service_slots += 2 * r->cfg->service_count;
}

// A file with an error of syntax is read up to there.
static void state_dir_note(const config_t *file, struct cfg_errors *errs)
{
	const char *dir;

	if (config_lookup_string(file, "control.state_dir", &dir) == CONFIG_TRUE &&
	    strlen(dir) < sizeof(errs->state_dir))
		snprintf(errs->state_dir, sizeof(errs->state_dir), "%s", dir);
}

static void text_make(const config_t *file, char **ret_text)
{
	size_t len;
	FILE *out = open_memstream(ret_text, &len);

	if (out == NULL)
		return;
	config_write(file, out);
	if (fclose(out) != 0) {
		free(*ret_text);
		*ret_text = NULL;
	}
}

// The file at r->path, or a text.
static void file_read(struct cfg_reader *r, const char *text, char **ret_text)
{
	config_t file;
	int good;

	config_init(&file);
	config_set_destructor(&file, cfg_members_free);
	good = text != NULL ? config_read_string(&file, text) : config_read_file(&file, r->path);
	if (good == CONFIG_TRUE)
		root_read(r, config_root_setting(&file));
	else if (config_error_type(&file) == CONFIG_ERR_FILE_IO)
		cfg_fail(r, NULL, "cannot be read: %s", strerror(errno));
	else
		cfg_fail(
			r, NULL, "line %d: %s", config_error_line(&file), config_error_text(&file)
		);
	state_dir_note(&file, r->errs);
	if (ret_text != NULL && r->errs->errors == 0)
		text_make(&file, ret_text);
	config_destroy(&file);
}

static struct cfg *
load(const char *path, const char *text, struct cfg_errors *errs, char **ret_text)
{
	struct cfg *cfg = calloc(1, sizeof(*cfg));
	struct cfg_reader r = {.cfg = cfg, .errs = errs, .path = path};

	*errs = (struct cfg_errors){0};
	if (ret_text != NULL)
		*ret_text = NULL;
	if (cfg == NULL) {
		cfg_fail(&r, NULL, "no memory");
		return NULL;
	}
	defaults_set(cfg, path);
	file_read(&r, text, ret_text);
	cfg_index_release(&r.networks);
	cfg_index_release(&r.sources);
	cfg_index_release(&r.pools);
	cfg_index_release(&r.certificates);
	cfg_index_release(&r.listens);
	if (errs->errors > 0) {
		cfg_free(cfg);
		return NULL;
	}
	return cfg;
}

struct cfg *cfg_load(const char *path, struct cfg_errors *errs)
{
	return load(path, NULL, errs, NULL);
}

struct cfg *cfg_load_text(const char *path, struct cfg_errors *errs, char **ret_text)
{
	return load(path, NULL, errs, ret_text);
}

struct cfg *cfg_parse(const char *text, const char *path, struct cfg_errors *errs)
{
	return load(path, text, errs, NULL);
}

void cfg_free(struct cfg *cfg)
{
	if (cfg == NULL)
		return;
	for (unsigned i = 0; i < cfg->source_count; i++)
		free(cfg->sources[i].addresses);
	for (unsigned i = 0; i < cfg->network_count; i++)
		free(cfg->networks[i].prefixes);
	for (unsigned i = 0; i < cfg->pool_count; i++)
		free(cfg->pools[i].backends);
	for (unsigned i = 0; i < cfg->service_count; i++) {
		free(cfg->services[i].listen);
		free(cfg->services[i].rules);
		free(cfg->services[i].header_networks);
		free(cfg->services[i].tarpit_networks);
	}
	free(cfg->sources);
	free(cfg->networks);
	free(cfg->certificates);
	free(cfg->tls_servers);
	free(cfg->tls_clients);
	free(cfg->pools);
	free(cfg->services);
	free(cfg);
}

const char *cfg_error_format(const struct cfg_error *err, char *buf, size_t len)
{
	char line[16] = "";

	if (err->line != 0)
		snprintf(line, sizeof(line), ":%u", err->line);
	snprintf(
		buf,
		len,
		"%s%s: %s%s%s%s",
		err->file,
		line,
		err->warning ? "warning: " : "",
		err->key,
		err->key[0] != '\0' ? ": " : "",
		err->reason
	);
	return buf;
}

void cfg_errors_log(const struct cfg_errors *errs)
{
	char text[800];

	for (unsigned i = 0; i < errs->count && i < CFG_MAX_ERRORS; i++)
		log_line(
			errs->item[i].warning ? LOG_WARNING : LOG_ERROR,
			"%s",
			cfg_error_format(&errs->item[i], text, sizeof(text))
		);
}
