// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// From rings into files: each record once whenever control dies, and files within their bounds.

#include "tests/unit/controlplane/journal_rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/rng.h"

#include <cmocka.h>

static void tell_many(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char id[16];

		snprintf(id, sizeof(id), "ID%06u", i);
		assert_true(tell(i % WORKERS, "helo.example", id, "a@b.example", "c@d.example"));
	}
}

static void each_once(unsigned count)
{
	json_t *all = journal_rig_lines(), *o;
	uint64_t next[WORKERS] = {1, 1};
	size_t i;

	assert_int_equal(json_array_size(all), count);
	json_array_foreach(all, i, o)
	{
		unsigned w = (unsigned)json_integer_value(json_object_get(o, "worker"));

		assert_int_equal(json_integer_value(json_object_get(o, "seq")), next[w]++);
	}
	json_decref(all);
}

static void control_restart(void)
{
	journal_free(rig.j);
	rig.j = journal_new();
	journal_configure(rig.j, &rig.cfg);
}

static void test_control_that_dies(void **state)
{
	uint32_t head[WORKERS];

	tell_many(100);
	assert_int_equal(journal_rig_run(), 100);
	assert_int_equal(journal_rig_run(), 0);
	control_restart();
	tell_many(10);
	assert_int_equal(journal_rig_run(), 10);
	for (unsigned i = 0; i < WORKERS; i++)
		head[i] = rig.ring[i]->head;
	tell_many(50);
	assert_int_equal(journal_rig_run(), 50);
	for (unsigned i = 0; i < WORKERS; i++)
		rig.ring[i]->head = head[i]; // died between the line and its room
	control_restart();
	assert_int_equal(journal_rig_run(), 0);
	tell_many(5);
	assert_int_equal(journal_rig_run(), 5);
	each_once(165);
}

// Also with a control process that starts anew each hour a file is a day's.
static void test_day(void **state)
{
	char(*names)[JOURNAL_NAME_LEN];
	int fd = openat(
		rig.j->dir_fd, "mail-20200101T000000Z-00.json", O_CREAT | O_WRONLY | O_CLOEXEC, 0640
	);

	assert_int_equal(write(fd, "{}\n", 3), 3);
	close(fd);
	tell_many(2);
	journal_rig_run(); // opens it
	tell_many(2);
	journal_rig_run();
	assert_int_equal(journal_list(rig.j->dir_fd, &names), 2);
	assert_string_equal(names[1], rig.j->name);
	free(names);
}

static void test_half_a_line(void **state)
{
	tell_many(3);
	assert_int_equal(journal_rig_run(), 3);
	assert_int_equal(write(rig.j->fd, "{\"time\":\"20", 11), 11);
	control_restart();
	tell_many(3);
	assert_int_equal(journal_rig_run(), 3);
	each_once(6);
}

static void test_another_dataplane(void **state)
{
	tell_many(4);
	assert_int_equal(journal_rig_run(), 4);
	rig.link.at.boot_id++;
	memset(rig.seq, 0, sizeof(rig.seq));
	for (unsigned i = 0; i < WORKERS; i++) {
		rig.ring[i]->head = rig.ring[i]->tail = 0;
		capture_writer_init(&rig.out[i], rig.ring[i]);
	}
	tell_many(4);
	assert_int_equal(journal_rig_run(), 4);
	control_restart();
	tell_many(2);
	assert_int_equal(journal_rig_run(), 2);
}

static void test_full_ring(void **state)
{
	unsigned told = 0, taken = 0, n;

	while (tell(0, "h", "QQ1234", "a@b", "c@d"))
		told++;
	rig.seq[0]--;
	assert_true(told > 5000);
	while ((n = journal_rig_run()) > 0) // a turn is bounded
		taken += n;
	assert_int_equal(taken, told);
	assert_true(tell(0, "h", "QQ1234", "a@b", "c@d"));
	assert_int_equal(journal_rig_run(), 1);
	each_once(told + 1);
}

static void test_octets(void **state)
{
	json_t *all, *o;

	assert_true(
		tell(0,
		     "q\"\\\n\x01\x7f",
		     "ID\xff\xc3\xa9",
		     "\"a,\\\"b\"@c.example",
		     "\xc3\xa9@\xe2\x82.x")
	);
	assert_int_equal(journal_rig_run(), 1);
	all = journal_rig_lines();
	o = json_array_get(all, 0);
	assert_string_equal(json_string_value(json_object_get(o, "helo")), "q\"\\\n\x01\x7f");
	assert_string_equal(
		json_string_value(json_object_get(o, "queue_id")), "ID\xc3\xbf\xc3\xa9"
	);
	assert_string_equal(json_string_value(json_object_get(o, "from")), "\"a,\\\"b\"@c.example");
	assert_string_equal(
		json_string_value(
			json_object_get(json_array_get(json_object_get(o, "to"), 0), "address")
		),
		"\xc3\xa9@\xc3\xa2\xc2\x82.x"
	);
	json_decref(all);
}

// The longest record of nothing but octets that are escaped.
static void test_longest(void **state)
{
	uint8_t text[LEDGER_LIST_MAX];
	struct capture_writer *out = &rig.out[0];

	for (unsigned zeros = 0; zeros < 2; zeros++) {
		uint32_t list = zeros != 0 ? 968 / 3 * 3 : 4 * 258;
		struct ledger_mail m = {
			.seq = zeros + 1,
			.code = 599,
			.flags = 0xffff,
			.helo_len = LEDGER_HELO_MAX,
			.queue_id_len = LEDGER_QUEUE_ID_MAX,
			.message_id_len = LEDGER_MESSAGE_ID_MAX,
			.listed = (uint16_t)(zeros != 0 ? 968 / 3 : 3),
			.recipients = 65535,
			.client_tls = 0x0304,
			.backend_tls = 0x0304,
			.client_suite = 0xcca9,
			.backend_suite = 0xcca9,
		};
		struct capture_record record = {.kind = CAPTURE_MAIL};

		list = list < sizeof(text) ? list : 3 * 258;
		record.bytes = (uint32_t)sizeof(m) + LEDGER_HELO_MAX + LEDGER_QUEUE_ID_MAX +
			       LEDGER_MESSAGE_ID_MAX + list;
		memset(text, zeros != 0 ? 0 : 1, sizeof(text));
		for (uint32_t at = 0; zeros == 0 && at < list; at += 258)
			memcpy(text + at, &(struct ledger_recipient){{0xff, 0xff}, 255}, 3);
		for (uint32_t at = 0; zeros != 0 && at < list; at += 3)
			memcpy(text + at, &(struct ledger_recipient){{0xff, 0xff}, 0}, 3);
		assert_true(capture_begin(out, &record));
		capture_put(out, &m, sizeof(m));
		for (unsigned i = 0;
		     i < LEDGER_HELO_MAX + LEDGER_QUEUE_ID_MAX + LEDGER_MESSAGE_ID_MAX;
		     i++)
			capture_put(out, "\x02", 1);
		capture_put(out, text, list);
		capture_publish(out, capture_end(out));
	}
	assert_int_equal(journal_rig_run(), 2);
	json_decref(journal_rig_lines());
}

static void test_hostile_rings(void **state)
{
	struct rng rng;

	rng_seed(&rng, 5);
	for (unsigned n = 0; n < 3000; n++) {
		struct capture_ring *ring = rig.ring[rng_below(&rng, WORKERS)];

		if (rng_below(&rng, 3) == 0)
			ring->tail = (uint32_t)rng_next(&rng);
		if (rng_below(&rng, 3) == 0)
			ring->tail = ring->head + 8 * (uint32_t)rng_below(&rng, 2000);
		for (unsigned i = 0; i < 200; i++)
			ring->data[(ring->head + rng_below(&rng, 4096)) % CAPTURE_RING_BYTES] =
				(uint8_t)rng_next(&rng);
		if (rng_below(&rng, 2) == 0) { // the head of a record as it should be
			const struct capture_record r = {
				.length = 200, .kind = CAPTURE_MAIL, .bytes = 160
			};

			memcpy(ring->data + ring->head % (CAPTURE_RING_BYTES - 64), &r, sizeof(r));
		}
		journal_rig_run();
	}
	json_decref(journal_rig_lines()); // whatever was written is JSON
}

static void test_bounds(void **state)
{
	char(*names)[JOURNAL_NAME_LEN];
	uint64_t total = 0;
	struct stat st;
	int n;

	rig.j->max_bytes = 1 << 20;
	for (unsigned i = 0; i < 40; i++) {
		tell_many(200);
		assert_int_equal(journal_rig_run(), 200);
	}
	n = journal_list(rig.j->dir_fd, &names);
	assert_true(n > 4);
	for (int i = 0; i < n; i++) {
		assert_int_equal(fstatat(rig.j->dir_fd, names[i], &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0640);
		total += (uint64_t)st.st_size;
	}
	assert_true(total <= (1 << 20) + (1 << 16) && total > (3 << 18));
	// and by age: but for the one that is written
	for (int i = 0; i < n; i++)
		utimensat(rig.j->dir_fd, names[i], (struct timespec[2]){{1000, 0}, {1000, 0}}, 0);
	free(names);
	journal_sweep(rig.j);
	n = journal_list(rig.j->dir_fd, &names);
	assert_int_equal(n, 1);
	assert_string_equal(names[0], rig.j->name);
	free(names);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, journal_rig_setup, journal_rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_control_that_dies),
		TEST(test_day),
		TEST(test_half_a_line),
		TEST(test_another_dataplane),
		TEST(test_full_ring),
		TEST(test_octets),
		TEST(test_longest),
		TEST(test_hostile_rings),
		TEST(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
