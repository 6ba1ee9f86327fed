// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of common/wheel.c.

#include "common/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/rng.h"

#define ENTRIES 500U

struct fixture {
	struct wheel wheel;
	struct wheel_entry entry[ENTRIES];
	uint32_t fired_at[ENTRIES];
	uint32_t due[ENTRIES];
	bool armed[ENTRIES];
	uint32_t fired;
};

static struct wheel_entry *fixture_entry(void *owner, uint32_t idx)
{
	return &((struct fixture *)owner)->entry[idx];
}

static void fixture_fire(void *owner, uint32_t idx)
{
	struct fixture *f = owner;

	assert_true(f->armed[idx]);
	assert_true((int32_t)(f->wheel.now_ms - f->due[idx]) >= 0); // never early
	f->fired_at[idx] = f->wheel.now_ms;
	f->armed[idx] = false;
	f->fired++;
}

static struct fixture fixture;

static struct fixture *fixture_start(uint32_t now)
{
	fixture = (struct fixture){0};
	wheel_init(&fixture.wheel, now, &fixture, fixture_entry, fixture_fire);
	return &fixture;
}

static void arm(struct fixture *f, uint32_t idx, uint32_t deadline)
{
	f->due[idx] = deadline;
	f->armed[idx] = true;
	wheel_arm(&f->wheel, idx, deadline);
}

static void fires_on_time_at_every_distance(void **state)
{
	static const uint32_t distance[] = {
		1, 2, 7, 8, 100, 253, 254, 255, 256, 1000, 2032, 2033, 16000, 40000, 130000, 600000
	};

	for (size_t i = 0; i < sizeof(distance) / sizeof(distance[0]); i++) {
		for (uint32_t start = UINT32_MAX - 599; start != 700; start += 50) {
			struct fixture *f = fixture_start(start);
			uint32_t limit = distance[i] + distance[i] / 8 + 2;

			arm(f, 1, start + distance[i]);
			for (uint32_t t = 1; t <= limit; t++)
				wheel_run(&f->wheel, start + t, UINT32_MAX);
			assert_int_equal(f->fired, 1);
			assert_int_equal(f->wheel.armed, 0);
		}
	}
}

static void random_moves_and_stops(void **state)
{
	struct fixture *f = fixture_start(12345);
	struct rng rng;
	uint32_t now = 12345;

	rng_seed(&rng, 3);
	for (unsigned step = 0; step < 20000; step++) {
		uint32_t idx = 1 + rng_below(&rng, ENTRIES - 1);
		uint32_t next;

		if (rng_below(&rng, 4) == 0) {
			f->armed[idx] = false;
			wheel_stop(&f->wheel, idx);
			assert_false(wheel_is_armed(&f->entry[idx]));
		} else {
			arm(f, idx, now + 1 + rng_below(&rng, 1U << rng_below(&rng, 20)));
		}
		next = wheel_next_ms(&f->wheel, 50);
		if (step % 3 == 0) {
			uint32_t before = f->fired;

			if (next - now > 1) // nothing may be due before the time it names
				wheel_run(&f->wheel, next - 1, UINT32_MAX);
			assert_int_equal(f->fired, before);
			now = next;
			wheel_run(&f->wheel, now, 10);
		}
	}
	for (unsigned i = 0; i < 1300000 && f->wheel.armed > 0; i++)
		wheel_run(&f->wheel, ++now, UINT32_MAX);
	for (uint32_t idx = 1; idx < ENTRIES; idx++)
		assert_false(f->armed[idx]);
}

static void quota_carries_over(void **state)
{
	struct fixture *f = fixture_start(0);

	for (uint32_t idx = 1; idx < 101; idx++)
		arm(f, idx, 5);
	assert_int_equal(wheel_run(&f->wheel, 10, 30), 30);
	assert_int_equal(f->fired, 30);
	wheel_run(&f->wheel, 10, 1000);
	assert_int_equal(f->fired, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fires_on_time_at_every_distance),
		cmocka_unit_test(random_moves_and_stops),
		cmocka_unit_test(quota_carries_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
