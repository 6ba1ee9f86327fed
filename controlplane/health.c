// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Probes and verdicts, see health.h.

#include "controlplane/health.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/log.h"
#include "config/cfg_index.h"

#define MS 1000000ULL
#define SPREAD_MS 1000       // first probes of a generation
#define STAGES 3             // banner, EHLO, QUIT
#define STAGES_TLS 3         // and STARTTLS, handshake, EHLO, where its legs have TLS
#define ANSWER_GRACE_MS 5000 // beyond what the stages may take together
#define JUDGE_EVERY_MS 1000

// Both names of a backend, as they stand in it: padded with zeroes.
struct health_key {
	char pool[MR_NAME_LEN], name[MR_NAME_LEN];
};
static_assert(
	offsetof(struct health_backend, name) ==
		offsetof(struct health_backend, pool) + offsetof(struct health_key, name),
	"a key stands in it"
);

struct health {
	struct health_backend *backend;
	unsigned count, waiting;
	uint32_t next_id;
	uint32_t next_worker;
	uint32_t known_at;      // after where the last name was found
	struct cfg_index known; // by both names, while a generation is taken over, if need be
	uint64_t judge_ns;      // when the traffic is looked at next
	uint64_t boot_id;       // of the dataplane that the slots belong to
};

const char *health_name(enum shm_health health)
{
	static const char *const names[] = {"unknown", "up", "down", "maintenance", "ejected"};

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
		"no_starttls",
		"tls_failed",
		"certificate_untrusted",
		"certificate_expired",
		"certificate_name",
		"certificate_pin",
	};

	return code < sizeof(names) / sizeof(names[0]) ? names[code] : "unknown";
}

const char *health_stage_name(unsigned stage)
{
	static const char *const names[] = {
		"connect",
		"banner",
		"ehlo",
		"quit",
		"mail",
		"rcpt",
		"data",
		"end_of_data",
		"starttls",
		"tls",
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

void health_admin_set(struct link *link, struct health_backend *b, enum blob_admin admin)
{
	b->admin = admin;
	if (admin == BLOB_ADMIN_ENABLED) // whoever enables it knows better than the traffic did
		b->hold_ns = 0;
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
static void segment_adopt(const struct link *link, struct health_backend *b, uint64_t now_ns)
{
	const struct shm_backend_ctl seen = link->backend_ctl[b->slot];

	b->health = seen.health <= SHM_HEALTH_EJECTED ? (enum shm_health)seen.health
						      : SHM_HEALTH_UNKNOWN;
	b->admin = seen.admin == BLOB_ADMIN_DRAIN ? BLOB_ADMIN_DRAIN : BLOB_ADMIN_ENABLED;
	if (link->verdicts != NULL) {
		const struct shm_backend_verdict v = link->verdicts[b->slot];

		b->ejections = v.ejections;
		b->reason = v.reason < SHM_REASONS ? (enum shm_reason)v.reason : SHM_REASON_NONE;
	}
	if (b->health == SHM_HEALTH_EJECTED || b->health == SHM_HEALTH_MAINTENANCE) {
		b->times = 1;
		b->hold_ns = now_ns + b->ejection_ms * MS;
	}
	if (seen.weight_permille > 0 && seen.weight_permille < 1000 && !health_is_out(b)) {
		b->ramp_ms = b->slow_start_ms; // goes on about where it stood
		b->ramp_ns = now_ns - b->ramp_ms * MS * seen.weight_permille / 1000;
	}
}

// Names stand in the same order in both most times: the next one is looked at first, and only when
// it is another are all put into a table.
static struct health_backend *known_find(struct health *h, const char *pool, const char *name)
{
	struct health_key key = {0};
	uint32_t i = h->known_at;

	if (i >= h->count || strcmp(h->backend[i].name, name) != 0 ||
	    strcmp(h->backend[i].pool, pool) != 0) {
		if (h->known.entry == NULL && cfg_index_init(&h->known, h->count, sizeof(key)))
			for (uint32_t k = 0; k < h->count; k++)
				cfg_index_put(&h->known, h->backend[k].pool, k);
		memcpy(key.pool, pool, strlen(pool));
		memcpy(key.name, name, strlen(name));
		i = cfg_index_get(&h->known, &key);
	}
	if (i == CFG_INDEX_NONE)
		return NULL;
	h->known_at = i + 1;
	return &h->backend[i];
}

static void rules_fill(struct health_backend *b, const struct cfg *cfg, const struct cfg_pool *pool)
{
	b->probe = pool->probe;
	b->stages = STAGES + (pool->tls_mode != BLOB_LEG_PLAIN ? STAGES_TLS : 0);
	b->connect_timeout_ms = pool->connect_timeout_ms;
	b->slow_start_ms = pool->slow_start_ms;
	b->ejection_ms = pool->ejection_ms;
	b->rules = (struct passive_rules){.health = pool->passive_health,
					  .bounces = pool->bounce_guard};
	memset(b->backup, 0, sizeof(b->backup));
	if (pool->backup >= 0)
		memcpy(b->backup, cfg->pools[pool->backup].name, sizeof(b->backup));
}

static void backend_fill(
	struct health *h,
	const struct link *link,
	const struct cfg_pool *pool,
	const struct blob_backend *from,
	struct health_backend *b,
	uint64_t now_ns
)
{
	struct health_backend *known = known_find(h, pool->name, from->name);
	bool same_boot = h->boot_id == link->at.boot_id;

	if (known != NULL) {
		uint32_t first = b->first, peers = b->peers;

		*b = *known;
		b->first = first;
		b->peers = peers;
		if (!same_boot)
			b->request_id = 0;
	} else {
		memcpy(b->pool, pool->name, sizeof(b->pool));
		memcpy(b->name, from->name, sizeof(b->name));
	}
	b->takes_none = from->admin == BLOB_ADMIN_DRAIN || from->weight == 0;
	b->slot = from->slot;
	b->v4 = ip_addr_is_v4(&from->addr);
	if (known == NULL) {
		b->ejection_ms = pool->ejection_ms;
		b->slow_start_ms = pool->slow_start_ms;
		if (h->boot_id == 0)
			segment_adopt(link, b, now_ns); // our first look at it
	}
	if (known == NULL || !same_boot)
		health_judge_anew(link, b, now_ns); // its counters are others
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
		uint32_t first = n;

		for (unsigned k = 0; k < cfg->pools[i].backend_count; k++, n++) {
			struct health_backend *b = &table[n];

			b->first = first;
			b->peers = cfg->pools[i].backend_count;
			backend_fill(h, link, &cfg->pools[i], &from[n], b, now_ns);
			rules_fill(b, cfg, &cfg->pools[i]);
			if (!b->probe.enabled && b->health != SHM_HEALTH_EJECTED &&
			    b->health != SHM_HEALTH_MAINTENANCE) {
				b->health = SHM_HEALTH_UNKNOWN;
				b->reason = SHM_REASON_NONE;
				b->good = b->bad = 0;
			}
			health_ramp(link, b, now_ns);
			health_write(link, b);
			b->index = n;
			if (b->next_ns == 0)
				b->next_ns = now_ns + n * SPREAD_MS * MS / blob->backends.count;
			h->waiting += b->request_id != 0;
		}
	}
	cfg_index_release(&h->known);
	free(h->backend);
	h->backend = table;
	h->count = n;
	h->known_at = 0;
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
		.source = b->probe.source[b->v4],
	};
	b->next_ns = now_ns + b->probe.interval_ms * MS;
	if (!ctl_ring_put(link->commands[h->next_worker++ % link->workers], &msg))
		return; // full: at the next interval
	b->request_id = msg.request_id;
	b->deadline_ns = now_ns + (b->connect_timeout_ms +
				   (uint64_t)b->stages * b->probe.timeout_ms + ANSWER_GRACE_MS) *
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
		health_return(link, b, now_ns);
		health_ramp(link, b, now_ns);
	}
	if (now_ns < h->judge_ns)
		return;
	h->judge_ns = now_ns + JUDGE_EVERY_MS * MS;
	health_judge(h, link, now_ns);
}

static void verdict(struct link *link, struct health_backend *b, bool good, uint64_t now_ns)
{
	// a server that says 421 to the probe as well wants to be left alone
	bool calls_off = b->last.code == CTL_PROBE_BANNER && b->last.reply == 421;
	enum shm_health to = good        ? SHM_HEALTH_UP
			     : calls_off ? SHM_HEALTH_MAINTENANCE
					 : SHM_HEALTH_DOWN;
	// when it is not known it counted as up already
	unsigned need = !good ? b->probe.fall : b->health == SHM_HEALTH_UNKNOWN ? 1 : b->probe.rise;

	b->good = good ? b->good + 1 : 0;
	b->bad = good ? 0 : b->bad + 1;
	if (b->health == to || (good ? b->good : b->bad) < need || (good && now_ns < b->hold_ns))
		return;
	if (calls_off && !good)
		memcpy(b->said, b->last.text, sizeof(b->said));
	health_change(
		link,
		b,
		to,
		good        ? SHM_REASON_NONE
		: calls_off ? SHM_REASON_MAINTENANCE
			    : SHM_REASON_PROBE,
		now_ns
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
