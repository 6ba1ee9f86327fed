// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the files of dataplane/tcp offer each other, grouped by the file that defines it. For
// dataplane/tcp and its tests only.

#pragma once

#include "dataplane/tcp/tcp_types.h"

// A received segment with its header in host order; payload still in the mbuf.
struct tcp_seg {
	struct rte_mbuf *m; // NULL once taken
	uint32_t seq, ack, wnd;
	uint32_t ts_val, ts_ecr;
	uint16_t len;   // payload left
	uint16_t off;   // of the payload, from m->buf_addr
	uint16_t mss;   // SYN only, 0: none
	uint8_t flags;  // RTE_TCP_*_FLAG
	uint8_t wscale; // SYN only
	bool has_ts, has_ws;
	bool has_sack; // SYN only: SACK permitted
	uint8_t sack;  // where the SACK option begins in the header, 0: none
};

static inline int32_t seq_diff(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

static inline struct tcp_pcb *pcb_of(const struct tcp_stack *s, uint32_t idx)
{
	return &s->pcb[idx];
}

static inline uint32_t pcb_index(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	return (uint32_t)(p - s->pcb);
}

// Octets that the window offered still takes.
static inline uint32_t pcb_rcv_space(const struct tcp_pcb *p)
{
	int32_t space = seq_diff(p->rcv_adv, p->rcv_nxt);

	return space > 0 ? (uint32_t)space : 0;
}

// Sequence number of a segment without data: all that was sent, as far as the peer's window reaches
// (behind it the peer would not take the segment).
static inline uint32_t pcb_ack_seq(const struct tcp_pcb *p)
{
	uint32_t sent = p->snd_max - p->snd_una;

	return p->snd_una + (sent <= p->snd_wnd ? sent : p->snd_wnd);
}

// First sequence number after all queued data (FIN not counted).
static inline uint32_t pcb_data_end(const struct tcp_pcb *p)
{
	return p->snd_una + p->tx_bytes + (p->state <= TCP_S_SYN_RCVD ? 1 : 0);
}

// tcp_flow.c
struct flow_key {
	struct ip_addr local, remote;
	uint16_t local_port, remote_port;
};
static_assert(sizeof(struct flow_key) == 36, "prefix of PCB and mini");
uint32_t flow_lookup(const struct tcp_stack *s, const struct flow_key *key); // 0: none
// The same in steps, for bursts: while one segment's bucket and connection are fetched into the
// cache, the next one's hash is computed.
uint64_t flow_bucket_prefetch(const struct tcp_stack *s, const struct flow_key *key); // its hash
void flow_conn_prefetch(const struct tcp_stack *s, uint64_t hash);
uint32_t flow_lookup_hashed(const struct tcp_stack *s, const struct flow_key *key, uint64_t hash);
bool flow_insert(struct tcp_stack *s, const struct flow_key *key, uint32_t idx);
// The key is in the table: idx takes the place of what had it.
void flow_replace(struct tcp_stack *s, const struct flow_key *key, uint32_t idx);
void flow_remove(struct tcp_stack *s, const struct flow_key *key);
// Only if it leads to idx.
void flow_remove_own(struct tcp_stack *s, const struct flow_key *key, uint32_t idx);
static inline const struct flow_key *pcb_key(const struct tcp_pcb *p)
{
	return (const struct flow_key *)p;
}
static inline const struct flow_key *mini_key(const struct tcp_mini *m)
{
	return (const struct flow_key *)m;
}

// tcp_opt.c
bool tcp_options_parse(const struct rte_tcp_hdr *tcp, unsigned header, struct tcp_seg *seg);
// Writes options behind the 20-byte header; returns their length (multiple of 4).
unsigned
tcp_options_syn(uint8_t *out, uint16_t mss, unsigned flags, uint32_t ts_val, uint32_t ts_ecr);
unsigned tcp_options_ts(uint8_t *out, uint32_t ts_val, uint32_t ts_ecr);
unsigned tcp_options_sack(uint8_t *out, const struct tcp_block *block, unsigned n); // n > 0
// The blocks of the segment's SACK option; returns how many.
unsigned tcp_options_blocks(
	const struct rte_tcp_hdr *tcp,
	const struct tcp_seg *seg,
	struct tcp_block ret[TCP_SACK_BLOCKS_MAX]
);

// tcp_listen.c: segments of no PCB. The connection that stands now and that the segment is for, or
// NULL.
struct tcp_pcb *tcp_listen_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	const struct tcp_seg *seg,
	uint32_t mini
);
// A SYN to a listener (or not). isn: of ours.
void tcp_syn_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	const struct tcp_seg *seg,
	uint32_t isn
);
void tcp_half_open_run(struct tcp_stack *s);

// tcp_time_wait.c
void tcp_time_wait_enter(struct tcp_stack *s, const struct tcp_pcb *p);
void tcp_time_wait_input(
	struct tcp_stack *s,
	const struct net_pkt *pkt,
	const struct tcp_seg *seg,
	struct tcp_mini *mini
);
void tcp_time_wait_run(struct tcp_stack *s);

// tcp_mini.c: half-open and TIME_WAIT connections in FIFO lists of constant delay
uint32_t mini_push(struct tcp_stack *s, struct tcp_minis *minis, uint32_t delay_ms); // 0: none free
// Gives a mini back at once, from wherever it stands; its tuple is another's already.
void mini_free(struct tcp_minis *minis, struct tcp_mini *mini);
// Out of the table too.
void mini_kill(struct tcp_stack *s, struct tcp_minis *minis, struct tcp_mini *mini);
// To the end of the FIFO, due after delay_ms.
void mini_again(
	struct tcp_stack *s,
	struct tcp_minis *minis,
	struct tcp_mini *mini,
	uint32_t delay_ms
);
void minis_stall_check(struct tcp_stack *s);
// Until a mini is due; 0 or below: over.
int32_t mini_left_ms(const struct tcp_stack *s, const struct tcp_mini *mini);
// Until the first of a FIFO that is not empty is due.
int32_t tcp_minis_left_ms(const struct tcp_stack *s, const struct tcp_minis *minis);
bool mini_due(const struct tcp_stack *s, const struct tcp_minis *minis);
void mini_ack(struct tcp_stack *s, const struct tcp_mini *mini, uint32_t seq, uint16_t wnd);
uint32_t tcp_isn(const struct tcp_stack *s, const struct flow_key *key);
uint32_t tcp_ts_offset(const struct tcp_stack *s, const struct flow_key *key);

// tcp_trace.c: what became of a connection, for people
enum tcp_trace_kind { TCP_TRACE_NEW, TCP_TRACE_STATE, TCP_TRACE_RETRANSMIT, TCP_TRACE_TIMEOUT };
void tcp_trace(struct tcp_stack *s, const struct tcp_pcb *p, enum tcp_trace_kind kind);
void pcb_state_set(struct tcp_stack *s, struct tcp_pcb *p, enum tcp_state state);
const char *tcp_state_name(enum tcp_state state);

// tcp_stack.c
struct tcp_pcb *
pcb_new(struct tcp_stack *s, const struct flow_key *key); // NULL: none; not in the table
struct tcp_pcb *
pcb_alloc(struct tcp_stack *s, const struct flow_key *key); // NULL: none, or table full
void pcb_event(struct tcp_stack *s, struct tcp_pcb *p, unsigned events);
void pcb_dirty(struct tcp_stack *s, struct tcp_pcb *p);
// Out of the table, timers stopped, queues dropped; the application is told unless it let go. Index
// free after the event.
void pcb_kill(struct tcp_stack *s, struct tcp_pcb *p, enum tcp_close_reason reason);
// Both directions finished.
void pcb_finish(struct tcp_stack *s, struct tcp_pcb *p);
bool pcb_route(struct tcp_stack *s, struct tcp_pcb *p, struct ip_addr *local, uint16_t *ret_mtu);
const struct ip_addr *
route_next_hop(const struct tcp_stack *s, uint8_t gateway, const struct ip_addr *remote);
uint16_t tcp_mss_of_mtu(const struct ip_addr *addr, uint16_t mtu);
void pcb_mss_set(struct tcp_pcb *p, uint16_t peer_mss, uint16_t own_mss);

// tcp_rcv.c
void tcp_rcv_data(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_seg *seg);
void tcp_rcv_fin(struct tcp_stack *s, struct tcp_pcb *p);
uint32_t tcp_rcv_window(const struct tcp_stack *s, const struct tcp_pcb *p);

// tcp_ack.c
// False: the segment is not to be looked at further.
bool tcp_ack_input(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_seg *seg);
void tcp_rtt_sample(struct tcp_pcb *p, uint32_t rtt_ms);
// The handshake was not answered at the first try: no sample, and one segment at first.
void tcp_handshake_was_lost(struct tcp_pcb *p);

// tcp_output.c
void tcp_output(struct tcp_stack *s, struct tcp_pcb *p);
// Sends the segment at snd_una again, whatever the window.
void tcp_retransmit_first(struct tcp_stack *s, struct tcp_pcb *p);
// One segment of new data at most, whatever the congestion window. False: there was none.
bool tcp_send_beyond(struct tcp_stack *s, struct tcp_pcb *p);
void tcp_probe_send(struct tcp_stack *s, struct tcp_pcb *p);

// tcp_segment.c
struct tcp_out {
	uint32_t seq;
	uint16_t len;
	uint8_t flags;
	bool next; // at snd_nxt: slices are marked with `mark`
	uint32_t mark;
};
bool tcp_segment_send(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_out *out);
// A segment of no PCB: RST, SYN-ACK, ACK of TIME_WAIT.
struct tcp_reply {
	const struct flow_key *key;
	uint32_t seq, ack;
	uint16_t wnd;
	uint8_t flags;
	unsigned options_len;
	uint8_t options[40];
};
void tcp_reply_send(struct tcp_stack *s, const struct tcp_reply *reply);
void tcp_reset_reply(struct tcp_stack *s, const struct net_pkt *pkt, const struct tcp_seg *seg);

// tcp_timer.c
void tcp_timer_update(struct tcp_stack *s, struct tcp_pcb *p);
void tcp_rtx_arm(struct tcp_stack *s, struct tcp_pcb *p);
void tcp_rtx_stop(struct tcp_stack *s, struct tcp_pcb *p);
void tcp_state_timer(struct tcp_stack *s, struct tcp_pcb *p, uint32_t delay_ms); // 0 stops
void tcp_timer_fire(void *stack, uint32_t idx);
struct wheel_entry *tcp_timer_entry(void *stack, uint32_t idx);

// tcp_pressure.c
void tcp_pressure_run(struct tcp_stack *s);

// tcp_close.c
void tcp_reset_send(struct tcp_stack *s, struct tcp_pcb *p);

// tcp_queue.c
void slice_free(struct tcp_stack *s, uint32_t idx);
uint32_t
slice_new(struct tcp_stack *s, struct rte_mbuf *m, uint32_t seq, uint16_t off, uint16_t len);
static inline uint8_t *slice_data(const struct tcp_slice *sl)
{
	return (uint8_t *)sl->m->buf_addr + sl->off;
}
void tx_acked(struct tcp_stack *s, struct tcp_pcb *p, uint32_t n);
// Cuts a transmit slice in two at seq, inside it; returns the second part, 0: no entry.
uint32_t tx_split(struct tcp_stack *s, struct tcp_pcb *p, uint32_t idx, uint32_t seq);
void rx_append(struct tcp_stack *s, struct tcp_pcb *p, uint32_t idx);
void queues_drop(struct tcp_stack *s, struct tcp_pcb *p);
void queues_drop_unsent(struct tcp_stack *s, struct tcp_pcb *p);
unsigned ooo_drop(struct tcp_stack *s, struct tcp_pcb *p); // how many
