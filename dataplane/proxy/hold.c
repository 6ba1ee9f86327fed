// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Replies that are looked at as a whole before any of them is relayed: to EHLO, which is rewritten,
// and to an end of data, since who is told the first line of one that never ends may call the mail
// accepted (RFC 5321 4.2.1). The leg's window has room for the longest meanwhile. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <string.h>

void reply_make_room(struct relay *r, struct session *s)
{
	if ((s->leg_flags & SESSION_LEG_F_HELD) != 0)
		return;
	s->leg_flags |= SESSION_LEG_F_HELD;
	tcp_rx_window_set(r->tcp, s->leg, SESSION_WINDOW_REPLY);
}

enum smtp_reply_part reply_hold(struct relay *r, struct session *s)
{
	struct smtp_reply_scan scan = {0};
	enum smtp_reply_part part = SMTP_REPLY_MORE;
	uint32_t off = 0, len;
	const uint8_t *p;

	while (part == SMTP_REPLY_MORE && wire_rx_peek(r, wire_leg(s), off, &p, &len)) {
		part = smtp_reply_scan(&scan, p, len);
		off += len;
	}
	if (part == SMTP_REPLY_MORE)
		reply_make_room(r, s);
	return part;
}

void reply_let_go(struct relay *r, struct session *s)
{
	if ((s->leg_flags & SESSION_LEG_F_HELD) == 0)
		return;
	s->leg_flags &= (uint16_t)~SESSION_LEG_F_HELD;
	tcp_rx_window_set(
		r->tcp, s->leg, s->leg_tls == 0 ? SESSION_WINDOW_COMMAND : SESSION_WINDOW_TLS
	);
}

uint32_t reply_collect(struct relay *r, struct session *s, unsigned code, bool *ret_ok)
{
	uint32_t len = 0, line = 0;
	const uint8_t *p;
	uint32_t n;

	*ret_ok = true;
	while (wire_rx_peek(r, wire_leg(s), len, &p, &n)) {
		uint32_t take = n < RELAY_SCRATCH - len ? n : RELAY_SCRATCH - len;

		memcpy(r->scratch + len, p, take);
		len += take;
		if (len == RELAY_SCRATCH)
			break;
	}
	while (line < len) {
		const char *lf = memchr(r->scratch + line, '\n', len - line);
		uint32_t end = lf != NULL ? (uint32_t)(lf - r->scratch) + 1 : 0;
		bool more = false;
		unsigned got;

		if (lf == NULL)
			break;
		got = end - line >= 5 && lf[-1] == '\r'
			      ? smtp_reply_code(r->scratch + line, end - line - 2, &more)
			      : 0;
		code = code != 0 ? code : got;
		*ret_ok = got != 0 && got == code;
		if (!*ret_ok || !more)
			return end;
		line = end;
	}
	*ret_ok = len < RELAY_SCRATCH;
	if (*ret_ok && wire_rx_bytes(r, wire_leg(s)) > RELAY_SCRATCH / 4)
		reply_make_room(r, s); // else its end, or that it is too long, never comes
	return *ret_ok ? 0 : len;
}
