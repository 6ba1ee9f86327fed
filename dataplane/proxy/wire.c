// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Sides that speak TLS: records opened in place in TCP's receive queue, with what is not plaintext
// cut out; records made of what is written. A record that cannot be sent was never made: its number
// is taken back, so no nonce is used for two records that leave. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdlib.h>
#include <string.h>

#include "common/array.h"

#define RECORDS_A_FILL 1024

static struct wire_tls *tls_of(const struct relay *r, struct wire w)
{
	return &r->wire_tls[w.tls];
}

bool wire_tls_init(struct relay *r)
{
	uint32_t n = r->config.tls != NULL ? r->config.max_tls : 0;
	uint32_t *ids = array_new(n + 1, sizeof(uint32_t));

	r->wire_tls = array_new(n + 1, sizeof(struct wire_tls));
	r->tls_ready = array_new(n + 1, sizeof(uint32_t));
	r->wire_shake = array_new(n + 1, sizeof(struct wire_shake));
	r->shakers = n > 0 ? client_table_new(n) : NULL;
	r->names = n > 0 ? names_new() : NULL;
	if (r->wire_tls == NULL || r->wire_shake == NULL || r->tls_ready == NULL || ids == NULL ||
	    (n > 0 && (r->shakers == NULL || r->names == NULL))) {
		free(ids);
		return false;
	}
	idpool_init(&r->wire_ids, ids, n + 1);
	return true;
}

size_t wire_tls_bytes(const struct relay *r)
{
	const size_t side = sizeof(struct wire_tls) + sizeof(struct wire_shake) +
			    2 * sizeof(uint32_t); // of the free list and of those ready

	return r->wire_ids.count * side +
	       (r->shakers != NULL ? client_table_bytes(r->wire_ids.count - 1) : 0);
}

void wire_tls_free(struct relay *r)
{
	for (uint32_t i = 1; r->wire_tls != NULL && i < r->wire_ids.count; i++)
		tls_hs_free(r->wire_tls[i].hs);
	if (r->config.tls != NULL)
		tls_engine_drain(r->config.tls);
	client_table_free(r->shakers);
	names_free(r->names);
	free(r->wire_tls);
	free(r->wire_shake);
	free(r->tls_ready);
	free(r->wire_ids.next);
}

uint32_t wire_tls_get(struct relay *r, uint32_t owner)
{
	uint32_t index = idpool_get(&r->wire_ids);

	if (index == 0)
		return 0;
	r->wire_tls[index] = (struct wire_tls){.owner = owner, .since_ms = env_now_ms(r->env)};
	r->wire_shake[index].entry = 0;
	stat_set(r->env, STAT_TLS_HANDSHAKES_NOW, ++r->shakes);
	return index;
}

void wire_tls_owner(struct relay *r, uint32_t index, uint32_t owner)
{
	if (index != 0)
		r->wire_tls[index].owner = owner;
}

void wire_tls_put(struct relay *r, uint32_t *index)
{
	struct wire_tls *t = &r->wire_tls[*index];
	bool listed = t->phase == WIRE_READY; // its index is not another's before relay_tls_run

	if (*index == 0)
		return;
	r->tls_waiting -= t->phase == WIRE_WAIT;
	if (t->phase != WIRE_OPEN)
		wire_shake_end(r, *index);
	else
		name_put(r, t->facts.name);
	t->phase = WIRE_DEAD;
	tls_state_clear(&t->st);
	if (!listed)
		idpool_put(&r->wire_ids, *index);
	*index = 0;
}

bool wire_tls_peek(
	struct relay *r,
	struct wire w,
	uint32_t off,
	const uint8_t **ret_ptr,
	uint32_t *ret_len
)
{
	uint32_t plain = tls_of(r, w)->plain;

	if (off >= plain || !tcp_rx_peek(r->tcp, w.conn, off, ret_ptr, ret_len))
		return false;
	if (*ret_len > plain - off)
		*ret_len = plain - off;
	return true;
}

void wire_tls_drop(struct relay *r, struct wire w, uint32_t n)
{
	BUG_ON_HOT(n > tls_of(r, w)->plain);
	tls_of(r, w)->plain -= n;
	tcp_rx_drop(r->tcp, w.conn, n);
}

// The records made since the sequence number was `seq`, all at once. False: no buffer, nothing was
// taken.
static bool records_put(struct relay *r, struct wire w, uint64_t seq, uint32_t len)
{
	struct wire_tls *t = tls_of(r, w);

	if (len == 0) { // closed, or used up: what is written goes nowhere
		t->broken = true;
		return true;
	}
	if (tcp_tx_write(r->tcp, w.conn, r->record, len)) {
		stat_add(r->env, STAT_TLS_RECORDS_SEALED, t->st.wr.seq - seq);
		return true;
	}
	t->st.wr.seq = seq;
	return false;
}

static bool record_write(struct relay *r, struct wire w, const struct tls_seg *segs, unsigned count)
{
	struct tls_state *st = &tls_of(r, w)->st;
	uint64_t seq = st->wr.seq;

	return records_put(
		r, w, seq, tls_record_seal(r->config.tls, st, TLS_T_DATA, segs, count, r->record)
	);
}

bool wire_tls_write(struct relay *r, struct wire w, const void *data, uint32_t len)
{
	struct tls_state *st = &tls_of(r, w)->st;
	uint32_t off = 0, made = 0, one = 1;
	uint64_t seq = st->wr.seq;

	BUG_ON_HOT(len > TLS_PLAIN_MAX);
	if (tls_of(r, w)->phase != WIRE_OPEN)
		return false;
	do {
		struct tls_seg seg = {(uint8_t *)(uintptr_t)data + off, len - off};

		if (seg.len > tls_plain_max(st))
			seg.len = tls_plain_max(st);
		one = tls_record_seal(r->config.tls, st, TLS_T_DATA, &seg, 1, r->record + made);
		made = one > 0 ? made + one : 0;
		off += seg.len;
	} while (off < len && one > 0);
	return records_put(r, w, seq, made);
}

// The pieces of n held bytes at off; 0: more than there is room for.
static unsigned
pieces_gather(struct relay *r, struct wire w, uint32_t off, uint32_t n, struct tls_seg *segs)
{
	unsigned count = 0;

	while (n > 0) {
		struct tls_seg *seg = &segs[count];

		if (count++ == TLS_SEGS_MAX ||
		    !tcp_rx_piece(r->tcp, w.conn, off, &seg->data, &seg->len))
			return 0;
		if (seg->len > n)
			seg->len = n;
		off += seg->len;
		n -= seg->len;
	}
	return count;
}

static void held_copy(struct relay *r, struct wire w, uint32_t off, uint8_t *out, uint32_t n)
{
	const uint8_t *p;
	uint32_t len;

	while (n > 0 && tcp_rx_peek(r->tcp, w.conn, off, &p, &len)) {
		len = len < n ? len : n;
		memcpy(out, p, len);
		out += len;
		off += len;
		n -= len;
	}
}

static void held_put(struct relay *r, struct wire w, uint32_t off, const uint8_t *from, uint32_t n)
{
	uint8_t *p;
	uint32_t len;

	while (n > 0 && tcp_rx_piece(r->tcp, w.conn, off, &p, &len)) {
		len = len < n ? len : n;
		memcpy(p, from, len);
		from += len;
		off += len;
		n -= len;
	}
}

static uint32_t move_sealed(struct relay *r, struct wire to, struct wire from, uint32_t n)
{
	uint32_t moved = 0;

	while (moved < n) {
		uint32_t most = tls_plain_max(&tls_of(r, to)->st);
		uint32_t take = n - moved < most ? n - moved : most;
		struct tls_seg segs[TLS_SEGS_MAX + 1];
		unsigned count = pieces_gather(r, from, 0, take, segs);

		if (count == 0) { // in many small pieces: the first alone
			take = segs[0].len < take ? segs[0].len : take;
			count = 1;
		}
		if (!record_write(r, to, segs, count))
			break;
		wire_rx_drop(r, from, take);
		moved += take;
	}
	return moved;
}

uint32_t wire_tls_move(struct relay *r, struct wire to, struct wire from, uint32_t n)
{
	uint32_t moved;

	if (to.tls != 0)
		return tls_of(r, to)->phase == WIRE_OPEN ? move_sealed(r, to, from, n) : 0;
	moved = tcp_tx_move(r->tcp, to.conn, from.conn, n);
	tls_of(r, from)->plain -= moved;
	return moved;
}

static void alert_send(struct relay *r, struct wire w, enum tls_alert alert)
{
	uint8_t out[TLS_REPLY_MAX];
	uint32_t len = tls_alert_seal(r->config.tls, &tls_of(r, w)->st, alert, out);

	if (len > 0 && !tcp_tx_write(r->tcp, w.conn, out, len))
		stat_inc(r->env, STAT_TLS_NO_BUFFER); // the write side is closed in any case
}

void wire_end(struct relay *r, struct wire w)
{
	if (w.tls == 0 || w.conn.v == 0 || tls_of(r, w)->phase != WIRE_OPEN)
		return;
	alert_send(r, w, TLS_ALERT_CLOSE_NOTIFY);
}

static enum wire_result bad_record(struct relay *r, struct wire w, enum tls_alert alert)
{
	stat_inc(r->env, STAT_TLS_BAD_RECORDS);
	alert_send(r, w, alert);
	tls_of(r, w)->broken = true;
	return WIRE_BROKEN;
}

// The record of len bytes behind the plaintext.
static enum tls_result
record_open(struct relay *r, struct wire w, uint32_t len, struct tls_opened *ret)
{
	struct wire_tls *t = tls_of(r, w);
	struct tls_seg segs[TLS_SEGS_MAX + 1];
	unsigned count = pieces_gather(r, w, t->plain, len, segs);
	enum tls_result result;

	if (count > 0)
		return tls_record_open(r->config.tls, &t->st, segs, count, ret);
	held_copy(r, w, t->plain, r->record, len);
	segs[0] = (struct tls_seg){r->record, len};
	result = tls_record_open(r->config.tls, &t->st, segs, 1, ret);
	if (result == TLS_OK)
		held_put(r, w, t->plain + ret->off, r->record + ret->off, ret->len);
	return result;
}

// A record that is no data; it leaves the queue.
static enum wire_result
post_take(struct relay *r, struct wire w, const struct tls_opened *opened, uint32_t len)
{
	struct wire_tls *t = tls_of(r, w);
	struct tls_reply reply;
	enum tls_result result;

	held_copy(r, w, t->plain + opened->off, r->record, opened->len);
	tcp_rx_cut(r->tcp, w.conn, t->plain, len);
	result = tls_post_handle(
		r->config.tls, &t->st, opened->type, r->record, opened->len, &reply
	);
	if (reply.len > 0 && !tcp_tx_write(r->tcp, w.conn, reply.data, reply.len)) {
		stat_inc(r->env, STAT_TLS_NO_BUFFER);
		t->broken = true; // the peer would miss a record
	}
	if (result == TLS_CLOSED)
		return WIRE_ENDED;
	if (result == TLS_OK && !t->broken)
		return WIRE_GOES_ON;
	stat_inc(r->env, opened->type == TLS_T_ALERT ? STAT_TLS_ALERTS : STAT_TLS_BAD_RECORDS);
	t->broken = true;
	return WIRE_BROKEN;
}

static enum wire_result record_take(struct relay *r, struct wire w, uint32_t len)
{
	struct wire_tls *t = tls_of(r, w);
	struct tls_opened opened;

	if (record_open(r, w, len, &opened) != TLS_OK)
		return bad_record(r, w, opened.alert);
	stat_inc(r->env, STAT_TLS_RECORDS_OPENED);
	if (opened.type != TLS_T_DATA)
		return post_take(r, w, &opened, len);
	tcp_rx_cut(
		r->tcp, w.conn, t->plain + opened.off + opened.len, len - opened.off - opened.len
	);
	tcp_rx_cut(r->tcp, w.conn, t->plain, opened.off);
	t->plain += opened.len;
	return tls_data_budget(&t->st, opened.len) ? WIRE_GOES_ON
						   : bad_record(r, w, TLS_ALERT_UNEXPECTED_MESSAGE);
}

// Discards what stands behind the plaintext.
static void rest_drop(struct relay *r, struct wire w)
{
	uint32_t plain = tls_of(r, w)->plain, have = tcp_rx_bytes(r->tcp, w.conn);

	if (have > plain)
		tcp_rx_cut(r->tcp, w.conn, plain, have - plain);
}

bool wire_fin(struct relay *r, struct wire w)
{
	struct wire_tls *t = tls_of(r, w);
	bool told = t->st.rd_closed;

	t->st.rd_closed = true;
	rest_drop(r, w);
	return told;
}

enum wire_result wire_fill(struct relay *r, struct wire w)
{
	struct wire_tls *t = tls_of(r, w);
	enum wire_result result = WIRE_GOES_ON;

	if (t->phase != WIRE_OPEN)
		return WIRE_GOES_ON;
	for (unsigned i = 0; result == WIRE_GOES_ON; i++) {
		uint32_t have = tcp_rx_bytes(r->tcp, w.conn) - t->plain, len;
		uint8_t header[TLS_RECORD_HEADER];
		enum tls_alert alert;

		if (t->broken)
			return WIRE_BROKEN;
		if (t->st.rd_closed) {
			rest_drop(r, w);
			return WIRE_ENDED;
		}
		if (have < TLS_RECORD_HEADER)
			break;
		held_copy(r, w, t->plain, header, TLS_RECORD_HEADER);
		len = tls_record_length(&t->st, header, &alert);
		if (len == 0)
			return bad_record(r, w, alert);
		if (have < len)
			break;
		if (i == RECORDS_A_FILL)
			return WIRE_MORE;
		result = record_take(r, w, len);
	}
	return result;
}

void wire_tls_check(const struct relay *r)
{
	uint32_t waiting = 0, owned = 0, dead = 0, counted = 0, shakes = 0, contexts = 0, names = 0;

	for (uint32_t i = 1; i < r->wire_ids.count; i++) {
		const struct wire_tls *t = &r->wire_tls[i];
		const struct session *s = &r->session[t->owner & ~TCP_USER_LEG];

		if (r->wire_ids.next[i] != UINT32_MAX)
			continue;
		waiting += t->phase == WIRE_WAIT;
		shakes += t->phase != WIRE_OPEN && t->phase != WIRE_DEAD;
		contexts += t->hs != NULL;
		names += t->phase == WIRE_OPEN && t->facts.name != 0;
		counted += r->wire_shake[i].entry != 0;
		dead += t->phase == WIRE_DEAD;
		if (t->phase == WIRE_DEAD)
			continue;
		owned++;
		BUG_ON(i != ((t->owner & TCP_USER_LEG) != 0 ? s->leg_tls : s->client_tls));
		BUG_ON((t->hs == NULL) != (t->phase == WIRE_HELLO || t->phase == WIRE_OPEN));
		BUG_ON(t->phase == WIRE_HELLO && t->plain != 0);
	}
	BUG_ON(r->names != NULL && names != names_held(r->names));
	BUG_ON(shakes != r->shakes || contexts != r->contexts);
	BUG_ON(r->shakers != NULL && counted != client_table_sum(r->shakers));
	BUG_ON(waiting != r->tls_waiting || owned + dead != r->wire_ids.used);
}
