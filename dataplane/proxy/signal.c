// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Counts what the traffic meets at the backends, for control to judge: only what says something of
// the backend and nothing of the client (design: "Passive health counts only"). Each connection has
// one vote, whatever it meets. Worker thread.

#include "dataplane/proxy/delay_types.h"
#include "dataplane/proxy/relay_inner_types.h"

#include "common/hash.h"

#define VOTES_MAX 8 // transactions of a connection that count for the bounce-storm guard

static struct shm_backend_signals *signals_of(struct relay *r, const struct session *s)
{
	return r->config.shm.signals != NULL ? &r->config.shm.signals[s->backend_slot] : NULL;
}

// The bit of the client's network; 0 when the client has gone.
static uint64_t network_bit(struct relay *r, const struct session *s)
{
	struct session_client who;
	const struct ip_addr *a = &who.remote.addr;

	if (s->client.v == 0)
		return 0;
	session_client_get(r, s, &who);
	return 1ULL
	       << (hash_siphash13(&r->config.client_key, a->b, ip_addr_is_v4(a) ? 15 : 6) % 64);
}

static struct shm_networks *networks_now(struct relay *r, struct shm_backend_signals *signals)
{
	uint64_t epoch = r->env->now_ns / SHM_NETWORKS_EPOCH_NS;
	struct shm_networks *n = &signals->networks[epoch % 2];

	if (n->epoch != epoch) {
		n->failing = n->bouncing = n->slow = 0;
		n->epoch = epoch;
	}
	return n;
}

void text_keep(char to[64], const char *line, uint32_t len)
{
	uint32_t n = len < 64 ? len : 63;

	memset(to, 0, 64);
	for (uint32_t i = 0; i < n; i++)
		to[i] = line[i] == '\r' ? '\0' : line[i] < ' ' || line[i] > '~' ? '?' : line[i];
}

void alarm_tell(
	struct relay *r,
	const struct session *s,
	enum ctl_alarm_kind kind,
	const char *line,
	uint32_t len
)
{
	struct ctl_msg msg = {.type = CTL_EVT_ALARM, .length = sizeof(msg.alarm)};
	uint32_t now = env_now_ms(r->env);
	struct session_client who;

	if (now - r->alarm_ms >= 1000) {
		r->alarm_ms = now;
		r->alarms = 0;
	}
	if (r->alarms++ >= CTL_ALARMS_A_SECOND)
		return; // the counters tell how many
	msg.alarm.session = s->id;
	msg.alarm.backend_slot = s->backend_slot;
	msg.alarm.kind = kind;
	if (s->client.v != 0) {
		session_client_get(r, s, &who);
		msg.alarm.client = who.remote.addr;
	}
	text_keep(msg.alarm.text, line, len);
	relay_event_send(r, &msg);
}

void leg_judged(struct relay *r, struct session *s)
{
	struct shm_backend_signals *signals = signals_of(r, s);

	if (signals == NULL || (s->leg_flags & SESSION_LEG_F_JUDGED) != 0)
		return;
	s->leg_flags |= SESSION_LEG_F_JUDGED;
	signals->legs++;
}

void leg_signal(
	struct relay *r,
	struct session *s,
	enum shm_signal signal,
	const char *line,
	uint32_t len
)
{
	struct shm_backend_signals *signals = signals_of(r, s);

	if (signals == NULL || signal >= SHM_SIGNALS)
		return;
	leg_judged(r, s);
	signals->signal[signal]++;
	if (signal == SHM_SIGNAL_BANNER_421 || signal == SHM_SIGNAL_MAIL_421)
		signals->run_421++;
	else
		signals->run_421 = 0;
	if ((s->leg_flags & SESSION_LEG_F_FAILING) == 0)
		signals->failing++;
	s->leg_flags |= SESSION_LEG_F_FAILING;
	networks_now(r, signals)->failing |= network_bit(r, s);
	if (line == NULL)
		return;
	text_keep(signals->said, line, len);
	signals->said_ns = r->env->now_ns;
}

void reply_time_judge(struct relay *r, struct session *s, uint32_t us)
{
	struct shm_backend_signals *signals = signals_of(r, s);

	if (signals != NULL && us >= SHM_SLOW_US)
		networks_now(r, signals)->slow |= network_bit(r, s);
}

// Is the backend due to answer? Not counted where a server may have its reasons to hang up.
static bool awaits_reply(const struct session *s)
{
	unsigned verb = s->pending_count > 0 ? s->pending_verb[s->pending_head] : SMTP_V_QUIT;

	if (s->state == RELAY_S_SPLICE)
		return false;
	return (leg_is_greeting(s) && s->leg_state != LEG_S_CONNECTING) ||
	       s->leg_state == LEG_S_REEHLO ||
	       (s->leg_state == LEG_S_READY && verb != SMTP_V_QUIT && verb != SMTP_V_AUTH &&
		verb < SMTP_V_COUNT);
}

void leg_close_judge(struct relay *r, struct session *s, enum tcp_close_reason reason)
{
	if (reason == TCP_CLOSE_NO_MEMORY)
		return; // ours, not the backend's
	if (s->leg_state == LEG_S_CONNECTING)
		leg_signal(
			r,
			s,
			reason == TCP_CLOSE_REFUSED ? SHM_SIGNAL_REFUSED : SHM_SIGNAL_TIMEOUT,
			NULL,
			0
		);
	else if (awaits_reply(s))
		leg_signal(r, s, SHM_SIGNAL_DROPPED, NULL, 0);
}

static void bounce_mark(struct relay *r, const struct session *s, struct shm_backend_signals *to)
{
	networks_now(r, to)->bouncing |= network_bit(r, s);
}

void banner_judge(struct relay *r, struct session *s, unsigned code, const char *line, uint32_t len)
{
	struct shm_backend_signals *signals = signals_of(r, s);

	delay_banner(r, s, code, line, len);
	reply_time_judge(r, s, relay_now_us(r) - s->leg_since_us);
	leg_signal(r, s, smtp_reply_signal(SMTP_V_UNKNOWN, code, line, len), line, len);
	if (signals == NULL || code / 100 != 5)
		return;
	signals->source_refused++;
	text_keep(signals->source_said, line, len);
}

static void mail_count(struct relay *r, struct session *s, struct shm_backend_signals *signals)
{
	if ((s->leg_flags & SESSION_LEG_F_MAILED) != 0)
		return; // an old session may go on where new ones are called off
	s->leg_flags |= SESSION_LEG_F_MAILED;
	signals->mails++;
	signals->mail_ns = r->env->now_ns;
	signals->run_421 = 0;
}

void reply_judge(
	struct relay *r,
	struct session *s,
	enum smtp_verb verb,
	unsigned code,
	const char *line,
	uint32_t len
)
{
	struct shm_backend_signals *signals = signals_of(r, s);
	bool bounce = code / 100 == 5;

	delay_reply(r, s, verb, code, line, len);
	if (signals == NULL)
		return;
	if (!leg_is_named(s) || (verb != SMTP_V_EHLO && verb != SMTP_V_HELO))
		leg_signal(r, s, smtp_reply_signal(verb, code, line, len), line, len);
	if (verb == SMTP_V_MAIL)
		reply_time_judge(r, s, relay_now_us(r) - s->pending_us[s->pending_head]);
	if (verb == SMTP_V_MAIL && code / 100 == 2) {
		mail_count(r, s, signals);
		s->leg_flags &= (uint16_t)~SESSION_LEG_F_RCPT_VOTED;
	} else if (verb == SMTP_V_RCPT && (s->leg_flags & SESSION_LEG_F_RCPT_VOTED) == 0 &&
		   s->rcpt_votes < VOTES_MAX) {
		s->leg_flags |= SESSION_LEG_F_RCPT_VOTED;
		s->rcpt_votes++;
		signals->rcpt_votes++;
		signals->rcpt_bounces += bounce;
	} else if (verb == SMTP_V_BODY && s->eod_votes < VOTES_MAX) {
		s->eod_votes++;
		signals->eod_votes++;
		signals->eod_bounces += bounce;
	} else {
		return;
	}
	if (bounce)
		bounce_mark(r, s, signals);
}
