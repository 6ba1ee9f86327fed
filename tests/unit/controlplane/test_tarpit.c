// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Minutes and hours of what was lost to tarpits: the workers' sums are played here, two days in
// seconds.

#include "controlplane/tarpit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START 1795690800ULL // the begin of an hour
#define SLOTS 3
#define WORKERS 2

static struct {
	struct shm_header head;
	struct shm_backend backend[SLOTS];
	struct shm_service service[SLOTS];
	struct shm_tarpit at_backend[WORKERS][SLOTS], at_service[WORKERS][SLOTS];
	struct shm_tarpit_source source[WORKERS][SHM_TARPIT_SOURCES];
} stats;
static struct link dataplane;
static struct tarpit_log *tarpits;
static uint64_t look_ns;

static void section(unsigned i, uint32_t type, unsigned count, size_t off, size_t stride)
{
	stats.head.dir[i] = (struct shm_dir_entry){type, count, off, stride};
}

static int setup(void **state)
{
	(void)state;
	memset(&stats, 0, sizeof(stats));
	section(0, SHM_SEC_BACKEND, 1, offsetof(typeof(stats), backend), sizeof(stats.backend));
	section(1, SHM_SEC_SERVICE, 1, offsetof(typeof(stats), service), sizeof(stats.service));
	section(2,
		SHM_SEC_TARPIT_BACKEND,
		WORKERS,
		offsetof(typeof(stats), at_backend),
		sizeof(stats.at_backend[0]));
	section(3,
		SHM_SEC_TARPIT_SERVICE,
		WORKERS,
		offsetof(typeof(stats), at_service),
		sizeof(stats.at_service[0]));
	section(4,
		SHM_SEC_TARPIT_SOURCE,
		WORKERS,
		offsetof(typeof(stats), source),
		sizeof(stats.source[0]));
	stats.head.boot_id = 7;
	stats.head.started_unix_ns = START * 1000000000ULL;
	stats.backend[1] = (struct shm_backend){.generation = 1, .pool = "p", .name = "a"};
	stats.service[1] = (struct shm_service){.generation = 1, .name = "in"};
	dataplane = (struct link){
		.at = {.fd = 0, .stats = {(uint8_t *)&stats, sizeof(stats), &stats.head}},
		.workers = WORKERS,
		.backend_slots = SLOTS,
		.service_slots = SLOTS,
	};
	look_ns = 1;
	tarpits = tarpit_log_new();
	return tarpits != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(tarpits);
	return 0;
}

static void look(uint64_t unix_s)
{
	look_ns += TARPIT_LOOK_NS;
	tarpit_log_run(tarpits, &dataplane, look_ns, unix_s);
}

static void lose(unsigned worker, enum tarpit_reason reason, uint64_t us)
{
	stats.at_backend[worker][1].events[reason]++;
	stats.at_backend[worker][1].us[reason] += us;
	stats.at_service[worker][1].events[reason]++;
	stats.at_service[worker][1].us[reason] += us;
	stats.source[worker][0].addr.b[15] = 9;
	stats.source[worker][0].sum.events[reason]++;
	stats.source[worker][0].sum.us[reason] += us;
}

static const struct tarpit_row *row(const char *name)
{
	for (uint32_t i = 0; i < tarpits->rows; i++)
		if (strcmp(tarpits->row[i].name, name) == 0)
			return &tarpits->row[i];
	return NULL;
}

// Ten seconds every minute for two days; the last hour twice as much.
static void a_day_is_a_day(void **state)
{
	struct tarpit_part part;

	(void)state;
	look(START);
	for (unsigned minute = 0; minute < 48 * 60; minute++) {
		for (unsigned n = 0; n < (minute >= 47 * 60 ? 2U : 1U); n++)
			lose(n, TARPIT_DISCREDITED, 10000000);
		look(START + minute * 60 + 30);
	}
	assert_int_equal(tarpits->rows, 3); // backend, service, and one address of two workers
	for (unsigned i = 0; i < tarpits->rows; i++) {
		tarpit_row_minutes(tarpits, &tarpits->row[i], TARPIT_MINUTES, &part);
		assert_int_equal(part.events[TARPIT_DISCREDITED], 120);
		assert_int_equal(part.ms[TARPIT_DISCREDITED], 1200000);
		tarpit_row_minutes(tarpits, &tarpits->row[i], 2, &part);
		assert_int_equal(part.events[TARPIT_DISCREDITED], 4);
		tarpit_row_hours(tarpits, &tarpits->row[i], TARPIT_HOURS, &part);
		assert_int_equal(part.events[TARPIT_DISCREDITED], 23 * 60 + 120);
		assert_int_equal(part.events[TARPIT_OVERLOAD], 0);
	}
	assert_non_null(row("p/a"));
	look(START + 49 * 3600); // an hour of silence
	tarpit_row_minutes(tarpits, row("p/a"), TARPIT_MINUTES, &part);
	assert_int_equal(part.events[TARPIT_DISCREDITED], 0);
	tarpit_row_hours(tarpits, row("p/a"), TARPIT_HOURS, &part);
	assert_int_equal(part.events[TARPIT_DISCREDITED], 21 * 60 + 120);
	look(START + 100 * 3600);
	tarpit_row_hours(tarpits, row("p/a"), TARPIT_HOURS, &part);
	assert_int_equal(part.events[TARPIT_DISCREDITED], 0);
}

// What was before the first look is of no known time; what was before another start is gone.
static void what_has_no_time_is_not_counted(void **state)
{
	struct tarpit_part part;

	(void)state;
	lose(0, TARPIT_RELAY, 5000000);
	look(START + 7200);
	tarpit_row_hours(tarpits, row("p/a"), TARPIT_HOURS, &part);
	assert_int_equal(part.events[TARPIT_RELAY], 0);
	lose(0, TARPIT_RELAY, 5000000);
	look(START + 7300);
	tarpit_row_hours(tarpits, row("p/a"), TARPIT_HOURS, &part);
	assert_int_equal(part.events[TARPIT_RELAY], 1);
	memset(stats.at_backend, 0, sizeof(stats.at_backend)); // the dataplane was started anew
	stats.head.boot_id++;
	lose(1, TARPIT_RELAY, 5000000);
	look(START + 7400);
	tarpit_row_hours(tarpits, row("p/a"), TARPIT_HOURS, &part);
	assert_int_equal(part.events[TARPIT_RELAY], 2);
	assert_int_equal(part.ms[TARPIT_RELAY], 10000);
}

static void rows_are_bounded(void **state)
{
	struct shm_tarpit sum = {.events = {1}, .us = {1000}};

	(void)state;
	tarpit_log_turn(tarpits, START);
	for (unsigned i = 0; i < TARPIT_ROWS + 9; i++) {
		char name[16];

		snprintf(name, sizeof(name), "p/%u", i);
		tarpit_log_add(tarpits, TARPIT_BY_BACKEND, name, &sum, false);
	}
	assert_int_equal(tarpits->rows, TARPIT_ROWS);
	assert_int_equal(tarpits->unkept, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_day_is_a_day, setup, teardown),
		cmocka_unit_test_setup_teardown(what_has_no_time_is_not_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(rows_are_bounded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
