// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Arriving segments (RFC 9293 3.10.7): header, connection, then sequence, RST, SYN, ACK, data, FIN
// in that order, with the checks of RFC 5961 and 7323. Worker thread. Takes every mbuf.

#include "dataplane/tcp/tcp_loss_inner_types.h"

static bool segment_parse(struct tcp_stack *s, const struct net_pkt *pkt, struct tcp_seg *seg)
{
	const struct rte_tcp_hdr *tcp = rte_pktmbuf_mtod(pkt->m, const struct rte_tcp_hdr *);
	unsigned header = (unsigned)(tcp->data_off >> 4) * 4;

	if (header < sizeof(*tcp) || header > pkt->len) {
		stat_inc(s->env, STAT_TCP_HEADER);
		return false;
	}
	*seg = (struct tcp_seg){
		.m = pkt->m,
		.seq = rte_be_to_cpu_32(tcp->sent_seq),
		.ack = rte_be_to_cpu_32(tcp->recv_ack),
		.wnd = rte_be_to_cpu_16(tcp->rx_win),
		.len = (uint16_t)(pkt->len - header),
		.off = (uint16_t)(pkt->m->data_off + header),
		.flags = tcp->tcp_flags,
	};
	if (!tcp_options_parse(tcp, header, seg)) {
		stat_inc(s->env, STAT_TCP_OPTION);
		return false;
	}
	return true;
}

static void ack_now(struct tcp_stack *s, struct tcp_pcb *p)
{
	p->flags |= TCP_F_ACK_NOW; // at most one a turn and connection
	pcb_dirty(s, p);
}

static void challenge(struct tcp_stack *s, struct tcp_pcb *p)
{
	stat_inc(s->env, STAT_TCP_CHALLENGE);
	ack_now(s, p);
}

// An older timestamp (RFC 7323 5.3), unless the one kept is void after 24 idle days (5.5).
static bool paws_refuses(struct tcp_stack *s, const struct tcp_pcb *p, const struct tcp_seg *seg)
{
	if ((p->flags & TCP_F_TS) == 0 || !seg->has_ts ||
	    seq_diff(seg->ts_val, p->ts_recent) >= 0 ||
	    env_now_ms(s->env) - p->ts_at_ms > TCP_PAWS_IDLE_MS)
		return false;
	stat_inc(s->env, STAT_TCP_PAWS);
	return true;
}

// Cuts off what lies before the window. False: nothing is left.
static bool old_cut(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_seg *seg, uint32_t old)
{
	uint32_t extent = seg->len + ((seg->flags & RTE_TCP_FIN_FLAG) != 0);

	if (seg->len > 0 && (p->flags & TCP_F_SACK) != 0) {
		tcp_dsack_note(s, p, seg->seq, seg->seq + (old < seg->len ? old : seg->len));
		ack_now(s, p);
	}

	if (old > extent || (extent > 0 && old == extent)) {
		if (extent > 0)
			stat_inc(s->env, STAT_TCP_OUT_OF_WINDOW);
		return false;
	}
	if (old > seg->len)
		return false; // an old FIN
	seg->seq += old;
	seg->off = (uint16_t)(seg->off + old);
	seg->len = (uint16_t)(seg->len - old);
	return true;
}

// Sequence check (RFC 9293 3.10.7.4 first) and timestamps. Cuts off what lies outside the window.
// False: not acceptable, an ACK follows.
static bool seq_check(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_seg *seg)
{
	uint32_t space = pcb_rcv_space(p), seq = seg->seq;
	int32_t old = seq_diff(p->rcv_nxt, seq);

	if (paws_refuses(s, p, seg))
		return false;
	if (old > 0 && !old_cut(s, p, seg, (uint32_t)old))
		return false;
	if (old < 0 && 0U - (uint32_t)old >= space) {
		stat_inc(s->env, STAT_TCP_OUT_OF_WINDOW);
		return false;
	}
	if (seq_diff(seg->seq + seg->len, p->rcv_nxt + space) > 0) {
		seg->len = (uint16_t)(p->rcv_nxt + space - seg->seq); // the part that fits
		seg->flags &= (uint8_t)~RTE_TCP_FIN_FLAG;
		if (space == 0)
			ack_now(s, p); // a window probe
	}
	if ((p->flags & TCP_F_TS) != 0 && seg->has_ts && seq_diff(seq, p->last_ack) <= 0) {
		p->ts_recent = seg->ts_val; // RFC 7323 4.3
		p->ts_at_ms = env_now_ms(s->env);
	}
	return true;
}

// RFC 9293 3.10.7.4 second, RFC 5961 3.2: only a RST of exactly the next octet ends a connection.
static void rst_input(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_seg *seg)
{
	int32_t ahead = seq_diff(seg->seq, p->rcv_nxt);

	if (ahead == 0) {
		stat_inc(s->env, STAT_TCP_RESETS_IN);
		pcb_kill(s, p, p->state == TCP_S_SYN_RCVD ? TCP_CLOSE_REFUSED : TCP_CLOSE_RESET);
	} else if (ahead > 0 && (uint32_t)ahead < pcb_rcv_space(p)) {
		challenge(s, p);
	} else {
		stat_inc(s->env, STAT_TCP_OUT_OF_WINDOW);
	}
}

// Our SYN is answered: the connection stands.
static void
establish(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_seg *seg, unsigned event)
{
	stat_inc(s->env, STAT_TCP_CONNECTS);
	pcb_state_set(s, p, TCP_S_ESTABLISHED);
	p->snd_una++;
	p->snd_nxt = p->snd_max = p->snd_una;
	if ((p->flags & TCP_F_RTT) != 0 && p->backoff == 0)
		tcp_rtt_sample(p, env_now_ms(s->env) - p->rtt_at_ms);
	if (p->backoff > 0)
		tcp_handshake_was_lost(p);
	p->flags &= (uint16_t)~TCP_F_RTT;
	if ((p->flags & TCP_F_TS) != 0) {
		p->last_ack = p->rcv_nxt;
		p->ts_at_ms = env_now_ms(s->env);
	}
	p->backoff = p->dupacks = 0;
	p->snd_wl1 = seg->seq;
	p->snd_wl2 = seg->ack;
	tcp_rtx_stop(s, p);
	tcp_state_timer(s, p, 0);
	if ((p->flags & TCP_F_FIN_QUEUED) != 0)
		pcb_state_set(s, p, TCP_S_FIN_WAIT_1);
	pcb_event(s, p, event);
	pcb_dirty(s, p);
}

// Takes options and sequence of the peer's SYN in SYN_SENT.
static void peer_syn(struct tcp_pcb *p, const struct tcp_seg *seg)
{
	if (!seg->has_ts)
		p->flags &= (uint16_t)~TCP_F_TS;
	if (!seg->has_ws)
		p->flags &= (uint16_t)~TCP_F_WS;
	if (!seg->has_sack)
		p->flags &= (uint16_t)~TCP_F_SACK;
	p->snd_wscale = (p->flags & TCP_F_WS) != 0 ? seg->wscale : 0;
	p->ts_recent = seg->ts_val;
	p->rcv_nxt = seg->seq + 1;
	p->rcv_adv = p->rcv_nxt + (p->rcv_cap < 65535 ? p->rcv_cap : 65535);
	p->snd_wnd = seg->wnd; // of a SYN: never scaled
	pcb_mss_set(p, seg->mss, p->mss);
}

// RFC 9293 3.10.7.3.
static void syn_sent_input(
	struct tcp_stack *s,
	struct tcp_pcb *p,
	const struct net_pkt *pkt,
	struct tcp_seg *seg
)
{
	bool ack = (seg->flags & RTE_TCP_ACK_FLAG) != 0;

	if (ack && seg->ack != p->snd_una + 1) {
		stat_inc(s->env, STAT_TCP_BAD_ACK);
		if ((seg->flags & RTE_TCP_RST_FLAG) != 0)
			return;
		tcp_reset_reply(s, pkt, seg);
		if (p->dupacks++ > 0)
			return;
		// an old connection of this tuple, gone with the RST: SYN again at once, but once
		p->flags &= (uint16_t)~TCP_F_RTT;
		p->snd_nxt = p->snd_una;
		pcb_dirty(s, p);
		return;
	}
	if ((seg->flags & RTE_TCP_RST_FLAG) != 0) {
		if (ack)
			pcb_kill(s, p, TCP_CLOSE_REFUSED);
		return;
	}
	if ((seg->flags & RTE_TCP_SYN_FLAG) == 0)
		return;
	peer_syn(p, seg);
	if (ack) {
		establish(s, p, seg, TCP_EV_CONNECT);
		p->flags |= TCP_F_ACK_NOW;
	} else { // simultaneous open: SYN-ACK of ours
		pcb_state_set(s, p, TCP_S_SYN_RCVD);
		p->snd_nxt = p->snd_una;
		pcb_dirty(s, p);
	}
}

// The rest of RFC 9293 3.10.7.4 for an acceptable segment.
static void acceptable_input(
	struct tcp_stack *s,
	struct tcp_pcb *p,
	const struct net_pkt *pkt,
	struct tcp_seg *seg
)
{
	if ((seg->flags & RTE_TCP_ACK_FLAG) == 0) {
		stat_inc(s->env, STAT_TCP_FLAGS);
		return;
	}
	if (p->state == TCP_S_SYN_RCVD) {
		if (seg->ack != p->snd_una + 1) {
			stat_inc(s->env, STAT_TCP_BAD_ACK);
			tcp_reset_reply(s, pkt, seg);
			return;
		}
		establish(s, p, seg, TCP_EV_CONNECT);
		p->snd_wnd = seg->wnd << p->snd_wscale;
	} else if (!tcp_ack_input(s, p, seg)) {
		return;
	}
	if (seg->len > 0 && (p->flags & TCP_F_FIN_RCVD) == 0) {
		if ((p->flags & (TCP_F_ORPHAN | TCP_F_DRAIN)) == TCP_F_ORPHAN) {
			// the application has gone: its bytes are lost, and the peer must know (RFC
			// 2525 2.17)
			tcp_abort(s, (struct tcp_conn_id){pcb_index(s, p)});
			return;
		}
		tcp_rcv_data(s, p, seg);
	}
	if ((seg->flags & RTE_TCP_FIN_FLAG) == 0 || (p->flags & TCP_F_FIN_RCVD) != 0)
		return;
	if (seg->seq + seg->len == p->rcv_nxt) {
		tcp_rcv_fin(s, p);
	} else {
		ack_now(s, p); // behind a gap: the peer sends it again
	}
}

static void
pcb_input(struct tcp_stack *s, struct tcp_pcb *p, const struct net_pkt *pkt, struct tcp_seg *seg)
{
	if (p->state == TCP_S_SYN_SENT) {
		syn_sent_input(s, p, pkt, seg);
		return;
	}
	if (p->state == TCP_S_SYN_RCVD && (seg->flags & RTE_TCP_SYN_FLAG) != 0 &&
	    seg->seq + 1 == p->rcv_nxt) {
		// simultaneous open: the peer's SYN-ACK, or its SYN once more
		seg->seq++;
		seg->flags &= (uint8_t)~RTE_TCP_SYN_FLAG;
		if ((seg->flags & RTE_TCP_ACK_FLAG) == 0)
			return;
	}
	if ((seg->flags & RTE_TCP_RST_FLAG) != 0)
		rst_input(s, p, seg);
	else if ((seg->flags & RTE_TCP_SYN_FLAG) != 0)
		challenge(s, p); // whatever its number (RFC 5961 4.2)
	else if (seq_check(s, p, seg))
		acceptable_input(s, p, pkt, seg);
	else
		ack_now(s, p);
}

static void segment_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	const struct flow_key *key,
	uint64_t hash
)
{
	struct tcp_seg seg;
	struct tcp_pcb *p;
	uint32_t idx;

	if (!segment_parse(s, pkt, &seg)) {
		rte_pktmbuf_free(pkt->m);
		return;
	}
	idx = flow_lookup_hashed(s, key, hash);
	if (idx != 0 && (idx & TCP_INDEX_MINI) == 0)
		p = pcb_of(s, idx);
	else
		p = tcp_listen_input(s, pkt, &seg, idx);
	if (p != NULL)
		pcb_input(s, p, pkt, &seg);
	rte_pktmbuf_free(seg.m);
}

void tcp_input_burst(struct tcp_stack *s, struct net_pkt *pkts, unsigned n)
{
	struct flow_key key[NET_BURST];
	uint64_t hash[NET_BURST];

	BUG_ON_HOT(n > NET_BURST);
	stat_add(s->env, STAT_TCP_SEGMENTS_IN, n);
	for (unsigned i = 0; i < n; i++) {
		key[i] = (struct flow_key){pkts[i].dst, pkts[i].src, pkts[i].dport, pkts[i].sport};
		hash[i] = flow_bucket_prefetch(s, &key[i]);
	}
	for (unsigned i = 0; i < n; i++)
		flow_conn_prefetch(s, hash[i]);
	for (unsigned i = 0; i < n; i++)
		segment_input(s, &pkts[i], &key[i], hash[i]);
}

void tcp_icmp_error(struct tcp_stack *s, const struct net_icmp_error *err)
{
	const struct flow_key key = {err->local, err->remote, err->local_port, err->remote_port};
	uint32_t idx = flow_lookup(s, &key);
	struct tcp_pcb *p;
	uint16_t mss;

	if (idx == 0 || (idx & TCP_INDEX_MINI) != 0)
		return;
	p = pcb_of(s, idx);
	if (seq_diff(err->seq, p->snd_una) < 0 || seq_diff(err->seq, p->snd_max) >= 0)
		return; // quotes nothing in flight (RFC 5927 4)
	if (err->kind == NET_ICMP_UNREACHABLE_HARD && p->state == TCP_S_SYN_SENT) {
		pcb_kill(s, p, TCP_CLOSE_UNREACHABLE);
		return;
	}
	if (err->kind != NET_ICMP_TOO_BIG)
		return; // soft for a synchronised connection (RFC 5927 5.2)
	mss = tcp_mss_of_mtu(&p->remote, err->mtu);
	mss = (uint16_t)(mss - ((p->flags & TCP_F_TS) != 0 ? 12 : 0));
	if (mss < (ip_addr_is_v4(&p->remote) ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6) - 12 ||
	    mss >= p->mss)
		return;
	p->mss = mss;
	loss_forget(s, p);
	p->snd_nxt = p->snd_una;
	pcb_dirty(s, p);
}
