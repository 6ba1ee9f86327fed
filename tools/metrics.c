// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Prometheus text format 0.0.4: counters by the segment's own table, gauges of each worker. Names
// and HELP come from the segment, so a newer dataplane's counters appear without a new exporter.

#include "tools/metrics.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "common/abi/stats.h"

#define NAME_MAX_LEN 96

static uint64_t counter_sum(const struct shm_view *view, uint32_t stat)
{
	uint64_t sum = 0;

	for (uint32_t w = 0; w <= view->header->workers; w++) { // the last one: the main thread
		const uint64_t *c =
			shm_view_entry(view, SHM_SEC_COUNTERS, w, (stat + 1) * sizeof(uint64_t));

		if (c != NULL)
			sum += __atomic_load_n(&c[stat], __ATOMIC_RELAXED);
	}
	return sum;
}

static bool is_word(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	return len > 0 && len < size &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

// A counter's description, NULL when there is none that can stand on the page.
static const struct shm_stat_desc *desc_at(const struct shm_view *view, uint32_t i)
{
	const struct shm_stat_desc *d = shm_view_entry(view, SHM_SEC_STAT_DESC, i, sizeof(*d));

	if (d == NULL || !is_word(d->group, sizeof(d->group)) || !is_word(d->name, sizeof(d->name)))
		return NULL;
	for (size_t k = 0; k < sizeof(d->help); k++) {
		if (d->help[k] == '\0')
			return d;
		if (d->help[k] < ' ')
			return NULL;
	}
	return NULL;
}

static bool is_nanoseconds(const struct shm_stat_desc *d)
{
	size_t len = strnlen(d->name, sizeof(d->name));

	return len > 11 && strcmp(d->name + len - 11, "nanoseconds") == 0;
}

// Family of a counter: all drops of a group share one, told apart by a label.
static void family_of(const struct shm_stat_desc *d, char name[NAME_MAX_LEN])
{
	const char *kind = d->kind == STAT_KIND_DROP      ? "drops"
			   : d->kind == STAT_KIND_REFUSAL ? "refusals"
							  : d->name;

	if (d->kind == STAT_KIND_COMMAND) {
		snprintf(name, NAME_MAX_LEN, "mailrace_backend_%.15s_commands_total", d->group);
		return;
	}
	if (is_nanoseconds(d)) { // Prometheus wants base units
		snprintf(
			name,
			NAME_MAX_LEN,
			"mailrace_%.15s_%.*sseconds_total",
			d->group,
			(int)(strlen(d->name) - 11),
			d->name
		);
		return;
	}
	snprintf(
		name,
		NAME_MAX_LEN,
		"mailrace_%.15s_%.47s%s",
		d->group,
		kind,
		d->kind == STAT_KIND_GAUGE ? "" : "_total"
	);
}

static void family_head(const struct shm_stat_desc *d, const char *family, FILE *out)
{
	bool shared = d->kind == STAT_KIND_DROP || d->kind == STAT_KIND_REFUSAL;

	if (d->kind == STAT_KIND_COMMAND)
		fprintf(out, "# HELP %s Commands of ours to backends, by verb and cause.\n", family
		);
	else if (shared)
		fprintf(out,
			"# HELP %s %s by reason.\n",
			family,
			d->kind == STAT_KIND_DROP ? "Packets dropped" : "Requests refused");
	else
		fprintf(out, "# HELP %s %.119s\n", family, d->help);
	fprintf(out, "# TYPE %s %s\n", family, d->kind == STAT_KIND_GAUGE ? "gauge" : "counter");
}

// Verb and cause stand in the name, divided by its first underscore.
static void command_write(const char *family, const char name[48], uint64_t count, FILE *out)
{
	size_t len = strnlen(name, 47);
	const char *divide = memchr(name, '_', len);
	int verb = divide != NULL ? (int)(divide - name) : (int)len;

	fprintf(out,
		"%s{verb=\"%.*s\",cause=\"%.*s\"} %" PRIu64 "\n",
		family,
		verb,
		name,
		divide != NULL ? (int)len - verb - 1 : 0,
		divide != NULL ? divide + 1 : "",
		count);
}

// Rows of a shared family must stand together: the first of them writes all.
static void family_write(const struct shm_view *view, uint32_t first, FILE *out)
{
	const struct shm_stat_desc *head = desc_at(view, first);
	char family[NAME_MAX_LEN], other[NAME_MAX_LEN];

	family_of(head, family);
	for (uint32_t i = 0; i < first; i++) {
		const struct shm_stat_desc *d = desc_at(view, i);

		if (d == NULL)
			continue;
		family_of(d, other);
		if (strcmp(family, other) == 0)
			return; // written already
	}
	family_head(head, family, out);
	for (uint32_t i = first; i < view->header->stat_count; i++) {
		const struct shm_stat_desc *d = desc_at(view, i);

		if (d == NULL)
			continue;
		family_of(d, other);
		if (strcmp(family, other) != 0)
			continue;
		if (d->kind == STAT_KIND_DROP || d->kind == STAT_KIND_REFUSAL)
			fprintf(out,
				"%s{reason=\"%.47s\"} %" PRIu64 "\n",
				family,
				d->name,
				counter_sum(view, i));
		else if (d->kind == STAT_KIND_COMMAND)
			command_write(family, d->name, counter_sum(view, i), out);
		else if (is_nanoseconds(d))
			fprintf(out, "%s %.9f\n", family, (double)counter_sum(view, i) / 1e9);
		else
			fprintf(out, "%s %" PRIu64 "\n", family, counter_sum(view, i));
	}
}

static void
gauge_write(const struct shm_view *view, const char *name, const char *help, size_t off, FILE *out)
{
	fprintf(out, "# HELP mailrace_%s %s\n# TYPE mailrace_%s gauge\n", name, help, name);
	for (uint32_t w = 0; w < view->header->workers; w++) {
		const uint8_t *worker =
			shm_view_entry(view, SHM_SEC_WORKER, w, sizeof(struct shm_worker));

		if (worker != NULL)
			fprintf(out,
				"mailrace_%s{worker=\"%u\"} %u\n",
				name,
				w,
				*(const uint32_t *)(worker + off));
	}
}

// How old the view of health is: control writes its heartbeat ten times a second.
static void control_age_write(const struct shm_view *view, FILE *out)
{
	uint64_t seen = view->header->control_heartbeat_ns;
	struct timespec now;
	double age;

	if (seen == 0)
		return; // never attached
	clock_gettime(CLOCK_MONOTONIC, &now);
	age = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - (double)seen / 1e9;
	fprintf(out,
		"# HELP mailrace_control_heartbeat_age_seconds Time since the control process was "
		"seen; the view of health is as old.\n"
		"# TYPE mailrace_control_heartbeat_age_seconds gauge\n"
		"mailrace_control_heartbeat_age_seconds %.3f\n",
		age > 0 ? age : 0);
}

void metrics_write(const struct shm_view *view, FILE *out)
{
	for (uint32_t i = 0; i < view->header->stat_count; i++)
		if (desc_at(view, i) != NULL)
			family_write(view, i, out);
	gauge_write(view, "sessions", "Sessions open.", offsetof(struct shm_worker, sessions), out);
	gauge_write(
		view,
		"connections",
		"TCP connections.",
		offsetof(struct shm_worker, connections),
		out
	);
	gauge_write(
		view,
		"half_open",
		"Half-open connections.",
		offsetof(struct shm_worker, half_open),
		out
	);
	gauge_write(
		view,
		"time_wait",
		"Connections in TIME_WAIT.",
		offsetof(struct shm_worker, time_wait),
		out
	);
	fprintf(out,
		"# HELP mailrace_generation Configuration in force.\n# TYPE mailrace_generation "
		"gauge\n");
	fprintf(out, "mailrace_generation %" PRIu64 "\n", view->header->generation);
	fprintf(out,
		"# HELP mailrace_buffers Packet buffers.\n# TYPE mailrace_buffers gauge\n"
		"mailrace_buffers %" PRIu32 "\n"
		"# HELP mailrace_buffers_in_use Packet buffers in use, receive rings included.\n"
		"# TYPE mailrace_buffers_in_use gauge\nmailrace_buffers_in_use %" PRIu32 "\n",
		view->header->buffers_total,
		view->header->buffers_in_use);
	control_age_write(view, out);
	metrics_certificates_write(view, out);
	metrics_backends_write(view, out);
}
