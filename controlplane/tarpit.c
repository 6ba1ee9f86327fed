// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See tarpit.h.

#include "controlplane/tarpit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define SECOND_NS 1000000000ULL
#define JUST_STARTED_S 60

static void part_add(struct tarpit_part *to, const struct tarpit_part *from)
{
	for (unsigned i = 0; i < TARPIT_REASONS; i++) {
		to->events[i] += from->events[i];
		to->ms[i] += from->ms[i];
	}
}

struct tarpit_log *tarpit_log_new(void)
{
	return calloc(1, sizeof(struct tarpit_log));
}

void tarpit_log_turn(struct tarpit_log *log, uint64_t unix_s)
{
	uint64_t minutes = unix_s / 60 - log->now_s / 60, hours = unix_s / 3600 - log->now_s / 3600;

	if (log->since_s == 0 || unix_s < log->now_s) { // the clock was set back
		log->since_s = log->now_s = unix_s;
		return;
	}
	minutes = minutes < TARPIT_MINUTES ? minutes : TARPIT_MINUTES;
	hours = hours < TARPIT_HOURS ? hours : TARPIT_HOURS;
	for (uint32_t i = 0; i < log->rows; i++) {
		for (uint64_t k = 0; k < minutes; k++)
			log->row[i].minute[(unix_s / 60 - k) % TARPIT_MINUTES] =
				(struct tarpit_part){0};
		for (uint64_t k = 0; k < hours; k++)
			log->row[i].hour[(unix_s / 3600 - k) % TARPIT_HOURS] =
				(struct tarpit_part){0};
	}
	log->now_s = unix_s;
}

static struct tarpit_row *row_find(struct tarpit_log *log, enum tarpit_by by, const char *name)
{
	struct tarpit_row *row;

	for (uint32_t i = 0; i < log->rows; i++)
		if (log->row[i].by == by && strcmp(log->row[i].name, name) == 0)
			return &log->row[i];
	if (log->rows == TARPIT_ROWS) {
		log->unkept++;
		return NULL;
	}
	row = &log->row[log->rows++];
	row->by = by;
	snprintf(row->name, sizeof(row->name), "%s", name);
	return row;
}

void tarpit_log_add(
	struct tarpit_log *log,
	enum tarpit_by by,
	const char *name,
	const struct shm_tarpit *sum,
	bool quiet
)
{
	struct tarpit_row *row = row_find(log, by, name);
	struct tarpit_part part = {0};

	if (row == NULL)
		return;
	for (unsigned i = 0; i < TARPIT_REASONS; i++) {
		uint64_t events = sum->events[i], us = sum->us[i];

		if (events >= row->seen.events[i] && us >= row->seen.us[i]) {
			events -= row->seen.events[i];
			us -= row->seen.us[i];
		} // else the slot is another's by now
		part.events[i] = events;
		part.ms[i] = us / 1000;
		row->seen.events[i] = sum->events[i];
		row->seen.us[i] = sum->us[i] - us % 1000; // the rest next time
	}
	row->interval_ms = sum->interval_ms;
	if (quiet)
		return;
	part_add(&row->minute[log->now_s / 60 % TARPIT_MINUTES], &part);
	part_add(&row->hour[log->now_s / 3600 % TARPIT_HOURS], &part);
}

void tarpit_row_minutes(
	const struct tarpit_log *log,
	const struct tarpit_row *row,
	unsigned n,
	struct tarpit_part *ret
)
{
	*ret = (struct tarpit_part){0};
	for (unsigned k = 0; k < n && k < TARPIT_MINUTES; k++)
		part_add(ret, &row->minute[(log->now_s / 60 - k) % TARPIT_MINUTES]);
}

void tarpit_row_hours(
	const struct tarpit_log *log,
	const struct tarpit_row *row,
	unsigned n,
	struct tarpit_part *ret
)
{
	*ret = (struct tarpit_part){0};
	for (unsigned k = 0; k < n && k < TARPIT_HOURS; k++)
		part_add(ret, &row->hour[(log->now_s / 3600 - k) % TARPIT_HOURS]);
}

// One slot over all workers. False: it never had any.
static bool
slot_sum(const struct link *link, uint32_t section, uint32_t slot, struct shm_tarpit *ret)
{
	bool any = false;

	*ret = (struct shm_tarpit){0};
	for (uint32_t w = 0; w < link->workers; w++) {
		const struct shm_tarpit *s =
			shm_view_entry(&link->at.stats, section, w, (slot + 1ULL) * sizeof(*s));

		if (s != NULL && shm_tarpit_add(ret, &s[slot]))
			any = true;
	}
	return any;
}

static void backends_look(struct tarpit_log *log, const struct link *link, bool quiet)
{
	const struct shm_backend *names = shm_view_entry(
		&link->at.stats, SHM_SEC_BACKEND, 0, link->backend_slots * sizeof(*names)
	);
	struct shm_tarpit sum;

	for (uint32_t i = 0; names != NULL && i < link->backend_slots; i++) {
		char name[2 * MR_NAME_LEN + 2];

		if (names[i].generation == 0 || !slot_sum(link, SHM_SEC_TARPIT_BACKEND, i, &sum))
			continue;
		snprintf(
			name,
			sizeof(name),
			"%.*s/%.*s",
			MR_NAME_LEN - 1,
			names[i].pool,
			MR_NAME_LEN - 1,
			names[i].name
		);
		tarpit_log_add(log, TARPIT_BY_BACKEND, name, &sum, quiet);
	}
}

static void services_look(struct tarpit_log *log, const struct link *link, bool quiet)
{
	const struct shm_service *names = shm_view_entry(
		&link->at.stats, SHM_SEC_SERVICE, 0, link->service_slots * sizeof(*names)
	);
	struct shm_tarpit sum;

	for (uint32_t i = 0; names != NULL && i < link->service_slots; i++) {
		char name[MR_NAME_LEN];

		if (names[i].generation == 0 || !slot_sum(link, SHM_SEC_TARPIT_SERVICE, i, &sum))
			continue;
		snprintf(name, sizeof(name), "%.*s", MR_NAME_LEN - 1, names[i].name);
		tarpit_log_add(log, TARPIT_BY_SERVICE, name, &sum, quiet);
	}
}

// The i-th address of a worker's table; NULL: none.
static const struct shm_tarpit_source *source_at(const struct link *link, uint32_t w, uint32_t i)
{
	const struct shm_tarpit_source *s = shm_view_entry(
		&link->at.stats, SHM_SEC_TARPIT_SOURCE, w, SHM_TARPIT_SOURCES * sizeof(*s)
	);

	return s != NULL ? &s[i] : NULL;
}

// Each worker has its own table: an address counts when it is met first.
static void sources_look(struct tarpit_log *log, const struct link *link, bool quiet)
{
	for (uint32_t n = 0; n < link->workers * SHM_TARPIT_SOURCES; n++) {
		uint32_t at = n / SHM_TARPIT_SOURCES, i = n % SHM_TARPIT_SOURCES;
		const struct shm_tarpit_source *s = source_at(link, at, i), *other;
		struct shm_tarpit sum = {0};
		char name[IP_ADDR_STRLEN] = "others";
		bool before = false, any = false;
		struct ip_addr addr;

		if (s == NULL)
			return;
		addr = s->addr;
		if (ip_addr_is_unspecified(&addr) && i != SHM_TARPIT_SOURCES - 1)
			continue;
		for (uint32_t k = 0; k < link->workers * SHM_TARPIT_SOURCES; k++) {
			other = source_at(link, k / SHM_TARPIT_SOURCES, k % SHM_TARPIT_SOURCES);
			if (other == NULL || memcmp(&other->addr, &addr, sizeof(addr)) != 0)
				continue;
			before = before || k < n;
			any = shm_tarpit_add(&sum, &other->sum) || any;
		}
		if (!ip_addr_is_unspecified(&addr))
			ip_addr_format(&addr, name);
		if (!before && any)
			tarpit_log_add(log, TARPIT_BY_SOURCE, name, &sum, quiet);
	}
}

void tarpit_log_run(
	struct tarpit_log *log,
	const struct link *link,
	uint64_t now_ns,
	uint64_t unix_s
)
{
	bool quiet;

	if (!link_is_open(link) || now_ns < log->look_ns)
		return;
	log->look_ns = now_ns + TARPIT_LOOK_NS;
	tarpit_log_turn(log, unix_s);
	quiet = log->boot_id == 0 &&
		link->at.stats.header->started_unix_ns / SECOND_NS + JUST_STARTED_S <
			unix_s; // when they were, nobody knows
	if (link->at.stats.header->boot_id != log->boot_id)
		for (uint32_t i = 0; i < log->rows; i++)
			log->row[i].seen = (struct shm_tarpit){0};
	log->boot_id = link->at.stats.header->boot_id;
	backends_look(log, link, quiet);
	services_look(log, link, quiet);
	sources_look(log, link, quiet);
}
