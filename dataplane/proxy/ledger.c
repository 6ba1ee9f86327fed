// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The ledger (statement E7): what is known of a mail is kept from its MAIL to the reply to its end
// of data in one of a number of buffers taken at start, then told to control as one record. Without
// a free buffer, or room in the ring, the mail goes on and a counter says what the ledger lacks.
// What may not be kept of addresses is never copied. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "dataplane/smtp/queue_id.h"

#define ENVELOPE_SHARE 8U // of the sessions: how many have a mail under way, tarpits included
#define ENVELOPE_MIN 64U
bool ledger_init(struct relay *r)
{
	uint32_t sessions = r->config.max_sessions;
	uint32_t n = sessions / ENVELOPE_SHARE + ENVELOPE_MIN;
	struct ledger *l;
	uint32_t *ids;

	if (r->config.shm.ledger == NULL)
		return true;
	n = n < sessions ? n : sessions;
	l = calloc(1, sizeof(*l));
	ids = array_new(n + 1, sizeof(uint32_t));
	r->ledger = l;
	if (l == NULL || ids == NULL) {
		free(ids);
		return false;
	}
	idpool_init(&l->ids, ids, n + 1);
	while (l->mask < n)
		l->mask = l->mask * 2 + 1;
	l->bucket = array_new(l->mask + 1, sizeof(uint32_t));
	l->envelope = array_new(n + 1, sizeof(struct envelope));
	capture_writer_init(&l->out, r->config.shm.ledger);
	return l->bucket != NULL && l->envelope != NULL;
}

void ledger_free(struct relay *r)
{
	struct ledger *l = r->ledger;

	if (l == NULL)
		return;
	free(l->bucket);
	free(l->envelope);
	free(l->ids.next);
	free(l);
	r->ledger = NULL;
}

uint32_t relay_envelopes(const struct relay *r, uint32_t *ret_used, uint32_t *ret_bytes)
{
	*ret_used = r->ledger != NULL ? r->ledger->ids.used : 0;
	*ret_bytes = sizeof(struct envelope);
	return r->ledger != NULL ? r->ledger->ids.count - 1 : 0;
}

// Where the index of the session's envelope stands, or 0 at the end of its bucket.
static uint32_t *place_of(const struct ledger *l, uint32_t session)
{
	uint32_t *at = &l->bucket[session & l->mask];

	while (*at != 0 && l->envelope[*at].session != session)
		at = &l->envelope[*at].next;
	return at;
}

struct envelope *ledger_envelope_of(const struct relay *r, const struct session *s)
{
	uint32_t i = r->ledger->ids.used > 0 ? *place_of(r->ledger, session_index(r, s)) : 0;

	return i != 0 ? &r->ledger->envelope[i] : NULL;
}

void ledger_envelope_drop(struct relay *r, const struct session *s)
{
	uint32_t *at, i;

	if (r->ledger->ids.used == 0)
		return;
	at = place_of(r->ledger, session_index(r, s));
	i = *at;
	if (i == 0)
		return;
	*at = r->ledger->envelope[i].next;
	idpool_put(&r->ledger->ids, i);
}

void ledger_tls_facts(
	const struct relay *r,
	uint32_t index,
	uint16_t *ret_version,
	uint16_t *ret_suite
)
{
	const struct wire_tls *t = &r->wire_tls[index];
	bool open = index != 0 && t->phase == WIRE_OPEN;

	*ret_version = open ? t->st.version : 0;
	*ret_suite = open ? t->facts.suite : 0;
}

struct ip_addr ledger_client_of(const struct relay *r, const struct session *s)
{
	struct session_client who = {0};

	if (s->named != 0 || s->client.v != 0) // whom a PROXY header names
		session_client_get(r, s, &who);
	return who.remote.addr;
}

// Replies to RCPT that come before those of a mail that begins now.
static uint16_t recipients_owed(const struct session *s)
{
	uint32_t n = 0;
	uint8_t last = SMTP_V_UNKNOWN;

	for (unsigned i = 0; i < s->pending_count; i++) {
		unsigned at = (s->pending_head + i) % SESSION_PENDING_MAX;

		if (s->pending_verb[at] != SMTP_V_AGAIN)
			last = s->pending_verb[at];
		if (last == SMTP_V_RCPT)
			n += s->pending_verb[at] == SMTP_V_AGAIN ? s->pending_us[at] : 1;
	}
	return (uint16_t)(n < UINT16_MAX ? n : UINT16_MAX);
}

// As much of an address as may be kept.
static struct smtp_text kept_part(const struct relay *r, struct smtp_text address)
{
	const char *at;

	if (r->blob->ledger == BLOB_LEDGER_FULL || address.len == 0)
		return address;
	at = memrchr(address.at, '@', address.len);
	if (r->blob->ledger != BLOB_LEDGER_DOMAIN || at == NULL)
		return (struct smtp_text){address.at, 0};
	return (struct smtp_text){at, address.len - (uint32_t)(at - address.at)};
}

static uint32_t octets_keep(struct envelope *e, struct smtp_text text, uint32_t max, uint16_t cut)
{
	uint32_t room = ENVELOPE_TEXT - e->used;
	uint32_t n = text.len < max ? text.len : max;

	n = n < room ? n : room;
	memcpy(e->text + e->used, text.at, n);
	e->used = (uint16_t)(e->used + n);
	if (n < text.len)
		e->flags |= cut;
	return n;
}

// args: behind the verb and a blank.
static void sender_keep(const struct relay *r, struct envelope *e, const char *line, uint32_t len)
{
	struct smtp_text address = {line, 0};

	if (r->blob->ledger == BLOB_LEDGER_NONE)
		return;
	e->flags |= LEDGER_F_FROM;
	if (!smtp_address_parse(line, len, &address))
		e->flags |= LEDGER_F_FROM_CUT;
	e->from_len = (uint8_t
	)octets_keep(e, kept_part(r, address), LEDGER_ADDRESS_MAX, LEDGER_F_FROM_CUT);
	e->next_off = e->used;
}

static void mail_begin(struct relay *r, const struct session *s, const char *line, uint32_t len)
{
	struct ledger *l = r->ledger;
	uint32_t i = idpool_get(&l->ids);
	struct envelope *e = &l->envelope[i];

	if (i == 0) {
		stat_inc(r->env, STAT_LEDGER_NO_ENVELOPE);
		return;
	}
	memset(e, 0, offsetof(struct envelope, text));
	e->session = session_index(r, s);
	e->next = l->bucket[e->session & l->mask];
	l->bucket[e->session & l->mask] = i;
	e->flags = LEDGER_F_ENVELOPE;
	e->keep = (uint8_t)r->blob->ledger;
	e->owed = recipients_owed(s);
	e->client = ledger_client_of(r, s);
	ledger_tls_facts(r, s->client_tls, &e->client_tls, &e->client_suite);
	sender_keep(r, e, line, len);
}

static void recipient_keep(
	const struct relay *r,
	struct envelope *e,
	const char *line,
	uint32_t len,
	uint16_t code
)
{
	struct ledger_recipient rcpt = {.code = {(uint8_t)code, (uint8_t)(code >> 8)}};
	struct smtp_text address = {line, 0};
	uint32_t at = e->used;

	e->recipients += e->recipients < UINT16_MAX;
	if (r->blob->ledger == BLOB_LEDGER_NONE)
		return;
	if (!smtp_address_parse(line, len, &address))
		e->flags |= LEDGER_F_TO_CUT;
	address = kept_part(r, address);
	if (e->unlisted > 0 || address.len > LEDGER_ADDRESS_MAX ||
	    sizeof(rcpt) + address.len + e->used > ENVELOPE_TEXT) { // those listed stay in order
		e->flags |= LEDGER_F_TO_CUT;
		e->unlisted += code == 0 && e->unlisted < UINT16_MAX;
		return;
	}
	rcpt.len = (uint8_t)address.len;
	memcpy(e->text + at, &rcpt, sizeof(rcpt));
	e->used = (uint16_t)(at + sizeof(rcpt));
	octets_keep(e, address, LEDGER_ADDRESS_MAX, LEDGER_F_TO_CUT);
	e->listed++;
}

static const char *args_of(const char *line, uint32_t *len)
{
	struct smtp_command cmd;
	uint32_t n = *len;

	while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
		n--;
	smtp_command_parse(line, n, &cmd);
	*len = cmd.args_len;
	return cmd.args;
}

static bool ends_mail(enum smtp_verb verb)
{
	return verb == SMTP_V_RSET || verb == SMTP_V_EHLO || verb == SMTP_V_HELO;
}

// What a MAIL is when what was said before it has been answered.
enum mail_kind { MAIL_FIRST, MAIL_NESTED, MAIL_DOUBTFUL };

static enum mail_kind mail_kind_of(const struct session *s)
{
	for (unsigned i = s->pending_count; i > 0; i--) {
		uint8_t verb = s->pending_verb[(s->pending_head + i - 1) % SESSION_PENDING_MAX];

		if (verb == SMTP_V_MAIL)
			return MAIL_DOUBTFUL; // that one may be refused, and this one taken
		if (ends_mail((enum smtp_verb)verb))
			return MAIL_FIRST;
	}
	return (s->flags & SESSION_F_MAIL) != 0 ? MAIL_NESTED : MAIL_FIRST;
}

static void mail_take(struct relay *r, const struct session *s, const char *line, uint32_t len)
{
	struct envelope *e = ledger_envelope_of(r, s);

	switch (mail_kind_of(s)) {
	case MAIL_FIRST:
		ledger_envelope_drop(r, s);
		mail_begin(r, s, line, len);
		break;
	case MAIL_DOUBTFUL:
		if (e != NULL)
			e->flags |= LEDGER_F_FROM_EITHER;
		break;
	default:
		break;
	}
}

void ledger_command_take(
	struct relay *r,
	const struct session *s,
	enum smtp_verb verb,
	const char *line,
	uint32_t len
)
{
	struct envelope *e;

	if (ends_mail(verb))
		ledger_envelope_drop(r, s);
	if ((verb != SMTP_V_MAIL && verb != SMTP_V_RCPT) || r->blob->ledger == BLOB_LEDGER_OFF)
		return;
	line = args_of(line, &len);
	if (verb == SMTP_V_MAIL) {
		mail_take(r, s, line, len);
		return;
	}
	e = ledger_envelope_of(r, s);
	if (e != NULL)
		recipient_keep(r, e, line, len, 0);
}

void ledger_refused_take(
	struct relay *r,
	const struct session *s,
	enum smtp_own own,
	const char *line,
	uint32_t len
)
{
	struct envelope *e = ledger_envelope_of(r, s);

	if (e == NULL)
		return;
	line = args_of(line, &len);
	recipient_keep(
		r, e, line, len, (uint16_t)(smtp_own_replies[own].code | LEDGER_VERDICT_OURS)
	);
}

// The first of those listed that has no verdict; the end: none.
static uint32_t unanswered_next(struct envelope *e)
{
	struct ledger_recipient rcpt;
	uint32_t at = e->next_off;

	while (at + sizeof(rcpt) <= e->used) {
		memcpy(&rcpt, e->text + at, sizeof(rcpt));
		if ((rcpt.code[0] | rcpt.code[1]) == 0)
			return at;
		at += (uint32_t)sizeof(rcpt) + rcpt.len;
		e->next_off = (uint16_t)at;
	}
	return e->used;
}

void ledger_recipient_answer(struct relay *r, const struct session *s, unsigned code)
{
	struct envelope *e = ledger_envelope_of(r, s);
	uint32_t at;

	if (e == NULL)
		return;
	if (e->owed > 0) {
		e->owed--;
		return;
	}
	e->accepted += code / 100 == 2 && e->accepted < e->recipients;
	at = unanswered_next(e);
	if (at < e->used) {
		e->text[at] = (char)(uint8_t)code;
		e->text[at + 1] = (char)(uint8_t)(code >> 8);
	}
}

void ledger_check(const struct relay *r)
{
	const struct ledger *l = r->ledger;
	uint32_t held = 0;

	for (uint32_t b = 0; l != NULL && b <= l->mask; b++) {
		for (uint32_t i = l->bucket[b]; i != 0; i = l->envelope[i].next, held++) {
			BUG_ON(r->session[l->envelope[i].session].id == 0);
			BUG_ON((l->envelope[i].session & l->mask) != b || held > l->ids.used);
		}
	}
	BUG_ON(l != NULL && held != l->ids.used);
}
