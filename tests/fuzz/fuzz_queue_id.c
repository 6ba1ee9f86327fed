// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Replies to an end of data, and the arguments of MAIL and RCPT: whatever is found lies in the
// line, is of printable octets, and no id is an address. Input: which of them, the line.

#include <string.h>

#include "dataplane/smtp/queue_id.h"
#include "tests/fuzz/fuzz.h"

static void part_check(const struct smtp_text *t, const char *line, uint32_t len)
{
	if (t->len == 0)
		return;
	FUZZ_CHECK(t->at >= line && t->at + t->len <= line + len);
}

static void receipt(const char *line, uint32_t len)
{
	struct smtp_receipt r;

	smtp_receipt_parse(line, len, &r);
	part_check(&r.queue_id, line, len);
	part_check(&r.message_id, line, len);
	FUZZ_CHECK(r.queue_id.len == 0 || memchr(r.queue_id.at, '@', r.queue_id.len) == NULL);
	for (uint32_t i = 0; i < r.queue_id.len; i++)
		FUZZ_CHECK((unsigned char)r.queue_id.at[i] > ' ');
	for (unsigned i = 0; i < 3; i++)
		FUZZ_CHECK(r.enhanced[i] < 1000);
	FUZZ_CHECK(r.enhanced[0] == 0 || r.enhanced[0] == (unsigned)(line[0] - '0'));
	FUZZ_CHECK((r.queue_id.len | r.message_id.len) == 0 || line[0] == '2');
}

static void address(const char *args, uint32_t len)
{
	struct smtp_text t;

	if (smtp_address_parse(args, len, &t))
		FUZZ_CHECK(t.at >= args && t.at + t.len <= args + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t what = fuzz_u8(&in);
	uint32_t len = (uint32_t)in.left;
	uint8_t *text = fuzz_copy(in.at, len);

	if ((what & 1) != 0)
		receipt((const char *)text, len);
	else
		address((const char *)text, len);
	fuzz_free(text, len);
	return 0;
}
