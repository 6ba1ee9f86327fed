// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Metrics of ports, virtual services, backends and pools, with the names that the segment carries.
// A scrape stays small with many backends: of reply times a backend has sum and count, only its
// pool a histogram, at edges that policies' delays do not straddle.

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "common/abi/blob.h"
#include "common/abi/hist.h"
#include "tools/metrics.h"

#define POOLS_MAX 1024

// Upper edges shown, each an edge of common/abi/hist.c.
static const uint64_t shown_us[] = {
	256,
	1024,
	4096,
	16384,
	65536,
	262144,
	524288,
	990000,
	2097152,
	4950000,
	9900000,
	14850000,
	19800000,
	29700000,
	59400000,
	134217728,
	268435456,
	594000000,
};
#define SHOWN (sizeof(shown_us) / sizeof(shown_us[0]))

struct family {
	const char *name, *help;
	size_t offset;
	bool wide; // uint64_t, else uint32_t
	bool counter;
};

#define COUNTER(type, name, member, help) {name, help, offsetof(type, member), true, true}
#define GAUGE(type, name, member, help) {name, help, offsetof(type, member), false, false}
#define B struct shm_backend_local
#define P struct shm_port
#define S struct shm_service_local

static const struct family backend_families[] = {
	GAUGE(B, "backend_connections", active, "Connections open to a backend."),
	GAUGE(B, "backend_connecting", connecting, "Of these not greeted yet."),
	GAUGE(B,
	      "backend_orphans",
	      orphans,
	      "Of these without a client, until they can be left politely."),
	COUNTER(B, "backend_connects_total", connects, "Connections begun."),
	COUNTER(B, "backend_connect_refused_total", connect_refused, "Connections refused."),
	COUNTER(B,
		"backend_connect_timeouts_total",
		connect_timeouts,
		"Not connected or greeted in time."),
	COUNTER(B, "backend_resets_total", resets, "Connections reset by a backend."),
	COUNTER(B, "backend_sessions_total", sessions, "Sessions greeted."),
	COUNTER(B, "backend_messages_total", messages, "Messages accepted."),
	COUNTER(B, "backend_recipients_total", recipients, "Recipients accepted."),
	COUNTER(B, "backend_message_bytes_total", bytes, "Bytes of messages sent."),
	COUNTER(B, "backend_replies_4xx_total", replies_4xx, "Replies of class 4."),
	COUNTER(B, "backend_replies_5xx_total", replies_5xx, "Replies of class 5."),
	COUNTER(B, "backend_replies_421_total", replies_421, "Replies 421."),
	COUNTER(B,
		"backend_end_of_data_lost_total",
		eod_lost,
		"Messages sent whole whose reply was lost (RFC 1047)."),
};

static const struct family service_families[] = {
	GAUGE(S, "virtual_service_sessions", active, "Sessions open."),
	COUNTER(S, "virtual_service_sessions_total", sessions, "Sessions accepted."),
	COUNTER(S, "virtual_service_refused_total", refused, "Sessions refused by us."),
	COUNTER(S,
		"virtual_service_no_backend_total",
		no_backend,
		"Sessions told 421 for want of a backend."),
	COUNTER(S, "virtual_service_messages_total", messages, "Messages accepted."),
	COUNTER(S, "virtual_service_recipients_total", recipients, "Recipients accepted."),
	COUNTER(S, "virtual_service_message_bytes_total", bytes, "Bytes of messages."),
};

static const struct family port_families[] = {
	COUNTER(P, "port_receive_packets_total", rx_packets, "Packets received."),
	COUNTER(P, "port_receive_bytes_total", rx_bytes, "Bytes received."),
	COUNTER(P,
		"port_receive_missed_total",
		rx_missed,
		"Packets dropped by the NIC: its queues were full."),
	COUNTER(P, "port_receive_errors_total", rx_errors, "Packets received in error."),
	COUNTER(P,
		"port_receive_no_buffer_total",
		rx_nombuf,
		"Packets dropped for want of a buffer."),
	COUNTER(P, "port_transmit_packets_total", tx_packets, "Packets sent."),
	COUNTER(P, "port_transmit_bytes_total", tx_bytes, "Bytes sent."),
	COUNTER(P, "port_transmit_errors_total", tx_errors, "Packets that could not be sent."),
};

static void head_write(const struct family *f, FILE *out)
{
	fprintf(out,
		"# HELP mailrace_%s %s\n# TYPE mailrace_%s %s\n",
		f->name,
		f->help,
		f->name,
		f->counter ? "counter" : "gauge");
}

// A field of one slot over all workers; stride: of one slot in a worker's block.
static uint64_t field_sum(
	const struct shm_view *view,
	enum shm_section section,
	uint64_t stride,
	uint32_t slot,
	const struct family *f
)
{
	uint64_t sum = 0;

	for (uint32_t w = 0; w < view->header->workers; w++) {
		const uint8_t *block = shm_view_entry(view, section, w, (slot + 1) * stride);
		const uint8_t *at;

		if (block == NULL)
			continue;
		at = block + slot * stride + f->offset;
		sum += f->wide ? __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED)
			       : __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
	}
	return sum;
}

// Slots of the configuration in force; one that has left it shows nothing.
static const struct shm_backend *backend_at(const struct shm_view *view, uint32_t slot)
{
	const struct shm_backend *b =
		shm_view_entry(view, SHM_SEC_BACKEND, 0, (slot + 1) * sizeof(*b));

	return b != NULL && b[slot].generation != 0 &&
			       b[slot].generation >= view->header->generation
		       ? &b[slot]
		       : NULL;
}

static const struct shm_service *service_at(const struct shm_view *view, uint32_t slot)
{
	const struct shm_service *s =
		shm_view_entry(view, SHM_SEC_SERVICE, 0, (slot + 1) * sizeof(*s));

	return s != NULL && s[slot].generation != 0 &&
			       s[slot].generation >= view->header->generation
		       ? &s[slot]
		       : NULL;
}

// A label's value: backslash, quote and line feed escaped.
static const char *label(const char *text, char buf[2 * MR_NAME_LEN])
{
	size_t n = 0;

	for (unsigned i = 0; i < MR_NAME_LEN - 1 && text[i] != '\0'; i++) {
		if (text[i] == '"' || text[i] == '\\')
			buf[n++] = '\\';
		buf[n++] = text[i] == '\n' ? ' ' : text[i];
	}
	buf[n] = '\0';
	return buf;
}

static void backends_write(const struct shm_view *view, FILE *out)
{
	char pool[2 * MR_NAME_LEN], name[2 * MR_NAME_LEN];

	for (unsigned i = 0; i < sizeof(backend_families) / sizeof(backend_families[0]); i++) {
		const struct family *f = &backend_families[i];

		head_write(f, out);
		for (uint32_t slot = 1; slot < view->header->backend_slots; slot++) {
			const struct shm_backend *b = backend_at(view, slot);

			if (b != NULL)
				fprintf(out,
					"mailrace_%s{pool=\"%s\",backend=\"%s\"} %" PRIu64 "\n",
					f->name,
					label(b->pool, pool),
					label(b->name, name),
					field_sum(view, SHM_SEC_BACKEND_LOCAL, sizeof(B), slot, f));
		}
	}
}

static void health_write(const struct shm_view *view, FILE *out)
{
	const struct family up = {
		"backend_up",
		"Whether a backend may take sessions: 0 when probes found it down.",
		0,
		false,
		false
	};
	const struct family drain = {
		"backend_drained", "Whether a backend is drained.", 0, false, false
	};
	char pool[2 * MR_NAME_LEN], name[2 * MR_NAME_LEN];

	for (unsigned k = 0; k < 2; k++) {
		head_write(k == 0 ? &up : &drain, out);
		for (uint32_t slot = 1; slot < view->header->backend_slots; slot++) {
			const struct shm_backend *b = backend_at(view, slot);
			bool is_up;

			if (b == NULL)
				continue;
			is_up = b->health != SHM_HEALTH_DOWN && b->health != SHM_HEALTH_MAINTENANCE;
			fprintf(out,
				"mailrace_%s{pool=\"%s\",backend=\"%s\"} %d\n",
				k == 0 ? up.name : drain.name,
				label(b->pool, pool),
				label(b->name, name),
				k == 0 ? is_up : b->admin != BLOB_ADMIN_ENABLED);
		}
	}
}

static void services_write(const struct shm_view *view, FILE *out)
{
	char name[2 * MR_NAME_LEN];

	for (unsigned i = 0; i < sizeof(service_families) / sizeof(service_families[0]); i++) {
		const struct family *f = &service_families[i];

		head_write(f, out);
		for (uint32_t slot = 1; slot < view->header->service_slots; slot++) {
			const struct shm_service *s = service_at(view, slot);

			if (s != NULL)
				fprintf(out,
					"mailrace_%s{virtual_service=\"%s\"} %" PRIu64 "\n",
					f->name,
					label(s->name, name),
					field_sum(view, SHM_SEC_SERVICE_LOCAL, sizeof(S), slot, f));
		}
	}
}

static const struct shm_port *port_at(const struct shm_view *view, unsigned i)
{
	const struct shm_port *p = shm_view_entry(view, SHM_SEC_PORT, 0, (i + 1) * sizeof(*p));

	return p != NULL && p[i].name[0] != '\0' ? &p[i] : NULL;
}

static void port_links_write(const struct shm_view *view, FILE *out)
{
	const struct family changes = {
		"port_link_changes_total", "Times the link went up or down.", 0, true, true
	};
	const struct family rss = {
		"port_rss", "Whether the NIC itself finds the worker of a tuple.", 0, false, false
	};
	const struct family *const families[] = {&changes, &rss};
	const struct shm_port_link *l;
	const struct shm_port *p;
	char name[2 * MR_NAME_LEN];

	for (unsigned i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		head_write(families[i], out);
		for (unsigned k = 0; (p = port_at(view, k)) != NULL; k++) {
			l = shm_view_entry(view, SHM_SEC_PORT_LINK, k, sizeof(*l));
			if (l == NULL)
				break;
			fprintf(out,
				"mailrace_%s{port=\"%s\"} %" PRIu64 "\n",
				families[i]->name,
				label(p->name, name),
				families[i] == &rss ? l->spread == SHM_SPREAD_RSS : l->changes);
		}
	}
}

static void ports_write(const struct shm_view *view, FILE *out)
{
	const struct family up = {"port_up", "Whether the link is up.", 0, false, false};
	const struct shm_port *p;
	char name[2 * MR_NAME_LEN];

	head_write(&up, out);
	for (unsigned k = 0; (p = port_at(view, k)) != NULL; k++)
		fprintf(out,
			"mailrace_port_up{port=\"%s\"} %d\n",
			label(p->name, name),
			p->link_up != 0);
	for (unsigned i = 0; i < sizeof(port_families) / sizeof(port_families[0]); i++) {
		const struct family *f = &port_families[i];

		head_write(f, out);
		for (unsigned k = 0; (p = port_at(view, k)) != NULL; k++)
			fprintf(out,
				"mailrace_%s{port=\"%s\"} %" PRIu64 "\n",
				f->name,
				label(p->name, name),
				*(const uint64_t *)((const uint8_t *)p + f->offset));
	}
	port_links_write(view, out);
}

static struct shm_hist hist_sum(const struct shm_view *view, uint32_t slot, unsigned verb)
{
	struct shm_hist sum = {0};

	for (uint32_t w = 0; w < view->header->workers; w++) {
		const struct shm_backend_local *b =
			shm_view_entry(view, SHM_SEC_BACKEND_LOCAL, w, (slot + 1) * sizeof(*b));

		if (b != NULL)
			hist_merge(&sum, &b[slot].latency[verb]);
	}
	return sum;
}

static void backend_replies_write(const struct shm_view *view, FILE *out)
{
	char pool[2 * MR_NAME_LEN], name[2 * MR_NAME_LEN];

	fprintf(out,
		"# HELP mailrace_backend_reply_seconds Time of a backend's replies by verb group.\n"
		"# TYPE mailrace_backend_reply_seconds summary\n");
	for (uint32_t slot = 1; slot < view->header->backend_slots; slot++) {
		const struct shm_backend *b = backend_at(view, slot);

		for (unsigned v = 0; b != NULL && v < SHM_VERB_GROUPS; v++) {
			struct shm_hist h = hist_sum(view, slot, v);

			if (h.count == 0)
				continue;
			label(b->pool, pool);
			label(b->name, name);
			fprintf(out,
				"mailrace_backend_reply_seconds_sum{pool=\"%s\",backend=\"%s\","
				"verb=\"%s\"} "
				"%.6f\n"
				"mailrace_backend_reply_seconds_count{pool=\"%s\",backend=\"%s\","
				"verb=\"%s\"} "
				"%" PRIu64 "\n",
				pool,
				name,
				hist_verb_names[v],
				(double)h.sum_us / 1e6,
				pool,
				name,
				hist_verb_names[v],
				h.count);
		}
	}
}

static void hist_write(const struct shm_hist *h, const char *pool, const char *verb, FILE *out)
{
	uint64_t below = 0;
	unsigned bucket = 0;

	for (unsigned i = 0; i < SHOWN; i++) {
		for (; hist_edge_us(bucket) <= shown_us[i]; bucket++)
			below += h->bucket[bucket];
		fprintf(out,
			"mailrace_pool_reply_seconds_bucket{pool=\"%s\",verb=\"%s\",le=\"%g\"} "
			"%" PRIu64 "\n",
			pool,
			verb,
			(double)shown_us[i] / 1e6,
			below);
	}
	for (; bucket < SHM_HIST_BUCKETS; bucket++)
		below += h->bucket[bucket];
	fprintf(out,
		"mailrace_pool_reply_seconds_bucket{pool=\"%s\",verb=\"%s\",le=\"+Inf\"} %" PRIu64
		"\n"
		"mailrace_pool_reply_seconds_sum{pool=\"%s\",verb=\"%s\"} %.6f\n"
		"mailrace_pool_reply_seconds_count{pool=\"%s\",verb=\"%s\"} %" PRIu64 "\n",
		pool,
		verb,
		below,
		pool,
		verb,
		(double)h->sum_us / 1e6,
		pool,
		verb,
		below);
}

// One pool, named by its first backend, which stands in slot first.
static void
pool_write(const struct shm_view *view, const struct shm_backend *head, uint32_t first, FILE *out)
{
	char pool[2 * MR_NAME_LEN];

	for (unsigned v = 0; v < SHM_VERB_GROUPS; v++) {
		struct shm_hist sum = {0};

		for (uint32_t slot = first; slot < view->header->backend_slots; slot++) {
			const struct shm_backend *b = backend_at(view, slot);
			struct shm_hist h;

			if (b == NULL || strncmp(b->pool, head->pool, MR_NAME_LEN) != 0)
				continue;
			h = hist_sum(view, slot, v);
			hist_merge(&sum, &h);
		}
		if (sum.count > 0)
			hist_write(&sum, label(head->pool, pool), hist_verb_names[v], out);
	}
}

// A reload may take a backend out of force between two looks: what was found once is kept.
static void pools_write(const struct shm_view *view, FILE *out)
{
	const struct shm_backend *heads[POOLS_MAX];
	unsigned count = 0;

	fprintf(out,
		"# HELP mailrace_pool_reply_seconds Time of a pool's replies by verb group.\n"
		"# TYPE mailrace_pool_reply_seconds histogram\n");
	for (uint32_t slot = 1; slot < view->header->backend_slots; slot++) {
		const struct shm_backend *b = backend_at(view, slot);
		bool seen = b == NULL;

		for (unsigned i = 0; i < count && !seen; i++)
			seen = strncmp(heads[i]->pool, b->pool, MR_NAME_LEN) == 0;
		if (seen || count == POOLS_MAX)
			continue;
		heads[count++] = b;
		pool_write(view, b, slot, out);
	}
}

void metrics_backends_write(const struct shm_view *view, FILE *out)
{
	ports_write(view, out);
	health_write(view, out);
	backends_write(view, out);
	services_write(view, out);
	backend_replies_write(view, out);
	pools_write(view, out);
}
