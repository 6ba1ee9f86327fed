// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The greeting of a passthrough session's backend. One that refuses sends the session to another
// backend as in the other modes ("Who is refused"), as long as no octet has gone on either way and
// there is one: its first four octets tell, and no other greeting waits for them. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include "common/abi/hist.h"

#define CODE_LEN 4 // with what stands behind it

static uint32_t head_get(const struct relay *r, const struct session *s, char head[CODE_LEN])
{
	const uint8_t *p;
	uint32_t len, n = 0;

	while (n < CODE_LEN && tcp_rx_peek(r->tcp, s->leg, n, &p, &len))
		for (uint32_t i = 0; i < len && n < CODE_LEN; i++)
			head[n++] = (char)p[i];
	return n;
}

// Can these be the begin of 4xx or 5xx?
static bool is_refusal(const char *head, uint32_t n)
{
	bool ok = n > 0 && (head[0] == '4' || head[0] == '5');

	for (uint32_t i = 1; i < n && i < 3; i++)
		ok = ok && head[i] >= '0' && head[i] <= '9';
	return ok && (n < CODE_LEN || head[3] == ' ' || head[3] == '-' || head[3] == '\r');
}

bool scan_greeting(struct relay *r, struct session *s)
{
	char head[CODE_LEN];
	uint32_t n;

	if (s->leg_state != LEG_S_BANNER || !is_read(s) || (s->flags & SESSION_F_PASSED) != 0)
		return true;
	if ((s->leg_flags & SESSION_LEG_F_REFUSES) != 0)
		return false;
	n = head_get(r, s, head);
	if (!is_refusal(head, n) || leg_is_named(s) || !leg_has_other(r, s))
		return true;
	if (n < CODE_LEN)
		return (s->flags & SESSION_F_LEG_FIN) != 0;
	s->leg_flags |= SESSION_LEG_F_REFUSES;
	return false;
}

void scan_greeted(struct relay *r, struct session *s)
{
	struct shm_backend_local *backend = session_backend(r, s);

	if (s->leg_state != LEG_S_BANNER)
		return;
	backend->connecting--;
	backend->sessions++;
	lb_report_success(r->lb, s->backend_slot);
	s->leg_state = LEG_S_READY;
	leg_judged(r, s);
}

void scan_banner(struct relay *r, struct session *s, unsigned code, const char *line, uint32_t len)
{
	struct shm_backend_local *backend = session_backend(r, s);

	hist_add(&backend->latency[SHM_VERB_BANNER], relay_now_us(r) - s->leg_since_us);
	if (!leg_is_named(s) || code / 100 == 2)
		banner_judge(r, s, code, line, len);
	if (code / 100 == 2 || code / 100 == 3) {
		scan_greeted(r, s);
		if (code != 220)
			scan_end(r, s, STAT_SCAN_CODE);
		return;
	}
	backend->replies_421 += code == 421;
	backend->connecting--;
	s->leg_state = LEG_S_READY; // greeted, if not kindly
	if (leg_is_named(s)) {      // it is the client that is refused (verdict.c)
		stat_inc(r->env, STAT_IDENTITY_VERDICTS);
		leg_judged(r, s);
		lb_report_success(r->lb, s->backend_slot);
	} else {
		stat_inc(r->env, STAT_LEG_REFUSED);
		stat_add(r->env, STAT_LEG_SOURCE_REFUSED, code / 100 == 5);
		lb_report_failure(r->lb, s->backend_slot, r->env->now_ns);
	}
	if (code == 421)
		scan_end(r, s, STAT_SCAN_OVER);
}
