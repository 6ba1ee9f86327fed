// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The end of a DATA body: the scanner, driven as the relay drives it (dataplane/proxy/body.c) in
// any segmentation and with each policy, against a reference that looks at the whole body byte by
// byte. Input: policy, number of cuts, the cuts, the body.

#include <stdlib.h>
#include <string.h>

#include "common/abi/blob.h"
#include "dataplane/smtp/dot.h"
#include "tests/fuzz/fuzz.h"

enum outcome { BODY_UNFINISHED, BODY_ENDED, BODY_REFUSED };

struct result {
	enum outcome outcome;
	size_t used; // bytes of the input that were looked at for good
	uint8_t *out;
	size_t len;
	size_t stuffed; // octets that are not of the message
};

static void put(struct result *r, const void *data, size_t n)
{
	memcpy(r->out + r->len, data, n);
	r->len += n;
}

// The byte at the front is a CR, LF or NUL alone. False: the body is refused.
static bool bare(struct result *r, uint8_t *state, unsigned policy, uint8_t byte)
{
	bool dot = *state == SMTP_DOT_DOT;

	r->used++;
	if (policy == BLOB_BARE_LF_PASS) {
		*state = SMTP_DOT_TEXT;
		put(r, &byte, 1);
		return true;
	}
	if (policy == BLOB_BARE_LF_RESTUFF) {
		put(r, dot ? ".\r\n" : "\r\n", dot ? 3 : 2);
		*state = SMTP_DOT_BROKEN;
		return true;
	}
	r->outcome = BODY_REFUSED;
	return false;
}

// All that can be done with the bytes up to `end`.
static bool
piece(struct result *r, uint8_t *state, unsigned policy, const uint8_t *body, size_t end)
{
	while (r->used < end && r->outcome == BODY_UNFINISHED) {
		uint32_t len = (uint32_t)(end - r->used), n = UINT32_MAX, stuffed = UINT32_MAX;
		uint8_t *copy = fuzz_copy(body + r->used, len);
		enum smtp_dot_event event = smtp_dot_scan(state, copy, len, &n, &stuffed);

		FUZZ_CHECK(n <= len && stuffed <= n + 1 && *state <= SMTP_DOT_BROKEN);
		r->stuffed += stuffed;
		put(r, copy, n);
		r->used += n;
		if (event == SMTP_DOT_END) {
			r->outcome = BODY_ENDED;
		} else if (event == SMTP_DOT_BARE) {
			FUZZ_CHECK(
				n < len && (copy[n] == '\r' || copy[n] == '\n' || copy[n] == '\0')
			);
			bare(r, state, policy, copy[n]);
		} else if (event == SMTP_DOT_STUFF) {
			FUZZ_CHECK(n < len && copy[n] == '.' && policy == BLOB_BARE_LF_RESTUFF);
			put(r, ".", 1);
		} else {
			FUZZ_CHECK(n == len || (n + 1 == len && copy[n] == '\r'));
			fuzz_free(copy, len);
			return true;
		}
		fuzz_free(copy, len);
	}
	return r->outcome == BODY_UNFINISHED;
}

// The rules in words: a line ends with CRLF. The body ends with a line that is a dot. What else is
// a CR or LF is refused, passed on, or made a CRLF; a dot that begins a line made so, and a dot
// that is all of a line ended so, are doubled. A NUL around a dot that begins a line counts as one
// that stands alone.
static void reference(struct result *r, unsigned policy, const uint8_t *body, size_t len)
{
	size_t line = 0;       // where the line begins
	bool repaired = false; // by a CRLF of ours
	bool nul;

	while (r->used < len) {
		uint8_t c = body[r->used];

		if (c == '\r' && r->used + 1 == len)
			return; // the next byte decides
		if (c == '\r' && body[r->used + 1] == '\n') {
			put(r, "\r\n", 2);
			r->used += 2;
			if (!repaired && r->used - line == 3 && body[line] == '.') {
				r->outcome = BODY_ENDED;
				return;
			}
			line = r->used;
			repaired = false;
			continue;
		}
		nul = c == '\0' &&
		      (r->used == line || (!repaired && r->used - line == 1 && body[line] == '.'));
		if (c != '\r' && c != '\n' && !nul) {
			if (c == '.' && repaired && r->used == line)
				put(r, ".", 1);
			put(r, &c, 1);
			r->used++;
			continue;
		}
		if (policy == BLOB_BARE_LF_REJECT) {
			r->used++;
			r->outcome = BODY_REFUSED;
			return;
		}
		if (policy == BLOB_BARE_LF_PASS) {
			put(r, &c, 1);
			r->used++;
			continue;
		}
		if (!repaired && r->used - line == 1 && body[line] == '.')
			put(r, ".", 1);
		put(r, "\r\n", 2);
		r->used++;
		line = r->used;
		repaired = true;
	}
}

// What a strict server makes of what it is sent: no end before the end, no bare CR or LF.
static void server_check(const struct result *r)
{
	for (size_t i = 0; i < r->len; i++) {
		bool start = i == 0 || (i >= 2 && memcmp(r->out + i - 2, "\r\n", 2) == 0);
		bool ends = start && r->len - i >= 3 && memcmp(r->out + i, ".\r\n", 3) == 0;

		FUZZ_CHECK(!ends || (r->outcome == BODY_ENDED && i + 3 == r->len));
		FUZZ_CHECK(r->out[i] != '\n' || (i > 0 && r->out[i - 1] == '\r'));
		FUZZ_CHECK(r->out[i] != '\r' || i + 1 == r->len || r->out[i + 1] == '\n');
	}
}

// Of a body that goes on as it came: each line's leading dot, and all of the last line.
static void stuffed_check(const struct result *r)
{
	size_t want = r->outcome == BODY_ENDED ? 2 : 0;

	for (size_t i = 0; i < r->len; i++)
		want += r->out[i] == '.' &&
			(i == 0 || (i >= 2 && memcmp(r->out + i - 2, "\r\n", 2) == 0));
	FUZZ_CHECK(r->stuffed == want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	unsigned policy = fuzz_below(&in, BLOB_BARE_LF_PASS + 1);
	size_t cuts = fuzz_below(&in, 32), cut_count;
	const uint8_t *cut = fuzz_bytes(&in, cuts, &cut_count);
	struct result got = {0}, want = {0};
	uint8_t state = SMTP_DOT_START;
	size_t end = 0, room = 4 * in.left + 8;

	got.out = malloc(room);
	want.out = malloc(room);
	if (got.out == NULL || want.out == NULL)
		abort();
	for (size_t i = 0; i < cut_count; i++) {
		end = end + cut[i] < in.left ? end + cut[i] : in.left;
		if (!piece(&got, &state, policy, in.at, end))
			break;
	}
	piece(&got, &state, policy, in.at, in.left);
	reference(&want, policy, in.at, in.left);
	FUZZ_CHECK(got.outcome == want.outcome && got.used == want.used);
	FUZZ_CHECK(got.len == want.len && memcmp(got.out, want.out, got.len) == 0);
	if (policy != BLOB_BARE_LF_PASS)
		server_check(&got);
	if (policy == BLOB_BARE_LF_REJECT)
		stuffed_check(&got);
	free(got.out);
	free(want.out);
	return 0;
}
