// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The bad wire: every frame is copied, then lost, doubled, corrupted, truncated or delayed as the
// seed says, and delivered to the host of its destination address (or to all).

#include "tests/sim/sim.h"

#include <stdlib.h>

static bool before(const struct sim_frame *a, const struct sim_frame *b)
{
	return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order);
}

static void heap_push(struct sim *sim, struct sim_frame *f)
{
	unsigned i = sim->heap_count++;

	if (i == sim->heap_size) {
		sim->heap_size = sim->heap_size != 0 ? sim->heap_size * 2 : 1024;
		sim->heap = realloc(sim->heap, sim->heap_size * sizeof(*sim->heap));
		if (sim->heap == NULL)
			abort();
	}
	while (i > 0 && before(f, sim->heap[(i - 1) / 2])) {
		sim->heap[i] = sim->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	sim->heap[i] = f;
}

static struct sim_frame *heap_pop(struct sim *sim)
{
	struct sim_frame *top = sim->heap[0];
	struct sim_frame *last = sim->heap[--sim->heap_count];
	unsigned i = 0;

	for (unsigned c = 1; c < sim->heap_count; c = 2 * i + 1) {
		if (c + 1 < sim->heap_count && before(sim->heap[c + 1], sim->heap[c]))
			c++;
		if (!before(sim->heap[c], last))
			break;
		sim->heap[i] = sim->heap[c];
		i = c;
	}
	if (sim->heap_count > 0)
		sim->heap[i] = last;
	return top;
}

void sim_host_mac(uint16_t id, uint8_t mac[6])
{
	const uint8_t m[6] = {0x02, 0, 0, 0, (uint8_t)(id >> 8), (uint8_t)id};

	memcpy(mac, m, 6);
}

static bool chance(struct sim *sim, uint32_t ppm)
{
	return ppm > 0 && rng_below(&sim->rng, 1000000) < ppm;
}

static void hash_frame(struct sim *sim, const struct sim_frame *f)
{
	static const struct hash_key key = {1, 2};
	uint64_t part[4] = {sim->hash, f->at_ns, f->host, hash_siphash13(&key, f->data, f->len)};

	sim->hash = hash_siphash13(&key, part, sizeof(part));
	sim->frames++;
}

static void frame_send(struct sim *sim, uint16_t to, const uint8_t *data, uint32_t len)
{
	struct sim_frame *f;
	uint32_t delay = sim->wire.delay_us +
			 (sim->wire.jitter_us > 0 ? rng_below(&sim->rng, sim->wire.jitter_us) : 0);

	if (chance(sim, sim->wire.loss_ppm)) {
		sim->lost++;
		return;
	}
	f = malloc(sizeof(*f));
	if (f == NULL)
		abort();
	f->len = len;
	memcpy(f->data, data, len);
	f->host = to;
	// any queue: the wrong one as a rule
	f->queue = (uint16_t)rng_below(&sim->rng, share_queues(sim->host[to]->share));
	f->at_ns = sim->now_ns + delay * 1000ULL;
	f->order = sim->order++;
	if (chance(sim, sim->wire.corrupt_ppm))
		f->data[14 + rng_below(&sim->rng, len - 14)] ^=
			(uint8_t)(1U << rng_below(&sim->rng, 8));
	if (chance(sim, sim->wire.truncate_ppm))
		f->len = 14 + rng_below(&sim->rng, len - 14);
	hash_frame(sim, f);
	heap_push(sim, f);
}

static uint16_t wire_send(void *up, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	struct sim *sim = ((struct sim_host *)up)->sim;
	uint16_t from = ((struct sim_host *)up)->id;

	if (rng_below(&sim->rng, 8) == 0) {
		n = (uint16_t)rng_below(&sim->rng, n + 1U); // a port that takes no more now
		sim->stalled = true;
	}

	for (uint16_t i = 0; i < n; i++) {
		uint8_t buf[1600];
		uint32_t len = pkts[i]->pkt_len;
		const uint8_t *data = rte_pktmbuf_read(pkts[i], 0, len, buf);

		if (len > sizeof(buf) || data == NULL) {
			sim_fail(sim, "frame longer than the wire takes", len, from);
			continue;
		}
		for (uint16_t h = 0; h < sim->host_count; h++) {
			uint8_t mac[6];
			unsigned copies = 1 + chance(sim, sim->wire.dup_ppm);

			sim_host_mac(h, mac);
			if (h == from || ((data[0] & 1) == 0 && memcmp(data, mac, 6) != 0))
				continue;
			while (copies-- > 0)
				frame_send(sim, h, data, len);
		}
		rte_pktmbuf_free(pkts[i]);
	}
	return n;
}

static uint16_t wire_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	const struct sim_port *p = dev;

	return share_tx(p->host->share, p->worker, pkts, n, wire_send, p->host);
}

static uint16_t wire_run(void *dev, uint16_t port)
{
	const struct sim_port *p = dev;

	return share_run(p->host->share, p->worker, wire_send, p->host);
}

static uint16_t wire_rx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	struct sim_host *host = ((struct sim_port *)dev)->host;
	int q = share_own_queue(host->share, ((struct sim_port *)dev)->worker);
	uint16_t got = 0;

	while (q >= 0 && got < n && host->rx_head[q] != host->rx_tail[q])
		pkts[got++] = host->rx[q][host->rx_head[q]++ % SIM_QUEUE_MAX];
	return got;
}

const struct port_ops sim_port_ops = {.rx_burst = wire_rx, .tx_burst = wire_tx, .run = wire_run};

// Delivered frames for tcpdump, when asked for: pcap, microseconds of virtual time.
static void pcap_frame(FILE *out, uint64_t at_ns, const struct sim_frame *f)
{
	const uint32_t head[4] = {
		(uint32_t)(at_ns / 1000000000U),
		(uint32_t)(at_ns % 1000000000U / 1000U),
		f->len,
		f->len
	};

	fwrite(head, sizeof(head), 1, out);
	fwrite(f->data, f->len, 1, out);
}

void sim_wire_pcap_start(FILE *out)
{
	const uint32_t head[6] = {0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1};

	fwrite(head, sizeof(head), 1, out);
}

bool sim_wire_deliver(struct sim *sim)
{
	bool any = false;

	while (sim->heap_count > 0 && sim->heap[0]->at_ns <= sim->now_ns) {
		struct sim_frame *f = heap_pop(sim);
		struct sim_host *host = sim->host[f->host];
		struct rte_mbuf *m = rte_pktmbuf_alloc(sim->pool);

		any = true;
		if (sim->pcap != NULL)
			pcap_frame(sim->pcap, sim->now_ns, f);
		if (m != NULL &&
		    host->rx_tail[f->queue] - host->rx_head[f->queue] < SIM_QUEUE_MAX) {
			memcpy(rte_pktmbuf_append(m, (uint16_t)f->len), f->data, f->len);
			host->rx[f->queue][host->rx_tail[f->queue]++ % SIM_QUEUE_MAX] = m;
		} else {
			rte_pktmbuf_free(m); // no buffer: as lost as on a real port
		}
		free(f);
	}
	return any;
}

uint64_t sim_wire_next(const struct sim *sim)
{
	return sim->heap_count > 0 ? sim->heap[0]->at_ns : UINT64_MAX;
}

void sim_wire_clear(struct sim *sim)
{
	while (sim->heap_count > 0)
		free(heap_pop(sim));
	free(sim->heap);
	sim->heap = NULL;
	sim->heap_size = 0;
}
