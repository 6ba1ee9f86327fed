// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The record of a mail, made of its envelope and the backend's last reply, into the ring that
// control reads (common/abi/ledger.h); what finds no room there is lost and counted. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include "dataplane/smtp/queue_id.h"

#define PARTS 4 // behind the head of a record: HELO, queue id, Message-ID, addresses

static uint8_t
text_clip(struct smtp_text *text, uint32_t max, enum ledger_flag cut, struct ledger_mail *mail)
{
	if (text->len > max) {
		mail->flags |= (uint16_t)cut;
		text->len = max;
	}
	return (uint8_t)text->len;
}

static void envelope_tell(const struct relay *r, const struct envelope *e, struct ledger_mail *mail)
{
	mail->client = e->client;
	mail->client_tls = e->client_tls;
	mail->client_suite = e->client_suite;
	mail->recipients = e->recipients;
	mail->accepted = e->accepted;
	mail->flags |= e->flags;
	if (e->keep <= r->blob->ledger) {
		mail->listed = e->listed;
		mail->from_len = e->from_len;
	} else { // less may be told now than when they were kept
		mail->flags &= (uint16_t)~LEDGER_F_FROM;
	}
}

static void mail_fill(
	struct relay *r,
	struct session *s,
	unsigned code,
	const struct smtp_receipt *receipt,
	struct ledger_mail *mail
)
{
	bool softens = (s->leg_flags & SESSION_LEG_F_SOFT_BOUNCE) != 0 && code / 100 == 5;

	*mail = (struct ledger_mail){
		.seq = ++r->ledger->seq,
		.service_slot = s->service_slot,
		.backend_slot = s->backend_slot,
		.bytes = s->body_bytes,
		.session_ms = env_now_ms(r->env) - s->started_ms,
		.reply_us = relay_now_us(r) - s->pending_us[s->pending_head],
		.code = (uint16_t)code,
		.enhanced = {receipt->enhanced[0], receipt->enhanced[1], receipt->enhanced[2]},
	};
	if (ledger_envelope_of(r, s) != NULL) {
		envelope_tell(r, ledger_envelope_of(r, s), mail);
	} else {
		mail->client = ledger_client_of(r, s);
		ledger_tls_facts(r, s->client_tls, &mail->client_tls, &mail->client_suite);
	}
	ledger_tls_facts(r, s->leg_tls, &mail->backend_tls, &mail->backend_suite);
	mail->flags |= s->client.v == 0 ? LEDGER_F_CLIENT_GONE : 0;
	mail->flags |= softens && (s->flags & SESSION_F_PASSED) == 0 ? LEDGER_F_SOFTENED : 0;
	mail->flags |= (s->flags & SESSION_F_PASSED) != 0 ? LEDGER_F_PASSED : 0;
}

// False: no room.
static bool record_put(
	struct relay *r,
	const struct session *s,
	const struct ledger_mail *mail,
	const struct smtp_text parts[PARTS]
)
{
	struct capture_writer *out = &r->ledger->out;
	struct capture_record record = {
		.time_ns = r->env->now_ns,
		.session = s->id,
		.kind = CAPTURE_MAIL,
		.bytes = sizeof(*mail),
	};

	for (unsigned i = 0; i < PARTS; i++)
		record.bytes += parts[i].len;
	if (!capture_begin(out, &record))
		return false;
	capture_put(out, mail, sizeof(*mail));
	for (unsigned i = 0; i < PARTS; i++)
		if (parts[i].len > 0)
			capture_put(out, parts[i].at, parts[i].len);
	capture_publish(out, capture_end(out));
	return true;
}

void ledger_mail_tell(
	struct relay *r,
	struct session *s,
	unsigned code,
	const char *line,
	uint32_t len
)
{
	const struct envelope *e = ledger_envelope_of(r, s);
	struct smtp_text part[PARTS] = {{"", 0}, {"", 0}, {"", 0}, {"", 0}};
	struct smtp_receipt receipt;
	struct ledger_mail mail;

	if (r->blob->ledger != BLOB_LEDGER_OFF) {
		while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
			len--;
		smtp_receipt_parse(line, len, &receipt);
		mail_fill(r, s, code, &receipt, &mail);
		if ((s->flags & SESSION_F_EHLO_KEPT) != 0)
			part[0].at = ehlo_text(r, s, &part[0].len);
		part[1] = receipt.queue_id;
		part[2] = receipt.message_id;
		if (mail.listed > 0 || mail.from_len > 0)
			part[3] = (struct smtp_text){e->text, e->used};
		mail.helo_len = text_clip(&part[0], LEDGER_HELO_MAX, LEDGER_F_HELO_CUT, &mail);
		mail.queue_id_len =
			text_clip(&part[1], LEDGER_QUEUE_ID_MAX, LEDGER_F_ID_CUT, &mail);
		mail.message_id_len =
			text_clip(&part[2], LEDGER_MESSAGE_ID_MAX, LEDGER_F_ID_CUT, &mail);
		stat_inc(
			r->env,
			record_put(r, s, &mail, part) ? STAT_LEDGER_RECORDS : STAT_LEDGER_LOST
		);
	}
	ledger_envelope_drop(r, s);
}
