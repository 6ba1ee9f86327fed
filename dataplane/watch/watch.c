// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A capture's life on a worker, and its view of the ports, see watch.h. Each frame is copied once:
// of TCP by the worker that owns the tuple, of all else by the one that received it. Worker thread.

#include "dataplane/watch/watch_types.h"

#include <errno.h>
#include <stdlib.h>

#define SNAP_MIN 64
#define LEASE_MAX_MS 60000
#define LIMIT_MAX_MS (24U * 3600 * 1000)
#define TCP_CHECKSUM_OFF 16
#define NS_A_MS 1000000ULL

struct watch *watch_new(const struct watch_config *config)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->config = *config;
	w->env = config->env;
	return w;
}

void watch_free(struct watch *w)
{
	free(w);
}

bool watch_is_armed(const struct watch *w)
{
	return w->id != 0;
}

static void lost_count(struct watch *w, uint8_t port)
{
	uint64_t *lost = &w->config.ring->lost[port % CAPTURE_PORTS];

	stat_inc(w->env, STAT_CAPTURE_LOST);
	__atomic_store_n(lost, *lost + 1, __ATOMIC_RELAXED);
}

static void publish(struct watch *w, uint32_t position)
{
	w->bytes += position - w->out.tail;
	capture_publish(&w->out, position);
}

static void line_write(
	void *up,
	const struct relay_view *view,
	enum capture_kind kind,
	const char *text,
	uint32_t len
)
{
	struct watch *w = up;
	struct capture_record r = {
		.capture = w->id,
		.time_ns = w->env->now_ns,
		.session = view->id,
		.wire_bytes = len,
		.bytes = len < CAPTURE_LINE_MAX ? len : CAPTURE_LINE_MAX,
		.kind = (uint8_t)kind,
	};

	if (!watch_match_dialogue(w, view))
		return;
	w->over = w->over || w->bytes + sizeof(r) + r.bytes > w->filter.max_bytes;
	if (w->over)
		return;
	if (!capture_begin(&w->out, &r)) {
		lost_count(w, 0);
		return;
	}
	capture_put(&w->out, text, r.bytes);
	capture_end(&w->out);
	publish(w, w->out.next);
}

static void listener_set(struct watch *w)
{
	const struct relay_listener listener = {w, line_write};
	bool lines = w->id != 0 && (w->filter.flags & CTL_CAPTURE_F_DIALOGUE) != 0;

	relay_listener_set(w->config.relay, lines ? &listener : NULL);
}

static void disarm(struct watch *w)
{
	w->id = 0;
	listener_set(w);
	stat_set(w->env, STAT_CAPTURE_ARMED, 0);
	__atomic_store_n(&w->config.ring->armed, 0, __ATOMIC_RELEASE);
}

static bool filter_is_good(const struct ctl_capture *f)
{
	return f->client_len <= 128 && f->snap >= SNAP_MIN && f->snap <= CAPTURE_SNAP_MAX &&
	       f->lease_ms <= LEASE_MAX_MS && f->limit_ms <= LIMIT_MAX_MS;
}

static void arm(struct watch *w, const struct ctl_msg *msg)
{
	struct capture_ring *ring = w->config.ring;

	if (ring == NULL || msg->request_id == 0 || !filter_is_good(&msg->capture)) {
		stat_inc(w->env, STAT_CAPTURE_REFUSED);
		return;
	}
	w->lease_ns = w->env->now_ns + msg->capture.lease_ms * NS_A_MS;
	if (w->id == msg->request_id)
		return; // renewed
	w->filter = msg->capture;
	w->id = msg->request_id;
	w->over = false;
	w->bytes = 0;
	w->end_ns = w->env->now_ns + msg->capture.limit_ms * NS_A_MS;
	memset(w->tuple, 0, sizeof(w->tuple));
	memset(w->shown, 0, sizeof(w->shown));
	listener_set(w);
	for (unsigned i = 0; i < CAPTURE_PORTS; i++)
		__atomic_store_n(&ring->lost[i], 0, __ATOMIC_RELAXED);
	capture_writer_init(&w->out, ring);
	stat_set(w->env, STAT_CAPTURE_ARMED, 1);
	__atomic_store_n(&ring->armed, w->id, __ATOMIC_RELEASE);
}

void watch_command(struct watch *w, const struct ctl_msg *msg)
{
	if (msg->type == CTL_CMD_CAPTURE)
		arm(w, msg);
	else if (w->id != 0 && w->id == msg->request_id)
		disarm(w);
}

bool watch_turn(struct watch *w)
{
	if (!w->over && w->env->now_ns < w->end_ns && w->env->now_ns < w->lease_ns)
		return true;
	disarm(w);
	return false;
}

static void part_put(void *to, const void *data, uint32_t n)
{
	capture_put(to, data, n);
}

// Ends one record, not published yet. False: no room in the ring.
static bool frame_write(
	struct watch *w,
	uint8_t port,
	enum capture_kind kind,
	const struct rte_mbuf *m,
	const struct net_frame *frame,
	const struct watch_owner *owner
)
{
	uint32_t wire = net_frame_bytes(m);
	struct capture_record r = {
		.capture = w->id,
		.time_ns = w->env->now_ns,
		.session = owner->session,
		.wire_bytes = wire,
		.bytes = wire < w->filter.snap ? wire : w->filter.snap,
		.kind = (uint8_t)kind,
		.port = port,
		.leg = owner->leg,
	};
	uint16_t checksum;

	w->over = w->over || w->bytes + (w->out.next - w->out.tail) + sizeof(r) + r.bytes >
				     w->filter.max_bytes;
	if (w->over)
		return true;
	if (!capture_begin(&w->out, &r))
		return false;
	net_frame_read(m, r.bytes, part_put, &w->out);
	if (kind == CAPTURE_FRAME_OUT && frame->kind == NET_FRAME_TCP &&
	    frame->l4_off + TCP_CHECKSUM_OFF + sizeof(checksum) <= r.bytes &&
	    net_frame_checksum(m, frame->l4_off, &checksum))
		capture_patch(
			&w->out, frame->l4_off + TCP_CHECKSUM_OFF, &checksum, sizeof(checksum)
		);
	capture_end(&w->out);
	return true;
}

// Is it ours to copy (see the head of this file)?
static bool is_ours(const struct watch *w, const struct net_frame *f, bool steered)
{
	if (f->kind != NET_FRAME_TCP && f->kind != NET_FRAME_QUOTE)
		return !steered;
	if (net_owner(w->config.net_shared, &f->src, &f->dst, f->sport, f->dport) != w->env->id)
		return false;
	// errors go through worker 0
	return f->kind == NET_FRAME_TCP || w->env->id == 0 || steered;
}

static void frame_in(struct watch *w, uint8_t port, const struct rte_mbuf *m, bool steered)
{
	struct watch_owner owner = {0};
	struct net_frame f;
	bool match;

	net_frame_parse(m, &f);
	if (!is_ours(w, &f, steered))
		return;
	if (f.kind == NET_FRAME_TCP || f.kind == NET_FRAME_QUOTE) {
		const struct ip_endpoint local = {f.dst, f.dport}, remote = {f.src, f.sport};

		match = watch_match_tuple(w, &local, &remote, &owner);
	} else {
		match = watch_match_addresses(w, &f);
	}
	if (match && !frame_write(w, port, CAPTURE_FRAME_IN, m, &f, &owner))
		lost_count(w, port);
}

static bool frame_out(struct watch *w, uint8_t port, const struct rte_mbuf *m)
{
	struct watch_owner owner = {0};
	struct net_frame f;
	bool match;

	net_frame_parse(m, &f);
	if (f.kind == NET_FRAME_TCP) {
		const struct ip_endpoint local = {f.src, f.sport}, remote = {f.dst, f.dport};

		match = watch_match_tuple(w, &local, &remote, &owner);
	} else {
		match = watch_match_addresses(w, &f);
	}
	return !match || frame_write(w, port, CAPTURE_FRAME_OUT, m, &f, &owner);
}

static uint16_t watch_rx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	struct watch *w = dev;
	uint16_t got = w->config.port_ops->rx_burst(w->config.port_dev, port, pkts, n);

	for (uint16_t i = 0; i < got; i++)
		frame_in(w, (uint8_t)port, pkts[i], false);
	publish(w, w->out.next);
	return got;
}

// The port owns what it took: frames are copied before, and taken back when it did not.
static uint16_t watch_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	struct watch *w = dev;
	uint16_t done = 0, part, sent;

	do {
		uint32_t end[PORT_BURST + 1] = {w->out.tail};
		bool kept[PORT_BURST];

		part = n - done < PORT_BURST ? (uint16_t)(n - done) : PORT_BURST;
		for (uint16_t i = 0; i < part; i++) {
			kept[i] = frame_out(w, (uint8_t)port, pkts[done + i]);
			end[i + 1] = w->out.next;
		}
		sent = w->config.port_ops->tx_burst(w->config.port_dev, port, pkts + done, part);
		publish(w, end[sent]);
		for (uint16_t i = 0; i < sent; i++)
			if (!kept[i])
				lost_count(w, (uint8_t)port);
		done = (uint16_t)(done + sent);
	} while (sent == part && done < n);
	return done;
}

// What others handed over has been looked at by them.
static uint16_t watch_run(void *dev, uint16_t port)
{
	struct watch *w = dev;

	return w->config.port_ops->run != NULL ? w->config.port_ops->run(w->config.port_dev, port)
					       : 0;
}

static const struct port_ops watch_ops = {
	.rx_burst = watch_rx,
	.tx_burst = watch_tx,
	.run = watch_run,
};

void watch_ports(struct watch *w, const struct port_ops **ret_ops, void **ret_dev)
{
	bool frames = w->id != 0 && (w->filter.flags & CTL_CAPTURE_F_DIALOGUE) == 0;

	*ret_ops = frames ? &watch_ops : w->config.port_ops;
	*ret_dev = frames ? w : w->config.port_dev;
}

void watch_steered(struct watch *w, uint8_t port, const struct rte_mbuf *m)
{
	if ((w->filter.flags & CTL_CAPTURE_F_DIALOGUE) != 0)
		return;
	frame_in(w, port, m, true);
	publish(w, w->out.next);
}
