// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Probes and verdicts, see health.h.

#include "controlplane/health.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/log.h"

#define MS 1000000ULL
#define SPREAD_MS 1000       // first probes of a generation
#define STAGES 3             // banner, EHLO, QUIT
#define ANSWER_GRACE_MS 5000 // beyond what the stages may take together

struct health {
	struct health_backend *backend;
	unsigned count, waiting;
	uint32_t next_id;
	uint32_t next_worker;
	unsigned known_at; // where the last name was found
	uint64_t boot_id;  // of the dataplane that the slots belong to
};

const char *health_name(enum shm_health health)
{
	static const char *const names[] = {"unknown", "up", "down", "maintenance"};

	return names[health];
}

const char *health_result_name(unsigned code)
{
	static const char *const names[] = {
		"ok",
		"refused",
		"timeout",
		"bad_banner",
		"bad_ehlo_reply",
		"closed",
		"malformed",
		"no_resource",
		"unreachable",
		"refused_by_reply",
	};

	return code < sizeof(names) / sizeof(names[0]) ? names[code] : "unknown";
}

const char *health_stage_name(unsigned stage)
{
	static const char *const names[] = {
		"connect", "banner", "ehlo", "quit", "mail", "rcpt", "data", "end_of_data"
	};

	return stage < sizeof(names) / sizeof(names[0]) ? names[stage] : "unknown";
}

struct health *health_new(void)
{
	struct health *h = calloc(1, sizeof(*h));

	if (h != NULL && getrandom(&h->next_id, sizeof(h->next_id), 0) < 0) {
		free(h);
		return NULL;
	}
	return h;
}

void health_free(struct health *h)
{
	if (h == NULL)
		return;
	free(h->backend);
	free(h);
}

struct health_backend *health_find(struct health *h, const char *pool, const char *name)
{
	for (unsigned i = 0; i < h->count; i++)
		if (strcmp(h->backend[i].pool, pool) == 0 && strcmp(h->backend[i].name, name) == 0)
			return &h->backend[i];
	return NULL;
}

struct health_backend *health_at(struct health *h, unsigned i)
{
	return i < h->count ? &h->backend[i] : NULL;
}

bool health_is_waiting(const struct health *h)
{
	return h->waiting > 0;
}

static void health_write(const struct link *link, const struct health_backend *b)
{
	__atomic_store_n(&link->backend_ctl[b->slot].health, (uint8_t)b->health, __ATOMIC_RELAXED);
	__atomic_store_n(&link->backend_ctl[b->slot].admin, (uint8_t)b->admin, __ATOMIC_RELAXED);
}

void health_admin_set(struct link *link, struct health_backend *b, enum blob_admin admin)
{
	b->admin = admin;
	if (link_is_open(link))
		health_write(link, b);
	log_line(
		LOG_NOTICE,
		"backend %s/%s: %s",
		b->pool,
		b->name,
		admin == BLOB_ADMIN_DRAIN ? "drained by the operator" : "enabled by the operator"
	);
}

// What a control process before us wrote for the slot.
static void segment_adopt(const struct link *link, struct health_backend *b)
{
	const struct shm_backend_ctl seen = link->backend_ctl[b->slot];

	b->health = seen.health <= SHM_HEALTH_MAINTENANCE ? (enum shm_health)seen.health
							  : SHM_HEALTH_UNKNOWN;
	b->admin = seen.admin == BLOB_ADMIN_DRAIN ? BLOB_ADMIN_DRAIN : BLOB_ADMIN_ENABLED;
}

// Names stand in the same order in both most times: the search begins where the last one ended.
static struct health_backend *known_find(struct health *h, const char *pool, const char *name)
{
	for (unsigned i = 0; i < h->count; i++) {
		struct health_backend *b = &h->backend[(h->known_at + i) % h->count];

		if (strcmp(b->name, name) == 0 && strcmp(b->pool, pool) == 0) {
			h->known_at = (h->known_at + i + 1) % h->count;
			return b;
		}
	}
	return NULL;
}

static void backend_fill(
	struct health *h,
	const struct link *link,
	const struct cfg_pool *pool,
	const struct blob_backend *from,
	struct health_backend *b
)
{
	struct health_backend *known = known_find(h, pool->name, from->name);
	bool same_boot = h->boot_id == link->at.boot_id;

	if (known != NULL) {
		*b = *known;
		if (!same_boot)
			b->request_id = 0;
	} else {
		memcpy(b->pool, pool->name, sizeof(b->pool));
		memcpy(b->name, from->name, sizeof(b->name));
		b->slot = from->slot;
		if (h->boot_id == 0)
			segment_adopt(link, b); // our first look at it
	}
	b->slot = from->slot;
	b->probe = pool->probe;
	b->connect_timeout_ms = pool->connect_timeout_ms;
	if (!b->probe.enabled) {
		b->health = SHM_HEALTH_UNKNOWN;
		b->streak = 0;
	}
	health_write(link, b);
}

int health_configure(struct health *h, const struct cfg *cfg, struct link *link, uint64_t now_ns)
{
	const struct blob_header *blob = link->blob;
	const struct blob_backend *from =
		(const struct blob_backend *)((const uint8_t *)blob + blob->backends.off);
	struct health_backend *table = calloc(blob->backends.count + 1, sizeof(*table));
	unsigned n = 0;

	if (table == NULL)
		return -ENOMEM;
	h->waiting = 0;
	for (unsigned i = 0; i < cfg->pool_count; i++) {
		for (unsigned k = 0; k < cfg->pools[i].backend_count; k++, n++) {
			struct health_backend *b = &table[n];

			backend_fill(h, link, &cfg->pools[i], &from[n], b);
			b->index = n;
			if (b->next_ns == 0)
				b->next_ns = now_ns + n * SPREAD_MS * MS / blob->backends.count;
			h->waiting += b->request_id != 0;
		}
	}
	free(h->backend);
	h->backend = table;
	h->count = n;
	h->boot_id = link->at.boot_id;
	return 0;
}

static void
probe_send(struct health *h, struct link *link, struct health_backend *b, uint64_t now_ns)
{
	struct ctl_msg msg = {
		.type = CTL_CMD_PROBE,
		.length = sizeof(msg.probe),
		.generation = link->blob->generation,
	};

	h->next_id += h->next_id == UINT32_MAX ? 2 : 1; // never 0
	msg.request_id = h->next_id;
	msg.probe = (struct ctl_probe){
		.backend_slot = b->slot,
		.backend_index = b->index,
		.generation = link->blob->generation,
		.timeout_ms = b->probe.timeout_ms,
		.connect_timeout_ms = b->connect_timeout_ms,
		.source = b->probe.source,
	};
	b->next_ns = now_ns + b->probe.interval_ms * MS;
	if (!ctl_ring_put(link->commands[h->next_worker++ % link->workers], &msg))
		return; // full: at the next interval
	b->request_id = msg.request_id;
	b->deadline_ns = now_ns + (b->connect_timeout_ms + (uint64_t)STAGES * b->probe.timeout_ms +
				   ANSWER_GRACE_MS) *
					  MS;
	h->waiting++;
}

void health_run(struct health *h, struct link *link, uint64_t now_ns)
{
	for (unsigned i = 0; i < h->count; i++) {
		struct health_backend *b = &h->backend[i];

		if (b->request_id != 0 && now_ns >= b->deadline_ns) {
			b->request_id = 0; // lost: says nothing of the backend
			h->waiting--;
		}
		if (b->probe.enabled && b->request_id == 0 && now_ns >= b->next_ns)
			probe_send(h, link, b, now_ns);
	}
}

static void verdict(struct link *link, struct health_backend *b, bool good, uint64_t now_ns)
{
	enum shm_health to = good ? SHM_HEALTH_UP : SHM_HEALTH_DOWN;
	unsigned need = good ? b->probe.rise : b->probe.fall;

	if (b->health == to) {
		b->streak = 0;
		return;
	}
	b->streak++;
	if (b->health == SHM_HEALTH_UNKNOWN && good)
		need = 1; // it counted as up already
	if (b->streak < need)
		return;
	b->health = to;
	b->streak = 0;
	b->changed_ns = now_ns;
	health_write(link, b);
	__atomic_store_n(
		&link->backend_ctl[b->slot].changes,
		(uint16_t)(link->backend_ctl[b->slot].changes + 1),
		__ATOMIC_RELEASE
	);
	if (good)
		log_line(LOG_NOTICE, "backend %s/%s is up", b->pool, b->name);
	else
		log_line(
			LOG_WARNING,
			"backend %s/%s is down: %s at %s after %u probes%s%s",
			b->pool,
			b->name,
			health_result_name(b->last.code),
			health_stage_name(b->last.stage),
			need,
			b->last.text[0] != '\0' ? ": " : "",
			b->last.text
		);
}

void health_result(struct health *h, struct link *link, const struct ctl_msg *msg, uint64_t now_ns)
{
	const struct ctl_probe_result *r = &msg->probe_result;
	struct health_backend *b = NULL;

	for (unsigned i = 0; i < h->count && b == NULL; i++)
		if (h->backend[i].request_id == msg->request_id)
			b = &h->backend[i];
	if (b == NULL || msg->request_id == 0 || b->slot != r->backend_slot)
		return; // of a control process before us, or overdue
	b->request_id = 0;
	h->waiting--;
	if (r->code == CTL_PROBE_NO_RESOURCE)
		return; // ours, not the backend's
	b->last = *r;
	b->last.text[sizeof(b->last.text) - 1] = '\0';
	b->last_ns = now_ns;
	b->ok += r->code == CTL_PROBE_OK;
	b->failed += r->code != CTL_PROBE_OK;
	if (b->probe.enabled)
		verdict(link, b, r->code == CTL_PROBE_OK, now_ns);
}
