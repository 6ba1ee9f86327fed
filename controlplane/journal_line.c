// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// One record of a worker as one JSON object on one line. What a client or a server said stands in
// it escaped, so that no octet of theirs ends a line or a text. Main thread of control.

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/inquiry.h"
#include "controlplane/journal.h"

struct line {
	char *at;
	size_t used;
};

static void add(struct line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct line *l, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(l->at + l->used, JOURNAL_LINE_MAX - l->used, format, ap);
	va_end(ap);
	l->used += n > 0 ? (size_t)n : 0;
	if (l->used >= JOURNAL_LINE_MAX)
		l->used = JOURNAL_LINE_MAX - 1;
}

// Octets of a well-formed UTF-8 sequence (RFC 3629 4) at the front; 0: none.
static uint32_t utf8_len(const uint8_t *p, uint32_t len)
{
	uint32_t n = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
		     : (p[0] & 0xf0) == 0xe0        ? 3
		     : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
						    : 0;

	if (n == 0 || n > len)
		return 0;
	for (uint32_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

static void text_add(struct line *l, const uint8_t *text, uint32_t len)
{
	for (uint32_t i = 0; i < len;) {
		uint32_t n = text[i] < 0x80 ? 0 : utf8_len(text + i, len - i);

		if (n > 0)
			add(l, "%.*s", (int)n, (const char *)text + i);
		else if (text[i] == '"' || text[i] == '\\')
			add(l, "\\%c", text[i]);
		else if (text[i] >= ' ' && text[i] < 0x7f)
			add(l, "%c", text[i]);
		else
			add(l, "\\u%04x", text[i]);
		i += n > 0 ? n : 1;
	}
}

static void member_add(struct line *l, const char *key, const uint8_t *text, uint32_t len)
{
	add(l, ",\"%s\":\"", key);
	text_add(l, text, len);
	add(l, "\"");
}

static void name_add(struct line *l, const char *key, const char *pool, const char *name)
{
	char text[2 * MR_NAME_LEN];
	int n = snprintf(
		text, sizeof(text), "%.63s%s%.63s", pool, pool[0] != '\0' ? "/" : "", name
	);

	member_add(l, key, (const uint8_t *)text, (uint32_t)n);
}

static void names_add(struct line *l, const struct link *link, const struct ledger_mail *m)
{
	const struct shm_backend *b = shm_view_entry(
		&link->at.stats, SHM_SEC_BACKEND, 0, (m->backend_slot + 1ULL) * sizeof(*b)
	);
	const struct shm_service *v = shm_view_entry(
		&link->at.stats, SHM_SEC_SERVICE, 0, (m->service_slot + 1ULL) * sizeof(*v)
	);

	name_add(l, "virtual_service", "", v != NULL ? v[m->service_slot].name : "");
	name_add(
		l,
		"backend",
		b != NULL ? b[m->backend_slot].pool : "",
		b != NULL ? b[m->backend_slot].name : ""
	);
}

static void tls_add(struct line *l, const char *side, uint16_t version, uint16_t suite)
{
	if (version == 0)
		return;
	add(l,
	    ",\"%s_tls\":\"%s\",\"%s_suite\":\"%s\"",
	    side,
	    version == 0x0304   ? "1.3"
	    : version == 0x0303 ? "1.2"
				: "unknown",
	    side,
	    show_suite(suite));
}

static void time_add(struct line *l, uint64_t wall_ns)
{
	time_t s = (time_t)(wall_ns / 1000000000ULL);
	char stamp[32];
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	add(l, "{\"time\":\"%s.%06uZ\"", stamp, (unsigned)(wall_ns / 1000U % 1000000U));
}

static void
recipients_add(struct line *l, const struct ledger_mail *m, const uint8_t *at, size_t len)
{
	struct ledger_recipient r;
	const uint8_t *end = at + len;

	add(l, ",\"to\":[");
	for (unsigned i = 0; i < m->listed && (size_t)(end - at) >= sizeof(r); i++) {
		unsigned code;

		memcpy(&r, at, sizeof(r));
		at += sizeof(r);
		if (r.len > end - at)
			break;
		code = r.code[0] | (unsigned)r.code[1] << 8;
		add(l, "%s{\"address\":\"", i > 0 ? "," : "");
		text_add(l, at, r.len);
		add(l,
		    "\",\"code\":%u%s}",
		    code & ~LEDGER_VERDICT_OURS,
		    (code & LEDGER_VERDICT_OURS) != 0 ? ",\"by\":\"mailrace\"" : "");
		at += r.len;
	}
	add(l, "]");
}

static void flags_add(struct line *l, unsigned flags)
{
	static const struct {
		unsigned flag;
		const char *name;
	} names[] = {
		{LEDGER_F_HELO_CUT, "helo_cut"},
		{LEDGER_F_FROM_CUT, "from_cut"},
		{LEDGER_F_TO_CUT, "to_cut"},
		{LEDGER_F_ID_CUT, "id_cut"},
		{LEDGER_F_CLIENT_GONE, "client_gone"},
		{LEDGER_F_SOFTENED, "soft_bounced"},
		{LEDGER_F_PASSED, "passthrough"},
		{LEDGER_F_FROM_EITHER, "from_uncertain"},
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if ((flags & names[i].flag) != 0)
			add(l, ",\"%s\":true", names[i].name);
	if ((flags & LEDGER_F_ENVELOPE) == 0)
		add(l, ",\"without_envelope\":true");
}

static void head_add(
	struct line *l,
	const struct link *link,
	unsigned worker,
	const struct capture_record *record,
	const struct ledger_mail *m
)
{
	char client[IP_ADDR_STRLEN];

	add(l,
	    ",\"boot\":\"%016" PRIx64 "\",\"worker\":%u,\"seq\":%" PRIu64 ",\"session\":%" PRIu64,
	    link->at.boot_id,
	    worker,
	    m->seq,
	    record->session);
	names_add(l, link, m);
	if (!ip_addr_is_unspecified(&m->client))
		add(l, ",\"client\":\"%s\"", ip_addr_format(&m->client, client));
	tls_add(l, "client", m->client_tls, m->client_suite);
	tls_add(l, "backend", m->backend_tls, m->backend_suite);
}

static void verdict_add(struct line *l, const struct ledger_mail *m)
{
	if ((m->flags & LEDGER_F_ENVELOPE) != 0)
		add(l, ",\"recipients\":%u,\"accepted\":%u", m->recipients, m->accepted);
	add(l, ",\"size\":%u,\"code\":%u", m->bytes, m->code);
	if (m->enhanced[0] != 0)
		add(l, ",\"enhanced\":\"%u.%u.%u\"", m->enhanced[0], m->enhanced[1], m->enhanced[2]
		);
	add(l,
	    ",\"session_seconds\":%u.%03u,\"reply_seconds\":%u.%06u",
	    m->session_ms / 1000,
	    m->session_ms % 1000,
	    m->reply_us / 1000000,
	    m->reply_us % 1000000);
}

size_t journal_line(
	const struct journal_source *source,
	const struct capture_reader *reader,
	const struct capture_record *record,
	char out[JOURNAL_LINE_MAX],
	uint64_t *ret_seq
)
{
	struct line l = {out, 0};
	uint8_t copy[LEDGER_RECORD_MAX];
	struct ledger_mail m;
	const uint8_t *at = copy + sizeof(m);

	if (record->kind != CAPTURE_MAIL || record->bytes < sizeof(m) ||
	    record->bytes > sizeof(copy))
		return 0;
	capture_take(reader, copy, record->bytes);
	memcpy(&m, copy, sizeof(m));
	*ret_seq = m.seq;
	if (sizeof(m) + m.helo_len + m.queue_id_len + m.message_id_len + m.from_len > record->bytes)
		return 0;
	time_add(&l, source->wall_ns + record->time_ns);
	head_add(&l, source->link, source->worker, record, &m);
	if (m.helo_len > 0)
		member_add(&l, "helo", at, m.helo_len);
	at += m.helo_len;
	if (m.queue_id_len > 0)
		member_add(&l, "queue_id", at, m.queue_id_len);
	at += m.queue_id_len;
	if (m.message_id_len > 0)
		member_add(&l, "message_id", at, m.message_id_len);
	at += m.message_id_len;
	if ((m.flags & LEDGER_F_FROM) != 0) {
		member_add(&l, "from", at, m.from_len);
		at += m.from_len;
		recipients_add(&l, &m, at, (size_t)(copy + record->bytes - at));
	}
	verdict_add(&l, &m);
	flags_add(&l, m.flags);
	add(&l, "}\n");
	return l.used < JOURNAL_LINE_MAX - 1 ? l.used : 0;
}
