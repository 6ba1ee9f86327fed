// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Rise and fall, one probe at a time, what restarts keep; the workers' side is played here.

#include "controlplane/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ULL

static struct {
	struct blob_header head;
	struct blob_backend backend[2];
} blob;
static struct cfg_backend backends[2] = {{.name = "a"}, {.name = "b"}};
static struct cfg_pool pool = {
	.name = "p",
	.probe = {.enabled = true, .interval_ms = 5000, .timeout_ms = 1000, .rise = 2, .fall = 3},
	.connect_timeout_ms = 3000,
	.backup = -1,
	.backends = backends,
	.backend_count = 2,
};
static struct cfg cfg = {.pools = &pool, .pool_count = 1};
static struct shm_backend_ctl ctl[8];
static struct ctl_ring *ring;
static struct shm_header stats; // without any section
static struct shm_backend_local local[8];
static struct link dataplane;

static int setup(void **state)
{
	ring = aligned_alloc(64, sizeof(*ring));
	if (ring == NULL)
		return -1;
	memset(ring, 0, sizeof(*ring));
	memset(ctl, 0, sizeof(ctl));
	blob.head.generation = 5;
	blob.head.backends = (struct blob_array){offsetof(typeof(blob), backend), 2};
	for (unsigned i = 0; i < 2; i++) {
		blob.backend[i].slot = i + 3;
		memcpy(blob.backend[i].name, backends[i].name, sizeof(blob.backend[i].name));
	}
	dataplane = (struct link){
		.at =
			{
				.fd = 0,
				.boot_id = 77,
				.stats = {(uint8_t *)&stats, sizeof(stats), &stats},
			},
		.workers = 1,
		.backend_slots = 8,
		.commands = {ring},
		.backends = {local},
		.backend_ctl = ctl,
		.blob = &blob.head,
	};
	return 0;
}

static int teardown(void **state)
{
	free(ring);
	return 0;
}

// The next order on the ring, answered with code.
static bool answer(struct health *h, enum ctl_probe_result_code code, uint64_t now)
{
	struct ctl_msg order, msg = {.type = CTL_EVT_PROBE};

	if (ctl_ring_get(ring, &order) != CTL_RING_MSG)
		return false;
	assert_int_equal(order.type, CTL_CMD_PROBE);
	assert_int_equal(order.probe.generation, 5);
	assert_int_equal(blob.backend[order.probe.backend_index].slot, order.probe.backend_slot);
	msg.request_id = order.request_id;
	msg.probe_result.backend_slot = order.probe.backend_slot;
	msg.probe_result.code = (uint16_t)code;
	health_result(h, &dataplane, &msg, now);
	return true;
}

static void rise_and_fall(void **state)
{
	struct health *h = health_new();
	static const struct {
		enum ctl_probe_result_code code;
		enum shm_health then;
	} steps[] = {
		{CTL_PROBE_OK, SHM_HEALTH_UP}, // it counted as up already: the first one is enough
		{CTL_PROBE_REFUSED, SHM_HEALTH_UP},
		{CTL_PROBE_REFUSED, SHM_HEALTH_UP},
		{CTL_PROBE_OK, SHM_HEALTH_UP}, // breaks the row
		{CTL_PROBE_TIMEOUT, SHM_HEALTH_UP},
		{CTL_PROBE_CLOSED, SHM_HEALTH_UP},
		{CTL_PROBE_NO_RESOURCE, SHM_HEALTH_UP}, // says nothing
		{CTL_PROBE_BANNER, SHM_HEALTH_DOWN},
		{CTL_PROBE_OK, SHM_HEALTH_DOWN},
		{CTL_PROBE_EHLO, SHM_HEALTH_DOWN},
		{CTL_PROBE_OK, SHM_HEALTH_DOWN},
		{CTL_PROBE_OK, SHM_HEALTH_UP},
		{CTL_PROBE_CERT_NAME, SHM_HEALTH_UP},
		{CTL_PROBE_NO_STARTTLS, SHM_HEALTH_UP},
		{CTL_PROBE_TLS, SHM_HEALTH_DOWN}, // TLS that is wanted and fails is a failure
	};
	uint64_t now = 100 * SECOND;

	backends[1].weight = 0;
	blob.head.backends.count = pool.backend_count = 1;
	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		health_run(h, &dataplane, now);
		assert_true(health_is_waiting(h));
		health_run(h, &dataplane, now + 4 * SECOND); // one at a time
		assert_true(answer(h, steps[i].code, now));
		assert_false(health_is_waiting(h));
		health_run(h, &dataplane, now + 4 * SECOND); // and one an interval
		assert_false(answer(h, CTL_PROBE_REFUSED, now));
		assert_int_equal(ctl[3].health, steps[i].then);
		now += 5 * SECOND;
	}
	assert_int_equal(ctl[3].changes, 4);
	assert_int_equal(health_at(h, 0)->ok, 5);
	assert_int_equal(health_at(h, 0)->failed, 9);
	blob.head.backends.count = pool.backend_count = 2;
	health_free(h);
}

static void what_is_late_or_foreign_counts_for_nothing(void **state)
{
	struct health *h = health_new();
	struct ctl_msg msg = {.type = CTL_EVT_PROBE, .request_id = 0};
	uint64_t now = 100 * SECOND;

	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	health_result(h, &dataplane, &msg, now); // nobody asked
	health_run(h, &dataplane, now);
	now += 60 * SECOND; // lost on the way
	health_run(h, &dataplane, now);
	assert_true(answer(h, CTL_PROBE_REFUSED, now)); // the lost one's answer
	assert_int_equal(health_at(h, 0)->failed, 0);
	assert_true(answer(h, CTL_PROBE_OK, now));
	assert_true(answer(h, CTL_PROBE_OK, now));
	assert_int_equal(health_at(h, 0)->ok + health_at(h, 1)->ok, 2);
	health_free(h);
}

static void alarms_are_said_now_and_then(void **state)
{
	struct health *h = health_new();
	struct ctl_msg msg = {.type = CTL_EVT_ALARM};
	uint64_t now = 100 * SECOND;

	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	msg.alarm = (struct ctl_alarm){.session = 7, .backend_slot = 99, .kind = CTL_ALARM_DESYNC};
	health_alarm(h, &msg, now); // of nobody
	msg.alarm.backend_slot = 4;
	msg.alarm.kind = 77;                                  // unknown
	memset(msg.alarm.text, 0x80, sizeof(msg.alarm.text)); // without an end
	health_alarm(h, &msg, now);
	assert_int_equal(health_at(h, 0)->alarm_log_ns + health_at(h, 1)->alarm_log_ns, 0);
	msg.alarm.kind = CTL_ALARM_INJECTION;
	health_alarm(h, &msg, now);
	assert_int_equal(health_at(h, 1)->alarm_log_ns, now);
	msg.alarm.kind = CTL_ALARM_DESYNC;
	health_alarm(h, &msg, now + 9 * SECOND);
	health_alarm(h, &msg, now + 9 * SECOND);
	assert_int_equal(health_at(h, 1)->alarm_log_ns, now);
	assert_int_equal(health_at(h, 1)->alarms, 2);
	health_alarm(h, &msg, now + 10 * SECOND);
	assert_int_equal(health_at(h, 1)->alarm_log_ns, now + 10 * SECOND);
	assert_int_equal(health_at(h, 1)->alarms, 0);
	health_free(h);
}

static void restarts_keep_what_is_known(void **state)
{
	struct health *h = health_new();
	uint64_t now = 100 * SECOND;

	ctl[3].health = SHM_HEALTH_DOWN; // told by a control process before us
	ctl[3].admin = BLOB_ADMIN_DRAIN;
	ctl[4].health = 200; // no value at all
	ctl[4].admin = 200;
	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	assert_int_equal(health_find(h, "p", "a")->health, SHM_HEALTH_DOWN);
	assert_int_equal(health_find(h, "p", "a")->admin, BLOB_ADMIN_DRAIN);
	assert_int_equal(health_find(h, "p", "b")->health, SHM_HEALTH_UNKNOWN);
	assert_int_equal(ctl[4].admin, BLOB_ADMIN_ENABLED);
	assert_null(health_find(h, "q", "a"));
	// another dataplane: new segment, other slots
	memset(ctl, 0, sizeof(ctl));
	dataplane.at.boot_id = 78;
	blob.backend[0].slot = 6;
	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	assert_int_equal(ctl[6].health, SHM_HEALTH_DOWN);
	assert_int_equal(ctl[6].admin, BLOB_ADMIN_DRAIN);
	health_admin_set(&dataplane, health_at(h, 0), BLOB_ADMIN_ENABLED);
	assert_int_equal(ctl[6].admin, BLOB_ADMIN_ENABLED);
	// the probe is taken out of the file: counts as up
	pool.probe.enabled = false;
	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	assert_int_equal(ctl[6].health, SHM_HEALTH_UNKNOWN);
	pool.probe.enabled = true;
	health_free(h);
}

// The order of the backends in the file is nothing to their health, and a new name begins anew.
static void what_is_known_goes_by_name(void **state)
{
	struct health *h = health_new();
	const struct blob_backend a = blob.backend[0], b = blob.backend[1];

	ctl[3].health = SHM_HEALTH_DOWN;
	ctl[4].admin = BLOB_ADMIN_DRAIN;
	assert_int_equal(health_configure(h, &cfg, &dataplane, SECOND), 0);
	for (unsigned i = 0; i < 3; i++) { // there and back, and once more as it is
		blob.backend[0] = i == 0 ? b : a;
		blob.backend[1] = i == 0 ? a : b;
		assert_int_equal(health_configure(h, &cfg, &dataplane, SECOND), 0);
		assert_int_equal(health_find(h, "p", "a")->health, SHM_HEALTH_DOWN);
		assert_int_equal(health_find(h, "p", "a")->slot, 3);
		assert_int_equal(health_find(h, "p", "b")->admin, BLOB_ADMIN_DRAIN);
		assert_int_equal(health_find(h, "p", "b")->slot, 4);
		assert_string_equal(health_at(h, i == 0)->name, "a");
	}
	memcpy(blob.backend[0].name, "c", 2);
	blob.backend[0].slot = 5;
	assert_int_equal(health_configure(h, &cfg, &dataplane, SECOND), 0);
	assert_null(health_find(h, "p", "a"));
	assert_int_equal(health_find(h, "p", "c")->health, SHM_HEALTH_UNKNOWN);
	assert_int_equal(health_find(h, "p", "b")->admin, BLOB_ADMIN_DRAIN);
	health_free(h);
}

// A server that says 421 to the probes wants to be left alone, and comes back by them.
static void probes_told_421(void **state)
{
	struct health *h = health_new();
	struct health_backend *b;
	uint64_t now = 100 * SECOND;

	blob.head.backends.count = pool.backend_count = 1;
	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	b = health_at(h, 0);
	for (unsigned i = 0; i < 6; i++, now += 5 * SECOND) {
		struct ctl_msg order, msg = {.type = CTL_EVT_PROBE};

		health_run(h, &dataplane, now);
		assert_int_equal(ctl_ring_get(ring, &order), CTL_RING_MSG);
		msg.request_id = order.request_id;
		msg.probe_result = (struct ctl_probe_result){
			.backend_slot = 3,
			.code = i < 4 ? CTL_PROBE_BANNER : CTL_PROBE_OK,
			.reply = i < 4 ? 421 : 221,
			.text = "421 4.3.2 closed",
		};
		health_result(h, &dataplane, &msg, now);
		assert_int_equal(
			ctl[3].health,
			i < 2   ? SHM_HEALTH_UNKNOWN
			: i < 5 ? SHM_HEALTH_MAINTENANCE
				: SHM_HEALTH_UP
		);
		if (i == 3)
			assert_string_equal(b->said, "421 4.3.2 closed");
	}
	assert_string_equal(b->said, "");
	blob.head.backends.count = pool.backend_count = 2;
	health_free(h);
}

// The weight of one that came back rises; another control process goes on with it.
static void slow_start(void **state)
{
	static const enum ctl_probe_result_code fall_and_rise[] = {
		CTL_PROBE_OK,
		CTL_PROBE_CLOSED,
		CTL_PROBE_CLOSED,
		CTL_PROBE_CLOSED,
		CTL_PROBE_OK,
		CTL_PROBE_OK
	};
	struct health *h = health_new(), *next = health_new();
	uint64_t now = 100 * SECOND;

	blob.head.backends.count = pool.backend_count = 1;
	pool.slow_start_ms = 60000;
	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	for (unsigned i = 0; i < 6; i++, now += 5 * SECOND) {
		assert_int_equal(ctl[3].weight_permille, 1000); // it starts with all of it
		health_run(h, &dataplane, now);
		assert_true(answer(h, fall_and_rise[i], now));
	}
	now -= 5 * SECOND;
	assert_int_equal(ctl[3].health, SHM_HEALTH_UP);
	assert_int_equal(ctl[3].weight_permille, 100);
	health_run(h, &dataplane, now + 30 * SECOND);
	assert_int_equal(ctl[3].weight_permille, 550);
	assert_int_equal(health_configure(next, &cfg, &dataplane, now + 30 * SECOND), 0);
	assert_in_range(ctl[3].weight_permille, 500, 650);
	health_run(next, &dataplane, now + 62 * SECOND);
	assert_int_equal(ctl[3].weight_permille, 1000);
	pool.slow_start_ms = 0;
	blob.head.backends.count = pool.backend_count = 2;
	health_free(h);
	health_free(next);
}

// Each from an address of the backend's family.
static void probes_come_from_the_backends_family(void **state)
{
	struct health *h = health_new();
	struct ip_addr source[2];
	struct ctl_msg order;

	assert_int_equal(ip_addr_parse("fd00::9", &source[0]), 0);
	assert_int_equal(ip_addr_parse("10.0.0.9", &source[1]), 0);
	memcpy(pool.probe.source, source, sizeof(source));
	assert_int_equal(ip_addr_parse("fd00::1", &blob.backend[0].addr), 0);
	assert_int_equal(ip_addr_parse("10.0.0.1", &blob.backend[1].addr), 0);
	assert_int_equal(health_configure(h, &cfg, &dataplane, SECOND), 0);
	health_run(h, &dataplane, 10 * SECOND);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ctl_ring_get(ring, &order), CTL_RING_MSG);
		assert_true(ip_addr_eq(&order.probe.source, &source[order.probe.backend_index]));
	}
	memset(pool.probe.source, 0, sizeof(source));
	health_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rise_and_fall, setup, teardown),
		cmocka_unit_test_setup_teardown(alarms_are_said_now_and_then, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_is_late_or_foreign_counts_for_nothing, setup, teardown
		),
		cmocka_unit_test_setup_teardown(what_is_known_goes_by_name, setup, teardown),
		cmocka_unit_test_setup_teardown(
			probes_come_from_the_backends_family, setup, teardown
		),
		cmocka_unit_test_setup_teardown(probes_told_421, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_start, setup, teardown),
		cmocka_unit_test_setup_teardown(restarts_keep_what_is_known, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
