// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TLS of probes and test mails, as the legs of their pool have it: from the start, or by STARTTLS
// after an EHLO of our name, then EHLO once more. A handshake that fails ends it, and what failed
// is the verdict. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdio.h>

bool probe_wants_starttls(const struct session *s)
{
	return (s->leg_flags & SESSION_LEG_F_STARTTLS) != 0 && s->leg_tls == 0;
}

bool probe_starttls_begin(struct relay *r, struct session *s)
{
	if (wire_rx_bytes(r, wire_leg(s)) == 0)
		return leg_tls_begin(r, s);
	stat_inc(r->env, STAT_LEG_INJECTION); // S9: never looked at
	probe_end(r, s, CTL_PROBE_MALFORMED);
	return false;
}

void probe_tls_begun(struct relay *r, struct session *s)
{
	bool connected = s->probe.stage == CTL_STAGE_CONNECT;

	if (s->probe.test && connected)
		test_mail_connected(r, s, CTL_STAGE_TLS);
	else if (s->probe.test)
		test_mail_step(r, s, CTL_STAGE_TLS);
	else if (connected)
		probe_stage_next(r, s, &s->probe.connect_us, CTL_STAGE_TLS);
	else
		s->probe.stage = CTL_STAGE_TLS; // its time goes on
}

bool probe_tls_over(struct relay *r, struct session *s)
{
	bool implicit = (s->leg_flags & SESSION_LEG_F_IMPLICIT) != 0;
	enum ctl_probe_stage next = implicit ? CTL_STAGE_BANNER : CTL_STAGE_EHLO;
	char line[300];
	int n;

	s->leg_state = LEG_S_BANNER;
	s->reply_code = 0;
	r->probe_text[0] = '\0';
	if (s->probe.test)
		test_mail_step(r, s, next);
	else
		probe_stage_next(r, s, &s->probe.tls_us, next);
	if (implicit)
		return true;
	n = snprintf(line, sizeof(line), "EHLO %s\r\n", r->blob->hostname);
	if (wire_tx_write(r, wire_leg(s), line, (uint32_t)n))
		return true;
	probe_end(r, s, CTL_PROBE_NO_RESOURCE);
	return false;
}

void probe_tls_fail(struct relay *r, struct session *s)
{
	static const enum ctl_probe_result_code codes[] = {
		[TLS_FAIL_NONE] = CTL_PROBE_TLS,
		[TLS_FAIL_NO_CONTEXT] = CTL_PROBE_TLS,
		[TLS_FAIL_PROTOCOL] = CTL_PROBE_TLS,
		[TLS_FAIL_ALERT] = CTL_PROBE_TLS,
		[TLS_FAIL_VERIFY] = CTL_PROBE_CERT_UNTRUSTED,
		[TLS_FAIL_INTERNAL] = CTL_PROBE_NO_RESOURCE,
		[TLS_FAIL_VERIFY_TIME] = CTL_PROBE_CERT_TIME,
		[TLS_FAIL_VERIFY_NAME] = CTL_PROBE_CERT_NAME,
		[TLS_FAIL_VERIFY_PIN] = CTL_PROBE_CERT_PIN,
	};

	s->reply_code = 0;
	r->probe_text[0] = '\0';
	probe_end(r, s, codes[r->wire_tls[s->leg_tls].failure]);
}

bool probe_tls_step(struct relay *r, struct session *s)
{
	uint64_t id = s->id;

	if (leg_tls_step(r, s))
		return true;
	if (s->id == id && (s->flags & SESSION_F_LEG_FIN) != 0 && tcp_rx_bytes(r->tcp, s->leg) == 0)
		probe_end(r, s, CTL_PROBE_CLOSED);
	return false;
}
