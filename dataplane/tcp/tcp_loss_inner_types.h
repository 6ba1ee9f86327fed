// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the files about loss offer each other and the rest of dataplane/tcp, grouped by the file
// that defines it. For dataplane/tcp and its tests only.

#pragma once

#include "dataplane/tcp/tcp_inner_types.h"

// tcp_sack.c: what we tell the peer of its segments that came out of order or twice
void tcp_dsack_note(struct tcp_stack *s, const struct tcp_pcb *p, uint32_t start, uint32_t end);
static inline bool tcp_sack_due(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	return (p->ooo_head | s->dsack_count) != 0 && (p->flags & TCP_F_SACK) != 0;
}
// Writes the option into at most room octets; returns its length, 0: nothing to tell, or no room.
unsigned tcp_sack_fill(struct tcp_stack *s, const struct tcp_pcb *p, uint8_t *out, unsigned room);

// tcp_score.c: the peer's selective acknowledgements. What an ACK brings the loss recovery:
struct tcp_news {
	uint32_t delivered; // octets newly acknowledged, in whatever way
	uint32_t acked;     // cumulatively
	bool dsack;         // something of ours came twice
	bool sacked;        // new blocks
	bool early;         // what was sent again had arrived the first time (RFC 3522)
};
static inline struct tcp_loss *loss_of(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	return &s->loss[p->loss];
}
// Octets in flight: sent, not acknowledged, not lost (RFC 6675 "pipe").
static inline uint32_t loss_pipe(const struct tcp_pcb *p, const struct tcp_loss *l)
{
	return p->snd_nxt - p->snd_una - l->sacked - l->lost;
}
static inline uint32_t mark_now(const struct tcp_stack *s)
{
	return env_now_ms(s->env) << TCP_MARK_SHIFT;
}
// Signed milliseconds from mark b to mark a.
static inline int32_t mark_diff(uint32_t a, uint32_t b)
{
	return (int32_t)((a & ~TCP_SL_FLAGS) - (b & ~TCP_SL_FLAGS)) >> TCP_MARK_SHIFT;
}
// Before the queue gives up what the segment acknowledges. Takes a loss block when there is news.
void tcp_score_input(
	struct tcp_stack *s,
	struct tcp_pcb *p,
	const struct tcp_seg *seg,
	struct tcp_news *ret
);
struct tcp_loss *loss_take(struct tcp_stack *s, struct tcp_pcb *p); // NULL: none
void loss_give(struct tcp_stack *s, struct tcp_pcb *p);
// Forgets the scoreboard: all that is not acknowledged may go again.
void loss_forget(struct tcp_stack *s, struct tcp_pcb *p);
// A sent slice, or the sent part of it, is lost. False: no queue entry to cut it.
bool slice_lost(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_loss *l, uint32_t idx);

// tcp_rack.c
// A segment that was sent at `mark` has arrived, `end` behind its last octet.
void tcp_rack_delivered(
	struct tcp_stack *s,
	struct tcp_loss *l,
	uint32_t mark,
	uint32_t end,
	uint32_t fack
);
void tcp_rack_dsack(struct tcp_pcb *p, struct tcp_loss *l);
void tcp_rack_recovered(struct tcp_loss *l); // a recovery is over
// Marks what is lost. Returns how many milliseconds until more may be, 0: nothing waits.
uint32_t tcp_rack_detect(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_loss *l);

// tcp_cubic.c
// A loss, with this many octets in flight: sets the threshold.
void tcp_cubic_loss(struct tcp_pcb *p, struct tcp_loss *l, uint32_t flight);
// By how much the window grows for acked octets, above the threshold.
uint32_t
tcp_cubic_grow(struct tcp_stack *s, const struct tcp_pcb *p, struct tcp_loss *l, uint32_t acked);

// tcp_tail.c: tail loss probe
// Milliseconds until the next probe or time-out, at most rto_ms.
uint32_t tcp_tail_delay(const struct tcp_stack *s, const struct tcp_pcb *p, uint32_t rto_ms);
bool tcp_tail_probe(struct tcp_stack *s, struct tcp_pcb *p); // false: it is a time-out's turn
bool tcp_tail_ack(struct tcp_pcb *p, struct tcp_loss *l, const struct tcp_news *news);

// Octets that a segment takes.
static inline uint16_t tcp_segment_limit(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	if ((s->config.port_flags & PORT_F_TX_MULTI_SEGS) == 0 && p->mss > TCP_COPY_MAX)
		return TCP_COPY_MAX; // only copies can be sent
	return p->mss;
}

// tcp_recover.c: what is sent while segments are lost
// Keeps what the windows were, should the loss be none.
void tcp_undo_keep(struct tcp_stack *s, const struct tcp_pcb *p, struct tcp_loss *l);
void tcp_recover_run(struct tcp_stack *s, struct tcp_pcb *p, const struct tcp_news *news);
void tcp_recover_output(struct tcp_stack *s, struct tcp_pcb *p);
void tcp_reo_fire(struct tcp_stack *s, struct tcp_pcb *p);
// All that is in flight is lost. False: without a scoreboard.
bool tcp_recover_timeout(struct tcp_stack *s, struct tcp_pcb *p);
