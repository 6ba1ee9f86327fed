// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the traffic met, judged: the workers' counters are played here, second by second.

#include "controlplane/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ULL
#define SLOTS 8
#define WORKERS 2
#define MANY 4

static struct {
	struct blob_header head;
	struct blob_backend backend[MANY]; // slots 1 to 4
} blob;
static struct cfg_backend backends[MANY] =
	{{.name = "a"}, {.name = "b"}, {.name = "c"}, {.name = "d"}};
static struct cfg_pool pool;
static struct cfg cfg = {.pools = &pool, .pool_count = 1};
static struct shm_backend_ctl ctl[SLOTS];
static struct shm_backend_verdict verdict[SLOTS];
static struct {
	struct shm_header head;
	struct shm_backend_local local[WORKERS][SLOTS];
	struct shm_backend_signals signals[WORKERS][SLOTS];
} stats;
static struct link dataplane;
static struct health *h;
static uint64_t now;

static void pool_make(unsigned count)
{
	pool = (struct cfg_pool){
		.name = "p",
		.backup = -1,
		.passive_health = true,
		.bounce_guard = true,
		.ejection_ms = 30000,
		.backends = backends,
		.backend_count = count,
	};
	blob.head.generation = 5;
	blob.head.backends = (struct blob_array){offsetof(typeof(blob), backend), count};
	for (unsigned i = 0; i < count; i++) {
		blob.backend[i].slot = i + 1;
		blob.backend[i].weight = 100;
		memcpy(blob.backend[i].name, backends[i].name, sizeof(blob.backend[i].name));
	}
	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
}

static int setup(void **state)
{
	memset(&blob, 0, sizeof(blob));
	memset(&stats, 0, sizeof(stats));
	memset(ctl, 0, sizeof(ctl));
	memset(verdict, 0, sizeof(verdict));
	stats.head.dir[0] = (struct shm_dir_entry
	){SHM_SEC_BACKEND_LOCAL, WORKERS, offsetof(typeof(stats), local), sizeof(stats.local[0])};
	stats.head.dir[1] = (struct shm_dir_entry){SHM_SEC_BACKEND_SIGNALS,
						   WORKERS,
						   offsetof(typeof(stats), signals),
						   sizeof(stats.signals[0])};
	dataplane = (struct link){
		.at =
			{
				.fd = 0,
				.boot_id = 77,
				.stats = {(uint8_t *)&stats, sizeof(stats), &stats.head},
			},
		.workers = WORKERS,
		.backend_slots = SLOTS,
		.backend_ctl = ctl,
		.backends = {stats.local[0], WORKERS > 1 ? stats.local[WORKERS - 1] : NULL},
		.verdicts = verdict,
		.blob = &blob.head,
	};
	now = 1000 * SECOND;
	h = health_new();
	return h != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	health_free(h);
	return 0;
}

static struct shm_networks *networks(unsigned worker, unsigned slot)
{
	uint64_t epoch = now / SHM_NETWORKS_EPOCH_NS;
	struct shm_networks *n = &stats.signals[worker][slot].networks[epoch % 2];

	if (n->epoch != epoch)
		*n = (struct shm_networks){.epoch = epoch};
	return n;
}

// Sessions of one second: good ones, and such with a signal from so many networks.
static void
sessions(unsigned slot, unsigned good, unsigned bad, enum shm_signal kind, unsigned nets)
{
	for (unsigned i = 0; i < good + bad; i++) {
		struct shm_backend_signals *s = &stats.signals[i % WORKERS][slot];

		s->legs++;
		if (i >= bad) {
			s->mails++;
			s->mail_ns = now;
			s->run_421 = 0;
			continue;
		}
		s->failing++;
		s->signal[kind]++;
		s->run_421 = kind == SHM_SIGNAL_BANNER_421 || kind == SHM_SIGNAL_MAIL_421
				     ? s->run_421 + 1
				     : 0;
		networks(i % WORKERS, slot)->failing |= 1ULL << (i % nets);
		s->said_ns = now;
		memcpy(s->said, "451 4.3.0 no", 13);
	}
}

static void
bodies(unsigned slot, unsigned votes, unsigned rcpt_bounces, unsigned eod_bounces, unsigned nets)
{
	struct shm_backend_signals *s = &stats.signals[0][slot];

	s->rcpt_votes += votes;
	s->rcpt_bounces += rcpt_bounces;
	s->eod_votes += votes;
	s->eod_bounces += eod_bounces;
	for (unsigned i = 0; i < nets && rcpt_bounces + eod_bounces > 0; i++)
		networks(0, slot)->bouncing |= 1ULL << i;
}

static void replies(unsigned slot, unsigned count, unsigned ms)
{
	stats.local[1][slot].latency[SHM_VERB_MAIL].count += count;
	stats.local[1][slot].latency[SHM_VERB_MAIL].sum_us += (uint64_t)count * ms * 1000;
}

static void second_passes(void)
{
	now += SECOND;
	health_run(h, &dataplane, now);
}

static void expect(unsigned slot, enum shm_health health, enum shm_reason reason)
{
	assert_int_equal(ctl[slot].health, health);
	assert_int_equal(verdict[slot].reason, reason);
}

static void one_that_fails_is_out_and_comes_back(void **state)
{
	unsigned out = 0;

	pool_make(3);
	for (unsigned i = 0; i < 20 && ctl[2].health == SHM_HEALTH_UNKNOWN; i++) {
		sessions(1, 5, 0, 0, 1);
		sessions(2, 0, 5, SHM_SIGNAL_SYSTEM, 3);
		sessions(3, 5, 0, 0, 1);
		second_passes();
	}
	expect(2, SHM_HEALTH_EJECTED, SHM_REASON_FAILING);
	assert_string_equal(health_at(h, 1)->said, "451 4.3.0 no");
	assert_int_equal(verdict[2].ejections, 1);
	expect(1, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	for (; out < 60 && ctl[2].health == SHM_HEALTH_EJECTED; out++) {
		sessions(1, 5, 0, 0, 1);
		sessions(3, 5, 0, 0, 1);
		second_passes();
	}
	assert_int_equal(out, 30); // no probe: by its time
	expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	assert_in_range(ctl[2].weight_permille, 100, 250); // and slowly
	for (unsigned i = 0; i < 12; i++)
		second_passes();
	assert_int_equal(ctl[2].weight_permille, 1000);
	expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE); // what was before is forgotten
	for (unsigned i = 0; i < 20 && ctl[2].health == SHM_HEALTH_UNKNOWN; i++) {
		sessions(1, 5, 0, 0, 1);
		sessions(2, 0, 5, SHM_SIGNAL_DROPPED, 3);
		second_passes();
	}
	for (out = 0; out < 100 && ctl[2].health == SHM_HEALTH_EJECTED; out++)
		second_passes();
	assert_int_equal(out, 60); // for longer the second time
}

static void the_operator_ends_it(void **state)
{
	pool_make(2);
	for (unsigned i = 0; i < 20 && ctl[2].health == SHM_HEALTH_UNKNOWN; i++) {
		sessions(1, 5, 0, 0, 1);
		sessions(2, 0, 5, SHM_SIGNAL_SYSTEM, 3);
		second_passes();
	}
	expect(2, SHM_HEALTH_EJECTED, SHM_REASON_FAILING);
	second_passes();
	health_admin_set(&dataplane, health_at(h, 1), BLOB_ADMIN_ENABLED);
	second_passes();
	expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
}

static void our_source_address_is_no_matter_of_health(void **state)
{
	pool_make(2);
	for (unsigned i = 0; i < 70; i++) {
		stats.signals[1][2].source_refused += 5;
		sessions(1, 5, 0, 0, 1);
		second_passes();
	}
	expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	assert_int_equal(health_at(h, 1)->source_refused, 5 * 61); // said twice, a minute apart
}

static void few_networks_equal_peers_and_single_servers_say_nothing(void **state)
{
	pool_make(3);
	for (unsigned i = 0; i < 90; i++) { // one client's trouble
		sessions(1, 5, 0, 0, 1);
		sessions(2, 0, 5, SHM_SIGNAL_DROPPED, 2);
		sessions(3, 5, 0, 0, 1);
		second_passes();
		expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	}
	for (unsigned i = 0; i < 120; i++) { // everybody's trouble
		for (unsigned slot = 1; slot <= 3; slot++)
			sessions(slot, 2, 5, SHM_SIGNAL_TIMEOUT, 9);
		second_passes();
	}
	for (unsigned slot = 1; slot <= 3; slot++)
		expect(slot, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	pool_make(1);
	for (unsigned i = 0; i < 90; i++) {
		sessions(1, 0, 5, SHM_SIGNAL_SYSTEM, 9);
		second_passes();
	}
	expect(1, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
}

// Greylisting and block lists are replies to RCPT: votes of the guard at most, no signal ever.
static void ten_thousand_block_listed_clients_eject_nobody(void **state)
{
	pool_make(2);
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned slot = 1; slot <= 2; slot++) {
			sessions(slot, 60, 0, 0, 1);
			bodies(slot, 60, 50, 0, 60); // 100 x 2 x 50 refused for good
		}
		second_passes();
	}
	for (unsigned i = 0; i < 100; i++) { // one greylists: 4xx are no bounces
		sessions(1, 60, 0, 0, 1);
		bodies(1, 60, 0, 0, 60);
		sessions(2, 60, 0, 0, 1);
		bodies(2, 60, 0, 0, 60);
		second_passes();
	}
	for (unsigned slot = 1; slot <= 2; slot++) {
		expect(slot, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
		assert_int_equal(verdict[slot].ejections, 0);
	}
}

static void at_most_half_the_pool_is_out(void **state)
{
	unsigned out = 0;

	pool_make(4);
	for (unsigned i = 0; i < 25; i++) {
		sessions(1, 50, 0, 0, 1);
		for (unsigned slot = 2; slot <= 4; slot++)
			if (ctl[slot].health == SHM_HEALTH_UNKNOWN)
				sessions(slot, 0, 5, SHM_SIGNAL_SYSTEM, 5);
		second_passes();
	}
	for (unsigned slot = 1; slot <= 4; slot++)
		out += ctl[slot].health == SHM_HEALTH_EJECTED;
	assert_int_equal(out, 2);
	assert_true(health_at(h, 3)->spared);
	expect(1, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
}

static void four_two_one_to_everybody_is_maintenance(void **state)
{
	pool_make(2);
	for (unsigned i = 0; i < 30; i++) { // good so far, and long enough
		sessions(1, 3, 0, 0, 1);
		sessions(2, 3, 0, 0, 1);
		second_passes();
	}
	for (unsigned i = 0; i < 25; i++) { // some are told 421: of its limits
		sessions(1, 20, 0, 0, 1);
		sessions(2, 20, 1, SHM_SIGNAL_BANNER_421, 1);
		networks(0, 2)->failing |= 0xff;
		second_passes();
		expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	}
	for (unsigned i = 0; i < 5 && ctl[2].health == SHM_HEALTH_UNKNOWN; i++) {
		sessions(1, 20, 0, 0, 1);
		sessions(2, 0, 20, SHM_SIGNAL_MAIL_421, 9);
		memcpy(stats.signals[0][2].said, "421 4.3.2 upgrade\x01", 19);
		networks(0, 2)->failing |= 0xff;
		second_passes();
	}
	expect(2, SHM_HEALTH_MAINTENANCE, SHM_REASON_MAINTENANCE);
	assert_string_equal(health_at(h, 1)->said, "421 4.3.2 upgrade?");
	assert_int_equal(verdict[2].ejections, 0);
	stats.local[0][1].active = 3; // a server at its limit says so too, and goes on serving
	for (unsigned i = 0; i < 25; i++) {
		sessions(1, 0, 2, SHM_SIGNAL_BANNER_421, 1);
		networks(0, 1)->failing |= 0xff;
		second_passes();
		expect(1, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	}
	stats.local[0][1].active = 0;
	for (unsigned i = 0; i < 14; i++) { // the last one may call us off too
		sessions(1, 0, 1, SHM_SIGNAL_BANNER_421, 1);
		networks(0, 1)->failing |= 0xff;
		second_passes();
	}
	expect(1, SHM_HEALTH_MAINTENANCE, SHM_REASON_MAINTENANCE);
	for (unsigned i = 0; i < 31; i++)
		second_passes();
	expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
}

static void prx_is_a_failure_though_probes_pass(void **state)
{
	struct ctl_ring *ring = aligned_alloc(64, sizeof(*ring));
	struct ctl_msg order, msg = {.type = CTL_EVT_PROBE};
	uint64_t out;

	assert_non_null(ring);
	memset(ring, 0, sizeof(*ring));
	dataplane.commands[0] = dataplane.commands[1] = ring;
	pool_make(2);
	pool.probe = (struct cfg_probe
	){.enabled = true, .interval_ms = 5000, .timeout_ms = 1000, .rise = 2, .fall = 3};
	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	out = 0;
	for (unsigned i = 0; i < 60 && (out == 0 || ctl[2].health != SHM_HEALTH_UP); i++) {
		if (out == 0) {
			sessions(2, 0, 3, SHM_SIGNAL_PROXY, 3);
			sessions(2, 0, 1, SHM_SIGNAL_MAIL_421, 3);
		}
		sessions(1, 4, 0, 0, 1);
		second_passes();
		while (ctl_ring_get(ring, &order) == CTL_RING_MSG) {
			msg.request_id = order.request_id;
			msg.probe_result.backend_slot = order.probe.backend_slot;
			health_result(h, &dataplane, &msg, now);
		}
		if (out == 0 && ctl[2].health == SHM_HEALTH_EJECTED) {
			expect(2, SHM_HEALTH_EJECTED, SHM_REASON_PROXY);
			out = now;
		}
	}
	assert_true(out > 0 && now - out >= 30 * SECOND); // not before, whatever the probes say
	expect(2, SHM_HEALTH_UP, SHM_REASON_NONE);
	free(ring);
}

static void a_bounce_storm_is_stopped(void **state)
{
	pool_make(2);
	pool.bounce_guard = false;
	assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 15; i++) {
			bodies(1, 10, 2, 1, 9);
			if (ctl[2].health != SHM_HEALTH_EJECTED)
				bodies(2, 10, 9, 1, 9);
			second_passes();
		}
		if (round == 1)
			break;
		expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
		pool.bounce_guard = true;
		assert_int_equal(health_configure(h, &cfg, &dataplane, now), 0);
	}
	expect(2, SHM_HEALTH_EJECTED, SHM_REASON_BOUNCES);
	assert_non_null(strstr(health_at(h, 1)->said, "5xx to"));
	assert_int_equal(verdict[2].ejections, 1);
}

static void slow_is_not_down_unless_extremely(void **state)
{
	pool_make(2);
	for (unsigned i = 0; i < 40; i++) { // tarpitted: 5 s against 10 ms
		replies(1, 3, 10);
		replies(2, 3, 5000);
		second_passes();
	}
	expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	assert_in_range(verdict[2].drift_permille, 499000, 501000);
	for (unsigned i = 0; i < 40; i++) { // both are slow
		replies(1, 3, 12000);
		replies(2, 3, 30000);
		second_passes();
	}
	expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	for (unsigned i = 0; i < 70; i++) { // to two networks only: it may be their fault
		replies(1, 3, 10);
		replies(2, 3, 30000);
		networks(0, 2)->slow |= 0x3;
		second_passes();
	}
	expect(2, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	for (unsigned i = 0; i < 10 && ctl[2].health == SHM_HEALTH_UNKNOWN; i++) {
		replies(1, 3, 10);
		replies(2, 3, 30000);
		networks(i % WORKERS, 2)->slow |= 0x4;
		second_passes();
	}
	expect(2, SHM_HEALTH_EJECTED, SHM_REASON_SLOW);
}

static void the_next_control_process_keeps_it_out(void **state)
{
	unsigned out = 0;

	ctl[2].health = SHM_HEALTH_EJECTED;
	verdict[2] = (struct shm_backend_verdict){.reason = SHM_REASON_BOUNCES, .ejections = 7};
	verdict[1].reason = 99; // no value at all
	pool_make(2);
	expect(2, SHM_HEALTH_EJECTED, SHM_REASON_BOUNCES);
	expect(1, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE);
	assert_int_equal(verdict[2].ejections, 7);
	for (; out < 60 && ctl[2].health == SHM_HEALTH_EJECTED; out++)
		second_passes();
	assert_int_equal(out, 30);
}

static void shares_depart_beyond_chance_and_by_much(void **state)
{
	assert_false(passive_departs(4, 4, 0, 1000)); // too few
	assert_true(passive_departs(10, 10, 0, 10));
	assert_false(passive_departs(5, 10, 3, 10));             // chance
	assert_false(passive_departs(1200, 10000, 1000, 10000)); // certain, but little
	assert_true(passive_departs(900, 1000, 800, 1000));      // half of the good ones gone
	assert_false(passive_departs(800, 1000, 900, 1000));     // better
	assert_false(passive_departs(10, 10, 10, 10));
	assert_false(passive_departs(10, 10, 0, 0)); // nobody to compare with
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(one_that_fails_is_out_and_comes_back),
		CASE(the_operator_ends_it),
		CASE(our_source_address_is_no_matter_of_health),
		CASE(few_networks_equal_peers_and_single_servers_say_nothing),
		CASE(ten_thousand_block_listed_clients_eject_nobody),
		CASE(at_most_half_the_pool_is_out),
		CASE(four_two_one_to_everybody_is_maintenance),
		CASE(prx_is_a_failure_though_probes_pass),
		CASE(a_bounce_storm_is_stopped),
		CASE(slow_is_not_down_unless_extremely),
		CASE(the_next_control_process_keeps_it_out),
		cmocka_unit_test(shares_depart_beyond_chance_and_by_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
