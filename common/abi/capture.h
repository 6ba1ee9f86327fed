// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What an armed worker copies for control: frames and lines of dialogues as records of a byte ring,
// one ring a worker, in the control segment. One producer (the worker), one consumer (control).
// Indices are masked by a constant and each side keeps its own in private memory: a hostile peer
// can make records be lost, or read nonsense, but lead no access out of the ring. A full ring loses
// what does not fit, counted by port. Nothing is in it while no capture is armed.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CAPTURE_RING_BYTES (1U << 20) // a worker; power of two
#define CAPTURE_PORTS 16
#define CAPTURE_SNAP_MAX 16384 // octets of a frame
#define CAPTURE_LINE_MAX 1024  // octets of a line of a dialogue

enum capture_kind {
	CAPTURE_FRAME_IN = 1,    // as received
	CAPTURE_FRAME_OUT = 2,   // as handed to the port, its checksums filled in
	CAPTURE_FROM_CLIENT = 3, // a line of a dialogue, without its line end
	CAPTURE_TO_CLIENT = 4,
	CAPTURE_FROM_BACKEND = 5,
	CAPTURE_TO_BACKEND = 6,
	CAPTURE_NOTE = 7,           // of ours: what a line that is not shown was
	CAPTURE_OWN_TO_CLIENT = 8,  // a reply that no backend gave (C5)
	CAPTURE_OWN_TO_BACKEND = 9, // a command that no client gave
	CAPTURE_MAIL = 10,          // of the ledger's ring only: ledger.h
};

enum capture_leg { CAPTURE_LEG_NONE = 0, CAPTURE_LEG_CLIENT = 1, CAPTURE_LEG_BACKEND = 2 };

struct capture_record {
	uint32_t length;     // of the record and what follows it, a multiple of 8
	uint32_t capture;    // request id of the command that armed it
	uint64_t time_ns;    // CLOCK_MONOTONIC of the worker's turn
	uint64_t session;    // 0: not known
	uint32_t wire_bytes; // of the whole frame or line
	uint32_t bytes;      // of it that follow
	uint8_t kind;        // enum capture_kind
	uint8_t port;
	uint8_t leg; // enum capture_leg
	uint8_t reserved[5];
};
static_assert(sizeof(struct capture_record) == 40, "ABI");

struct capture_ring {
	_Alignas(64) uint32_t tail;   // worker: rw, control: ro; free running, in octets
	uint32_t armed;               // worker: rw, control: ro; request id, 0: none
	uint64_t lost[CAPTURE_PORTS]; // worker: rw, control: ro; since it was armed, by port
	_Alignas(64) uint32_t head;   // control: rw, worker: ro; free running, in octets
	_Alignas(64) uint8_t data[CAPTURE_RING_BYTES];
};
static_assert((CAPTURE_RING_BYTES & (CAPTURE_RING_BYTES - 1)) == 0, "masked");

// The worker's side. A record is begun, filled and ended; those ended are seen by the consumer once
// published, and may be taken back until then.
struct capture_writer {
	struct capture_ring *ring;
	uint32_t tail; // published
	uint32_t next; // ended
	uint32_t at;   // of the next octet
};

void capture_writer_init(struct capture_writer *w, struct capture_ring *ring);
// Room for record->bytes octets; sets record->length. False: full.
bool capture_begin(struct capture_writer *w, struct capture_record *record);
void capture_put(struct capture_writer *w, const void *data, uint32_t n);
// Over octets that were put at off of the record begun.
void capture_patch(struct capture_writer *w, uint32_t off, const void *data, uint32_t n);
// Returns the position up to which this record and those before it may be published.
uint32_t capture_end(struct capture_writer *w);
// Up to a position that capture_end returned, or w->tail: what was ended behind it is taken back.
void capture_publish(struct capture_writer *w, uint32_t position);

// Control's side.
struct capture_reader {
	struct capture_ring *ring;
	uint32_t head;
};

// Begins at the end: what is in the ring is of a capture before.
void capture_reader_init(struct capture_reader *r, struct capture_ring *ring);
// Goes on where the reader before it was.
void capture_reader_resume(struct capture_reader *r, struct capture_ring *ring);
// The record at the head; false: none, or one that cannot be (the ring is given up to its end).
bool capture_peek(struct capture_reader *r, struct capture_record *ret);
// Octets of the record at the head, n <= ret->bytes.
void capture_take(const struct capture_reader *r, void *to, uint32_t n);
void capture_skip(struct capture_reader *r, const struct capture_record *record);
// In two steps: goes on behind the record, and gives the room of what was passed back. Without the
// second one a reader that resumes finds the record again.
void capture_pass(struct capture_reader *r, const struct capture_record *record);
void capture_release(const struct capture_reader *r);
