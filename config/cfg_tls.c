// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Keys about TLS: certificates, what services show to clients, how pools judge their backends.
// Equal settings are kept once, so that the credentials made of them are too. The files themselves
// are read elsewhere (certs.c). Main thread.

#include "config/cfg_parts.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX_MS 240000U
#define PORT_SMTP 25
#define PORT_SUBMISSIONS 465

static void
path_read(struct cfg_reader *r, const config_setting_t *group, const char *key, char ret[256])
{
	cfg_string(r, group, key, ret, 256);
	if (ret[0] != '\0' && ret[0] != '/')
		cfg_fail(
			r, config_setting_get_member(group, key), "wants a path that begins with /"
		);
}

static void
certificate_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_certificate *c)
{
	cfg_name_take(r, s, c->name);
	if (!config_setting_is_group(s)) {
		cfg_fail(r, s, "wants a group { chain = ...; key = ...; }");
		return;
	}
	cfg_keys_check(r, s, CFG_SEC_certificate);
	path_read(r, s, "chain", c->chain);
	path_read(r, s, "key", c->key);
	c->line = config_setting_source_line(s);
	if (config_setting_get_member(s, "chain") == NULL)
		cfg_fail(r, s, "chain is missing");
	if (config_setting_get_member(s, "key") == NULL)
		cfg_fail(r, s, "key is missing");
}

void cfg_certificates_read(struct cfg_reader *r, const config_setting_t *root)
{
	const config_setting_t *g = cfg_group(r, root, "certificates");
	unsigned n = g != NULL ? (unsigned)config_setting_length(g) : 0;

	if (n > CREDS_MAX_CERTS) {
		cfg_fail(r, g, "%u entries, at most %d", n, CREDS_MAX_CERTS);
		n = 0;
	}
	r->cfg->certificates = calloc(n > 0 ? n : 1, sizeof(*r->cfg->certificates));
	if (r->cfg->certificates == NULL || !cfg_index_init(&r->certificates, n, 0)) {
		cfg_fail(r, g, "no memory");
		return;
	}
	r->cfg->certificate_count = n;
	for (unsigned i = 0; i < n; i++) {
		struct cfg_certificate *c = &r->cfg->certificates[i];

		certificate_read(r, config_setting_get_elem(g, i), c);
		cfg_index_put(&r->certificates, c->name, i);
	}
}

void cfg_tickets_read(struct cfg_reader *r, const config_setting_t *root)
{
	const config_setting_t *g = cfg_group(r, root, "tls_tickets");
	struct cfg_tickets *t = &r->cfg->tickets;
	uint32_t ms = t->rotation_s * 1000;

	if (g == NULL)
		return;
	cfg_keys_check(r, g, CFG_SEC_tls_tickets);
	cfg_duration(r, g, "rotation", &ms);
	path_read(r, g, "key_file", t->key_file);
	t->rotation_s = ms / 1000;
	t->line = config_setting_source_line(g);
	if (t->rotation_s < CREDS_ROTATION_MIN_S || t->rotation_s > CREDS_ROTATION_MAX_S)
		cfg_fail(r, config_setting_get_member(g, "rotation"), "wants a time of 10s to 24h");
}

// The number of an entry in an array of distinct ones, plus 1; it is added if it is new. 0 after an
// error. Compared are the first so many bytes.
static unsigned
intern(struct cfg_reader *r, void **array, unsigned *count, const void *entry, size_t size[2])
{
	uint8_t *grown;

	for (unsigned i = 0; i < *count; i++)
		if (memcmp((uint8_t *)*array + i * size[0], entry, size[1]) == 0)
			return i + 1;
	grown = *count < CREDS_MAX_SETS ? realloc(*array, (*count + 1) * size[0]) : NULL;
	if (grown == NULL) {
		cfg_fail(r, NULL, "more than %d different tls settings", CREDS_MAX_SETS);
		return 0;
	}
	memcpy(grown + *count * size[0], entry, size[0]);
	*array = grown;
	return ++*count;
}

static unsigned server_intern(struct cfg_reader *r, const struct cfg_tls_server *t)
{
	void *array = r->cfg->tls_servers;
	unsigned n =
		intern(r,
		       &array,
		       &r->cfg->tls_server_count,
		       t,
		       (size_t[2]){sizeof(*t), offsetof(struct cfg_tls_server, line)});

	r->cfg->tls_servers = array;
	return n;
}

static unsigned client_intern(struct cfg_reader *r, const struct cfg_tls_client *t)
{
	void *array = r->cfg->tls_clients;
	unsigned n =
		intern(r,
		       &array,
		       &r->cfg->tls_client_count,
		       t,
		       (size_t[2]){sizeof(*t), offsetof(struct cfg_tls_client, line)});

	r->cfg->tls_clients = array;
	return n;
}

static void
server_certificates(struct cfg_reader *r, const config_setting_t *tls, struct cfg_tls_server *t)
{
	const config_setting_t *list = cfg_list(r, tls, "certificates");
	int n = list != NULL ? config_setting_length(list) : 0;

	if (list == NULL)
		return;
	memset(t->certificates, 0, sizeof(t->certificates));
	t->certificate_count = 0;
	if (n > CREDS_MAX_OF_SERVER) {
		cfg_fail(r, list, "%d entries, at most %d", n, CREDS_MAX_OF_SERVER);
		n = 0;
	}
	for (int i = 0; i < n; i++) {
		const char *name = cfg_element_text(r, list, (unsigned)i);
		uint32_t found =
			name != NULL ? cfg_index_get(&r->certificates, name) : CFG_INDEX_NONE;

		if (name != NULL && found == CFG_INDEX_NONE)
			cfg_fail(r, list, "\"%.60s\" is not among certificates", name);
		else if (name != NULL)
			t->certificates[t->certificate_count++] = found;
	}
}

void cfg_policy_tls_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_policy *policy)
{
	static const struct cfg_choice modes[] = {
		{"off", BLOB_TLS_OFF},
		{"passthrough", BLOB_TLS_PASSTHROUGH},
		{"starttls-optional", BLOB_TLS_STARTTLS_OPTIONAL},
		{"starttls-required", BLOB_TLS_STARTTLS_REQUIRED},
		{"implicit", BLOB_TLS_IMPLICIT},
		{NULL, 0},
	};
	static const struct cfg_choice auths[] = {
		{"none", CREDS_AUTH_NONE},
		{"request", CREDS_AUTH_REQUEST},
		{"require", CREDS_AUTH_REQUIRE},
		{NULL, 0},
	};
	const config_setting_t *tls = cfg_group(r, s, "tls");
	int mode = policy->tls_mode, auth;
	struct cfg_tls_server t;

	if (tls == NULL)
		return;
	memset(&t, 0, sizeof(t)); // compared as bytes
	t.tickets = true;
	if (policy->tls_server != 0)
		memcpy(&t, &r->cfg->tls_servers[policy->tls_server - 1], sizeof(t));
	auth = t.client_auth;
	cfg_keys_check(r, tls, CFG_SEC_tls);
	cfg_choose(r, tls, "mode", modes, &mode);
	cfg_choose(r, tls, "client_certificates", auths, &auth);
	server_certificates(r, tls, &t);
	if (config_setting_get_member(tls, "ca") != NULL)
		memset(t.ca, 0, sizeof(t.ca));
	path_read(r, tls, "ca", t.ca);
	cfg_bool(r, tls, "tickets", &t.tickets);
	t.client_auth = (enum creds_client_auth)auth;
	t.line = config_setting_source_line(tls);
	policy->tls_mode = (enum blob_tls_mode)mode;
	if (t.client_auth != CREDS_AUTH_NONE && t.ca[0] == '\0')
		cfg_fail(r, tls, "client_certificates wants a ca");
	if (mode >= BLOB_TLS_STARTTLS_OPTIONAL && t.certificate_count == 0)
		cfg_fail(r, tls, "this mode wants certificates");
	if (t.certificate_count > 0)
		policy->tls_server = server_intern(r, &t);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static void pin_read(struct cfg_reader *r, const config_setting_t *tls, struct cfg_tls_client *t)
{
	char text[2 * CREDS_PIN_LEN + 1] = "";
	bool good = true;

	cfg_string(r, tls, "pin", text, sizeof(text));
	if (text[0] == '\0')
		return;
	good = strlen(text) == 2 * CREDS_PIN_LEN;
	for (unsigned i = 0; good && i < CREDS_PIN_LEN; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		good = high >= 0 && low >= 0;
		t->pin[i] = (uint8_t)(16 * high + low);
	}
	if (!good)
		cfg_fail(r, config_setting_get_member(tls, "pin"), "wants 64 hexadecimal digits");
}

static void
client_judge(struct cfg_reader *r, const config_setting_t *tls, struct cfg_tls_client *t)
{
	bool ca = t->verify == CREDS_VERIFY_CA || t->verify == CREDS_VERIFY_NAME;
	bool pinned = config_setting_get_member(tls, "pin") != NULL;

	if (ca && t->ca[0] == '\0')
		cfg_fail(r, tls, "verify = \"ca\" or \"name\" wants a ca");
	if (!ca && t->ca[0] != '\0')
		cfg_fail(
			r,
			config_setting_get_member(tls, "ca"),
			"is looked at with verify = \"ca\" or \"name\" only"
		);
	if (t->verify == CREDS_VERIFY_PIN && !pinned)
		cfg_fail(r, tls, "verify = \"pin\" wants a pin");
	if (t->verify != CREDS_VERIFY_PIN && pinned)
		cfg_fail(
			r,
			config_setting_get_member(tls, "pin"),
			"is looked at with verify = \"pin\" only"
		);
	if (t->verify == CREDS_VERIFY_NONE)
		cfg_warn(r, tls, "verify = \"none\": whoever answers there is taken for a backend");
}

void cfg_pool_tls_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_pool *pool)
{
	static const struct cfg_choice modes[] = {
		{"off", BLOB_LEG_PLAIN},
		{"starttls", BLOB_LEG_STARTTLS},
		{"implicit", BLOB_LEG_IMPLICIT},
		{NULL, 0},
	};
	static const struct cfg_choice verifies[] = {
		{"none", CREDS_VERIFY_NONE},
		{"ca", CREDS_VERIFY_CA},
		{"name", CREDS_VERIFY_NAME},
		{"pin", CREDS_VERIFY_PIN},
		{NULL, 0},
	};
	const config_setting_t *tls = cfg_group(r, s, "tls");
	int mode = BLOB_LEG_PLAIN, verify = CREDS_VERIFY_NAME;
	char name[MR_NAME_LEN] = "";
	struct cfg_tls_client t;

	if (tls == NULL)
		return;
	memset(&t, 0, sizeof(t)); // compared as bytes
	cfg_keys_check(r, tls, CFG_SEC_pool_tls);
	cfg_choose(r, tls, "mode", modes, &mode);
	cfg_choose(r, tls, "verify", verifies, &verify);
	path_read(r, tls, "ca", t.ca);
	cfg_string(r, tls, "name", t.name, sizeof(t.name));
	cfg_string(r, tls, "certificate", name, sizeof(name));
	pin_read(r, tls, &t);
	t.verify = (enum creds_verify)verify;
	t.certificate = name[0] != '\0' ? (int)cfg_index_get(&r->certificates, name) : -1;
	t.line = config_setting_source_line(tls);
	if (name[0] != '\0' && t.certificate < 0)
		cfg_fail(
			r,
			config_setting_get_member(tls, "certificate"),
			"\"%s\" is not among certificates",
			name
		);
	pool->tls_mode = (enum blob_leg_tls)mode;
	if (mode == BLOB_LEG_PLAIN)
		return;
	client_judge(r, tls, &t);
	pool->tls_client = client_intern(r, &t);
}

void cfg_tls_limits_read(
	struct cfg_reader *r,
	const config_setting_t *limits,
	struct cfg_service *service
)
{
	static const struct cfg_choice overflows[] = {
		{"hold", BLOB_OVERFLOW_HOLD}, {"plaintext", BLOB_OVERFLOW_PLAINTEXT}, {NULL, 0}
	};
	uint64_t at_once = service->shakes_per_client, a_second = service->shakes_per_second;
	int overflow = service->tls_overflow;

	cfg_uint(r, limits, "tls_handshakes_per_client", (uint64_t[2]){0, 1000000}, &at_once);
	cfg_uint(
		r,
		limits,
		"tls_handshakes_per_second",
		(uint64_t[2]){0, BLOB_MAX_SHAKES_PER_SECOND},
		&a_second
	);
	cfg_duration(r, limits, "tls_queue_timeout", &service->tls_queue_ms);
	cfg_choose(r, limits, "tls_overflow", overflows, &overflow);
	if (service->tls_queue_ms > QUEUE_MAX_MS)
		cfg_fail(
			r,
			config_setting_get_member(limits, "tls_queue_timeout"),
			"at most 4m: clients wait for five minutes"
		);
	service->shakes_per_client = (uint32_t)at_once;
	service->shakes_per_second = (uint32_t)a_second;
	service->tls_overflow = (enum blob_tls_overflow)overflow;
}

static bool service_listens_at(const struct cfg_service *service, uint16_t port)
{
	for (unsigned i = 0; i < service->listen_count; i++)
		if (service->listen[i].port == port)
			return true;
	return false;
}

static void passthrough_judge(
	struct cfg_reader *r,
	const config_setting_t *s,
	const struct cfg_service *service
)
{
	bool any = service->policy.tls_mode == BLOB_TLS_PASSTHROUGH;

	for (unsigned i = 0; i < service->rule_count; i++)
		any = any || service->rules[i].policy.tls_mode == BLOB_TLS_PASSTHROUGH;
	if (any && service->pool < r->cfg->pool_count &&
	    r->cfg->pools[service->pool].tls_mode == BLOB_LEG_IMPLICIT)
		cfg_fail(
			r,
			s,
			"passthrough leaves TLS to client and backend, who begin in clear: not "
			"with a pool whose tls is implicit"
		);
}

void cfg_service_tls_judge(
	struct cfg_reader *r,
	const config_setting_t *s,
	const struct cfg_service *service
)
{
	const config_setting_t *tls = config_setting_get_member(s, "tls");
	enum blob_tls_mode mode = service->policy.tls_mode;

	passthrough_judge(r, s, service);
	if (service->tls_overflow == BLOB_OVERFLOW_PLAINTEXT && mode == BLOB_TLS_STARTTLS_REQUIRED)
		cfg_warn(
			r,
			tls,
			"tls_overflow = \"plaintext\" helps nobody where TLS is required: beyond a "
			"limit clients are told 454, then 530 to MAIL"
		);
	if (mode == BLOB_TLS_STARTTLS_REQUIRED && service_listens_at(service, PORT_SMTP))
		cfg_warn(
			r,
			tls,
			"starttls-required on port 25: a server that the world sends mail to must "
			"not require TLS (RFC 3207 4); senders without it will bounce"
		);
	if (mode == BLOB_TLS_IMPLICIT && service_listens_at(service, PORT_SMTP))
		cfg_warn(r, tls, "implicit on port 25: no server begins with TLS there");
	if (mode != BLOB_TLS_IMPLICIT && mode != BLOB_TLS_PASSTHROUGH &&
	    service_listens_at(service, PORT_SUBMISSIONS))
		cfg_warn(
			r,
			s,
			"port 465 without implicit TLS: clients begin with TLS there (RFC 8314)"
		);
}
