// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Streams over wires that lose, double, delay and reorder, nothing between: every octet arrives
// once and in its place, whatever is lost, also with hardly any buffers. One seed in four is an
// upload of 1 MiB at 1 % loss and a round trip of 100 ms; of these it is judged at the end how
// often the retransmission timer had to help, which is what RACK-TLP is there to prevent.

#include "tests/sim/scenario.h"

#include <stdlib.h>

#define STREAMS_MAX 4
#define UPLOAD_BYTES (1U << 20)
#define AHEAD_MAX (256U << 10) // octets that the sender queues
#define PIECE_MAX 2000
#define JUDGED_MIN 20 // uploads

struct stream {
	struct tcp_conn_id conn[2]; // sender, receiver
	uint32_t size, written, got;
	uint64_t start_ns, end_ns;
	bool started, fin[2], over[2];
	bool ipv6;
};

struct loss {
	struct sim *sim;
	struct sim_host *host[2];
	struct stream stream[STREAMS_MAX];
	unsigned count, accepted;
	uint32_t piece;
};

// Of all uploads of this process.
static struct {
	uint64_t uploads, lost, timeouts, retransmits, total_ns;
} sums;

static uint8_t octet(unsigned stream, uint32_t off)
{
	return (uint8_t)(off * 31 + (off >> 7) + (off >> 15) * 3 + stream * 101);
}

// A stream says in its first octet which it is: accepted in any order.
static void write_more(struct loss *d, unsigned i)
{
	struct stream *st = &d->stream[i];
	struct tcp_stack *tcp = d->host[0]->tcp;
	uint8_t buf[PIECE_MAX];

	while (st->written < st->size && tcp_tx_bytes(tcp, st->conn[0]) < AHEAD_MAX) {
		uint32_t n = st->size - st->written < d->piece ? st->size - st->written : d->piece;

		for (uint32_t k = 0; k < n; k++)
			buf[k] = octet(i, st->written + k);
		if (st->written == 0)
			buf[0] = (uint8_t)i;
		if (!tcp_tx_write(tcp, st->conn[0], buf, n))
			return;
		st->written += n;
	}
	if (st->written == st->size && !st->fin[0]) {
		st->fin[0] = true;
		tcp_shutdown(tcp, st->conn[0]);
	}
}

static void on_sender(void *a, struct tcp_conn_id conn, uint32_t user)
{
	write_more(a, user);
}

static void on_nothing(void *a, struct tcp_conn_id conn, uint32_t user)
{
}

static void
on_sender_close(void *a, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	struct loss *d = a;

	d->stream[user].over[0] = true;
	if (reason != TCP_CLOSE_DONE)
		sim_fail(d->sim, "a sender was cut off", user, reason);
}

static bool
on_syn(void *a,
       const struct ip_endpoint *local,
       const struct ip_endpoint *remote,
       struct tcp_listen_info *ret)
{
	*ret = (struct tcp_listen_info){.rcv_window = 1U << 20};
	return true;
}

static uint32_t on_accept(void *a, struct tcp_conn_id conn, uint32_t cookie)
{
	return STREAMS_MAX; // not known yet
}

static void on_receiver(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct loss *d = a;
	struct tcp_stack *tcp = d->host[1]->tcp;
	const uint8_t *p;
	uint32_t len;

	while (tcp_rx_peek(tcp, conn, 0, &p, &len)) {
		struct stream *st;

		if (user == STREAMS_MAX) {
			user = p[0] < d->count ? p[0] : 0;
			d->stream[user].conn[1] = conn;
			tcp_user_set(tcp, conn, user);
		}
		st = &d->stream[user];
		for (uint32_t k = 0; k < len; k++)
			if (p[k] != (st->got + k == 0 ? user : octet(user, st->got + k)))
				sim_fail(d->sim, "an octet is wrong", user, st->got + k);
		st->got += len;
		tcp_rx_drop(tcp, conn, len);
	}
}

static void on_receiver_fin(void *a, struct tcp_conn_id conn, uint32_t user)
{
	struct loss *d = a;

	if (user == STREAMS_MAX || d->stream[user].got != d->stream[user].size) {
		sim_fail(d->sim, "the end came early", user, 0);
		return;
	}
	d->stream[user].end_ns = d->sim->now_ns;
	d->stream[user].fin[1] = true;
	tcp_shutdown(d->host[1]->tcp, conn);
}

static void
on_receiver_close(void *a, struct tcp_conn_id conn, uint32_t user, enum tcp_close_reason reason)
{
	struct loss *d = a;

	if (user < STREAMS_MAX)
		d->stream[user].over[1] = true;
	if (reason != TCP_CLOSE_DONE)
		sim_fail(d->sim, "a receiver was cut off", user, reason);
}

static const struct tcp_ops sender_ops = {
	.on_syn = sim_no_syn,
	.on_accept = sim_no_accept,
	.on_connect = on_sender,
	.on_data = on_nothing,
	.on_sent = on_sender,
	.on_fin = on_nothing,
	.on_close = on_sender_close,
};

static const struct tcp_ops receiver_ops = {
	.on_syn = on_syn,
	.on_accept = on_accept,
	.on_connect = on_nothing,
	.on_data = on_receiver,
	.on_sent = on_nothing,
	.on_fin = on_receiver_fin,
	.on_close = on_receiver_close,
};

static void sender_turn(struct sim_host *host)
{
	struct loss *d = host->app;

	for (unsigned i = 0; i < d->count; i++) {
		struct stream *st = &d->stream[i];
		const struct tcp_connect_args args = {
			.remote = {st->ipv6 ? d->host[1]->addr6.addr : d->host[1]->addr4.addr, 25},
			.user = i,
			.rcv_window = 32768,
			.syn_timeout_ms = 600000,
		};

		if (!st->started && d->sim->now_ns >= st->start_ns) {
			st->started = true;
			if (tcp_connect(host->tcp, &args, &st->conn[0]) != 0)
				sim_fail(d->sim, "cannot connect", i, 0);
		} else if (st->started && !st->over[0] && st->written > 0) {
			write_more(d, i); // buffers may be there again
		}
	}
}

static uint32_t sender_next_ms(struct sim_host *host, uint32_t limit_ms)
{
	return limit_ms < 10 ? limit_ms : 10;
}

static void idle_turn(struct sim_host *host)
{
}

static uint32_t idle_next_ms(struct sim_host *host, uint32_t limit_ms)
{
	return limit_ms;
}

static bool loss_done(void *arg)
{
	struct loss *d = arg;
	struct tcp_usage usage;

	for (unsigned i = 0; i < d->count; i++)
		if (!d->stream[i].over[0] || !d->stream[i].over[1])
			return false;
	for (unsigned i = 0; i < 2; i++) {
		tcp_usage_get(d->host[i]->tcp, &usage);
		if (usage.conns > 0 || usage.slices > 0)
			return false;
	}
	return true;
}

static void wire_draw(struct sim *sim, struct loss *d)
{
	struct rng *rng = &sim->rng;

	d->count = 1 + rng_below(rng, STREAMS_MAX);
	d->piece = 1 + rng_below(rng, PIECE_MAX);
	sim->wire = (struct sim_wire){
		.loss_ppm = rng_below(rng, 4) * rng_below(rng, 33000),
		.dup_ppm = rng_below(rng, 2) * rng_below(rng, 20000),
		.corrupt_ppm = rng_below(rng, 4) == 0 ? rng_below(rng, 5000) : 0,
		.truncate_ppm = rng_below(rng, 4) == 0 ? rng_below(rng, 5000) : 0,
		.delay_us = rng_below(rng, 150000),
		.jitter_us = rng_below(rng, 3) * rng_below(rng, 10000),
	};
	for (unsigned i = 0; i < d->count; i++)
		d->stream[i] = (struct stream){
			.size = 1 + rng_below(rng, rng_below(rng, 2) == 0 ? 3000 : 300000),
			.ipv6 = rng_below(rng, 2),
		};
}

static void upload_count(const struct sim *sim, const struct loss *d)
{
	const uint64_t *stats = d->host[0]->stats;

	sums.uploads++;
	sums.lost += sim->lost;
	sums.timeouts += stats[STAT_TCP_RTO];
	sums.retransmits += stats[STAT_TCP_RETRANSMITS];
	sums.total_ns += d->stream[0].end_ns - d->stream[0].start_ns;
}

void scenario_loss(struct sim *sim)
{
	struct loss *d = calloc(1, sizeof(*d));
	bool upload = sim->seed % 4 == 0;

	if (d == NULL)
		abort();
	d->sim = sim;
	if (upload) {
		d->count = 1;
		d->piece = 1460;
		d->stream[0] = (struct stream){.size = UPLOAD_BYTES, .ipv6 = sim->seed % 8 == 0};
		sim->wire = (struct sim_wire){.loss_ppm = 10000, .delay_us = 50000};
	} else {
		wire_draw(sim, d);
	}
	d->host[0] = sim_host_new(sim, 1);
	d->host[1] = sim_host_new(sim, 1);
	sim_host_plain(d->host[0], &sender_ops, d);
	sim_host_plain(d->host[1], &receiver_ops, d);
	d->host[0]->app_turn = sender_turn;
	d->host[0]->app_next_ms = sender_next_ms;
	d->host[1]->app_turn = idle_turn;
	d->host[1]->app_next_ms = idle_next_ms;
	for (unsigned i = 0; i < d->count; i++)
		d->stream[i].start_ns = sim->now_ns + 3000 * SIM_MS;
	sim_run(sim, loss_done, d);
	for (unsigned i = 0; sim->failed == NULL && i < d->count; i++)
		if (d->stream[i].got != d->stream[i].size)
			sim_fail(sim, "octets are missing", d->stream[i].got, d->stream[i].size);
	if (upload && sim->failed == NULL)
		upload_count(sim, d);
	free(d);
}

bool scenario_loss_judge(void)
{
	if (sums.uploads == 0)
		return true;
	printf("%llu uploads of 1 MiB at 1 %% loss and 100 ms: %.2f s each, %.1f frames lost, "
	       "%.1f sent again, %.2f time-outs\n",
	       (unsigned long long)sums.uploads,
	       (double)sums.total_ns / 1e9 / (double)sums.uploads,
	       (double)sums.lost / (double)sums.uploads,
	       (double)sums.retransmits / (double)sums.uploads,
	       (double)sums.timeouts / (double)sums.uploads);
	if (sums.uploads < JUDGED_MIN)
		return true;
	// a handshake or a lone FIN that is lost has nothing else
	return sums.timeouts * 20 <= sums.lost;
}
