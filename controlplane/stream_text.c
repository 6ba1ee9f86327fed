// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Lines of a dialogue for people: time, session, who said it to whom, and the text with everything
// escaped that a terminal might obey.

#include <stdio.h>
#include <time.h>

#include "controlplane/stream.h"

#define HEAD_MAX 96

static const char *kind_name(unsigned kind)
{
	switch (kind) {
	case CAPTURE_FROM_CLIENT:
		return "client  >";
	case CAPTURE_TO_CLIENT:
		return "client  <";
	case CAPTURE_FROM_BACKEND:
		return "backend <";
	case CAPTURE_TO_BACKEND:
		return "backend >";
	case CAPTURE_OWN_TO_CLIENT:
		return "ours    <";
	case CAPTURE_OWN_TO_BACKEND:
		return "ours    >";
	default:
		return "         ";
	}
}

size_t stream_text_line(
	char *out,
	size_t room,
	const struct capture_record *record,
	uint64_t time_ns,
	const uint8_t *text
)
{
	time_t seconds = (time_t)(time_ns / 1000000000U);
	struct tm tm;
	size_t used;

	if (room < HEAD_MAX + 4ULL * record->bytes)
		return 0;
	gmtime_r(&seconds, &tm);
	used = strftime(out, room, "%Y-%m-%dT%H:%M:%S", &tm);
	used += (size_t)snprintf(
		out + used,
		room - used,
		".%06uZ %llu %s ",
		(unsigned)(time_ns / 1000 % 1000000),
		(unsigned long long)record->session,
		kind_name(record->kind)
	);
	for (uint32_t i = 0; i < record->bytes; i++) {
		if (text[i] >= ' ' && text[i] <= '~')
			out[used++] = (char)text[i];
		else
			used += (size_t)snprintf(out + used, room - used, "\\x%02x", text[i]);
	}
	if (record->wire_bytes > record->bytes)
		used += (size_t)snprintf(out + used, room - used, "...");
	out[used++] = '\n';
	return used;
}
