// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What we tell the peer beyond the cumulative acknowledgement: the blocks that wait behind a gap,
// the one that grew last first (RFC 2018 4), and before them what came twice (RFC 2883). Blocks are
// read off the queue itself each time, so we never tell of octets that we do not hold. Worker
// thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

struct range {
	struct tcp_block block;
	uint32_t mark; // of its latest segment
};

void tcp_dsack_note(struct tcp_stack *s, const struct tcp_pcb *p, uint32_t start, uint32_t end)
{
	if ((p->flags & TCP_F_SACK) == 0 || s->dsack_count == TCP_DSACK_MAX)
		return;
	s->dsack[s->dsack_count++] =
		(struct tcp_dsack){.pcb = pcb_index(s, p), .start = start, .end = end};
}

// The latest duplicate of this connection that was not told of; its others are forgotten.
static bool dsack_take(struct tcp_stack *s, const struct tcp_pcb *p, struct tcp_block *ret)
{
	uint32_t idx = pcb_index(s, p);
	bool found = false;

	for (unsigned i = 0; i < s->dsack_count; i++) {
		if (s->dsack[i].pcb != idx)
			continue;
		*ret = (struct tcp_block){s->dsack[i].start, s->dsack[i].end};
		s->dsack[i].pcb = 0;
		found = true;
	}
	return found;
}

// The contiguous octets that begin with *idx, which moves behind them.
static struct range range_next(const struct tcp_stack *s, uint32_t *idx)
{
	const struct tcp_slice *sl = &s->slice[*idx];
	struct range r = {{sl->seq, sl->seq + sl->len}, sl->mark};

	for (*idx = sl->next; *idx != 0; *idx = sl->next) {
		sl = &s->slice[*idx];
		if (seq_diff(sl->seq, r.block.end) > 0)
			break;
		if (seq_diff(sl->seq + sl->len, r.block.end) > 0)
			r.block.end = sl->seq + sl->len;
		if (seq_diff(sl->mark, r.mark) > 0)
			r.mark = sl->mark;
	}
	return r;
}

// The max ranges that grew last, the latest first.
static unsigned ranges_latest(
	const struct tcp_stack *s,
	const struct tcp_pcb *p,
	struct tcp_block *ret,
	unsigned max
)
{
	struct range best[TCP_SACK_BLOCKS_MAX];
	uint32_t idx = p->ooo_head;
	unsigned n = 0;

	while (idx != 0) {
		struct range r = range_next(s, &idx);
		unsigned at = n;

		while (at > 0 && seq_diff(r.mark, best[at - 1].mark) > 0)
			at--;
		if (at == max)
			continue;
		n = n < max ? n + 1 : max;
		memmove(&best[at + 1], &best[at], (n - at - 1) * sizeof(best[0]));
		best[at] = r;
	}
	for (unsigned i = 0; i < n; i++)
		ret[i] = best[i].block;
	return n;
}

unsigned tcp_sack_fill(struct tcp_stack *s, const struct tcp_pcb *p, uint8_t *out, unsigned room)
{
	struct tcp_block block[TCP_SACK_BLOCKS_MAX];
	unsigned max = room < 12 ? 0 : (room - 4) / 8, n = 0;

	if (max == 0)
		return 0;
	if (max > TCP_SACK_BLOCKS_MAX)
		max = TCP_SACK_BLOCKS_MAX;
	if (s->dsack_count > 0 && dsack_take(s, p, &block[0])) {
		stat_inc(s->env, STAT_TCP_DSACK_OUT);
		n = 1;
	}
	if (n < max)
		n += ranges_latest(s, p, block + n, max - n);
	return n > 0 ? tcp_options_sack(out, block, n) : 0;
}
