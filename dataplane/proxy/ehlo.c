// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The client's EHLO or HELO, kept to the octet for a leg that opens later: the argument in the
// session, or where it is a long one in a slab of the worker's. A refusal that the client is to be
// told takes its place, since then no leg opens any more (verdict.c). Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"

#define EHLO_FRAME 7 // "EHLO ", CRLF
#define VERB_LEN 4
#define SMALL 0x20      // a letter is small
#define LONG_SHARE 128U // of the sessions: most fit
#define LONG_MIN 32U

struct ehlo_long {
	char name[EHLO_NAME_MAX + 1];
};

bool ehlo_init(struct relay *r)
{
	uint32_t n = r->config.max_sessions / LONG_SHARE + LONG_MIN;
	uint32_t *ids = array_new(n + 1, sizeof(uint32_t));

	r->ehlo_long = array_new(n + 1, sizeof(struct ehlo_long));
	if (r->ehlo_long == NULL || ids == NULL) {
		free(ids);
		return false;
	}
	idpool_init(&r->ehlo_ids, ids, n + 1);
	return true;
}

size_t ehlo_bytes(const struct relay *r)
{
	return r->ehlo_ids.count * (sizeof(struct ehlo_long) + sizeof(uint32_t));
}

void ehlo_free(struct relay *r)
{
	free(r->ehlo_long);
	free(r->ehlo_ids.next);
}

static uint32_t slab_of(const struct session *s)
{
	uint32_t index;

	memcpy(&index, s->ehlo.name, sizeof(index));
	return index;
}

void ehlo_forget(struct relay *r, struct session *s)
{
	if ((s->flags & SESSION_F_EHLO_KEPT) != 0 && s->ehlo.len > SESSION_EHLO_MAX)
		idpool_put(&r->ehlo_ids, slab_of(s));
	s->flags &= ~(uint32_t)SESSION_F_EHLO_KEPT;
}

bool ehlo_text_put(struct relay *r, struct session *s, const char *text, uint32_t len)
{
	uint32_t index;

	ehlo_forget(r, s);
	if (len <= SESSION_EHLO_MAX) {
		memcpy(s->ehlo.name, text, len);
	} else {
		index = idpool_get(&r->ehlo_ids);
		if (index == 0)
			return false;
		memcpy(r->ehlo_long[index].name, text, len);
		memcpy(s->ehlo.name, &index, sizeof(index));
	}
	s->ehlo.len = (uint8_t)len;
	s->flags |= SESSION_F_EHLO_KEPT;
	return true;
}

const char *ehlo_text(const struct relay *r, const struct session *s, uint32_t *ret_len)
{
	*ret_len = s->ehlo.len;
	return s->ehlo.len > SESSION_EHLO_MAX ? r->ehlo_long[slab_of(s)].name : s->ehlo.name;
}

bool ehlo_keep(struct relay *r, struct session *s, const char *line, uint32_t len)
{
	ehlo_forget(r, s);
	if (len <= EHLO_FRAME || line[4] != ' ' || len - EHLO_FRAME > EHLO_NAME_MAX)
		return false;
	if (!ehlo_text_put(r, s, line + 5, len - EHLO_FRAME)) {
		stat_inc(r->env, STAT_SESSION_EHLO_NOT_KEPT);
		return false;
	}
	s->ehlo.verb = line[0] == 'h' || line[0] == 'H' ? SESSION_EHLO_HELO : 0;
	for (unsigned i = 0; i < VERB_LEN; i++)
		s->ehlo.verb |= (line[i] & SMALL) != 0 ? (uint8_t)(1U << i) : 0;
	return true;
}

uint32_t ehlo_line(const struct relay *r, const struct session *s, char out[EHLO_LINE_MAX])
{
	uint32_t len;
	const char *name = ehlo_text(r, s, &len);
	uint32_t n = (uint32_t)snprintf(
		out,
		EHLO_LINE_MAX,
		"%s %.*s\r\n",
		(s->ehlo.verb & SESSION_EHLO_HELO) != 0 ? "HELO" : "EHLO",
		(int)len,
		name
	);

	for (unsigned i = 0; i < VERB_LEN; i++)
		out[i] = (char)(out[i] | ((s->ehlo.verb >> i & 1) != 0 ? SMALL : 0));
	return n;
}
