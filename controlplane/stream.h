// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A capture under way: arms the workers, renews their leases, and turns what their rings hold into
// a pcapng file or into lines of text as fast as its reader takes them. Bounded in octets and time;
// what the rings could not keep is counted in the file. One at a time. Main thread of control.

#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "controlplane/control.h"

#define STREAM_BLOCK 65536 // octets a reader must have room for

struct stream_query {
	struct ctl_capture filter; // conditions, snap and flags
	uint64_t bytes;            // of the file
	uint32_t seconds;
	char text[256]; // the conditions as they were asked for
};

struct stream_worker {
	struct capture_reader reader;
	bool has;
	struct capture_record record; // at the head of the ring, when has
};

struct stream {
	bool used;
	struct control *control;
	struct stream_query query;
	uint32_t id;
	uint64_t boot_id;
	const uint8_t *base; // of the segment the rings are in
	uint64_t wall_ns;    // 1970 to CLOCK_MONOTONIC's origin
	uint64_t started_ns, renew_ns, end_ns;
	uint64_t stop_ns; // when the workers were told to stop, 0: not yet
	bool finished;    // nothing more will come
	uint64_t written, delivered[CAPTURE_PORTS], lost_told[CAPTURE_PORTS];
	uint32_t workers, ports;
	bool head_written, trailer_written;
	struct stream_worker worker[CFG_MAX_WORKERS];
};

// NULL, or why not.
const char *stream_begin(struct stream *s, struct control *c, const struct stream_query *query);
// Octets written to out (room >= STREAM_BLOCK); 0: nothing now; -1: the end.
ssize_t stream_read(struct stream *s, char *out, size_t room);
// Leases, time and end. Between reads.
void stream_run(struct stream *s, uint64_t now_ns);
// Is there something to read, the end included?
bool stream_is_ready(struct stream *s);
// Ends in order: what the rings hold is still read.
void stream_stop(struct stream *s);
// Ends at once: the reader has gone.
void stream_end(struct stream *s);

// stream_text.c: one line of a dialogue; 0 when it does not fit.
size_t stream_text_line(
	char *out,
	size_t room,
	const struct capture_record *record,
	uint64_t time_ns,
	const uint8_t *text
);
