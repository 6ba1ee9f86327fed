// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Packets into a warm stack: four established connections (opened by them and by us, IPv4 and
// IPv6), then what the input says: segments with numbers near the right ones, raw frames, ICMP
// errors, time, what the application does, want of buffers. Judged by tcp_box.c and tcp_check().
// Input: configuration, then commands.

#include <stdlib.h>
#include <string.h>

#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tcp_box.h"
#include "tests/fuzz/tcp_peer.h"

#define HOARD_MAX 1024
#define TIME_MAX_MS 2000000U

static struct tcp_box box; // of one input at a time
static struct rte_mbuf *hoard[HOARD_MAX];
static unsigned hoarded;
static uint32_t time_left; // milliseconds that an input may still let pass
static bool sack;          // the peers permit selective acknowledgements
static uint32_t iss_of[3] = {1000, 0xffffff00U, 0x7ffffff0U};

static void options_ts(struct segment *s, const struct peer *p, uint32_t back)
{
	memcpy(s->options, "\1\1\10\12", 4);
	packet_put32(s->options + 4, (uint32_t)(box.env.now_ns / 1000000U) - back);
	memcpy(s->options + 8, &p->ts_recent, 4);
	s->options_len = 12;
}

// Up to three blocks of our stream, most of them near what is in flight, beside timestamps.
static void options_sack(struct fuzz_in *in, struct segment *s, const struct peer *p)
{
	uint8_t how = fuzz_u8(in), *at = s->options + 16;
	unsigned n = 1 + how % 3;

	options_ts(s, p, 0);
	memcpy(s->options + 12, "\1\1\5", 3);
	s->options[15] = (uint8_t)(2 + 8 * n);
	for (unsigned i = 0; i < n; i++) {
		uint32_t start = p->irs + 1 + s->ack +
				 (uint32_t)(int32_t)(int8_t)fuzz_u8(in) * (how & 16 ? 61 : 1);
		uint32_t len = fuzz_u8(in) * (how & 32 ? 53U : 1U);

		at = packet_put32(packet_put32(at, start), start + len);
	}
	s->options_len = 16 + 8 * n;
}

static const uint8_t syn_options[16] = {2, 4, 5, 0xb4, 1, 3, 3, 4, 1, 1, 8, 10, 0, 0, 1, 0};

static void syn_send(unsigned k, uint8_t flags, bool options)
{
	struct segment s = {.flags = flags, .wnd = 60000, .flip = UINT32_MAX};

	if (options) {
		memcpy(s.options, syn_options, sizeof(syn_options));
		memcpy(s.options + 16, &box.peer[k].ts_recent, 4);
		packet_put32(s.options + 12, (uint32_t)(box.env.now_ns / 1000000U));
		s.options_len = 20;
		if (sack)
			memcpy(s.options + 8, "\4\2", 2);
	}
	peer_send(&box, k, &s);
}

static int peer_new(bool v6, bool passive, uint16_t ours, uint32_t iss)
{
	for (unsigned k = 0; k < BOX_PEERS; k++) {
		if (box.peer[k].used)
			continue;
		box.peer[k].used = true;
		box.peer[k].v6 = v6;
		box.peer[k].passive = passive;
		box.peer[k].ours = ours;
		box.peer[k].theirs = (uint16_t)(40000 + k);
		box.peer[k].iss = iss;
		return (int)k;
	}
	return -1;
}

static void peer_ack(unsigned k)
{
	struct peer *p = &box.peer[k];
	struct segment s = {
		.off = p->acked,
		.ack = p->got + p->got_fin,
		.flags = ACK,
		.wnd = 60000,
		.flip = UINT32_MAX,
	};

	options_ts(&s, p, 0);
	peer_send(&box, k, &s);
}

static void connect_active(bool v6, uint32_t iss, bool options, uint8_t answer)
{
	struct tcp_connect_args args = {.rcv_window = 8192, .syn_timeout_ms = 3000};
	struct tcp_conn_id conn;
	struct tcp_info info;
	int k;

	if (box.apps == BOX_APPS)
		return;
	k = peer_new(v6, false, 0, iss);
	if (k < 0)
		return;
	args.remote = (struct ip_endpoint){packet_addr(v6, 2), box.peer[k].theirs};
	args.user = box.apps;
	if (tcp_connect(box.tcp, &args, &conn) != 0) {
		box.peer[k].used = false;
		return;
	}
	tcp_info_get(box.tcp, conn, &info);
	box.peer[k].ours = info.local.port;
	app_new(&box, conn, (unsigned)k);
	tcp_box_turn(&box);
	if (answer != 0)
		syn_send((unsigned)k, answer, options);
}

static void accept_passive(bool v6, uint16_t ours, uint32_t iss, bool options)
{
	int k = peer_new(v6, true, ours, iss);

	if (k < 0)
		return;
	syn_send((unsigned)k, SYN, options);
	tcp_box_turn(&box);
	peer_ack((unsigned)k);
}

static void warm_up(struct fuzz_in *in)
{
	static const uint64_t starts[] = {10000, 0xffffff00U, 0x7fffff00U, 0x123456789U};
	uint8_t a = fuzz_u8(in), b = fuzz_u8(in);
	const struct tcp_box_config config = {
		.now_ns = starts[a % 4] * 1000000U,
		.max_conns = a & 16 ? 6 : 32,
		.max_slices = a & 32 ? 12 : 200,
		.multi_segs = (a & 64) == 0,
	};
	uint32_t iss = iss_of[b % 3];

	sack = (a & 4) != 0;
	memset(&box, 0, offsetof(struct tcp_box, peer));
	memset(&box.app, 0, sizeof(box) - offsetof(struct tcp_box, app));
	for (unsigned k = 0; k < BOX_PEERS; k++)
		memset(&box.peer[k], 0, offsetof(struct peer, text));
	tcp_box_init(&box, &config);
	tcp_box_turn(&box);
	accept_passive(false, BOX_PORT_FIRST + ((b >> 2) & 1), iss, (b & 8) == 0);
	accept_passive(true, BOX_PORT_FIRST + ((b >> 4) & 1) * 2, iss, (b & 32) == 0);
	connect_active(false, iss, (b & 64) == 0, SYN | ACK);
	connect_active(true, iss, (b & 128) == 0, SYN | ACK);
	tcp_box_turn(&box);
	if ((a & 128) == 0 && box.app[0].open && box.app[3].open && box.apps == 4) {
		tcp_peer_set(box.tcp, box.app[0].conn, box.app[3].conn);
		tcp_rx_window_set(box.tcp, box.app[0].conn, 32768);
	}
}

// A segment of a peer. Its numbers are counted from those that would be right.
static void do_segment(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in), more = fuzz_u8(in);
	unsigned k = (how & 15) % BOX_PEERS;
	struct peer *p = &box.peer[k];
	struct segment s = {.flags = ACK, .wnd = 60000, .flip = UINT32_MAX};
	size_t len;

	if (!p->used)
		return;
	s.off = how & 16 ? p->sent_max : p->acked;
	s.ack = more & 1 ? p->queued : p->got + p->got_fin;
	if (how & 32)
		s.flags = fuzz_u8(in);
	if (how & 64)
		s.off += (uint32_t)(int32_t)(int8_t)fuzz_u8(in) * (more & 2 ? 97 : 1);
	if (how & 128)
		s.len = fuzz_u8(in) * (more & 4 ? 5U : 1U);
	if (more & 8)
		s.ack += (uint32_t)(int32_t)(int8_t)fuzz_u8(in) * (more & 2 ? 97 : 1);
	if (more & 16)
		s.wnd = (uint16_t)(fuzz_u8(in) * (more & 1 ? 1 : 200));
	switch (more >> 5) {
	case 0:
	case 1:
		options_ts(&s, p, 0);
		break;
	case 2:
		options_ts(&s, p, fuzz_u16(in));
		break;
	case 3: {
		const uint8_t *raw = fuzz_bytes(in, fuzz_u8(in) % 41, &len);

		memcpy(s.options, raw, len);
		s.options_len = (unsigned)(len + 3) / 4 * 4;
		break;
	}
	case 4:
		s.off = fuzz_u32(in);
		break;
	case 5:
		s.flip = fuzz_u16(in);
		options_ts(&s, p, 0);
		break;
	case 6:
		s.short_by = 1 + fuzz_u8(in) % 5;
		break;
	default:
		options_sack(in, &s, p);
		break;
	}
	// else what follows would be counted from elsewhere, unless the box's answer shows from
	// where
	if ((s.flags & SYN) != 0 && (!p->passive || hoarded > 0 || box.room != UINT16_MAX)) {
		s.off = 0;
		s.len = 0;
	}
	peer_send(&box, k, &s);
}

static void do_icmp(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in), icmp[8 + 40 + 20] = {0}, frame[PACKET_MAX], quote[PACKET_MAX];
	const struct peer *p = &box.peer[(how & 15) % BOX_PEERS];
	struct packet_ip ip = {packet_addr(p->v6, 2), packet_addr(p->v6, 1), 2, 1, 64};
	struct packet_ip lost = {packet_addr(p->v6, 1), packet_addr(p->v6, 2), 1, 6, 64};
	size_t head = packet_head(quote, &lost, 20) - 14, len = 8 + head + 20;
	uint8_t *tcp = icmp + 8 + head;

	if (!p->used)
		return;
	ip.proto = p->v6 ? 58 : 1;
	icmp[0] = p->v6 ? 1 + ((how >> 4) & 1) : 3;
	icmp[1] = how >> 5;
	packet_put32(icmp + 4, fuzz_u16(in));
	memcpy(icmp + 8, quote + 14, head);
	packet_put32(
		packet_put16(packet_put16(tcp, p->ours), p->theirs),
		p->irs + 1 + p->got + (uint32_t)(int32_t)(int8_t)fuzz_u8(in)
	);
	packet_sum(&ip, icmp, len, 2);
	head = packet_head(frame, &ip, len);
	memcpy(frame + head, icmp, len);
	tcp_box_frame(&box, frame, head + len);
}

static void do_raw(struct fuzz_in *in)
{
	size_t len;
	const uint8_t *raw = fuzz_bytes(in, fuzz_u8(in), &len);
	uint8_t frame[256];

	memcpy(frame, raw, len);
	if (len >= 6)
		packet_mac(1, frame);
	if (len > 14 + 20) // may hold a segment
		box.tainted = true;
	tcp_box_frame(&box, frame, len);
}

static void do_new(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);
	uint32_t iss = iss_of[how % 3] + fuzz_u8(in);

	if (how & 16)
		connect_active(how & 4, iss, how & 8, how & 32 ? SYN | ACK : how & 64 ? SYN : 0);
	else
		accept_passive(how & 4, (uint16_t)(BOX_PORT_FIRST + (how >> 5) % 5), iss, how & 8);
}

static void write_text(struct app *a, uint32_t n)
{
	uint8_t text[8192];
	uint32_t before = tcp_tx_bytes(box.tcp, a->conn);

	if (!app_may_write(&box, a, n))
		return;
	for (uint32_t i = 0; i < n; i++)
		text[i] = (uint8_t)(box.peer[a->peer].queued + i * 13U + a->peer);
	if (tcp_tx_write(box.tcp, a->conn, text, n))
		app_wrote(&box, a, text, n);
	else
		n = 0;
	FUZZ_CHECK(tcp_tx_bytes(box.tcp, a->conn) == before + n);
}

static void do_app(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in), arg = fuzz_u8(in);
	struct app *a = box.apps > 0 ? &box.app[(how & 15) % box.apps] : NULL;
	struct app *b = box.apps > 0 ? &box.app[arg % box.apps] : NULL;

	if (a == NULL || !a->open)
		return;
	switch (how >> 4) {
	case 0:
	case 1:
	case 2:
		write_text(a, arg * (how >> 4 == 0 ? 1U : how >> 4 == 1 ? 8U : 32U));
		break;
	case 3:
		tcp_shutdown(box.tcp, a->conn);
		break;
	case 4:
		tcp_release(box.tcp, a->conn, arg & 1);
		a->open = false;
		break;
	case 5:
		tcp_abort(box.tcp, a->conn);
		a->open = false;
		break;
	case 6:
	case 7:
		a->mode = arg % READ_MODES;
		break;
	case 8:
		app_read(&box, a, arg * 16U);
		break;
	case 9:
	case 10:
		if (b->open)
			app_move(&box, a, b, fuzz_u16(in));
		break;
	case 11:
		tcp_rx_window_set(box.tcp, a->conn, arg * 256U);
		break;
	case 12:
		if (b->open && b != a)
			tcp_peer_set(box.tcp, a->conn, b->conn);
		break;
	default:
		tcp_peer_set(box.tcp, a->conn, (struct tcp_conn_id){0});
		break;
	}
}

static void hoard_drop(void)
{
	while (hoarded > 0)
		rte_pktmbuf_free(hoard[--hoarded]);
}

static void do_hoard(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);
	struct rte_mempool *pool = how & 1 ? eal_ref_pool : eal_small_pool;
	unsigned leave = how >> 2;

	hoard_drop();
	if (how & 2)
		return;
	while (rte_mempool_avail_count(pool) > leave && hoarded < HOARD_MAX) {
		hoard[hoarded] = rte_pktmbuf_alloc(pool);
		hoarded += hoard[hoarded] != NULL;
	}
}

static void do_time(struct fuzz_in *in)
{
	static const uint32_t ms[] = {1, 5, 40, 200, 1000, 3000, 15000, 60000};
	uint8_t how = fuzz_u8(in);
	uint32_t left = ms[how & 7] * (1U + ((how >> 3) & 7));

	left = left < time_left ? left : time_left;
	time_left -= left;
	tcp_box_turn(&box);
	if (how & 128) { // late, all at once
		box.env.now_ns += left * 1000000ULL;
		left = 0;
	}
	while (left > 0) {
		uint32_t step = tcp_next_timer_ms(box.tcp, left);

		step = step > 0 ? step : 1;
		box.env.now_ns += step * 1000000ULL;
		left -= step;
		tcp_box_turn(&box);
	}
	tcp_box_turn(&box);
}

static void command(struct fuzz_in *in)
{
	uint8_t what = fuzz_u8(in);

	switch (what & 15) {
	default:
		do_segment(in);
		break;
	case 5:
		do_time(in);
		break;
	case 6:
	case 7:
		do_app(in);
		break;
	case 8:
		peer_ack((what >> 4) % BOX_PEERS);
		break;
	case 9:
		do_new(in);
		break;
	case 10:
		do_icmp(in);
		break;
	case 11:
		do_raw(in);
		break;
	case 12:
		do_hoard(in);
		break;
	case 13:
		box.room = what >> 4 == 0 ? UINT16_MAX : what >> 4;
		box.mute = what >> 4 == 15;
		break;
	case 14:
		for (unsigned k = 0; k < BOX_PEERS; k++)
			if (box.peer[k].used)
				peer_ack(k);
		break;
	}
	if ((what & 16) == 0)
		tcp_box_turn(&box);
}

// The peers say that they know nothing: most connections end at once, so that not every input has
// to wait for all retransmissions.
static void peers_reset(void)
{
	tcp_box_turn(&box);
	for (unsigned k = 0; k < BOX_PEERS; k++) {
		const struct segment rst = {
			.off = box.peer[k].acked, .flags = RST, .flip = UINT32_MAX
		};

		if (box.peer[k].used)
			peer_send(&box, k, &rst);
	}
	tcp_box_turn(&box);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	bool patient;

	time_left = TIME_MAX_MS;
	warm_up(&in);
	patient = fuzz_u8(&in) % 8 == 0;
	for (unsigned i = 0; in.left > 0 && i < 400; i++)
		command(&in);
	hoard_drop();
	if (!patient)
		peers_reset();
	tcp_box_fini(&box);
	return 0;
}
