// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Metrics of the time lost to tarpits, by reason: only reasons that were met are written, so that a
// page with many backends stays small.

#include <inttypes.h>
#include <string.h>

#include "tools/metrics.h"
#include "tools/metrics_rows.h"

static bool
slot_sum(const struct shm_view *view, uint32_t section, uint32_t slot, struct shm_tarpit *ret)
{
	bool any = false;

	*ret = (struct shm_tarpit){0};
	for (uint32_t w = 0; w < view->header->workers; w++) {
		const struct shm_tarpit *s =
			shm_view_entry(view, section, w, (slot + 1ULL) * sizeof(*s));

		if (s != NULL && shm_tarpit_add(ret, &s[slot]))
			any = true;
	}
	return any;
}

static void head_write(const char *name, const char *type, const char *help, FILE *out)
{
	fprintf(out, "# HELP mailrace_%s %s\n# TYPE mailrace_%s %s\n", name, help, name, type);
}

static void sum_write(
	const char *whose,
	const char *labels,
	const struct shm_tarpit *sum,
	bool seconds,
	FILE *out
)
{
	for (unsigned i = 0; i < TARPIT_REASONS; i++) {
		if (sum->events[i] == 0)
			continue;
		fprintf(out,
			"mailrace_%s_tarpit_%s_total{%s,reason=\"%s\"} ",
			whose,
			seconds ? "seconds" : "events",
			labels,
			tarpit_texts[i].label);
		if (seconds)
			fprintf(out, "%.3f\n", (double)sum->us[i] / 1e6);
		else
			fprintf(out, "%" PRIu64 "\n", sum->events[i]);
	}
}

static void rows_write(
	const struct shm_view *view,
	uint32_t section,
	const struct rows *rows,
	bool seconds,
	FILE *out
)
{
	bool backends = section == SHM_SEC_TARPIT_BACKEND;
	const struct row *row = backends ? rows->backends : rows->services;
	uint32_t n = backends ? rows->backend_count : rows->service_count;
	struct shm_tarpit sum;

	for (uint32_t i = 0; i < n; i++)
		if (slot_sum(view, section, row[i].slot, &sum))
			sum_write(
				backends ? "backend" : "virtual_service",
				row[i].labels,
				&sum,
				seconds,
				out
			);
}

static const struct shm_tarpit_source *
source_at(const struct shm_view *view, uint32_t w, uint32_t i)
{
	const struct shm_tarpit_source *s =
		shm_view_entry(view, SHM_SEC_TARPIT_SOURCE, w, SHM_TARPIT_SOURCES * sizeof(*s));

	return s != NULL ? &s[i] : NULL;
}

// An address over all workers' tables, when it is met first.
static void sources_write(const struct shm_view *view, bool seconds, FILE *out)
{
	uint32_t n = view->header->workers * SHM_TARPIT_SOURCES;

	for (uint32_t i = 0; i < n; i++) {
		const struct shm_tarpit_source *s =
			source_at(view, i / SHM_TARPIT_SOURCES, i % SHM_TARPIT_SOURCES);
		char labels[IP_ADDR_STRLEN + 16], text[IP_ADDR_STRLEN] = "others";
		struct shm_tarpit sum = {0};
		bool before = false, any = false;

		if (s == NULL)
			return;
		for (uint32_t k = 0; k < n; k++) {
			const struct shm_tarpit_source *o =
				source_at(view, k / SHM_TARPIT_SOURCES, k % SHM_TARPIT_SOURCES);

			if (o == NULL || memcmp(&o->addr, &s->addr, sizeof(o->addr)) != 0)
				continue;
			before = before || k < i;
			any = shm_tarpit_add(&sum, &o->sum) || any;
		}
		if (before || !any)
			continue;
		if (!ip_addr_is_unspecified(&s->addr))
			ip_addr_format(&s->addr, text);
		snprintf(labels, sizeof(labels), "source=\"%s\"", text);
		sum_write("source", labels, &sum, seconds, out);
	}
}

static void intervals_write(const struct shm_view *view, const struct rows *rows, FILE *out)
{
	struct shm_tarpit sum;

	head_write(
		"backend_tarpit_interval_seconds",
		"gauge",
		"The constant by which a backend delays refusals, as it was learned.",
		out
	);
	for (uint32_t i = 0; i < rows->backend_count; i++)
		if (slot_sum(view, SHM_SEC_TARPIT_BACKEND, rows->backends[i].slot, &sum) &&
		    sum.interval_ms != 0)
			fprintf(out,
				"mailrace_backend_tarpit_interval_seconds{%s} %.3f\n",
				rows->backends[i].labels,
				(double)sum.interval_ms / 1e3);
}

void metrics_tarpit_write(const struct shm_view *view, const struct rows *rows, FILE *out)
{
	static const struct {
		const char *name, *help;
		uint32_t section;
		bool seconds;
	} families[] = {
		{"backend_tarpit_seconds_total",
		 "Time that a backend's slow replies took, by reason.",
		 SHM_SEC_TARPIT_BACKEND,
		 true},
		{"backend_tarpit_events_total",
		 "Slow replies of a backend, by reason.",
		 SHM_SEC_TARPIT_BACKEND,
		 false},
		{"virtual_service_tarpit_seconds_total",
		 "The same time by the virtual service whose clients waited.",
		 SHM_SEC_TARPIT_SERVICE,
		 true},
		{"virtual_service_tarpit_events_total",
		 "The same replies by virtual service.",
		 SHM_SEC_TARPIT_SERVICE,
		 false},
		{"source_tarpit_seconds_total",
		 "The same time by the address that Mailrace connected from.",
		 SHM_SEC_TARPIT_SOURCE,
		 true},
		{"source_tarpit_events_total",
		 "The same replies by the address that Mailrace connected from.",
		 SHM_SEC_TARPIT_SOURCE,
		 false},
	};

	for (unsigned i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		head_write(families[i].name, "counter", families[i].help, out);
		if (families[i].section == SHM_SEC_TARPIT_SOURCE)
			sources_write(view, families[i].seconds, out);
		else
			rows_write(view, families[i].section, rows, families[i].seconds, out);
	}
	intervals_write(view, rows, out);
}
