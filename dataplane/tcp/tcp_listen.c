// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Segments of no PCB: SYN to a listener, the final ACK of a handshake, RST for the rest (RFC 9293
// 3.10.7.2, 3.10.7.4). Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

static void syn_ack_send(struct tcp_stack *s, const struct tcp_mini *mini)
{
	const struct ip_endpoint local = {mini->local, mini->local_port};
	const struct ip_endpoint remote = {mini->remote, mini->remote_port};
	struct tcp_listen_info info = {0};
	struct tcp_reply reply = {
		.key = mini_key(mini),
		.seq = mini->snd_nxt,
		.ack = mini->rcv_nxt,
		.flags = RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG,
	};
	struct net_route route;
	uint16_t mss;

	if (!s->config.ops->on_syn(s->config.app, &local, &remote, &info) ||
	    !net_route_lookup(s->net, &mini->remote, &route))
		return;
	mss = tcp_mss_of_mtu(&mini->remote, route.mtu);
	if (info.mss_max != 0 && info.mss_max < mss)
		mss = info.mss_max;
	reply.wnd = (uint16_t)(info.rcv_window > UINT16_MAX ? UINT16_MAX : info.rcv_window);
	reply.options_len = tcp_options_syn(
		reply.options,
		mss,
		mini->flags,
		env_now_ms(s->env) + tcp_ts_offset(s, mini_key(mini)),
		mini->ts_recent
	);
	tcp_reply_send(s, &reply);
}

void tcp_syn_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	const struct tcp_seg *seg,
	uint32_t isn
)
{
	const struct flow_key key = {pkt->dst, pkt->src, pkt->dport, pkt->sport};
	const struct ip_endpoint local = {key.local, key.local_port};
	const struct ip_endpoint remote = {key.remote, key.remote_port};
	struct tcp_listen_info info;
	struct tcp_mini *mini;
	uint32_t idx;

	if (!s->config.ops->on_syn(s->config.app, &local, &remote, &info)) {
		stat_inc(s->env, STAT_TCP_NO_LISTENER);
		tcp_reset_reply(s, pkt, seg);
		return;
	}
	if (s->pressure >= TCP_PRESSURE_REFUSE) {
		stat_inc(s->env, STAT_TCP_PRESSURE_SYN);
		return; // comes again, to better times or to another box
	}
	idx = mini_push(s, &s->syn, TCP_SYN_TICK_MS);
	if (idx == 0) {
		stat_inc(s->env, STAT_TCP_NO_MINI);
		return;
	}
	mini = &s->syn.mini[idx];
	memcpy(mini, &key, sizeof(key));
	mini->flags = (uint8_t)((seg->has_ts ? TCP_F_TS : 0) | (seg->has_ws ? TCP_F_WS : 0) |
				(seg->has_sack ? TCP_F_SACK : 0));
	mini->seconds = 0;
	mini->snd_wscale = seg->has_ws ? seg->wscale : 0;
	mini->rcv_nxt = seg->seq + 1;
	mini->snd_nxt = isn;
	mini->ts_recent = seg->ts_val;
	mini->mss = seg->mss;
	if (!flow_insert(s, mini_key(mini), TCP_INDEX_MINI | idx)) {
		mini_free(&s->syn, mini);
		stat_inc(s->env, STAT_TCP_NO_MINI);
		return;
	}
	syn_ack_send(s, mini); // data on the SYN is ignored: it comes again
}

// The first sample of the round trip, or none where the handshake was lost once.
static void handshake_timed(
	struct tcp_stack *s,
	struct tcp_pcb *p,
	const struct tcp_mini *mini,
	const struct tcp_seg *seg
)
{
	uint32_t now = env_now_ms(s->env);

	if ((p->flags & TCP_F_TS) != 0 && seg->has_ts)
		tcp_rtt_sample(p, now + p->ts_offset - seg->ts_ecr);
	else if (mini->seconds == 0)
		tcp_rtt_sample(p, (uint32_t)(TCP_SYN_TICK_MS - mini_left_ms(s, mini)));
	if (mini->seconds > 0)
		tcp_handshake_was_lost(p);
}

// The handshake's last step: the mini becomes a PCB.
static struct tcp_pcb *
mini_promote(struct tcp_stack *s, struct tcp_mini *mini, const struct tcp_seg *seg)
{
	const struct flow_key key = *mini_key(mini);
	const struct ip_endpoint local = {key.local, key.local_port};
	const struct ip_endpoint remote = {key.remote, key.remote_port};
	struct tcp_listen_info info = {0};
	struct tcp_pcb *p;
	uint16_t mtu, own;

	if (!s->config.ops->on_syn(s->config.app, &local, &remote, &info))
		return NULL;
	p = pcb_new(s, &key);
	if (p == NULL)
		return NULL; // the mini stays: the client's next segment tries again
	flow_replace(s, &key, pcb_index(s, p));
	pcb_state_set(s, p, TCP_S_ESTABLISHED);
	p->flags = mini->flags;
	p->snd_wscale = mini->snd_wscale;
	p->rcv_nxt = mini->rcv_nxt;
	p->snd_una = p->snd_nxt = p->snd_max = mini->snd_nxt + 1;
	p->recover = p->snd_una;
	p->ts_recent = mini->ts_recent;
	if ((p->flags & TCP_F_TS) != 0) {
		p->last_ack = mini->rcv_nxt;
		p->ts_at_ms = env_now_ms(s->env);
	}
	p->snd_wnd = seg->wnd << p->snd_wscale;
	p->snd_wl1 = seg->seq;
	p->snd_wl2 = seg->ack;
	p->rcv_cap = info.rcv_window;
	p->rcv_adv = p->rcv_nxt + (info.rcv_window < 65535 ? info.rcv_window : 65535);
	p->user = info.cookie;
	if (!pcb_route(s, p, NULL, &mtu)) {
		mini_free(&s->syn, mini);
		p->flags |= TCP_F_ORPHAN;
		pcb_kill(s, p, TCP_CLOSE_UNREACHABLE);
		return NULL;
	}
	own = tcp_mss_of_mtu(&p->remote, mtu);
	pcb_mss_set(p, mini->mss, info.mss_max != 0 && info.mss_max < own ? info.mss_max : own);
	handshake_timed(s, p, mini, seg);
	mini_free(&s->syn, mini);
	stat_inc(s->env, STAT_TCP_ACCEPTS);
	pcb_event(s, p, TCP_EV_ACCEPT);
	return p;
}

static uint16_t syn_window(struct tcp_stack *s, const struct tcp_mini *mini)
{
	const struct ip_endpoint local = {mini->local, mini->local_port};
	const struct ip_endpoint remote = {mini->remote, mini->remote_port};
	struct tcp_listen_info info = {0};

	s->config.ops->on_syn(s->config.app, &local, &remote, &info);
	return (uint16_t)(info.rcv_window > UINT16_MAX ? UINT16_MAX : info.rcv_window);
}

// RST, or a SYN that is not the one of this mini: only the exact number counts, another one in the
// window gets an ACK, which makes a peer that knows nothing of it send the right RST (RFC 5961).
static void half_open_doubt(struct tcp_stack *s, const struct tcp_seg *seg, struct tcp_mini *mini)
{
	uint16_t wnd = syn_window(s, mini);

	if ((seg->flags & RTE_TCP_RST_FLAG) != 0 && seg->seq == mini->rcv_nxt) {
		mini_kill(s, &s->syn, mini);
	} else if ((seg->flags & RTE_TCP_SYN_FLAG) != 0 || seg->seq - mini->rcv_nxt < wnd) {
		stat_inc(s->env, STAT_TCP_CHALLENGE);
		mini_ack(s, mini, mini->snd_nxt + 1, wnd);
	} else {
		stat_inc(s->env, STAT_TCP_OUT_OF_WINDOW);
	}
}

// The connection, when it stands.
static struct tcp_pcb *half_open_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	const struct tcp_seg *seg,
	struct tcp_mini *mini
)
{
	unsigned flags = seg->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG);

	if (flags == RTE_TCP_SYN_FLAG && seg->seq + 1 == mini->rcv_nxt) {
		syn_ack_send(s, mini); // the SYN again
		return NULL;
	}
	if ((flags & (RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG)) != 0) {
		half_open_doubt(s, seg, mini);
		return NULL;
	}
	if (flags == 0)
		return NULL;
	if (seg->ack != mini->snd_nxt + 1) {
		stat_inc(s->env, STAT_TCP_BAD_ACK);
		tcp_reset_reply(s, pkt, seg);
		return NULL;
	}
	return mini_promote(s, mini, seg);
}

struct tcp_pcb *tcp_listen_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	const struct tcp_seg *seg,
	uint32_t mini
)
{
	const struct flow_key key = {pkt->dst, pkt->src, pkt->dport, pkt->sport};
	unsigned flags = seg->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG | RTE_TCP_RST_FLAG |
				       RTE_TCP_FIN_FLAG);

	if ((mini & TCP_INDEX_TIME_WAIT) != 0) {
		tcp_time_wait_input(s, pkt, seg, &s->tw.mini[mini & TCP_INDEX_MASK]);
	} else if (mini != 0) {
		return half_open_input(s, pkt, seg, &s->syn.mini[mini & TCP_INDEX_MASK]);
	} else if (flags == RTE_TCP_SYN_FLAG) {
		tcp_syn_input(s, pkt, seg, tcp_isn(s, &key));
	} else if (flags == 0 || (flags & (RTE_TCP_SYN_FLAG | RTE_TCP_FIN_FLAG)) ==
					 (RTE_TCP_SYN_FLAG | RTE_TCP_FIN_FLAG)) {
		stat_inc(s->env, STAT_TCP_FLAGS); // null, SYN-FIN: no answer
	} else {
		stat_inc(s->env, STAT_TCP_NO_CONNECTION);
		tcp_reset_reply(s, pkt, seg);
	}
	return NULL;
}

// A second is over: SYN-ACK again after 1, 2, 4 ... of them.
static void half_open_tick(struct tcp_stack *s, struct tcp_mini *mini)
{
	if (++mini->seconds >= TCP_SYNACK_SECONDS) {
		mini_kill(s, &s->syn, mini);
		return;
	}
	mini_again(s, &s->syn, mini, TCP_SYN_TICK_MS);
	if ((mini->seconds & (mini->seconds - 1)) == 0)
		syn_ack_send(s, mini);
}

void tcp_half_open_run(struct tcp_stack *s)
{
	for (unsigned n = 0; n < TCP_TIMER_QUOTA && mini_due(s, &s->syn); n++)
		half_open_tick(s, &s->syn.mini[s->syn.fifo.head]);
}
