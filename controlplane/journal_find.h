// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Looks for mails in the ledger's files, the newest first: from the end of the last file to the
// begin of the first, a block at a time, so that control does other work in between. A block in
// which the text asked for does not stand is not read line by line. Main thread of control.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/abi/abi.h"
#include "common/addr.h"
#include "controlplane/journal.h"

#define FIND_TEXT_MAX 256
#define FIND_TIME_LEN 28 // 2026-11-27T08:53:33.123456Z
#define FIND_BLOCK (1U << 18)

struct find_query {
	char from[FIND_TEXT_MAX], to[FIND_TEXT_MAX]; // an address, "@domain", or "<>"
	char queue_id[FIND_TEXT_MAX];                // or a Message-ID
	char backend[2 * MR_NAME_LEN];               // NAME or POOL/NAME
	struct ip_prefix client;
	bool has_client;
	char since[FIND_TIME_LEN],
		until[FIND_TIME_LEN]; // as times stand in the lines; "": no bound
	uint32_t limit;
};

struct find {
	struct find_query query;
	char needle[FIND_TEXT_MAX]; // in small letters, stands in each line that matches; "": none
	size_t needle_len;
	uint32_t skip[256]; // Horspool's
	int dir_fd, fd;
	char (*names)[JOURNAL_NAME_LEN];
	int file;       // index into names, -1: all were read
	uint64_t end;   // of what is left of the file
	size_t at;      // of what is left of the block: the octets before
	uint32_t found; // lines given
	bool done, limited;
	uint64_t octets;            // read
	char oldest[FIND_TIME_LEN]; // time of the first line there is; "": none
	char block[FIND_BLOCK];
};

// "", a time as in the files or a part of it from the left, seconds since 1970, or how long ago:
// "90s", "15m", "2h", "7d". False: none of these.
bool find_time_parse(const char *text, char ret[FIND_TIME_LEN]);
// dir_fd is the caller's and stays open as long. 0 or -errno.
int find_begin(struct find *f, int dir_fd, const struct find_query *query);
// The next line that matches, without its LF, in the find's own memory until the next call. NULL:
// none in the octets that one call may look at; f->done: none at all.
const char *find_next(struct find *f, size_t *ret_len);
void find_end(struct find *f);
