// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Receive and transmit queues as lists of slices (mbuf, offset, length, sequence): the
// application's reads, writes and moves. Small pieces are copied so that a 2 KiB buffer is never
// pinned by a 40-byte line. Worker thread.

#include "dataplane/tcp/tcp_inner_types.h"

uint32_t
slice_new(struct tcp_stack *s, struct rte_mbuf *m, uint32_t seq, uint16_t off, uint16_t len)
{
	uint32_t idx = idpool_get(&s->slices);

	if (idx == 0) {
		stat_inc(s->env, STAT_TCP_NO_SLICE);
		return 0;
	}
	s->slice[idx] = (struct tcp_slice){.m = m, .seq = seq, .off = off, .len = len};
	return idx;
}

void slice_free(struct tcp_stack *s, uint32_t idx)
{
	rte_pktmbuf_free(s->slice[idx].m);
	s->slice[idx].m = NULL;
	idpool_put(&s->slices, idx);
}

static unsigned list_free(struct tcp_stack *s, uint32_t head)
{
	unsigned n = 0;

	for (; head != 0; n++) {
		uint32_t next = s->slice[head].next;

		slice_free(s, head);
		head = next;
	}
	return n;
}

unsigned ooo_drop(struct tcp_stack *s, struct tcp_pcb *p)
{
	unsigned n = list_free(s, p->ooo_head);

	p->ooo_head = 0;
	return n;
}

void queues_drop_unsent(struct tcp_stack *s, struct tcp_pcb *p)
{
	list_free(s, p->tx_head);
	ooo_drop(s, p);
	p->tx_head = p->tx_tail = 0;
	p->tx_bytes = 0;
}

void queues_drop(struct tcp_stack *s, struct tcp_pcb *p)
{
	queues_drop_unsent(s, p);
	list_free(s, p->rx_head);
	p->rx_head = p->rx_tail = 0;
	p->rx_bytes = 0;
}

// Takes over a slice of in-order bytes; small ones are copied behind the last held one where it has
// room.
void rx_append(struct tcp_stack *s, struct tcp_pcb *p, uint32_t idx)
{
	struct tcp_slice *sl = &s->slice[idx];

	sl->next = 0;
	p->rx_bytes += sl->len;
	if (p->rx_tail != 0 && sl->len <= TCP_COPY_MAX) {
		struct tcp_slice *last = &s->slice[p->rx_tail];
		unsigned end = last->off + last->len;

		if (rte_mbuf_refcnt_read(last->m) == 1 && end + sl->len <= last->m->buf_len) {
			memcpy((uint8_t *)last->m->buf_addr + end, slice_data(sl), sl->len);
			last->len = (uint16_t)(last->len + sl->len);
			slice_free(s, idx);
			return;
		}
	}
	if (p->rx_tail != 0)
		s->slice[p->rx_tail].next = idx;
	else
		p->rx_head = idx;
	p->rx_tail = idx;
}

// The window opened: tell the peer when it is worth a segment (RFC 9293 3.8.6.2.2).
static void window_update(struct tcp_stack *s, struct tcp_pcb *p)
{
	uint32_t edge = p->rcv_nxt + tcp_rcv_window(s, p);
	int32_t gain = seq_diff(edge, p->rcv_adv);

	if (p->state < TCP_S_ESTABLISHED || (p->flags & TCP_F_FIN_RCVD) != 0)
		return;
	if (gain >= 2 * (int32_t)p->mss || (gain > 0 && (uint32_t)gain >= p->rcv_cap / 4)) {
		p->flags |= TCP_F_ACK_NOW;
		pcb_dirty(s, p);
	}
}

// Bytes were read: window, and the end of a connection that only waited for the reader.
static void rx_consumed(struct tcp_stack *s, struct tcp_pcb *p)
{
	if (p->close_reason != TCP_CLOSE_UNREAD) {
		window_update(s, p);
	} else if (p->rx_bytes == 0) {
		p->close_reason = TCP_CLOSE_DONE;
		pcb_event(s, p, TCP_EV_CLOSE);
	}
}

static void rx_head_pop(struct tcp_stack *s, struct tcp_pcb *p)
{
	p->rx_head = s->slice[p->rx_head].next;
	if (p->rx_head == 0)
		p->rx_tail = 0;
}

uint32_t tcp_rx_bytes(const struct tcp_stack *s, struct tcp_conn_id conn)
{
	return pcb_of(s, conn.v)->rx_bytes;
}

bool tcp_rx_peek(
	const struct tcp_stack *s,
	struct tcp_conn_id conn,
	uint32_t off,
	const uint8_t **ret_ptr,
	uint32_t *ret_len
)
{
	for (uint32_t idx = pcb_of(s, conn.v)->rx_head; idx != 0; idx = s->slice[idx].next) {
		const struct tcp_slice *sl = &s->slice[idx];

		if (off < sl->len) {
			*ret_ptr = slice_data(sl) + off;
			*ret_len = sl->len - off;
			return true;
		}
		off -= sl->len;
	}
	return false;
}

void tcp_rx_drop(struct tcp_stack *s, struct tcp_conn_id conn, uint32_t n)
{
	struct tcp_pcb *p = pcb_of(s, conn.v);

	while (n > 0 && p->rx_head != 0) {
		uint32_t idx = p->rx_head;
		struct tcp_slice *sl = &s->slice[idx];
		uint16_t take = n < sl->len ? (uint16_t)n : sl->len;

		sl->off = (uint16_t)(sl->off + take);
		sl->len = (uint16_t)(sl->len - take);
		p->rx_bytes -= take;
		n -= take;
		if (sl->len == 0) {
			rx_head_pop(s, p);
			slice_free(s, idx);
		}
	}
	rx_consumed(s, p);
}

bool tcp_rx_piece(
	struct tcp_stack *s,
	struct tcp_conn_id conn,
	uint32_t off,
	uint8_t **ret_ptr,
	uint32_t *ret_len
)
{
	const uint8_t *ptr;

	// a buffer may be in several queues, but then each has its own part of it
	if (!tcp_rx_peek(s, conn, off, &ptr, ret_len))
		return false;
	*ret_ptr = (uint8_t *)(uintptr_t)ptr;
	return true;
}

// n bytes at off, all in this slice: the shorter side moves over them, within the slice's own part
// of the buffer.
static void slice_cut(struct tcp_slice *sl, uint32_t off, uint32_t n)
{
	uint8_t *data = slice_data(sl);
	uint32_t behind = sl->len - off - n;

	if (off < behind) {
		memmove(data + n, data, off);
		sl->off = (uint16_t)(sl->off + n);
	} else {
		memmove(data + off, data + off + n, behind);
	}
	sl->len = (uint16_t)(sl->len - n);
}

static void rx_unlink(struct tcp_stack *s, struct tcp_pcb *p, uint32_t before, uint32_t idx)
{
	uint32_t next = s->slice[idx].next;

	if (before != 0)
		s->slice[before].next = next;
	else
		p->rx_head = next;
	if (next == 0)
		p->rx_tail = before;
	slice_free(s, idx);
}

void tcp_rx_cut(struct tcp_stack *s, struct tcp_conn_id conn, uint32_t off, uint32_t n)
{
	struct tcp_pcb *p = pcb_of(s, conn.v);
	uint32_t idx = p->rx_head, before = 0;

	while (idx != 0 && n > 0) {
		struct tcp_slice *sl = &s->slice[idx];
		uint32_t next = sl->next, take = 0;

		if (off < sl->len) {
			take = n < sl->len - off ? n : sl->len - off;
			slice_cut(sl, off, take);
			n -= take;
			p->rx_bytes -= take;
		}
		off -= off < sl->len ? off : sl->len; // what is left of it stands behind the rest
		if (sl->len == 0)
			rx_unlink(s, p, before, idx);
		else
			before = idx;
		idx = next;
	}
	rx_consumed(s, p);
}

static bool tx_may(const struct tcp_pcb *p, uint32_t len)
{
	bool open = p->state != TCP_S_CLOSED &&
		    (p->state <= TCP_S_ESTABLISHED || p->state == TCP_S_CLOSE_WAIT);

	return open && (p->flags & TCP_F_FIN_QUEUED) == 0 && p->tx_bytes + len <= TCP_TX_LIMIT;
}

static void tx_append(struct tcp_stack *s, struct tcp_pcb *p, uint32_t idx)
{
	s->slice[idx].next = 0;
	if (p->tx_tail != 0)
		s->slice[p->tx_tail].next = idx;
	else
		p->tx_head = idx;
	p->tx_tail = idx;
	p->tx_bytes += s->slice[idx].len;
	pcb_dirty(s, p);
}

// Room behind the last transmit slice that nobody else can refer to: only in buffers of our own
// pool.
static uint32_t tail_room(const struct tcp_stack *s, const struct tcp_pcb *p)
{
	const struct tcp_slice *last = &s->slice[p->tx_tail];

	if (p->tx_tail == 0 || last->m->pool != s->config.small_pool ||
	    (last->mark & TCP_SL_FLAGS) != 0)
		return 0;
	return (uint32_t)last->m->buf_len - last->off - last->len;
}

bool tcp_tx_write(struct tcp_stack *s, struct tcp_conn_id conn, const void *data, uint32_t len)
{
	struct tcp_pcb *p = pcb_of(s, conn.v);
	const uint8_t *from = data;
	uint32_t room = tail_room(s, p);
	uint32_t first = len < room ? len : room;
	uint32_t chain = 0, last = 0;

	if (!tx_may(p, len))
		return false;
	for (uint32_t done = first; done < len;) { // all new buffers first: all or nothing
		struct rte_mbuf *m = rte_pktmbuf_alloc(s->config.small_pool);
		uint32_t n, idx;

		if (m == NULL)
			stat_inc(s->env, STAT_TCP_NO_BUFFER);
		idx = m != NULL ? slice_new(s, m, pcb_data_end(p) + done, m->data_off, 0) : 0;
		if (idx == 0) {
			rte_pktmbuf_free(m);
			list_free(s, chain);
			return false;
		}
		n = rte_pktmbuf_tailroom(m);
		n = n < len - done ? n : len - done;
		memcpy(slice_data(&s->slice[idx]), from + done, n);
		s->slice[idx].len = (uint16_t)n;
		if (last != 0)
			s->slice[last].next = idx;
		else
			chain = idx;
		last = idx;
		done += n;
	}
	if (first > 0) {
		struct tcp_slice *tail = &s->slice[p->tx_tail];

		memcpy(slice_data(tail) + tail->len, from, first);
		tail->len = (uint16_t)(tail->len + first);
		p->tx_bytes += first;
		pcb_dirty(s, p);
	}
	while (chain != 0) {
		uint32_t next = s->slice[chain].next;

		tx_append(s, p, chain);
		chain = next;
	}
	return true;
}

uint32_t
tcp_tx_move(struct tcp_stack *s, struct tcp_conn_id to_id, struct tcp_conn_id from_id, uint32_t n)
{
	struct tcp_pcb *to = pcb_of(s, to_id.v);
	struct tcp_pcb *from = pcb_of(s, from_id.v);
	uint32_t moved = 0;

	while (moved < n && from->rx_head != 0) {
		uint32_t idx = from->rx_head;
		struct tcp_slice *sl = &s->slice[idx];
		uint32_t take = n - moved < sl->len ? n - moved : sl->len;

		if (!tx_may(to, take))
			break;
		if (take <= TCP_COPY_MAX) {
			if (!tcp_tx_write(s, to_id, slice_data(sl), take))
				break;
		} else if (take == sl->len) {
			rx_head_pop(s, from);
			from->rx_bytes -= take;
			moved += take;
			sl->seq = pcb_data_end(to);
			sl->mark = 0; // of the queue out of order
			tx_append(s, to, idx);
			continue;
		} else {
			uint32_t part =
				slice_new(s, sl->m, pcb_data_end(to), sl->off, (uint16_t)take);

			if (part == 0)
				break;
			rte_mbuf_refcnt_update(sl->m, 1);
			tx_append(s, to, part);
		}
		sl->off = (uint16_t)(sl->off + take);
		sl->len = (uint16_t)(sl->len - take);
		from->rx_bytes -= take;
		moved += take;
		if (sl->len == 0) {
			rx_head_pop(s, from);
			slice_free(s, idx);
		}
	}
	if (moved > 0)
		rx_consumed(s, from);
	return moved;
}

uint32_t tx_split(struct tcp_stack *s, struct tcp_pcb *p, uint32_t idx, uint32_t seq)
{
	struct tcp_slice *sl = &s->slice[idx];
	uint16_t n = (uint16_t)(seq - sl->seq);
	uint32_t part = slice_new(s, sl->m, seq, (uint16_t)(sl->off + n), (uint16_t)(sl->len - n));

	if (part == 0)
		return 0;
	rte_mbuf_refcnt_update(sl->m, 1);
	s->slice[part].mark = sl->mark;
	s->slice[part].next = sl->next;
	sl->next = part;
	sl->len = n;
	if (p->tx_tail == idx)
		p->tx_tail = part;
	return part;
}

uint32_t tcp_tx_bytes(const struct tcp_stack *s, struct tcp_conn_id conn)
{
	return pcb_of(s, conn.v)->tx_bytes;
}

void tx_acked(struct tcp_stack *s, struct tcp_pcb *p, uint32_t n)
{
	p->tx_bytes -= n;
	while (n > 0) {
		uint32_t idx = p->tx_head;
		struct tcp_slice *sl = &s->slice[idx];

		if (n < sl->len) {
			sl->off = (uint16_t)(sl->off + n);
			sl->len = (uint16_t)(sl->len - n);
			sl->seq += n;
			break;
		}
		n -= sl->len;
		p->tx_head = sl->next;
		if (p->tx_head == 0)
			p->tx_tail = 0;
		else
			s->slice[p->tx_head].sent = sl->sent != idx ? sl->sent : 0;
		slice_free(s, idx);
	}
	if (p->peer != 0 && pcb_of(s, p->peer)->state != TCP_S_CLOSED)
		window_update(s, pcb_of(s, p->peer));
	pcb_event(s, p, TCP_EV_SENT);
}

void tcp_rx_window_set(struct tcp_stack *s, struct tcp_conn_id conn, uint32_t cap)
{
	struct tcp_pcb *p = pcb_of(s, conn.v);

	p->rcv_cap = cap;
	if (p->state != TCP_S_CLOSED)
		window_update(s, p);
}

void tcp_rx_least_set(struct tcp_stack *s, struct tcp_conn_id conn, uint32_t bytes)
{
	BUG_ON_HOT(bytes > 15 * 2048U);
	pcb_of(s, conn.v)->rcv_least = ((bytes + 2047) / 2048) & 15;
}

void tcp_user_set(struct tcp_stack *s, struct tcp_conn_id conn, uint32_t user)
{
	pcb_of(s, conn.v)->user = user;
}

void tcp_peer_set(struct tcp_stack *s, struct tcp_conn_id a, struct tcp_conn_id b)
{
	struct tcp_pcb *pa = pcb_of(s, a.v);

	if (pa->peer != 0)
		pcb_of(s, pa->peer)->peer = 0;
	pa->peer = b.v;
	if (b.v == 0)
		return;
	if (pcb_of(s, b.v)->peer != 0)
		pcb_of(s, pcb_of(s, b.v)->peer)->peer = 0;
	pcb_of(s, b.v)->peer = a.v;
}
