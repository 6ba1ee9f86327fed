// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The ledger's files: what the workers tell of each mail (common/abi/ledger.h) is written as one
// JSON object a line, into files that are bounded together by size and by age. A record's room in
// the ring is given back once its line is written, and who starts anew looks up in the last file
// what that is, so that nothing is doubled and nothing left out, whenever control dies. Main thread
// of control.

#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "controlplane/control.h"

#define JOURNAL_NAME_LEN 40
#define JOURNAL_LINE_MAX 20480U // of a record with every octet escaped, and names

struct journal {
	int dir_fd, fd; // -1: none
	gid_t group;
	char name[JOURNAL_NAME_LEN]; // of the file that is written
	uint64_t bytes;              // of it
	time_t begun;                // by its name
	uint64_t swept_ns;
	uint64_t max_bytes; // of all
	unsigned days;
	bool failing;        // told once
	uint64_t boot_id;    // of the dataplane that the rings are of; 0: none
	const uint8_t *base; // of its segment
	struct capture_reader reader[CFG_MAX_WORKERS];
	uint64_t seen_boot;                 // the last file's
	uint64_t seen_seq[CFG_MAX_WORKERS]; // last of each worker that stands in it
	uint64_t written;
	size_t used;
	char out[4 * JOURNAL_LINE_MAX];
};

struct journal *journal_new(void);
void journal_free(struct journal *j); // closes
// What the configuration says; the folder is opened, and made if it is not there, when it is needed
// and not open yet: the first time before control becomes its own user.
void journal_configure(struct journal *j, const struct cfg *cfg);
// Writes what is in the rings. Returns how many records that were.
unsigned journal_run(struct journal *j, const struct link *l, uint64_t now_ns);

// journal_line.c: the record at the reader's head as a line with its LF; 0: it cannot be.
struct journal_source {
	const struct link *link; // for names
	unsigned worker;
	uint64_t wall_ns; // 1970 to CLOCK_MONOTONIC's origin
};
size_t journal_line(
	const struct journal_source *source,
	const struct capture_reader *reader,
	const struct capture_record *record,
	char out[JOURNAL_LINE_MAX],
	uint64_t *ret_seq
);

// journal_file.c: names of the files there are, oldest first; the caller frees them. -errno.
int journal_list(int dir_fd, char (**ret_names)[JOURNAL_NAME_LEN]);
// Opens the last file and learns from its end what has been written; begins one where there is none
// to go on with. 0, or -errno.
int journal_file_open(struct journal *j);
int journal_file_next(struct journal *j); // begins another
void journal_sweep(struct journal *j);    // removes what is too old or too much
