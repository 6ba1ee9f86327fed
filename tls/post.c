// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What comes after the handshake besides data: alerts, KeyUpdate (RFC 8446 4.6.3), tickets for a
// client (ignored), requests to renegotiate (refused, RFC 5746 4.2); with a budget for each, so
// that nobody keeps a core busy with records that carry nothing. Worker thread.

#include "tls/tls.h"

#include <string.h>

#define KEY_UPDATES_MAX 32 // of the peer, in the life of a session
#define EMPTY_MAX 32       // records without data in a row
#define HS_HELLO_REQUEST 0
#define HS_CLIENT_HELLO 1
#define HS_NEW_SESSION_TICKET 4
#define HS_KEY_UPDATE 24
#define ALERT_WARNING 1
#define ALERT_FATAL 2

void tls_state_clear(struct tls_state *st)
{
	explicit_bzero(st, sizeof(*st));
}

bool tls_data_budget(struct tls_state *st, uint32_t len)
{
	if (len > 0)
		st->idle_count = 0;
	else
		st->idle_count++;
	return st->idle_count <= EMPTY_MAX;
}

uint32_t tls_alert_seal(
	struct tls_engine *e,
	struct tls_state *st,
	enum tls_alert alert,
	uint8_t out[TLS_REPLY_MAX]
)
{
	bool warning = alert == TLS_ALERT_CLOSE_NOTIFY || alert == TLS_ALERT_NO_RENEGOTIATION;
	uint8_t text[2] = {warning ? ALERT_WARNING : ALERT_FATAL, (uint8_t)alert};
	const struct tls_seg seg = {text, sizeof(text)};
	uint32_t len = tls_record_seal(e, st, TLS_T_ALERT, &seg, 1, out);

	if (alert != TLS_ALERT_NO_RENEGOTIATION)
		st->wr_closed = true;
	return len;
}

static enum tls_result
refuse(struct tls_engine *e, struct tls_state *st, enum tls_alert alert, struct tls_reply *ret)
{
	ret->len = tls_alert_seal(e, st, alert, ret->data);
	return TLS_FATAL;
}

static enum tls_result alert_handle(struct tls_state *st, const uint8_t *data, uint32_t len)
{
	if (len != 2)
		return TLS_FATAL;
	st->rd_closed = true;
	if (data[1] == TLS_ALERT_CLOSE_NOTIFY)
		return TLS_CLOSED;
	st->rd_closed = st->version == TLS_V13 || data[0] != ALERT_WARNING;
	return st->rd_closed ? TLS_FATAL : TLS_OK;
}

// The peer writes with new keys from here on; asked to, so do we.
static enum tls_result
key_update(struct tls_engine *e, struct tls_state *st, uint8_t request, struct tls_reply *ret)
{
	uint8_t answer[5] = {HS_KEY_UPDATE, 0, 0, 1, 0};
	const struct tls_seg seg = {answer, sizeof(answer)};

	if (request > 1 || ++st->key_updates > KEY_UPDATES_MAX)
		return refuse(e, st, TLS_ALERT_UNEXPECTED_MESSAGE, ret);
	if (!tls_half_update(st, &st->rd))
		return TLS_FATAL;
	if (request == 0 || st->wr_closed)
		return TLS_OK;
	ret->len = tls_record_seal(e, st, TLS_T_HANDSHAKE, &seg, 1, ret->data);
	return ret->len > 0 && tls_half_update(st, &st->wr) ? TLS_OK : TLS_FATAL;
}

static enum tls_result handshake_handle(
	struct tls_engine *e,
	struct tls_state *st,
	const uint8_t *data,
	uint32_t len,
	struct tls_reply *ret
)
{
	if (len < 4)
		return refuse(e, st, TLS_ALERT_DECODE_ERROR, ret);
	if (st->version == TLS_V12) {
		if (data[0] != HS_CLIENT_HELLO && data[0] != HS_HELLO_REQUEST)
			return refuse(e, st, TLS_ALERT_UNEXPECTED_MESSAGE, ret);
		if (++st->key_updates > KEY_UPDATES_MAX)
			return refuse(e, st, TLS_ALERT_UNEXPECTED_MESSAGE, ret);
		ret->len = tls_alert_seal(e, st, TLS_ALERT_NO_RENEGOTIATION, ret->data);
		return TLS_OK;
	}
	if (data[0] == HS_KEY_UPDATE) { // alone in its record (RFC 8446 5.1)
		if (len != 5 || data[1] != 0 || data[2] != 0 || data[3] != 1)
			return refuse(e, st, TLS_ALERT_DECODE_ERROR, ret);
		return key_update(e, st, data[4], ret);
	}
	if (data[0] == HS_NEW_SESSION_TICKET && tls_data_budget(st, 0))
		return TLS_OK; // of a server to us; we resume nothing
	return refuse(e, st, TLS_ALERT_UNEXPECTED_MESSAGE, ret);
}

enum tls_result tls_post_handle(
	struct tls_engine *e,
	struct tls_state *st,
	enum tls_type type,
	const uint8_t *data,
	uint32_t len,
	struct tls_reply *ret
)
{
	ret->len = 0;
	if (type == TLS_T_ALERT)
		return alert_handle(st, data, len);
	if (type == TLS_T_HANDSHAKE)
		return handshake_handle(e, st, data, len, ret);
	return refuse(e, st, TLS_ALERT_UNEXPECTED_MESSAGE, ret);
}
