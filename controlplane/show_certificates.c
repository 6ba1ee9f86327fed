// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The view of certificates, see show.h. Of keys nothing is shown but the public half's digest.

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/json_set.h"
#include "controlplane/show.h"

static void set_time(json_t *to, const char *key, int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char text[32] = "";

	if (gmtime_r(&t, &tm) != NULL)
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	set_text(to, key, text);
}

static void set_digest(json_t *to, const char *key, const uint8_t digest[32])
{
	char text[65];

	for (unsigned i = 0; i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	set_text(to, key, text);
}

static json_t *names_list(const char *names)
{
	json_t *list = json_array();

	while (names[0] != '\0') {
		size_t len = strcspn(names, " ");

		json_array_append_new(list, json_stringn(names, len));
		names += len + (names[len] == ' ');
	}
	return list;
}

static bool policy_uses(const struct cfg *cfg, const struct cfg_policy *policy, unsigned i)
{
	const struct cfg_tls_server *t;

	if (policy->tls_mode < BLOB_TLS_STARTTLS_OPTIONAL || policy->tls_server == 0)
		return false;
	t = &cfg->tls_servers[policy->tls_server - 1];
	for (unsigned k = 0; k < t->certificate_count; k++)
		if (t->certificates[k] == i)
			return true;
	return false;
}

static bool service_uses(const struct cfg *cfg, const struct cfg_service *s, unsigned i)
{
	bool uses = policy_uses(cfg, &s->policy, i);

	for (unsigned k = 0; k < s->rule_count && !uses; k++)
		uses = policy_uses(cfg, &s->rules[k].policy, i);
	return uses;
}

static json_t *users_list(const struct cfg *cfg, unsigned i)
{
	json_t *list = json_array();

	for (unsigned k = 0; k < cfg->service_count; k++)
		if (service_uses(cfg, &cfg->services[k], i))
			json_array_append_new(list, json_string(cfg->services[k].name));
	for (unsigned k = 0; k < cfg->pool_count; k++) {
		unsigned client = cfg->pools[k].tls_client;

		if (client != 0 && cfg->tls_clients[client - 1].certificate == (int)i)
			json_array_append_new(list, json_sprintf("pool %s", cfg->pools[k].name));
	}
	return list;
}

json_t *show_certificates(const struct control *c)
{
	const struct certs *certs = c->creds.certs;
	int64_t now = (int64_t)time(NULL);
	json_t *list = json_array();

	for (unsigned i = 0; certs != NULL && i < certs->count; i++) {
		const struct certs_info *from = &certs->info[i];
		json_t *o = json_object();

		set_text(o, "name", from->name);
		set_text(o, "subject", from->subject);
		set_text(o, "issuer", from->issuer);
		json_object_set_new(o, "host_names", names_list(from->names));
		set_text(o, "key", from->key);
		set_time(o, "not_before", from->not_before);
		set_time(o, "not_after", from->not_after);
		set_seconds(o, "expires_in_seconds", (double)(from->not_after - now));
		set_uint(o, "chain_length", from->chain_length);
		set_digest(o, "fingerprint_sha256", from->fingerprint);
		set_digest(o, "public_key_sha256", from->public_key);
		json_object_set_new(o, "used_by", users_list(c->cfg, i));
		json_array_append_new(list, o);
	}
	return list;
}
