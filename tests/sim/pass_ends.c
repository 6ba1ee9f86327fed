// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See pass_ends.h.

#include "tests/sim/pass_ends.h"

#include <string.h>

static struct tcp_stack *tcp_of(struct plot *d, const struct pair *p, unsigned who)
{
	for (unsigned i = 0; who == 1 && i < d->legs; i++)
		if (d->leg[i].end == &p->end[1])
			return d->host[1 + d->leg[i].host]->tcp;
	return d->host[0]->tcp;
}

// What is not the other's: only at rest, and only this.
static void ours_judge(struct plot *d, struct pair *p, unsigned who)
{
	static const char said_to_leg[] = "QUIT\r\n";
	struct end *e = &p->end[who];
	uint8_t mark = p->talk.mark[1 - who][e->got];
	bool stopped = d->stop_ns != 0 && d->sim->now_ns >= d->stop_ns;

	if (who == 1) {
		if (mark != TALK_REST || (!p->left[0] && !stopped) || e->ours_len > 6 ||
		    memcmp(e->ours, said_to_leg, e->ours_len) != 0)
			sim_fail(d->sim, "said to a backend what no client said", e->got, mark);
		return;
	}
	if (e->got > 0 && (mark != TALK_REST || !stopped))
		sim_fail(d->sim, "said to a client what no backend said", e->got, mark);
	if (e->ours[0] != '4' && (e->ours[0] != '5' || e->got > 0))
		sim_fail(d->sim, "another greeting than one that may be", e->got, e->ours[0]);
	if (e->got == 0 && d->clean && !stopped)
		sim_fail(d->sim, "refused though nothing was broken", e->got, 0);
}

static void take(struct plot *d, struct pair *p, unsigned who, const uint8_t *data, uint32_t len)
{
	struct end *e = &p->end[who];
	const struct talk *t = &p->talk;
	uint32_t said = p->end[1 - who].sent; // what it will say may begin as ours does

	if (who == 0 && said < sizeof(TALK_BANNER) - 1)
		said = sizeof(TALK_BANNER) - 1; // by a leg that is not known to be its own yet

	e->heard_ns = d->sim->now_ns;
	for (uint32_t i = 0; i < len; i++) {
		if (e->ours_len == 0 && e->got < said && data[i] == t->text[1 - who][e->got])
			e->got++;
		else if (e->ours_len < OURS_MAX)
			e->ours[e->ours_len++] = (char)data[i];
	}
	if (e->ours_len > 0)
		ours_judge(d, p, who);
}

static void end_over(struct end *e)
{
	e->open = false;
}

// How far it may say something now.
static uint32_t may_say(const struct pair *p, unsigned who)
{
	const struct end *e = &p->end[who];

	for (unsigned i = 0; i < p->talk.turns; i++) {
		const struct talk_turn *turn = &p->talk.turn[i];

		if (turn->who == who && e->sent < turn->end)
			return turn->end;
		if (turn->who != who && e->got < turn->end)
			return e->sent;
	}
	return e->sent;
}

bool has_all(const struct pair *p, unsigned who)
{
	return p->end[who].sent == p->talk.len[who] && p->end[who].got == p->talk.len[1 - who];
}

static void leave(struct plot *d, struct pair *p, unsigned who, enum leaves how)
{
	struct end *e = &p->end[who];

	p->left[who] = true;
	if (how == LEAVES_RST) {
		tcp_abort(tcp_of(d, p, who), e->conn);
		end_over(e);
	} else if (!e->fin_sent) {
		tcp_shutdown(tcp_of(d, p, who), e->conn);
		e->fin_sent = true;
	}
}

static void end_turn(struct plot *d, struct pair *p, unsigned who)
{
	struct rng *rng = &d->sim->rng;
	struct end *e = &p->end[who];
	uint32_t to, n;

	if (!e->open || e->fin_sent || d->sim->now_ns < e->next_ns)
		return;
	if (p->leaves[who] != STAYS && e->sent >= p->leave_at[who]) {
		leave(d, p, who, p->leaves[who]);
		return;
	}
	to = e->ours_len > 0 ? e->sent : may_say(p, who);
	if (to > e->sent) {
		n = 1 + rng_below(rng, rng_below(rng, 2) ? 30 : 3000);
		n = n < to - e->sent ? n : to - e->sent;
		if (p->leaves[who] != STAYS && e->sent + n > p->leave_at[who])
			n = p->leave_at[who] - e->sent;
		if (tcp_tx_write(tcp_of(d, p, who), e->conn, p->talk.text[who] + e->sent, n))
			e->sent += n;
		e->next_ns = d->sim->now_ns + rng_below(rng, 20) * SIM_MS;
		e->heard_ns = d->sim->now_ns;
	} else if (has_all(p, who) || e->ours_len > 0) {
		tcp_shutdown(tcp_of(d, p, who), e->conn);
		e->fin_sent = true;
	} else if (d->sim->now_ns - e->heard_ns > PATIENCE_NS) {
		if (d->clean && d->stop_ns == 0)
			sim_fail(d->sim, "waits without end", who, e->got);
		leave(d, p, who, LEAVES_RST);
	}
}

// It may have been the last the other one said, or the end of a body that was cut off.
static void end_fin(struct plot *d, struct pair *p, unsigned who)
{
	struct end *e = &p->end[who];

	if (who == 1 && !e->fin_sent && p->talk.mark[0][e->got] == TALK_BODY)
		sim_fail(d->sim, "a FIN inside a body", e->got, p->talk.len[0]);
	tcp_release(tcp_of(d, p, who), e->conn, true);
	end_over(e);
}

// Reads what is there. Of a leg whose client is not known yet: when its EHLO is whole.
static void leg_read(struct plot *d, struct leg *l)
{
	struct tcp_stack *tcp = d->host[1 + l->host]->tcp;
	const uint8_t *p;
	uint32_t len, n = 0;
	unsigned number;
	char line[64];

	while (l->end == NULL && n < sizeof(line) - 1 && tcp_rx_peek(tcp, l->conn, n, &p, &len))
		for (uint32_t i = 0; i < len && n < sizeof(line) - 1; i++)
			line[n++] = (char)p[i];
	line[n] = '\0';
	if (l->end == NULL && strncmp(line, "EHLO talk", n < 9 ? n : 9) != 0 &&
	    strncmp(line, "QUIT\r\n", n) != 0)
		sim_fail(d->sim, "a backend is told what no client said", n, 0);
	if (l->end == NULL && strcmp(line, "QUIT\r\n") == 0 && l->open) {
		tcp_release(tcp, l->conn, true);
		l->open = false;
	}
	if (l->end == NULL && sscanf(line, TALK_EHLO, &number) == 1 && number < d->pairs &&
	    memchr(line, '\n', n) != NULL) {
		struct pair *pair = &d->pair[number];

		if (pair->end[1].open || pair->end[1].got > 0)
			sim_fail(d->sim, "a client's words at two backends", number, 0);
		l->pair = pair;
		l->end = &pair->end[1];
		*l->end = (struct end
		){.conn = l->conn, .open = true, .sent = l->said, .heard_ns = d->sim->now_ns};
	}
	while (l->end != NULL && tcp_rx_peek(tcp, l->conn, 0, &p, &len)) {
		take(d, l->pair, 1, p, len);
		tcp_rx_drop(tcp, l->conn, len);
	}
}

static bool
on_syn(void *a,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	*ret = (struct tcp_listen_info){.rcv_window = 65536};
	return local->port == 25;
}

static uint32_t on_accept(void *a, struct tcp_conn_id conn, uint32_t cookie)
{
	struct backend_of *b = a;
	struct plot *d = b->plot;

	if (d->legs == LEGS_MAX)
		return TCP_USER_REFUSE;
	d->leg[d->legs] = (struct leg){
		.conn = conn,
		.host = b->host,
		.open = true,
		.since_ns = d->sim->now_ns,
	};
	return d->legs++;
}

static void on_leg_data(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct backend_of *b = a;

	leg_read(b->plot, &b->plot->leg[user]);
}

static void on_leg_fin(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct backend_of *b = a;
	struct leg *l = &b->plot->leg[user];

	leg_read(b->plot, l);
	if (l->end != NULL)
		end_fin(b->plot, l->pair, 1);
	else
		tcp_release(b->plot->host[1 + l->host]->tcp, conn, true);
	l->open = false;
}

static void
on_leg_close(void *a, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	struct backend_of *b = a;
	struct leg *l = &b->plot->leg[user];

	if (l->end != NULL)
		end_over(l->end);
	l->open = false;
}

static void on_nothing(void *a, struct tcp_conn_id conn, uint32_t user)
{
}

const struct tcp_ops leg_ops = {
	.on_syn = on_syn,
	.on_accept = on_accept,
	.on_connect = on_nothing,
	.on_data = on_leg_data,
	.on_sent = on_nothing,
	.on_fin = on_leg_fin,
	.on_close = on_leg_close,
};

static void on_client_data(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct plot *d = a;
	const uint8_t *p;
	uint32_t len;

	while (tcp_rx_peek(d->host[0]->tcp, conn, 0, &p, &len)) {
		take(d, &d->pair[user], 0, p, len);
		tcp_rx_drop(d->host[0]->tcp, conn, len);
	}
}

static void on_client_fin(void *a, struct tcp_conn_id conn, uint32_t user)
{
	end_fin(a, &((struct plot *)a)->pair[user], 0);
}

static void
on_client_close(void *a, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	end_over(&((struct plot *)a)->pair[user].end[0]);
}

const struct tcp_ops client_ops = {
	.on_syn = sim_no_syn,
	.on_accept = sim_no_accept,
	.on_connect = on_nothing,
	.on_data = on_client_data,
	.on_sent = on_nothing,
	.on_fin = on_client_fin,
	.on_close = on_client_close,
};

// A leg that nobody has spoken on yet greets.
static void leg_greet(struct plot *d, struct leg *l)
{
	const char *text = d->refusal[l->host] != NULL ? d->refusal[l->host] : TALK_BANNER;
	struct tcp_stack *tcp = d->host[1 + l->host]->tcp;
	uint32_t left = (uint32_t)strlen(text) - l->said, n;

	if (!l->open || l->end != NULL || d->sim->now_ns < l->next_ns)
		return;
	if (left > 0) {
		n = 1 + rng_below(&d->sim->rng, left);
		if (tcp_tx_write(tcp, l->conn, text + l->said, n))
			l->said += n;
		l->next_ns = d->sim->now_ns + rng_below(&d->sim->rng, 50) * SIM_MS;
	} else if (d->sim->now_ns - l->since_ns > PATIENCE_NS) {
		tcp_abort(tcp, l->conn);
		l->open = false;
	}
}

void backend_turn(struct sim_host *host)
{
	struct backend_of *b = host->app;
	struct plot *d = b->plot;

	for (unsigned i = 0; i < d->legs; i++) {
		struct leg *l = &d->leg[i];

		if (l->host != b->host)
			continue;
		leg_greet(d, l);
		if (l->end != NULL && l->open) {
			end_turn(d, l->pair, 1);
			l->open = l->end->open;
		}
	}
}

void client_turn(struct sim_host *host)
{
	struct plot *d = host->app;

	for (unsigned i = 0; i < d->pairs; i++) {
		struct pair *p = &d->pair[i];
		const struct tcp_connect_args args = {
			.remote = d->target,
			.user = i,
			.rcv_window = 32768,
			.syn_timeout_ms = 120000,
		};

		if (!p->started && d->sim->now_ns >= p->end[0].next_ns) {
			p->started = p->end[0].open = true;
			p->end[0].heard_ns = d->sim->now_ns;
			if (tcp_connect(host->tcp, &args, &p->end[0].conn) != 0)
				sim_fail(d->sim, "cannot connect", i, 0);
		} else if (p->started) {
			end_turn(d, p, 0);
		}
	}
}
