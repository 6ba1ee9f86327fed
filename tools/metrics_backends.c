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
#include "tools/metrics_rows.h"

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

static uint64_t field_load(const void *block, const struct family *f)
{
	const uint8_t *at = (const uint8_t *)block + f->offset;

	return f->wide ? __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED)
		       : __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
}

// A field of one slot over all workers.
static uint64_t backend_sum(const struct rows *rows, uint32_t slot, const struct family *f)
{
	uint64_t sum = 0;

	for (uint32_t w = 0; w < rows->workers; w++)
		if (rows->backend_block[w] != NULL)
			sum += field_load(&rows->backend_block[w][slot], f);
	return sum;
}

static uint64_t service_sum(const struct rows *rows, uint32_t slot, const struct family *f)
{
	uint64_t sum = 0;

	for (uint32_t w = 0; w < rows->workers; w++)
		if (rows->service_block[w] != NULL)
			sum += field_load(&rows->service_block[w][slot], f);
	return sum;
}

static void line_write(const char *name, const struct row *row, uint64_t value, FILE *out)
{
	fprintf(out, "mailrace_%s{%s} %" PRIu64 "\n", name, row->labels, value);
}

static void backends_write(const struct rows *rows, FILE *out)
{
	for (unsigned i = 0; i < sizeof(backend_families) / sizeof(backend_families[0]); i++) {
		const struct family *f = &backend_families[i];

		head_write(f, out);
		for (uint32_t k = 0; k < rows->backend_count; k++) {
			const struct row *row = &rows->backends[k];

			line_write(f->name, row, backend_sum(rows, row->slot, f), out);
		}
	}
}

static void health_write(const struct rows *rows, FILE *out)
{
	const struct family up = {
		"backend_up",
		"Whether a backend may take sessions: 0 when probes or the traffic found it bad.",
		0,
		false,
		false
	};
	const struct family drain = {
		"backend_drained", "Whether a backend is drained.", 0, false, false
	};

	head_write(&up, out);
	for (uint32_t k = 0; k < rows->backend_count; k++) {
		uint8_t health = rows->names[rows->backends[k].slot].health;

		line_write(
			up.name,
			&rows->backends[k],
			health == SHM_HEALTH_UNKNOWN || health == SHM_HEALTH_UP,
			out
		);
	}
	head_write(&drain, out);
	for (uint32_t k = 0; k < rows->backend_count; k++)
		line_write(
			drain.name,
			&rows->backends[k],
			rows->names[rows->backends[k].slot].admin != BLOB_ADMIN_ENABLED,
			out
		);
}

static void services_write(const struct rows *rows, FILE *out)
{
	for (unsigned i = 0; i < sizeof(service_families) / sizeof(service_families[0]); i++) {
		const struct family *f = &service_families[i];

		head_write(f, out);
		for (uint32_t k = 0; k < rows->service_count; k++) {
			const struct row *row = &rows->services[k];

			line_write(f->name, row, service_sum(rows, row->slot, f), out);
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
				field_load(p, f));
	}
	port_links_write(view, out);
}

static void backend_replies_write(const struct rows *rows, FILE *out)
{
	fprintf(out,
		"# HELP mailrace_backend_reply_seconds Time of a backend's replies by verb group.\n"
		"# TYPE mailrace_backend_reply_seconds summary\n");
	for (uint32_t k = 0; k < rows->backend_count * SHM_VERB_GROUPS; k++) {
		const struct row *row = &rows->backends[k / SHM_VERB_GROUPS];
		unsigned v = k % SHM_VERB_GROUPS;
		uint64_t count = 0, sum_us = 0;

		for (uint32_t w = 0; w < rows->workers; w++) {
			const struct shm_backend_local *block = rows->backend_block[w];
			const struct shm_hist *h =
				block != NULL ? &block[row->slot].latency[v] : NULL;

			count += h != NULL ? __atomic_load_n(&h->count, __ATOMIC_RELAXED) : 0;
			sum_us += h != NULL ? __atomic_load_n(&h->sum_us, __ATOMIC_RELAXED) : 0;
		}
		if (count == 0)
			continue;
		fprintf(out,
			"mailrace_backend_reply_seconds_sum{%s,verb=\"%s\"} %.6f\n"
			"mailrace_backend_reply_seconds_count{%s,verb=\"%s\"} %" PRIu64 "\n",
			row->labels,
			hist_verb_names[v],
			(double)sum_us / 1e6,
			row->labels,
			hist_verb_names[v],
			count);
	}
}

// A histogram over backends and workers: wider than one of them can count.
struct pool_hist {
	uint64_t bucket[SHM_HIST_BUCKETS];
	uint64_t sum_us;
};

static void hist_write(const struct pool_hist *h, const char *pool, const char *verb, FILE *out)
{
	uint64_t below = 0;
	unsigned bucket = 0;

	for (unsigned i = 0; i < SHOWN; i++) {
		for (; hist_edge_us(bucket) <= shown_us[i]; bucket++)
			below += h->bucket[bucket];
		fprintf(out,
			"mailrace_pool_reply_seconds_bucket{pool=\"%s\",verb=\"%s\",le=\"%.9g\"} "
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

static void
hist_add_slot(struct pool_hist *to, const struct rows *rows, uint32_t slot, unsigned verb)
{
	for (uint32_t w = 0; w < rows->workers; w++) {
		const struct shm_hist *h;

		if (rows->backend_block[w] == NULL)
			continue;
		h = &rows->backend_block[w][slot].latency[verb];
		if (__atomic_load_n(&h->count, __ATOMIC_RELAXED) == 0)
			continue;
		to->sum_us += __atomic_load_n(&h->sum_us, __ATOMIC_RELAXED);
		for (unsigned i = 0; i < SHM_HIST_BUCKETS; i++)
			to->bucket[i] += __atomic_load_n(&h->bucket[i], __ATOMIC_RELAXED);
	}
}

// The backends of one pool: rows first to end.
static void pool_write(const struct rows *rows, uint32_t first, uint32_t end, FILE *out)
{
	char pool[2 * MR_NAME_LEN];

	label(rows->backends[first].pool, pool);
	for (unsigned v = 0; v < SHM_VERB_GROUPS; v++) {
		struct pool_hist sum = {0};
		uint64_t count = 0;

		for (uint32_t k = first; k < end; k++)
			hist_add_slot(&sum, rows, rows->backends[k].slot, v);
		for (unsigned i = 0; i < SHM_HIST_BUCKETS; i++)
			count += sum.bucket[i];
		if (count > 0)
			hist_write(&sum, pool, hist_verb_names[v], out);
	}
}

static void pools_write(const struct rows *rows, FILE *out)
{
	uint32_t first = 0;

	fprintf(out,
		"# HELP mailrace_pool_reply_seconds Time of a pool's replies by verb group.\n"
		"# TYPE mailrace_pool_reply_seconds histogram\n");
	for (uint32_t k = 1; k <= rows->backend_count; k++) {
		if (k < rows->backend_count &&
		    strcmp(rows->backends[k].pool, rows->backends[first].pool) == 0)
			continue;
		pool_write(rows, first, k, out);
		first = k;
	}
}

void metrics_backends_write(const struct shm_view *view, FILE *out)
{
	struct rows rows;

	ports_write(view, out);
	if (!rows_init(&rows, view))
		return;
	health_write(&rows, out);
	metrics_health_write(view, &rows, out);
	metrics_tarpit_write(view, &rows, out);
	backends_write(&rows, out);
	services_write(&rows, out);
	backend_replies_write(&rows, out);
	pools_write(&rows, out);
	rows_release(&rows);
}
