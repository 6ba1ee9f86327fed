// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Segments of no PCB: SYN to a listener, the final ACK of a handshake, TIME_WAIT (RFC 9293, 6191,
// 1337), and RST for the rest. Half-open and TIME_WAIT connections are minis in FIFO lists of
// constant delay. Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

#define MINI_TW 0x40000000U // in an index with TCP_INDEX_MINI: of the TIME_WAIT array

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

static uint32_t mini_push(struct tcp_minis *minis)
{
	uint32_t idx = idpool_get(&minis->ids);

	if (idx == 0)
		return 0;
	minis->mini[idx].next = 0;
	if (minis->fifo.tail != 0)
		minis->mini[minis->fifo.tail].next = idx;
	else
		minis->fifo.head = idx;
	minis->fifo.tail = idx;
	minis->fifo.count++;
	return idx;
}

static uint32_t mini_pop(struct tcp_minis *minis)
{
	uint32_t idx = minis->fifo.head;

	minis->fifo.head = minis->mini[idx].next;
	if (minis->fifo.head == 0)
		minis->fifo.tail = 0;
	minis->fifo.count--;
	idpool_put(&minis->ids, idx);
	return idx;
}

// Out of the table at once; its place in the FIFO is given back when its time comes.
static void mini_kill(struct tcp_stack *s, struct tcp_mini *mini)
{
	flow_remove(s, mini_key(mini));
	mini->kind = TCP_MINI_DEAD;
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
	uint32_t idx = mini_push(&s->tw);
	struct tcp_mini *mini;

	if (idx == 0) { // oldest first
		mini = &s->tw.mini[s->tw.fifo.head];
		if (mini->kind != TCP_MINI_DEAD) {
			stat_inc(s->env, STAT_TCP_TIME_WAIT_RECYCLED);
			mini_kill(s, mini);
		}
		mini_pop(&s->tw);
		idx = mini_push(&s->tw);
		if (idx == 0)
			return;
	}
	mini = &s->tw.mini[idx];
	memcpy(mini, pcb_key(p), sizeof(struct flow_key));
	mini->kind = TCP_MINI_TIME_WAIT;
	mini->flags = (uint8_t)(p->flags & (TCP_F_TS | TCP_F_WS));
	mini->rcv_nxt = p->rcv_nxt;
	mini->snd_nxt = p->snd_max;
	mini->ts_recent = p->ts_recent;
	mini->deadline_ms = env_now_ms(s->env) + TCP_TIME_WAIT_MS;
	flow_remove(s, pcb_key(p)); // the mini takes the tuple over
	if (!flow_insert(s, mini_key(mini), TCP_INDEX_MINI | MINI_TW | idx))
		mini->kind = TCP_MINI_DEAD;
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
	idx = mini_push(&s->syn);
	if (idx == 0) {
		stat_inc(s->env, STAT_TCP_NO_MINI);
		return;
	}
	mini = &s->syn.mini[idx];
	memcpy(mini, &key, sizeof(key));
	mini->kind = TCP_MINI_SYN_RCVD;
	mini->flags = (uint8_t)((seg->has_ts ? TCP_F_TS : 0) | (seg->has_ws ? TCP_F_WS : 0));
	mini->retries = 0;
	mini->snd_wscale = seg->has_ws ? seg->wscale : 0;
	mini->rcv_nxt = seg->seq + 1;
	mini->snd_nxt = tcp_isn(s, &key);
	mini->ts_recent = seg->ts_val;
	mini->mss = seg->mss;
	mini->reserved = 0;
	mini->deadline_ms = env_now_ms(s->env) + TCP_SYN_TICK_MS;
	if (!flow_insert(s, mini_key(mini), TCP_INDEX_MINI | idx)) {
		mini->kind = TCP_MINI_DEAD;
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
	uint16_t mtu, own;

	if (!s->config.ops->on_syn(s->config.app, &local, &remote, &info))
		return NULL;
	if (s->pcbs.used + 1 >= s->pcbs.count) {
		stat_inc(s->env, STAT_TCP_NO_PCB);
		return NULL; // the mini stays: the client's next segment tries again
	}
	mini_kill(s, mini);
	p = pcb_alloc(s, &key);
	if (p == NULL)
		return NULL;
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
	if (!pcb_route(s, p, NULL, &mtu)) {
		p->flags |= TCP_F_ORPHAN;
		pcb_kill(s, p, TCP_CLOSE_UNREACHABLE);
		return NULL;
	}
	own = tcp_mss_of_mtu(&p->remote, mtu);
	pcb_mss_set(p, mini->mss, info.mss_max != 0 && info.mss_max < own ? info.mss_max : own);
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
	struct net_pkt again = *pkt;

	if ((seg->flags & RTE_TCP_RST_FLAG) != 0) {
		if (seg->seq == mini->rcv_nxt)
			mini_kill(s, mini);
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
	if (mini_promote(s, mini, seg) == NULL)
		return;
	seg->m = NULL; // the segment once more, now with a connection
	stat_add(s->env, STAT_TCP_SEGMENTS_IN, (uint64_t)-1);
	tcp_input_burst(s, &again, 1);
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
		mini_kill(s, mini);
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

	if ((mini & MINI_TW) != 0) {
		time_wait_input(s, pkt, seg, &s->tw.mini[mini & (MINI_TW - 1)]);
	} else if (mini != 0) {
		half_open_input(s, pkt, seg, &s->syn.mini[mini & (MINI_TW - 1)]);
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

void tcp_minis_run(struct tcp_stack *s)
{
	uint32_t now = env_now_ms(s->env);

	for (unsigned n = 0; n < TCP_TIMER_QUOTA && s->syn.fifo.count > 0; n++) {
		struct tcp_mini *mini = &s->syn.mini[s->syn.fifo.head];
		uint32_t idx = s->syn.fifo.head;

		if (seq_diff(mini->deadline_ms, now) > 0)
			break;
		if (mini->kind != TCP_MINI_DEAD && mini->reserved >= (1U << TCP_SYNACK_RETRIES))
			mini_kill(s, mini);
		mini_pop(&s->syn);
		if (mini->kind == TCP_MINI_DEAD)
			continue;
		// once a second in the list; sent again after 1, 2, 4 ... seconds
		BUG_ON_HOT(mini_push(&s->syn) != idx);
		mini->deadline_ms = now + TCP_SYN_TICK_MS;
		mini->reserved++;
		if (mini->reserved == 1U << mini->retries) {
			mini->retries++;
			syn_ack_send(s, mini);
		}
	}
	for (unsigned n = 0; n < TCP_TIMER_QUOTA && s->tw.fifo.count > 0; n++) {
		struct tcp_mini *mini = &s->tw.mini[s->tw.fifo.head];

		if (seq_diff(mini->deadline_ms, now) > 0)
			break;
		if (mini->kind != TCP_MINI_DEAD)
			mini_kill(s, mini);
		mini_pop(&s->tw);
	}
}
