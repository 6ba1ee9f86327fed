// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Records between a worker and control, see capture.h. One thread on each side; never blocks.

#include "common/abi/capture.h"

#include <string.h>

#define MASK (CAPTURE_RING_BYTES - 1U)
#define RECORD_ALIGN 8U
#define RECORD_MAX (sizeof(struct capture_record) + CAPTURE_SNAP_MAX + RECORD_ALIGN)

static void copy_in(struct capture_ring *ring, uint32_t at, const void *data, uint32_t n)
{
	uint32_t off = at & MASK;
	uint32_t first = n < CAPTURE_RING_BYTES - off ? n : CAPTURE_RING_BYTES - off;

	memcpy(ring->data + off, data, first);
	memcpy(ring->data, (const uint8_t *)data + first, n - first);
}

static void copy_out(const struct capture_ring *ring, uint32_t at, void *to, uint32_t n)
{
	uint32_t off = at & MASK;
	uint32_t first = n < CAPTURE_RING_BYTES - off ? n : CAPTURE_RING_BYTES - off;

	memcpy(to, ring->data + off, first);
	memcpy((uint8_t *)to + first, ring->data, n - first);
}

void capture_writer_init(struct capture_writer *w, struct capture_ring *ring)
{
	uint32_t tail = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED);

	*w = (struct capture_writer){.ring = ring, .tail = tail, .next = tail};
}

bool capture_begin(struct capture_writer *w, struct capture_record *record)
{
	uint32_t head = __atomic_load_n(&w->ring->head, __ATOMIC_ACQUIRE);
	uint32_t used = w->next - head;

	record->length = (uint32_t)(sizeof(*record) + record->bytes + RECORD_ALIGN - 1) &
			 ~(RECORD_ALIGN - 1);
	if (used > CAPTURE_RING_BYTES || CAPTURE_RING_BYTES - used < record->length)
		return false;
	copy_in(w->ring, w->next, record, sizeof(*record));
	w->at = w->next + (uint32_t)sizeof(*record);
	return true;
}

void capture_put(struct capture_writer *w, const void *data, uint32_t n)
{
	copy_in(w->ring, w->at, data, n);
	w->at += n;
}

void capture_patch(struct capture_writer *w, uint32_t off, const void *data, uint32_t n)
{
	copy_in(w->ring, w->next + (uint32_t)sizeof(struct capture_record) + off, data, n);
}

uint32_t capture_end(struct capture_writer *w)
{
	w->next = (w->at + RECORD_ALIGN - 1) & ~(RECORD_ALIGN - 1);
	return w->next;
}

void capture_publish(struct capture_writer *w, uint32_t position)
{
	w->tail = w->next = position;
	__atomic_store_n(&w->ring->tail, position, __ATOMIC_RELEASE);
}

void capture_reader_init(struct capture_reader *r, struct capture_ring *ring)
{
	*r = (struct capture_reader){ring, __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE)};
	__atomic_store_n(&ring->head, r->head, __ATOMIC_RELEASE);
}

void capture_reader_resume(struct capture_reader *r, struct capture_ring *ring)
{
	*r = (struct capture_reader){ring, __atomic_load_n(&ring->head, __ATOMIC_RELAXED)};
}

bool capture_peek(struct capture_reader *r, struct capture_record *ret)
{
	uint32_t tail = __atomic_load_n(&r->ring->tail, __ATOMIC_ACQUIRE);
	uint32_t there = tail - r->head;

	if (there == 0)
		return false;
	if (there <= CAPTURE_RING_BYTES && there >= sizeof(*ret)) {
		copy_out(r->ring, r->head, ret, sizeof(*ret));
		if (ret->length <= there && ret->length <= RECORD_MAX &&
		    ret->length % RECORD_ALIGN == 0 && ret->length >= sizeof(*ret) &&
		    ret->bytes <= ret->length - sizeof(*ret))
			return true;
	}
	r->head = tail;
	__atomic_store_n(&r->ring->head, tail, __ATOMIC_RELEASE);
	return false;
}

void capture_take(const struct capture_reader *r, void *to, uint32_t n)
{
	copy_out(r->ring, r->head + (uint32_t)sizeof(struct capture_record), to, n);
}

void capture_pass(struct capture_reader *r, const struct capture_record *record)
{
	r->head += record->length;
}

void capture_release(const struct capture_reader *r)
{
	__atomic_store_n(&r->ring->head, r->head, __ATOMIC_RELEASE);
}

void capture_skip(struct capture_reader *r, const struct capture_record *record)
{
	capture_pass(r, record);
	capture_release(r);
}
