// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Segments of no PCB: SYN to a listener, the final ACK of a handshake, TIME_WAIT (RFC 9293, 6191,
// 1337), and RST for the rest. Half-open and TIME_WAIT connections are minis in FIFO lists of
// constant delay. Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

uint32_t tcp_isn(const struct tcp_stack *s, const struct flow_key *key)
{
	// RFC 6528: a keyed hash of the tuple plus a clock of 4 us
	return (uint32_t)hash_siphash13(&s->config.isn_key, key, sizeof(*key)) +
	       (uint32_t)(s->env->now_ns / 4000U);
}

uint32_t tcp_ts_offset(const struct tcp_stack *s, const struct flow_key *key)
{
	return (uint32_t)(hash_siphash13(&s->config.isn_key, key, sizeof(*key)) >> 32);
}

// Appends one to the FIFO; 0: none is left.
static uint32_t mini_push(struct tcp_stack *s, struct tcp_minis *minis, uint32_t delay_ms)
{
	uint32_t idx = idpool_get(&minis->ids);
	struct tcp_mini *mini = &minis->mini[idx];

	if (idx == 0)
		return 0;
	mini->due = (uint16_t)((env_now_ms(s->env) + delay_ms + TCP_MINI_TICK_MS - 1) /
			       TCP_MINI_TICK_MS);
	mini->next = 0;
	mini->prev = minis->fifo.tail;
	if (minis->fifo.tail != 0)
		minis->mini[minis->fifo.tail].next = idx;
	else
		minis->fifo.head = idx;
	minis->fifo.tail = idx;
	minis->fifo.count++;
	return idx;
}

// Gives a mini back at once, from wherever it stands; its tuple is another's already.
static void mini_free(struct tcp_minis *minis, struct tcp_mini *mini)
{
	if (mini->prev != 0)
		minis->mini[mini->prev].next = mini->next;
	else
		minis->fifo.head = mini->next;
	if (mini->next != 0)
		minis->mini[mini->next].prev = mini->prev;
	else
		minis->fifo.tail = mini->prev;
	minis->fifo.count--;
	idpool_put(&minis->ids, (uint32_t)(mini - minis->mini));
}

static void mini_kill(struct tcp_stack *s, struct tcp_minis *minis, struct tcp_mini *mini)
{
	flow_remove(s, mini_key(mini));
	mini_free(minis, mini);
}

static void mini_ack(struct tcp_stack *s, const struct tcp_mini *mini)
{
	struct tcp_reply reply = {
		.key = mini_key(mini),
		.seq = mini->snd_nxt,
		.ack = mini->rcv_nxt,
		.flags = RTE_TCP_ACK_FLAG,
	};

	if ((mini->flags & TCP_F_TS) != 0)
		reply.options_len = tcp_options_ts(
			reply.options,
			env_now_ms(s->env) + tcp_ts_offset(s, mini_key(mini)),
			mini->ts_recent
		);
	tcp_reply_send(s, &reply);
}

void tcp_time_wait_enter(struct tcp_stack *s, const struct tcp_pcb *p)
{
	struct tcp_mini *mini;
	uint32_t idx;

	if (s->tw.fifo.count == s->config.max_minis) { // oldest first
		stat_inc(s->env, STAT_TCP_TIME_WAIT_RECYCLED);
		mini_kill(s, &s->tw, &s->tw.mini[s->tw.fifo.head]);
	}
	idx = mini_push(s, &s->tw, TCP_TIME_WAIT_MS);
	if (idx == 0)
		return;
	mini = &s->tw.mini[idx];
	memcpy(mini, pcb_key(p), sizeof(struct flow_key));
	mini->flags = (uint8_t)(p->flags & (TCP_F_TS | TCP_F_WS));
	mini->rcv_nxt = p->rcv_nxt;
	mini->snd_nxt = p->snd_max;
	mini->ts_recent = p->ts_recent;
	flow_replace(
		s, mini_key(mini), TCP_INDEX_MINI | TCP_INDEX_TW | idx
	); // takes the tuple over
	if ((p->flags & TCP_F_ACK_NOW) != 0)
		mini_ack(s, mini); // of the peer's FIN: the PCB will not send it any more
}

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

static void syn_input(struct tcp_stack *s, const struct net_pkt *pkt, struct tcp_seg *seg)
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
	idx = mini_push(s, &s->syn, TCP_SYN_TICK_MS);
	if (idx == 0) {
		stat_inc(s->env, STAT_TCP_NO_MINI);
		return;
	}
	mini = &s->syn.mini[idx];
	memcpy(mini, &key, sizeof(key));
	mini->flags = (uint8_t)((seg->has_ts ? TCP_F_TS : 0) | (seg->has_ws ? TCP_F_WS : 0));
	mini->seconds = 0;
	mini->snd_wscale = seg->has_ws ? seg->wscale : 0;
	mini->rcv_nxt = seg->seq + 1;
	mini->snd_nxt = tcp_isn(s, &key);
	mini->ts_recent = seg->ts_val;
	mini->mss = seg->mss;
	if (!flow_insert(s, mini_key(mini), TCP_INDEX_MINI | idx)) {
		mini_free(&s->syn, mini);
		stat_inc(s->env, STAT_TCP_NO_MINI);
		return;
	}
	syn_ack_send(s, mini); // data on the SYN is ignored: it comes again
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
	uint16_t mtu, own, mss;

	if (!s->config.ops->on_syn(s->config.app, &local, &remote, &info))
		return NULL;
	p = pcb_new(s, &key);
	if (p == NULL)
		return NULL; // the mini stays: the client's next segment tries again
	flow_replace(s, &key, pcb_index(s, p));
	p->flags = mini->flags;
	p->snd_wscale = mini->snd_wscale;
	p->rcv_nxt = mini->rcv_nxt;
	p->snd_una = p->snd_nxt = p->snd_max = mini->snd_nxt + 1;
	p->recover = p->snd_una;
	p->ts_recent = mini->ts_recent;
	p->snd_wnd = seg->wnd << p->snd_wscale;
	p->snd_wl1 = seg->seq;
	p->snd_wl2 = seg->ack;
	p->rcv_cap = info.rcv_window;
	p->rcv_adv = p->rcv_nxt + (info.rcv_window < 65535 ? info.rcv_window : 65535);
	p->user = info.cookie;
	mss = mini->mss;
	mini_free(&s->syn, mini);
	if (!pcb_route(s, p, NULL, &mtu)) {
		p->flags |= TCP_F_ORPHAN;
		pcb_kill(s, p, TCP_CLOSE_UNREACHABLE);
		return NULL;
	}
	own = tcp_mss_of_mtu(&p->remote, mtu);
	pcb_mss_set(p, mss, info.mss_max != 0 && info.mss_max < own ? info.mss_max : own);
	p->state = TCP_S_ESTABLISHED;
	stat_inc(s->env, STAT_TCP_ACCEPTS);
	pcb_event(s, p, TCP_EV_ACCEPT);
	return p;
}

static void half_open_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	struct tcp_seg *seg,
	struct tcp_mini *mini
)
{
	struct tcp_pcb *p;

	if ((seg->flags & RTE_TCP_RST_FLAG) != 0) {
		if (seg->seq == mini->rcv_nxt)
			mini_kill(s, &s->syn, mini);
		return;
	}
	if ((seg->flags & RTE_TCP_SYN_FLAG) != 0) {
		if (seg->seq + 1 == mini->rcv_nxt && (seg->flags & RTE_TCP_ACK_FLAG) == 0)
			syn_ack_send(s, mini); // the SYN again
		return;
	}
	if ((seg->flags & RTE_TCP_ACK_FLAG) == 0)
		return;
	if (seg->ack != mini->snd_nxt + 1) {
		stat_inc(s->env, STAT_TCP_BAD_ACK);
		tcp_reset_reply(s, pkt, seg);
		return;
	}
	p = mini_promote(s, mini, seg);
	if (p != NULL)
		tcp_pcb_input(s, p, pkt, seg); // the segment once more, now with a connection
}

// RFC 9293 3.10.7.4 for TIME-WAIT, RFC 6191, RFC 1337.
static void time_wait_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	struct tcp_seg *seg,
	struct tcp_mini *mini
)
{
	bool syn = (seg->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG)) == RTE_TCP_SYN_FLAG;
	bool newer;

	if ((seg->flags & RTE_TCP_RST_FLAG) != 0)
		return; // RFC 1337
	if ((mini->flags & TCP_F_TS) != 0 && seg->has_ts)
		newer = seq_diff(seg->ts_val, mini->ts_recent) > 0;
	else
		newer = seq_diff(seg->seq, mini->rcv_nxt) > 0;
	if (syn && newer) {
		stat_inc(s->env, STAT_TCP_TIME_WAIT_REUSED);
		mini_kill(s, &s->tw, mini);
		syn_input(s, pkt, seg);
		return;
	}
	if (syn || seg->len > 0 || (seg->flags & RTE_TCP_FIN_FLAG) != 0)
		mini_ack(s, mini);
}

void tcp_listen_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	struct tcp_seg *seg,
	uint32_t mini
)
{
	unsigned flags = seg->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG | RTE_TCP_RST_FLAG |
				       RTE_TCP_FIN_FLAG);

	if ((mini & TCP_INDEX_TW) != 0) {
		time_wait_input(s, pkt, seg, &s->tw.mini[mini & (TCP_INDEX_TW - 1)]);
	} else if (mini != 0) {
		half_open_input(s, pkt, seg, &s->syn.mini[mini & (TCP_INDEX_TW - 1)]);
	} else if (flags == RTE_TCP_SYN_FLAG) {
		syn_input(s, pkt, seg);
	} else if (flags == 0 || (flags & (RTE_TCP_SYN_FLAG | RTE_TCP_FIN_FLAG)) ==
					 (RTE_TCP_SYN_FLAG | RTE_TCP_FIN_FLAG)) {
		stat_inc(s->env, STAT_TCP_FLAGS); // null, SYN-FIN: no answer
	} else {
		stat_inc(s->env, STAT_TCP_NO_CONNECTION);
		tcp_reset_reply(s, pkt, seg);
	}
}

static bool mini_due(const struct tcp_stack *s, const struct tcp_minis *minis)
{
	return minis->fifo.count > 0 && tcp_minis_left_ms(s, minis) <= 0;
}

int32_t tcp_minis_left_ms(const struct tcp_stack *s, const struct tcp_minis *minis)
{
	uint32_t now = env_now_ms(s->env);
	uint16_t ticks = (uint16_t)(minis->mini[minis->fifo.head].due - now / TCP_MINI_TICK_MS);

	return (int16_t)ticks * TCP_MINI_TICK_MS - (int32_t)(now % TCP_MINI_TICK_MS);
}

// A half-open one whose second is over: sent again after 1, 2, 4 ... seconds.
static void half_open_tick(struct tcp_stack *s, struct tcp_mini *mini)
{
	uint32_t idx = (uint32_t)(mini - s->syn.mini), again;

	if (mini->seconds >= 1U << TCP_SYNACK_RETRIES) {
		mini_kill(s, &s->syn, mini);
		return;
	}
	mini_free(&s->syn, mini); // to the end of the list
	again = mini_push(s, &s->syn, TCP_SYN_TICK_MS);
	BUG_ON_HOT(again != idx);
	mini->seconds++;
	if ((mini->seconds & (mini->seconds - 1)) == 0)
		syn_ack_send(s, mini);
}

void tcp_minis_run(struct tcp_stack *s)
{
	for (unsigned n = 0; n < TCP_TIMER_QUOTA && mini_due(s, &s->syn); n++)
		half_open_tick(s, &s->syn.mini[s->syn.fifo.head]);
	for (unsigned n = 0; n < TCP_TIMER_QUOTA && mini_due(s, &s->tw); n++)
		mini_kill(s, &s->tw, &s->tw.mini[s->tw.fifo.head]);
}
