// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// From the files that a configuration names to the bundle, see certs.h. Each file is read once.
// Main thread.

#include "config/certs_types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TICKET_FILE_MIN 32
#define TICKET_FILE_MAX 4096

struct loading {
	const struct cfg *cfg;
	struct cfg_errors *errs;
	bool may_lack, bad, lacks; // an error was told; a file could not be read and may_lack
	struct certs *certs;
	struct certs_file *file; // [most], each path once
	unsigned count, most;
	struct creds_tickets tickets;
};

void certs_say(const struct certs_place *at, bool warning, const char *format, ...)
{
	struct cfg_error *e;
	va_list ap;

	if (!warning)
		at->errs->errors++;
	if (at->errs->count++ >= CFG_MAX_ERRORS)
		return;
	e = &at->errs->item[at->errs->count - 1];
	*e = (struct cfg_error){.line = at->line, .warning = warning};
	snprintf(e->file, sizeof(e->file), "%.255s", at->file);
	snprintf(e->key, sizeof(e->key), "%.127s", at->key);
	va_start(ap, format);
	vsnprintf(e->reason, sizeof(e->reason), format, ap);
	va_end(ap);
}

void *secret_new(size_t len)
{
	void *data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (data == MAP_FAILED)
		return NULL;
	madvise(data, len, MADV_DONTDUMP);
	(void)mlock(data, len); // out of swap where the limit allows it
	return data;
}

void secret_free(void *data, size_t len)
{
	if (data == NULL)
		return;
	explicit_bzero(data, len);
	munmap(data, len);
}

static bool all_read(int fd, uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

// A text: the reason why it cannot be had.
static const char *file_fill(int fd, struct certs_file *f, uint32_t max)
{
	struct stat st;
	size_t len;

	if (fstat(fd, &st) < 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "is no plain file";
	if (st.st_size == 0)
		return "is empty";
	if (st.st_size > (off_t)max)
		return "is too large";
	len = (size_t)st.st_size;
	f->data = secret_new(len + 1);
	if (f->data == NULL)
		return "no memory";
	f->len = (uint32_t)len + 1;
	f->mode = st.st_mode;
	if (!all_read(fd, f->data, len))
		return "has changed while it was read";
	return !f->binary && memchr(f->data, '\0', len) != NULL ? "is no text (PEM)" : NULL;
}

static void
file_read(struct loading *l, const struct certs_place *at, struct certs_file *f, uint32_t max)
{
	int fd = open(f->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	bool lacks = fd < 0 && (errno == EACCES || errno == EPERM) && l->may_lack;
	const char *reason = fd < 0 ? strerror(errno) : file_fill(fd, f, max);

	if (fd >= 0)
		close(fd);
	if (reason == NULL)
		return;
	secret_free(f->data, f->len);
	f->data = NULL;
	l->lacks = l->lacks || lacks;
	l->bad = l->bad || !lacks;
	certs_say(at, lacks, "%.200s: %s%s", f->path, reason, lacks ? ": not checked" : "");
}

// The file of that path, read at its first mention.
static struct certs_file *
file_get(struct loading *l, const struct certs_place *at, const char *path, uint32_t max)
{
	struct certs_file *f = l->file;

	for (unsigned i = 0; i < l->count; i++, f++)
		if (strcmp(f->path, path) == 0)
			return f;
	l->count++;
	f->path = path;
	file_read(l, at, f, max);
	return f;
}

static void certificate_load(struct loading *l, unsigned i)
{
	const struct cfg_certificate *c = &l->cfg->certificates[i];
	struct certs_place at = {.errs = l->errs, .file = l->cfg->path, .line = c->line};
	struct certs_info *info = &l->certs->info[i];
	const struct certs_file *chain, *key;

	snprintf(at.key, sizeof(at.key), "certificates.%s", c->name);
	memcpy(info->name, c->name, sizeof(info->name));
	chain = file_get(l, &at, c->chain, CREDS_MAX_CHAIN);
	key = file_get(l, &at, c->key, CREDS_MAX_KEY);
	if (key->data != NULL && (key->mode & S_IROTH) != 0)
		certs_say(&at, true, "%.200s: everybody may read this key", key->path);
	if (chain->data != NULL && !certs_judge(&at, chain, key, info))
		l->bad = true;
}

static void ca_load(struct loading *l, const char *path, const char *what, unsigned line)
{
	struct certs_place at = {.errs = l->errs, .file = l->cfg->path, .line = line};
	unsigned before = l->count;
	const struct certs_file *f;

	if (path[0] == '\0')
		return;
	snprintf(at.key, sizeof(at.key), "%s", what);
	f = file_get(l, &at, path, CREDS_MAX_CA);
	if (l->count > before && f->data != NULL && !certs_ca_judge(&at, f))
		l->bad = true;
}

// The secret of ticket keys: the digest of what is in its file.
static void tickets_load(struct loading *l)
{
	const struct cfg_tickets *t = &l->cfg->tickets;
	struct certs_place at = {
		.errs = l->errs,
		.file = l->cfg->path,
		.line = t->line,
		.key = "tls_tickets.key_file"
	};
	struct certs_file f = {.path = t->key_file, .binary = true};

	l->tickets.rotation_s = t->rotation_s;
	if (t->key_file[0] == '\0')
		return;
	file_read(l, &at, &f, TICKET_FILE_MAX);
	if (f.data == NULL)
		return;
	if (f.len - 1 < TICKET_FILE_MIN) {
		certs_say(&at, false, "%.200s: %u bytes, wants 32 or more", f.path, f.len - 1);
		l->bad = true;
	}
	if ((f.mode & S_IROTH) != 0)
		certs_say(&at, true, "%.200s: everybody may read this key", f.path);
	certs_digest(f.data, f.len - 1, l->tickets.secret);
	l->tickets.shared = 1;
	secret_free(f.data, f.len);
}

static void place(uint32_t *off, struct blob_array *array, uint32_t count, size_t size)
{
	array->off = *off;
	array->count = count;
	*off = (uint32_t)((*off + count * size + 7) / 8 * 8);
}

static struct creds_text text_of(const struct loading *l, const char *path)
{
	for (unsigned i = 0; path[0] != '\0' && i < l->count; i++)
		if (strcmp(l->file[i].path, path) == 0)
			return (struct creds_text){l->file[i].off, l->file[i].len};
	return (struct creds_text){0};
}

static void bundle_fill(struct loading *l, struct creds_header *h)
{
	const struct cfg *cfg = l->cfg;
	uint8_t *base = (uint8_t *)h;
	struct creds_cert *cert = (struct creds_cert *)(base + h->certs.off);
	struct creds_server *server = (struct creds_server *)(base + h->servers.off);
	struct creds_client *client = (struct creds_client *)(base + h->clients.off);
	uint32_t *ref = (uint32_t *)(base + h->refs.off), refs = 0;

	for (unsigned i = 0; i < cfg->certificate_count; i++, cert++) {
		memcpy(cert->name, cfg->certificates[i].name, sizeof(cert->name));
		cert->not_after = l->certs->info[i].not_after;
		cert->chain = text_of(l, cfg->certificates[i].chain);
		cert->key = text_of(l, cfg->certificates[i].key);
	}
	for (unsigned i = 0; i < cfg->tls_server_count; i++, server++) {
		const struct cfg_tls_server *t = &cfg->tls_servers[i];

		server->refs = refs;
		server->ref_count = t->certificate_count;
		server->ca = text_of(l, t->ca);
		server->client_auth = t->client_auth;
		server->tickets = t->tickets;
		for (unsigned k = 0; k < t->certificate_count; k++)
			ref[refs++] = t->certificates[k];
	}
	for (unsigned i = 0; i < cfg->tls_client_count; i++, client++) {
		const struct cfg_tls_client *t = &cfg->tls_clients[i];

		client->verify = t->verify;
		client->cert = (uint32_t)(t->certificate + 1);
		client->ca = text_of(l, t->ca);
		memcpy(client->pin, t->pin, sizeof(client->pin));
		memcpy(client->name, t->name, sizeof(client->name));
	}
	for (unsigned i = 0; i < l->count; i++)
		memcpy(base + l->file[i].off, l->file[i].data, l->file[i].len);
}

static void bundle_make(struct loading *l)
{
	const struct cfg *cfg = l->cfg;
	struct creds_header head = {.magic = CREDS_MAGIC, .tickets = l->tickets};
	struct certs_place at = {.errs = l->errs, .file = cfg->path};
	const char *reason;
	uint32_t refs = 0, off = sizeof(head);
	uint64_t length;

	for (unsigned i = 0; i < cfg->tls_server_count; i++)
		refs += cfg->tls_servers[i].certificate_count;
	place(&off, &head.certs, cfg->certificate_count, sizeof(struct creds_cert));
	place(&off, &head.refs, refs, sizeof(uint32_t));
	place(&off, &head.servers, cfg->tls_server_count, sizeof(struct creds_server));
	place(&off, &head.clients, cfg->tls_client_count, sizeof(struct creds_client));
	length = off;
	for (unsigned i = 0; i < l->count; i++) {
		l->file[i].off = (uint32_t)length;
		length += l->file[i].len;
	}
	l->certs->bundle = length <= CREDS_MAX_BYTES ? secret_new(length) : NULL;
	if (l->certs->bundle == NULL) {
		certs_say(&at, false, "certificates and CAs: more than 16 MiB, or no memory");
		l->bad = true;
		return;
	}
	l->certs->bundle_len = length;
	head.length = (uint32_t)length;
	memcpy(l->certs->bundle, &head, sizeof(head));
	explicit_bzero(&head.tickets, sizeof(head.tickets));
	bundle_fill(l, l->certs->bundle);
	certs_digest(l->certs->bundle, length, l->certs->tls.digest);
	if (creds_check(l->certs->bundle, length, &l->certs->tls, &reason) < 0) {
		certs_say(&at, false, "%s", reason);
		l->bad = true;
	}
}

// Everything but the contents of files: are two configurations' credentials the same ones?
static uint64_t recipe_of(const struct cfg *cfg)
{
	size_t certs = cfg->certificate_count * sizeof(*cfg->certificates);
	size_t servers = cfg->tls_server_count * sizeof(*cfg->tls_servers);
	size_t clients = cfg->tls_client_count * sizeof(*cfg->tls_clients);
	size_t rest = sizeof(cfg->tickets.key_file);
	struct cfg_certificate *all = calloc(1, certs + servers + clients + rest);
	uint8_t digest[32] = {0};
	uint64_t recipe;

	if (all == NULL)
		return 0;
	memcpy(all, cfg->certificates, certs);
	for (unsigned i = 0; i < cfg->certificate_count; i++)
		all[i].line = 0;
	if (servers > 0)
		memcpy((uint8_t *)all + certs, cfg->tls_servers, servers);
	for (unsigned i = 0; i < cfg->tls_server_count; i++)
		((struct cfg_tls_server *)((uint8_t *)all + certs))[i].line = 0;
	if (clients > 0)
		memcpy((uint8_t *)all + certs + servers, cfg->tls_clients, clients);
	for (unsigned i = 0; i < cfg->tls_client_count; i++)
		((struct cfg_tls_client *)((uint8_t *)all + certs + servers))[i].line = 0;
	memcpy((uint8_t *)all + certs + servers + clients, cfg->tickets.key_file, rest);
	certs_digest(all, certs + servers + clients + rest, digest);
	free(all);
	memcpy(&recipe, digest, sizeof(recipe));
	return recipe;
}

static void everything_load(struct loading *l)
{
	const struct cfg *cfg = l->cfg;

	for (unsigned i = 0; i < cfg->certificate_count; i++)
		certificate_load(l, i);
	for (unsigned i = 0; i < cfg->tls_server_count; i++)
		ca_load(l, cfg->tls_servers[i].ca, "tls.ca", cfg->tls_servers[i].line);
	for (unsigned i = 0; i < cfg->tls_client_count; i++)
		ca_load(l, cfg->tls_clients[i].ca, "pools: tls.ca", cfg->tls_clients[i].line);
	tickets_load(l);
	if (l->bad || l->lacks)
		return;
	l->certs->tls.servers = cfg->tls_server_count;
	l->certs->tls.clients = cfg->tls_client_count;
	if (!cfg_has_tls(cfg))
		return;
	l->certs->tls.recipe = recipe_of(cfg);
	bundle_make(l);
}

struct certs *certs_load(const struct cfg *cfg, struct cfg_errors *errs, bool may_lack)
{
	struct loading l = {.cfg = cfg, .errs = errs, .may_lack = may_lack};
	struct certs *certs = calloc(1, sizeof(*certs));

	l.most = 2 * cfg->certificate_count + cfg->tls_server_count + cfg->tls_client_count;
	l.file = calloc(l.most + 1, sizeof(*l.file));
	l.certs = certs;
	if (certs != NULL)
		certs->info = calloc(cfg->certificate_count + 1, sizeof(*certs->info));
	l.bad = certs == NULL || l.file == NULL || certs->info == NULL;
	if (!l.bad) {
		certs->count = cfg->certificate_count;
		everything_load(&l);
	} else {
		errs->errors++;
	}
	for (unsigned i = 0; i < l.count; i++)
		secret_free(l.file[i].data, l.file[i].len);
	free(l.file);
	explicit_bzero(&l.tickets, sizeof(l.tickets));
	if (!l.bad)
		return certs;
	certs_free(certs);
	return NULL;
}

int certs_memfd(const struct certs *certs)
{
	int fd, err = 0;
	const uint8_t *at = certs->bundle;
	size_t left = certs->bundle_len;

	if (certs->bundle == NULL)
		return -ENOENT;
	fd = memfd_create("mailrace-credentials", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	while (left > 0 && err == 0) {
		ssize_t n = write(fd, at, left);

		if (n <= 0 && errno != EINTR)
			err = n < 0 ? -errno : -EIO;
		at += n > 0 ? n : 0;
		left -= n > 0 ? (size_t)n : 0;
	}
	if (err == 0 &&
	    (fchmod(fd, S_IRUSR) < 0 ||
	     fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0))
		err = -errno;
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

void certs_keys_wipe(struct certs *certs)
{
	secret_free(certs->bundle, certs->bundle_len);
	certs->bundle = NULL;
	certs->bundle_len = 0;
}

void certs_free(struct certs *certs)
{
	if (certs == NULL)
		return;
	certs_keys_wipe(certs);
	free(certs->info);
	free(certs);
}
