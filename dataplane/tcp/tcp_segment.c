// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Building segments: header, options, payload copied (up to 256 bytes) or chained as indirect
// buffers over the slices, so any byte range of the transmit queue can be sent again. Worker
// thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

// The slice from which to look for seq: as a rule where the last segment ended, else the head.
// Without it each segment would walk all that is in flight.
static uint32_t payload_first(const struct tcp_stack *s, const struct tcp_pcb *p, uint32_t seq)
{
	uint32_t sent = s->slice[p->tx_head].sent;

	return sent != 0 && seq_diff(seq, s->slice[sent].seq) >= 0 ? sent : p->tx_head;
}

// A slice of which the first part was sent earlier: a slice of its own from now on, so that each
// has its time. Without SACK nobody asks for times.
static uint32_t sent_split(struct tcp_stack *s, struct tcp_pcb *p, uint32_t idx, uint32_t seq)
{
	uint32_t part = (p->flags & TCP_F_SACK) != 0 ? tx_split(s, p, idx, seq) : 0;

	return part != 0 ? part : idx;
}

// Chains or copies len bytes from sequence number seq of the transmit queue behind m. False: no
// buffer.
static bool
payload_add(struct tcp_stack *s, struct tcp_pcb *p, struct rte_mbuf *m, const struct tcp_out *out)
{
	uint32_t seq = out->seq;
	uint32_t left = out->len;
	bool copy = left <= TCP_COPY_MAX;
	struct rte_mbuf *last = m;

	for (uint32_t idx = payload_first(s, p, seq); idx != 0 && left > 0;
	     idx = s->slice[idx].next) {
		const struct tcp_slice *sl = &s->slice[idx];
		uint32_t skip = seq - sl->seq;
		uint16_t n;

		if (skip >= sl->len)
			continue;
		if (out->next) {
			if (skip > 0 && sl->mark != out->mark) {
				idx = sent_split(s, p, idx, seq);
				sl = &s->slice[idx];
				skip = seq - sl->seq;
			}
			s->slice[idx].mark = out->mark;
		}
		s->slice[p->tx_head].sent = idx;
		n = (uint16_t)(sl->len - skip < left ? sl->len - skip : left);
		if (copy) {
			memcpy(rte_pktmbuf_append(m, n), slice_data(sl) + skip, n);
		} else {
			struct rte_mbuf *ref = rte_pktmbuf_alloc(s->config.ref_pool);

			if (ref == NULL)
				return false;
			rte_pktmbuf_attach(ref, sl->m);
			ref->data_off = (uint16_t)(sl->off + skip);
			ref->data_len = n;
			ref->pkt_len = n;
			ref->next = NULL;
			last->next = ref;
			last = ref;
			m->nb_segs++;
			m->pkt_len += n;
		}
		seq += n;
		left -= n;
	}
	BUG_ON_HOT(left > 0);
	return true;
}

static uint16_t window_field(const struct tcp_pcb *p, uint32_t window, bool syn)
{
	if (!syn && (p->flags & TCP_F_WS) != 0)
		window >>= TCP_WSCALE;
	return (uint16_t)(window > UINT16_MAX ? UINT16_MAX : window);
}

// Behind len octets of other options. Options have 40 octets in all, and a full segment of data
// leaves no room.
static unsigned sack_room(const struct tcp_pcb *p, const struct tcp_out *out, unsigned len)
{
	unsigned room = p->mss > out->len ? (unsigned)p->mss - out->len : 0U;

	return (out->flags & RTE_TCP_RST_FLAG) != 0 ? 0 : room < 40 - len ? room : 40 - len;
}

// False: the peer is to be told of blocks, but not in this segment.
static bool header_fill(
	struct tcp_stack *s,
	struct tcp_pcb *p,
	struct rte_tcp_hdr *tcp,
	const struct tcp_out *out
)
{
	bool syn = (out->flags & RTE_TCP_SYN_FLAG) != 0;
	bool ack = (out->flags & RTE_TCP_ACK_FLAG) != 0;
	uint32_t window = tcp_rcv_window(s, p);
	uint32_t now = env_now_ms(s->env) + p->ts_offset;
	uint8_t *options = (uint8_t *)(tcp + 1);
	unsigned len = 0;
	bool told = true;

	if (syn) {
		uint16_t mtu = 0;
		struct net_route route;

		if (net_route_lookup(s->net, &p->remote, &route))
			mtu = route.mtu;
		len = tcp_options_syn(
			options,
			tcp_mss_of_mtu(&p->remote, mtu),
			p->flags,
			now,
			ack ? p->ts_recent : 0
		);
	} else if ((p->flags & TCP_F_TS) != 0) {
		len = tcp_options_ts(options, now, p->ts_recent);
	}
	if (tcp_sack_due(s, p) && p->state > TCP_S_SYN_RCVD) {
		unsigned sack = tcp_sack_fill(s, p, options + len, sack_room(p, out, len));

		told = sack > 0 || out->len == 0;
		len += sack;
	}
	*tcp = (struct rte_tcp_hdr){
		.src_port = rte_cpu_to_be_16(p->local_port),
		.dst_port = rte_cpu_to_be_16(p->remote_port),
		.sent_seq = rte_cpu_to_be_32(out->seq),
		.recv_ack = ack ? rte_cpu_to_be_32(p->rcv_nxt) : 0,
		.data_off = (uint8_t)((sizeof(*tcp) + len) / 4 << 4),
		.tcp_flags = out->flags,
		.rx_win = rte_cpu_to_be_16(window_field(p, window, syn)),
	};
	if (ack && seq_diff(p->rcv_nxt + window, p->rcv_adv) > 0)
		p->rcv_adv = p->rcv_nxt + window;
	if (ack && (p->flags & TCP_F_TS) != 0 && p->state > TCP_S_SYN_RCVD)
		p->last_ack = p->rcv_nxt;
	return told;
}

bool tcp_segment_send(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_out *out)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(s->config.small_pool);
	unsigned header = sizeof(struct rte_tcp_hdr);
	struct net_tx tx = {
		.src = &p->local,
		.dst = &p->remote,
		.next_hop = route_next_hop(s, p->gateway, &p->remote),
		.neigh = &p->neigh,
		.port = p->route_port,
	};
	bool told;

	if (m == NULL) {
		stat_inc(s->env, STAT_TCP_NO_BUFFER);
		return false;
	}
	told = header_fill(s, p, rte_pktmbuf_mtod(m, struct rte_tcp_hdr *), out);
	header = (unsigned)(rte_pktmbuf_mtod(m, struct rte_tcp_hdr *)->data_off >> 4) * 4;
	rte_pktmbuf_append(m, (uint16_t)header);
	if (!payload_add(s, p, m, out)) {
		stat_inc(s->env, STAT_TCP_NO_BUFFER);
		rte_pktmbuf_free(m);
		return false;
	}
	stat_inc(s->env, STAT_TCP_SEGMENTS_OUT);
	p->flags &= (uint16_t)~(told ? TCP_F_ACK_NOW | TCP_F_DELACK : TCP_F_DELACK);
	net_output(s->net, &tx, m);
	return true;
}

void tcp_reply_send(struct tcp_stack *s, const struct tcp_reply *reply)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(s->config.small_pool);
	const struct flow_key *key = reply->key;
	struct net_route route;
	uint32_t neigh = 0;
	struct net_tx tx = {
		.src = &key->local,
		.dst = &key->remote,
		.next_hop = &route.next_hop,
		.neigh = &neigh
	};
	struct rte_tcp_hdr *tcp;

	if (m == NULL) {
		stat_inc(s->env, STAT_TCP_NO_BUFFER);
		return;
	}
	if (!net_route_lookup(s->net, &key->remote, &route)) {
		stat_inc(s->env, STAT_TCP_NO_ROUTE);
		rte_pktmbuf_free(m);
		return;
	}
	tx.port = route.port;
	tcp = (struct rte_tcp_hdr *)rte_pktmbuf_append(
		m, (uint16_t)(sizeof(*tcp) + reply->options_len)
	);
	*tcp = (struct rte_tcp_hdr){
		.src_port = rte_cpu_to_be_16(key->local_port),
		.dst_port = rte_cpu_to_be_16(key->remote_port),
		.sent_seq = rte_cpu_to_be_32(reply->seq),
		.recv_ack = rte_cpu_to_be_32(reply->ack),
		.data_off = (uint8_t)((sizeof(*tcp) + reply->options_len) / 4 << 4),
		.tcp_flags = reply->flags,
		.rx_win = rte_cpu_to_be_16(reply->wnd),
	};
	memcpy(tcp + 1, reply->options, reply->options_len);
	stat_inc(s->env, STAT_TCP_SEGMENTS_OUT);
	net_output(s->net, &tx, m);
}

// RFC 9293 3.10.7.1: the RST that a segment of no connection gets.
void tcp_reset_reply(struct tcp_stack *s, const struct net_pkt *pkt, const struct tcp_seg *seg)
{
	const struct flow_key key = {pkt->dst, pkt->src, pkt->dport, pkt->sport};
	struct tcp_reply reply = {.key = &key, .flags = RTE_TCP_RST_FLAG};

	if ((seg->flags & RTE_TCP_RST_FLAG) != 0)
		return;
	if ((seg->flags & RTE_TCP_ACK_FLAG) != 0) {
		reply.seq = seg->ack;
	} else {
		reply.ack = seg->seq + seg->len + ((seg->flags & RTE_TCP_SYN_FLAG) != 0) +
			    ((seg->flags & RTE_TCP_FIN_FLAG) != 0);
		reply.flags |= RTE_TCP_ACK_FLAG;
	}
	stat_inc(s->env, STAT_TCP_RESETS_OUT);
	tcp_reply_send(s, &reply);
}
