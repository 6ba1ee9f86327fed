// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Timers: one lazy wheel entry a PCB for the earliest of retransmission (or persist), delayed ACK
// and state time-outs (RFC 6298, 9293 3.8). Worker thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

struct wheel_entry *tcp_timer_entry(void *stack, uint32_t idx)
{
	return &((struct tcp_stack *)stack)->pcb[idx].timer;
}

void tcp_timer_update(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t at = 0;
	bool any = false;

	if ((p->flags & TCP_F_RTX) != 0) {
		at = p->rtx_at_ms;
		any = true;
	}
	if ((p->flags & TCP_F_DELACK) != 0 && (!any || seq_diff(p->delack_at_ms, at) < 0)) {
		at = p->delack_at_ms;
		any = true;
	}
	if ((p->flags & TCP_F_STATE_TIMER) != 0 && (!any || seq_diff(p->state_at_ms, at) < 0)) {
		at = p->state_at_ms;
		any = true;
	}
	// nothing due: an armed entry fires once in vain
	if (any && !wheel_put_off(&p->timer, at))
		wheel_arm(&s->wheel, pcb_index(s, p), at);
}

void tcp_rtx_arm(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t delay = (uint32_t)p->rto_ms << p->backoff;

	if ((p->flags & (TCP_F_SACK | TCP_F_RECOVERY)) == TCP_F_SACK &&
	    p->snd_max - p->snd_una > p->mss)
		delay = tcp_tail_delay(s, p, delay);
	p->flags |= TCP_F_RTX;
	p->rtx_at_ms = env_now_ms(s->env) + (delay > TCP_RTO_MAX_MS ? TCP_RTO_MAX_MS : delay);
	tcp_timer_update(s, p);
}

void tcp_rtx_stop(struct tcp_stack *s, struct tcp_pcb *p)
{
	p->flags &= (uint16_t)~(TCP_F_RTX | TCP_F_PERSIST);
}

void tcp_state_timer(struct tcp_stack *s, struct tcp_pcb *p, uint32_t delay_ms)
{
	p->flags &= (uint16_t)~TCP_F_STATE_TIMER;
	if (delay_ms != 0) {
		p->flags |= TCP_F_STATE_TIMER;
		p->state_at_ms = env_now_ms(s->env) + delay_ms;
		tcp_timer_update(s, p);
	}
}

static void timeout_threshold(struct tcp_stack *s, struct tcp_pcb *p, uint32_t flight)
{
	if (p->loss == 0) {
		p->ssthresh = flight / 2 > 2U * p->mss ? flight / 2 : 2U * p->mss;
		return;
	}
	tcp_undo_keep(s, p, loss_of(s, p));
	tcp_cubic_loss(p, loss_of(s, p), flight);
}

// The retransmission timer went off (RFC 6298 5.4-5.7, RFC 5681 3.1).
static void rto_fire(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t flight = p->snd_max - p->snd_una;

	if (tcp_tail_probe(s, p))
		return;
	if (p->backoff >= TCP_BACKOFF_MAX) {
		stat_inc(s->env, STAT_TCP_TIMEOUTS);
		pcb_kill(s, p, TCP_CLOSE_TIMEOUT);
		return;
	}
	stat_inc(s->env, STAT_TCP_RTO);
	tcp_trace(s, p, TCP_TRACE_TIMEOUT);
	p->backoff++;
	p->flags &= (uint16_t)~(TCP_F_RTT | TCP_F_RECOVERY);
	p->dupacks = 0;
	if (!tcp_recover_timeout(s, p))
		p->snd_nxt = p->snd_una; // go back; what the peer has kept it acknowledges at once
	if (p->state > TCP_S_SYN_RCVD) {
		if (p->backoff == 1)
			timeout_threshold(s, p, flight);
		p->cwnd = p->mss;
		p->recover = p->snd_max;
	}
	p->flags &= (uint16_t)~TCP_F_RTX;
	tcp_rtx_arm(s, p);
	pcb_dirty(s, p);
}

static void persist_fire(struct tcp_stack *s, struct tcp_pcb *p)
{
	// no answer at all (RFC 9293 3.8.6.1 allows no other end), or nobody waits for what is left
	if (p->dupacks >= TCP_PROBES_MAX ||
	    (p->backoff >= TCP_PROBES_MAX && (p->flags & TCP_F_ORPHAN) != 0)) {
		stat_inc(s->env, STAT_TCP_TIMEOUTS);
		pcb_kill(s, p, TCP_CLOSE_TIMEOUT);
		return;
	}
	if (p->backoff < TCP_PROBES_MAX)
		p->backoff++;
	if (p->snd_wnd > 0) {
		pcb_dirty(s, p); // open again, or a buffer was missing
	} else {
		p->dupacks++;
		tcp_probe_send(s, p);
	}
	p->flags &= (uint16_t)~TCP_F_RTX;
	tcp_rtx_arm(s, p);
}

static bool due(uint32_t at, uint32_t now)
{
	return seq_diff(at, now) <= 0;
}

void tcp_timer_fire(void *stack, uint32_t idx)
{
	struct tcp_stack *s = stack;
	struct tcp_pcb *p = pcb_of(s, idx);
	uint32_t now = env_now_ms(s->env);

	if (p->state == TCP_S_CLOSED)
		return;
	if ((p->flags & TCP_F_STATE_TIMER) != 0 && due(p->state_at_ms, now)) {
		stat_inc(s->env, STAT_TCP_TIMEOUTS);
		pcb_kill(s, p, TCP_CLOSE_TIMEOUT);
		return;
	}
	if ((p->flags & TCP_F_DELACK) != 0 && due(p->delack_at_ms, now)) {
		p->flags |= TCP_F_ACK_NOW;
		p->delack_at_ms = now + TCP_DELACK_MS; // once more when there is no buffer
		pcb_dirty(s, p);
	}
	if ((p->flags & TCP_F_RTX) != 0 && due(p->rtx_at_ms, now)) {
		if ((p->flags & TCP_F_PERSIST) != 0)
			persist_fire(s, p);
		else if (p->loss != 0 && (loss_of(s, p)->flags & TCP_LOSS_REO_TIMER) != 0)
			tcp_reo_fire(s, p);
		else
			rto_fire(s, p);
	}
	if (p->state != TCP_S_CLOSED)
		tcp_timer_update(s, p);
}

unsigned tcp_timers_run(struct tcp_stack *s)
{
	tcp_pressure_run(s);
	minis_stall_check(s);
	tcp_half_open_run(s);
	tcp_time_wait_run(s);
	return wheel_run(&s->wheel, env_now_ms(s->env), TCP_TIMER_QUOTA);
}

uint32_t tcp_next_timer_ms(const struct tcp_stack *s, uint32_t limit_ms)
{
	uint32_t now = env_now_ms(s->env);
	uint32_t next = wheel_next_ms(&s->wheel, limit_ms) - now;

	if (s->syn.fifo.count > 0) {
		uint32_t syn = (uint32_t)tcp_minis_left_ms(s, &s->syn);

		next = syn < next || (int32_t)syn < 0 ? syn : next;
	}
	if (s->tw.fifo.count > 0) {
		uint32_t tw = (uint32_t)tcp_minis_left_ms(s, &s->tw);

		next = tw < next || (int32_t)tw < 0 ? tw : next;
	}
	if ((int32_t)next < 0)
		return 0;
	return next < limit_ms ? next : limit_ms;
}
