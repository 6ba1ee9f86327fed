// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The scoreboard (RFC 2018 5, 6675 2): which sent octets the peer holds already and which are lost,
// as marks on the slices of the transmit queue, cut where a block begins or ends; their sums are in
// the loss block. What a peer tells is checked against what was sent: a block of anything else is
// counted and ignored. Worker thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

struct tcp_loss *loss_take(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t srtt_ms = p->srtt_us8 / 8000;
	uint32_t idx;

	if (p->loss != 0)
		return loss_of(s, p);
	if ((p->flags & (TCP_F_SACK | TCP_F_RECOVERY)) != TCP_F_SACK || p->snd_nxt != p->snd_max)
		return NULL; // NewReno is at work
	idx = idpool_get(&s->losses);
	if (idx == 0) {
		stat_inc(s->env, STAT_TCP_NO_LOSS_BLOCK);
		return NULL;
	}
	p->loss = (uint16_t)idx;
	s->loss[idx] = (struct tcp_loss){
		.fack = p->snd_una,
		.rtt_min_ms = srtt_ms > 0 ? srtt_ms : 1,
		.dsack_seq = p->snd_una,
		.reo_mult = 1,
	};
	return &s->loss[idx];
}

void loss_give(struct tcp_stack *s, struct tcp_pcb *p)
{
	idpool_put(&s->losses, p->loss);
	p->loss = 0;
}

void loss_forget(struct tcp_stack *s, struct tcp_pcb *p)
{
	bool timer;

	if (p->loss == 0)
		return;
	timer = (loss_of(s, p)->flags & TCP_LOSS_REO_TIMER) != 0;
	for (uint32_t idx = p->tx_head; idx != 0; idx = s->slice[idx].next)
		s->slice[idx].mark &= ~(TCP_SL_SACKED | TCP_SL_LOST);
	loss_give(s, p);
	p->flags &= (uint16_t)~TCP_F_RECOVERY;
	p->recover = p->snd_max;
	if (timer) {
		p->flags &= (uint16_t)~TCP_F_RTX;
		tcp_rtx_arm(s, p);
	}
}

bool slice_lost(struct tcp_stack *s, struct tcp_pcb *p, struct tcp_loss *l, uint32_t idx)
{
	struct tcp_slice *sl = &s->slice[idx];

	if (seq_diff(sl->seq + sl->len, p->snd_nxt) > 0 && tx_split(s, p, idx, p->snd_nxt) == 0)
		return false;
	sl->mark |= TCP_SL_LOST;
	l->lost += sl->len;
	stat_inc(s->env, STAT_TCP_LOST);
	return true;
}

static void slice_sacked(
	struct tcp_stack *s,
	struct tcp_loss *l,
	uint32_t idx,
	uint32_t fack,
	struct tcp_news *news
)
{
	struct tcp_slice *sl = &s->slice[idx];

	if ((sl->mark & TCP_SL_LOST) != 0)
		l->lost -= sl->len;
	sl->mark = (sl->mark & ~TCP_SL_LOST) | TCP_SL_SACKED;
	l->sacked += sl->len;
	news->delivered += sl->len;
	news->sacked = true;
	if (l->hint == 0 || seq_diff(sl->seq, l->hint_seq) > 0) {
		l->hint = idx;
		l->hint_seq = sl->seq;
	}
	tcp_rack_delivered(s, l, sl->mark, sl->seq + sl->len, fack);
}

// Marks the octets of a valid block; what cannot be cut for want of queue entries stays unmarked.
static void block_mark(
	struct tcp_stack *s,
	struct tcp_pcb *p,
	const struct tcp_block *b,
	uint32_t fack,
	struct tcp_news *news
)
{
	struct tcp_loss *l = loss_of(s, p);
	uint32_t idx = p->tx_head;

	if (l->hint != 0 && seq_diff(b->start, l->hint_seq) >= 0)
		idx = l->hint;
	for (; idx != 0 && seq_diff(s->slice[idx].seq, b->end) < 0; idx = s->slice[idx].next) {
		uint32_t start = s->slice[idx].seq, end = start + s->slice[idx].len;

		if (seq_diff(end, b->start) <= 0 || (s->slice[idx].mark & TCP_SL_SACKED) != 0)
			continue;
		if (seq_diff(start, b->start) < 0) {
			uint32_t part = tx_split(s, p, idx, b->start);

			if (part == 0)
				continue;
			idx = part;
		}
		if (seq_diff(end, b->end) > 0 && tx_split(s, p, idx, b->end) == 0)
			break;
		slice_sacked(s, l, idx, fack, news);
	}
	if (seq_diff(b->end, l->fack) > 0)
		l->fack = b->end;
}

// What the segment acknowledges cumulatively is delivered now unless it was told of before.
static void acked_take(
	struct tcp_stack *s,
	struct tcp_pcb *p,
	uint32_t ack,
	uint32_t fack,
	struct tcp_news *news
)
{
	struct tcp_loss *l = loss_of(s, p);

	if (seq_diff(ack, p->snd_una) <= 0)
		return;
	news->acked = ack - p->snd_una;
	for (uint32_t idx = p->tx_head; idx != 0; idx = s->slice[idx].next) {
		const struct tcp_slice *sl = &s->slice[idx];
		uint32_t n = ack - sl->seq;

		if (seq_diff(sl->seq, ack) >= 0)
			break;
		n = n < sl->len ? n : sl->len;
		if ((sl->mark & TCP_SL_SACKED) != 0) {
			l->sacked -= n;
			continue;
		}
		if ((sl->mark & TCP_SL_LOST) != 0)
			l->lost -= n;
		news->delivered += n;
		tcp_rack_delivered(s, l, sl->mark, sl->seq + n, fack);
	}
	if (seq_diff(ack, l->fack) > 0)
		l->fack = ack;
	if (seq_diff(ack, l->hint_seq) > 0)
		l->hint = 0;
}

// The first acknowledgement after a recovery began echoes a timestamp from before it: the first
// transmission was only late (Eifel, RFC 3522).
static bool was_early(const struct tcp_pcb *p, struct tcp_loss *l, const struct tcp_seg *seg)
{
	if ((l->flags & TCP_LOSS_UNDO) == 0 || seq_diff(seg->ack, p->snd_una) <= 0)
		return false;
	l->flags &= (uint8_t)~TCP_LOSS_UNDO;
	return (p->flags & TCP_F_TS) != 0 && seg->has_ts && seg->ts_ecr != 0 &&
	       seq_diff(seg->ts_ecr, l->undo_ts) < 0;
}

// The first block tells of octets that came twice (RFC 2883 4): below the acknowledgement, or part
// of the second block.
static bool is_dsack(
	const struct tcp_pcb *p,
	const struct tcp_seg *seg,
	const struct tcp_block *block,
	unsigned n
)
{
	if (seq_diff(block[0].end, block[0].start) <= 0 || seq_diff(block[0].end, p->snd_max) > 0)
		return false;
	return seq_diff(block[0].end, seg->ack) <= 0 ||
	       (n > 1 && seq_diff(block[0].start, block[1].start) >= 0 &&
		seq_diff(block[0].end, block[1].end) <= 0);
}

// Only octets in flight can be told of, and never the one that is waited for.
static bool
block_is_valid(const struct tcp_pcb *p, const struct tcp_seg *seg, const struct tcp_block *b)
{
	return seq_diff(b->end, b->start) > 0 && seq_diff(b->start, seg->ack) > 0 &&
	       seq_diff(b->end, p->snd_max) <= 0;
}

static bool block_was_seen(const struct tcp_loss *l, const struct tcp_block *b)
{
	for (unsigned i = 0; i < TCP_SACK_BLOCKS_MAX; i++)
		if (l->seen[i].start == b->start && l->seen[i].end == b->end)
			return true;
	return false;
}

// The blocks that count, in place of all.
static unsigned blocks_read(
	struct tcp_stack *s,
	const struct tcp_pcb *p,
	const struct tcp_seg *seg,
	struct tcp_block block[TCP_SACK_BLOCKS_MAX],
	struct tcp_news *news
)
{
	unsigned n, valid = 0, i = 0;

	if (seg->sack == 0 || (p->flags & TCP_F_SACK) == 0)
		return 0;
	n = tcp_options_blocks(rte_pktmbuf_mtod(seg->m, const struct rte_tcp_hdr *), seg, block);
	if (is_dsack(p, seg, block, n)) {
		stat_inc(s->env, STAT_TCP_DSACK_IN);
		news->dsack = true;
		i = 1;
	}
	for (; i < n; i++) {
		if (block_is_valid(p, seg, &block[i]))
			block[valid++] = block[i];
		else
			stat_inc(s->env, STAT_TCP_SACK_IGNORED);
	}
	return valid;
}

void tcp_score_input(
	struct tcp_stack *s,
	struct tcp_pcb *p,
	const struct tcp_seg *seg,
	struct tcp_news *ret
)
{
	struct tcp_block block[TCP_SACK_BLOCKS_MAX] = {0};
	struct tcp_loss *l;
	unsigned n;
	uint32_t fack;

	*ret = (struct tcp_news){0};
	n = blocks_read(s, p, seg, block, ret);
	if (p->loss == 0 && (n == 0 || loss_take(s, p) == NULL))
		return;
	l = loss_of(s, p);
	fack = l->fack; // reordering is judged by what was known before
	ret->early = was_early(p, l, seg);
	acked_take(s, p, seg->ack, fack, ret);
	for (unsigned i = 0; i < n; i++)
		if (seq_diff(block[i].end, p->snd_una) > 0 && !block_was_seen(l, &block[i]))
			block_mark(s, p, &block[i], fack, ret);
	if (n > 0)
		memcpy(l->seen, block, sizeof(l->seen));
	if (ret->dsack)
		tcp_rack_dsack(p, l);
}
