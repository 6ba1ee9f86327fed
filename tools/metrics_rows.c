// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Backends and services of a page, see metrics_rows.h.

#include "tools/metrics_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *label(const char *text, char buf[2 * MR_NAME_LEN])
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

static int by_pool_and_slot(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int pools = strncmp(x->pool, y->pool, sizeof(x->pool));

	return pools != 0 ? pools : (x->slot > y->slot) - (x->slot < y->slot);
}

// Slots of the configuration in force; one that has left it shows nothing.
static bool is_in_force(uint64_t generation, const struct shm_view *view)
{
	return generation != 0 && generation >= view->header->generation;
}

static void backends_take(struct rows *rows, const struct shm_view *view, uint32_t slots)
{
	char pool[2 * MR_NAME_LEN], name[2 * MR_NAME_LEN];
	bool in_order = true;

	for (uint32_t slot = 1; slot < slots; slot++) {
		const struct shm_backend *b = &rows->names[slot];
		struct row *row = &rows->backends[rows->backend_count];

		if (!is_in_force(b->generation, view))
			continue;
		row->slot = slot;
		snprintf(row->pool, sizeof(row->pool), "%.63s", b->pool);
		snprintf(
			row->labels,
			sizeof(row->labels),
			"pool=\"%s\",backend=\"%s\"",
			label(row->pool, pool),
			label(b->name, name)
		);
		in_order = in_order &&
			   (rows->backend_count == 0 || by_pool_and_slot(row - 1, row) < 0);
		rows->backend_count++;
	}
	if (!in_order)
		qsort(rows->backends, rows->backend_count, sizeof(struct row), by_pool_and_slot);
}

static void services_take(
	struct rows *rows,
	const struct shm_view *view,
	const struct shm_service *service,
	uint32_t slots
)
{
	char name[2 * MR_NAME_LEN];

	for (uint32_t slot = 1; slot < slots; slot++) {
		struct row *row = &rows->services[rows->service_count];

		if (!is_in_force(service[slot].generation, view))
			continue;
		row->slot = slot;
		snprintf(
			row->labels,
			sizeof(row->labels),
			"virtual_service=\"%s\"",
			label(service[slot].name, name)
		);
		rows->service_count++;
	}
}

bool rows_init(struct rows *rows, const struct shm_view *view)
{
	const struct shm_service *services;
	uint32_t backend_slots = view->header->backend_slots;
	uint32_t service_slots = view->header->service_slots;

	*rows = (struct rows){.workers = view->header->workers};
	if (rows->workers > ROWS_WORKERS_MAX)
		rows->workers = ROWS_WORKERS_MAX;
	for (uint32_t w = 0; w < rows->workers; w++) {
		rows->backend_block[w] = shm_view_entry(
			view,
			SHM_SEC_BACKEND_LOCAL,
			w,
			(uint64_t)backend_slots * sizeof(struct shm_backend_local)
		);
		rows->service_block[w] = shm_view_entry(
			view,
			SHM_SEC_SERVICE_LOCAL,
			w,
			(uint64_t)service_slots * sizeof(struct shm_service_local)
		);
	}
	rows->names = shm_view_entry(
		view, SHM_SEC_BACKEND, 0, (uint64_t)backend_slots * sizeof(*rows->names)
	);
	services = shm_view_entry(
		view, SHM_SEC_SERVICE, 0, (uint64_t)service_slots * sizeof(*services)
	);
	// a section that is not there, or not as large as the header says, is none
	backend_slots = rows->names != NULL ? backend_slots : 0;
	service_slots = services != NULL ? service_slots : 0;
	rows->backends = calloc(backend_slots + 1ULL, sizeof(struct row));
	rows->services = calloc(service_slots + 1ULL, sizeof(struct row));
	if (rows->backends == NULL || rows->services == NULL) {
		rows_release(rows);
		return false;
	}
	backends_take(rows, view, backend_slots);
	services_take(rows, view, services, service_slots);
	return true;
}

void rows_release(struct rows *rows)
{
	free(rows->backends);
	free(rows->services);
	*rows = (struct rows){0};
}
