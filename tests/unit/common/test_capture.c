// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The ring of captured records: order and content over its wrap, full, taken back, and a peer that
// lies about the indices.

#include "common/abi/capture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct capture_ring *ring;
static uint8_t text[CAPTURE_SNAP_MAX];

static int setup(void **state)
{
	ring = aligned_alloc(64, sizeof(*ring));
	if (ring == NULL)
		return -1;
	memset(ring, 0, sizeof(*ring));
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7 + i / 251);
	return 0;
}

static int teardown(void **state)
{
	free(ring);
	return 0;
}

static bool put(struct capture_writer *w, uint64_t session, uint32_t bytes)
{
	struct capture_record r = {.session = session, .bytes = bytes, .wire_bytes = bytes};

	if (!capture_begin(w, &r))
		return false;
	capture_put(w, text, bytes / 2); // in two parts, as a chain of buffers comes
	capture_put(w, text + bytes / 2, bytes - bytes / 2);
	capture_end(w);
	return true;
}

static void order_and_content_over_the_wrap(void **state)
{
	struct capture_writer w;
	struct capture_reader r;
	struct capture_record got;
	uint64_t in = 0, out = 0;
	uint8_t back[CAPTURE_SNAP_MAX];

	ring->tail = ring->head = UINT32_MAX - 1000 + 1 - 8; // the indices run over too
	capture_writer_init(&w, ring);
	capture_reader_init(&r, ring);
	assert_false(capture_peek(&r, &got));
	for (unsigned round = 0; round < 40; round++) {
		while (put(&w, in, (uint32_t)(in * 131 % 9000)))
			in++;
		capture_publish(&w, w.next);
		assert_true(in - out > 50);
		for (unsigned i = 0; i < 40 + round && capture_peek(&r, &got); i++) {
			assert_int_equal(got.session, out);
			assert_int_equal(got.bytes, out * 131 % 9000);
			capture_take(&r, back, got.bytes);
			assert_memory_equal(back, text, got.bytes);
			capture_skip(&r, &got);
			out++;
		}
	}
	assert_true(out > 1000);
}

static void taken_back_and_begun_anew(void **state)
{
	struct capture_writer w;
	struct capture_reader r;
	struct capture_record got;
	uint32_t first;

	capture_writer_init(&w, ring);
	capture_reader_init(&r, ring);
	assert_true(put(&w, 1, 100));
	first = w.next;
	assert_true(put(&w, 2, 100));
	assert_false(capture_peek(&r, &got)); // not published
	capture_publish(&w, first);           // the second one was not sent after all
	assert_true(put(&w, 3, 100));
	capture_publish(&w, w.next);
	assert_true(capture_peek(&r, &got));
	assert_int_equal(got.session, 1);
	capture_skip(&r, &got);
	assert_true(capture_peek(&r, &got));
	assert_int_equal(got.session, 3);
	capture_reader_init(&r, ring); // another capture: the rest is forgotten
	assert_false(capture_peek(&r, &got));
	assert_int_equal(ring->head, ring->tail);
}

static void lies_lose_records_only(void **state)
{
	struct capture_writer w;
	struct capture_reader r;
	struct capture_record got, bad = {.length = UINT32_MAX - 7};

	capture_writer_init(&w, ring);
	ring->head = 4000; // read what was never written
	assert_false(put(&w, 1, 100));
	ring->head = w.next - 2 * CAPTURE_RING_BYTES;
	assert_false(put(&w, 1, 100));
	ring->head = 0;
	ring->tail = 77; // the worker has its own
	assert_true(put(&w, 1, 100));
	capture_publish(&w, w.next);
	assert_int_equal(ring->tail, 144);
	r = (struct capture_reader){ring, 0};
	for (unsigned i = 0; i < 5; i++) {
		static const uint32_t lengths[] = {UINT32_MAX - 7, 0, 39, 152, 141};

		bad.length = lengths[i];
		bad.bytes = 0;
		r.head = 0;
		memcpy(ring->data, &bad, sizeof(bad));
		assert_false(capture_peek(&r, &got));
		assert_int_equal(ring->head, 144);
	}
	bad.length = 144; // more octets than the record holds
	bad.bytes = 105;
	r.head = 0;
	memcpy(ring->data, &bad, sizeof(bad));
	assert_false(capture_peek(&r, &got));
	ring->tail = 3 * CAPTURE_RING_BYTES;
	r.head = 0;
	assert_false(capture_peek(&r, &got));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(order_and_content_over_the_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(taken_back_and_begun_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(lies_lose_records_only, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
