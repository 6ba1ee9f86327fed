// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See credentials.h. What control hands over is copied before it is looked at, and the copy is
// wiped as soon as TLS has parsed it. Main thread, but for credentials_put.

#include "dataplane/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/certs.h"

#define THIN_A_TURN 16 // contexts, of 6 us each
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static_assert((int)CREDS_AUTH_REQUIRE == (int)TLS_CLIENT_REQUIRE, "the same numbers");
static_assert((int)CREDS_VERIFY_PIN == (int)TLS_VERIFY_PIN, "the same numbers");
static_assert(CREDS_PIN_LEN == TLS_PIN_LEN, "the same length");

// Only a memfd can bear these seals: reading one never waits for anybody.
int bundle_take(int fd, struct bundle *ret, const char **ret_reason)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	size_t done = 0;

	*ret = (struct bundle){0};
	*ret_reason = "credentials: no sealed memory";
	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EINVAL;
	*ret_reason = "credentials: length";
	if (st.st_size < (off_t)sizeof(struct creds_header) || st.st_size > CREDS_MAX_BYTES)
		return -EINVAL;
	*ret_reason = "credentials: no memory";
	ret->len = (size_t)st.st_size;
	ret->data = secret_new(ret->len);
	if (ret->data == NULL)
		return -ENOMEM;
	while (done < ret->len) {
		ssize_t n = pread(fd, (uint8_t *)ret->data + done, ret->len - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			*ret_reason = "credentials: cannot be read";
			bundle_release(ret);
			return -EINVAL;
		}
		done += (size_t)n;
	}
	return 0;
}

void bundle_release(struct bundle *b)
{
	secret_free(b->data, b->len);
	*b = (struct bundle){0};
}

static struct tls_pem pem_of(const struct bundle *b, const struct creds_text *t)
{
	if (t->len == 0)
		return (struct tls_pem){0};
	return (struct tls_pem){.data = (const char *)b->data + t->off, .len = t->len};
}

static const void *array_of(const struct bundle *b, const struct blob_array *a)
{
	return (const uint8_t *)b->data + a->off;
}

static struct tls_pair pair_of(const struct bundle *b, uint32_t i)
{
	const struct creds_header *h = b->data;
	const struct creds_cert *cert = (const struct creds_cert *)array_of(b, &h->certs) + i;

	return (struct tls_pair){.chain = pem_of(b, &cert->chain), .key = pem_of(b, &cert->key)};
}

static uint32_t handshakes_of(const struct credentials_config *config, unsigned worker)
{
	return cfg_share(config->max_handshakes, config->workers, worker);
}

struct making {
	const struct credentials_config *config;
	const struct bundle *bundle;
	struct tls_shelf *shelf; // of the worker
	char *reason;
};

static struct tls_creds *server_make(const struct making *m, unsigned worker, uint32_t i)
{
	const struct creds_header *h = m->bundle->data;
	const struct creds_server *s = array_of(m->bundle, &h->servers);
	const uint32_t *ref = array_of(m->bundle, &h->refs);
	struct tls_pair pair[CREDS_MAX_OF_SERVER];
	const struct tls_creds_config config = {
		.shelf = m->shelf,
		.server = true,
		.pairs = pair,
		.pair_count = s[i].ref_count,
		.ca = pem_of(m->bundle, &s[i].ca),
		.client_auth = (enum tls_client_auth)s[i].client_auth,
		.max_handshakes = handshakes_of(m->config, worker),
		.tickets = s[i].tickets != 0,
	};

	for (uint32_t k = 0; k < s[i].ref_count; k++)
		pair[k] = pair_of(m->bundle, ref[s[i].refs + k]);
	return tls_creds_new(m->config->engine[worker], &config, m->reason);
}

static struct tls_creds *client_make(const struct making *m, unsigned worker, uint32_t i)
{
	const struct creds_header *h = m->bundle->data;
	const struct creds_client *c = array_of(m->bundle, &h->clients);
	struct tls_creds_config config = {
		.shelf = m->shelf,
		.ca = pem_of(m->bundle, &c[i].ca),
		.verify = (enum tls_verify)c[i].verify,
		.name = c[i].name,
		.max_handshakes = handshakes_of(m->config, worker),
	};
	struct tls_pair pair;

	memcpy(config.pin, c[i].pin, sizeof(config.pin));
	if (c[i].cert != 0) {
		pair = pair_of(m->bundle, c[i].cert - 1);
		config.pairs = &pair;
		config.pair_count = 1;
	}
	return tls_creds_new(m->config->engine[worker], &config, m->reason);
}

static bool set_make(const struct making *m, unsigned worker, struct tls_set *set)
{
	const struct creds_header *h = m->bundle->data;

	set->server = calloc(h->servers.count + 1, sizeof(struct tls_creds *));
	set->client = calloc(h->clients.count + 1, sizeof(struct tls_creds *));
	snprintf(m->reason, 128, "no memory");
	if (set->server == NULL || set->client == NULL)
		return false;
	for (; set->server_count < h->servers.count; set->server_count++) {
		set->server[set->server_count] = server_make(m, worker, set->server_count);
		if (set->server[set->server_count] == NULL)
			return false;
	}
	for (; set->client_count < h->clients.count; set->client_count++) {
		set->client[set->client_count] = client_make(m, worker, set->client_count);
		if (set->client[set->client_count] == NULL)
			return false;
	}
	return true;
}

static bool certs_note(struct credentials *c, const struct bundle *bundle)
{
	const struct creds_header *h = bundle->data;
	const struct creds_cert *cert = array_of(bundle, &h->certs);

	c->cert = calloc(h->certs.count + 1, sizeof(*c->cert));
	if (c->cert == NULL)
		return false;
	c->cert_count = h->certs.count;
	for (unsigned i = 0; i < c->cert_count; i++) {
		memcpy(c->cert[i].name, cert[i].name, sizeof(c->cert[i].name));
		c->cert[i].not_after = cert[i].not_after;
	}
	return true;
}

struct credentials *credentials_new(
	const struct credentials_config *config,
	const struct bundle *bundle,
	char ret_reason[192]
)
{
	char reason[128] = "no memory";
	struct making making = {.config = config, .bundle = bundle, .reason = reason};
	struct credentials *c = calloc(1, sizeof(*c));
	bool good = c != NULL;

	if (good) {
		certs_digest(bundle->data, bundle->len, c->digest);
		c->set = calloc(config->workers, sizeof(*c->set));
		c->shelf = calloc(config->workers, sizeof(*c->shelf));
		good = c->set != NULL && c->shelf != NULL && certs_note(c, bundle);
	}
	for (unsigned i = 0; good && i < config->workers; i++) {
		c->workers = i + 1;
		c->shelf[i] =
			tls_shelf_new(config->before != NULL ? config->before->shelf[i] : NULL);
		making.shelf = c->shelf[i];
		good = making.shelf != NULL && set_make(&making, i, &c->set[i]);
		if (good)
			c->parsed += tls_shelf_close(making.shelf);
	}
	if (good)
		return c;
	snprintf(ret_reason, 192, "credentials: %.120s", reason);
	credentials_free(c, false);
	return NULL;
}

bool credentials_thin(const struct tls_set *set)
{
	unsigned n = 0;

	for (unsigned i = 0; i < set->server_count; i++)
		n += tls_creds_thin(set->server[i], THIN_A_TURN - n);
	for (unsigned i = 0; i < set->client_count; i++)
		n += tls_creds_thin(set->client[i], THIN_A_TURN - n);
	return n < THIN_A_TURN;
}

void credentials_put(const struct tls_set *set)
{
	for (unsigned i = 0; i < set->server_count; i++)
		tls_creds_put(set->server[i]);
	for (unsigned i = 0; i < set->client_count; i++)
		tls_creds_put(set->client[i]);
}

void credentials_free(struct credentials *c, bool taken)
{
	if (c == NULL)
		return;
	for (unsigned i = 0; i < c->workers; i++) {
		if (!taken)
			credentials_put(&c->set[i]);
		free(c->set[i].server);
		free(c->set[i].client);
		tls_shelf_free(c->shelf[i]);
	}
	free(c->set);
	free(c->shelf);
	free(c->cert);
	free(c);
}
