// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Captures, see stream.h. Records of several workers are merged by time: each is held back as long
// as another worker may still write an older one.

#include "controlplane/stream.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/pcapng.h"

#define NS_A_S 1000000000ULL
#define NS_A_MS 1000000ULL
#define LEASE_MS 5000
#define RENEW_NS NS_A_S
#define HOLD_NS (100 * NS_A_MS)   // longer than a turn lasts
#define STOP_WAIT_NS (3 * NS_A_S) // for workers to stop
#define TRAILER_BYTES 128         // an interface's statistics

static bool is_dialogue(const struct stream *s)
{
	return (s->query.filter.flags & CTL_CAPTURE_F_DIALOGUE) != 0;
}

// The rings may be looked at: it is the same dataplane, mapped at the same place.
static bool is_linked(const struct stream *s)
{
	const struct link *l = &s->control->link;

	return link_is_open(l) && l->at.boot_id == s->boot_id && l->at.control.base == s->base;
}

static bool command_send(const struct stream *s, uint16_t type)
{
	struct ctl_msg msg = {
		.type = type,
		.length = sizeof(msg.capture),
		.request_id = s->id,
		.capture = s->query.filter,
	};
	bool all = true;

	for (uint32_t i = 0; i < s->workers; i++)
		all = ctl_ring_put(s->control->link.commands[i], &msg) && all;
	return all;
}

static uint64_t wall_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * NS_A_S + (uint64_t)t.tv_nsec;
}

static bool rings_find(struct stream *s, struct link *l)
{
	for (uint32_t i = 0; i < s->workers; i++) {
		struct capture_ring *ring = shm_view_entry(
			&l->at.control, SHM_SEC_CAPTURE_RING, i, sizeof(struct capture_ring)
		);

		if (ring == NULL)
			return false;
		capture_reader_init(&s->worker[i].reader, ring);
	}
	return true;
}

static const char *port_name(const struct stream *s, uint32_t i)
{
	const struct shm_port *p =
		shm_view_entry(&s->control->link.at.stats, SHM_SEC_PORT, 0, (i + 1) * sizeof(*p));

	return p != NULL ? p[i].name : "";
}

const char *stream_begin(struct stream *s, struct control *c, const struct stream_query *query)
{
	uint64_t now = control_clock_ns();

	if (s->used)
		return "another capture is running";
	if (!link_is_open(&c->link))
		return "no dataplane is running";
	*s = (struct stream){
		.control = c,
		.query = *query,
		.id = (uint32_t)(now / 1000) | 1, // never 0, and not that of a process before us
		.boot_id = c->link.at.boot_id,
		.base = c->link.at.control.base,
		.wall_ns = wall_clock_ns() - now,
		.started_ns = now,
		.renew_ns = now + RENEW_NS,
		.end_ns = now + query->seconds * NS_A_S,
		.workers = c->link.workers,
	};
	s->query.filter.lease_ms = LEASE_MS;
	s->query.filter.limit_ms = query->seconds * 1000;
	s->query.filter.max_bytes = query->bytes;
	if (!rings_find(s, &c->link))
		return "the running dataplane has no captures";
	while (s->ports < CAPTURE_PORTS && port_name(s, s->ports)[0] != '\0')
		s->ports++;
	if (!command_send(s, CTL_CMD_CAPTURE)) {
		command_send(s, CTL_CMD_CAPTURE_STOP);
		return "a worker does not take commands";
	}
	s->used = true;
	return NULL;
}

void stream_stop(struct stream *s)
{
	if (s->stop_ns != 0)
		return;
	s->stop_ns = control_clock_ns();
	if (is_linked(s))
		command_send(s, CTL_CMD_CAPTURE_STOP);
}

void stream_end(struct stream *s)
{
	stream_stop(s);
	s->used = false;
}

// Have all workers stopped, so that the rings hold all there will be?
static bool workers_are_done(const struct stream *s, uint64_t now_ns)
{
	if (s->stop_ns != 0 && now_ns - s->stop_ns > STOP_WAIT_NS)
		return true;
	for (uint32_t i = 0; i < s->workers; i++)
		if (__atomic_load_n(&s->worker[i].reader.ring->armed, __ATOMIC_ACQUIRE) == s->id)
			return false;
	return true;
}

void stream_run(struct stream *s, uint64_t now_ns)
{
	if (!s->used || s->finished)
		return;
	if (!is_linked(s)) {
		s->finished = true;
		return;
	}
	if (now_ns >= s->end_ns)
		stream_stop(s);
	if (s->stop_ns == 0 && now_ns >= s->renew_ns) {
		s->renew_ns = now_ns + RENEW_NS;
		command_send(s, CTL_CMD_CAPTURE);
	}
	// a worker ends by itself when its octets are over
	if ((s->stop_ns != 0 || now_ns - s->started_ns > STOP_WAIT_NS) &&
	    workers_are_done(s, now_ns)) {
		stream_stop(s);
		s->finished = true;
	}
}

// The worker whose record is the oldest, and may be taken now; NULL: none.
static struct stream_worker *oldest_find(struct stream *s, bool all, uint64_t now_ns)
{
	struct stream_worker *best = NULL;

	for (uint32_t i = 0; i < s->workers; i++) {
		struct stream_worker *w = &s->worker[i];

		w->has = w->has || capture_peek(&w->reader, &w->record);
		if (w->has && (best == NULL || w->record.time_ns < best->record.time_ns))
			best = w;
	}
	if (best != NULL && !all && best->record.time_ns + HOLD_NS > now_ns)
		return NULL;
	return best;
}

static uint64_t lost_of(const struct stream *s, uint32_t port)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < s->workers; i++)
		sum += __atomic_load_n(&s->worker[i].reader.ring->lost[port], __ATOMIC_RELAXED);
	return sum;
}

static size_t packet_write(struct stream *s, const struct stream_worker *w, char *out, size_t room)
{
	static const char *const legs[] = {"", " client", " backend"};
	const struct capture_record *r = &w->record;
	uint64_t lost = lost_of(s, r->port);
	char comment[64] = "";
	const struct pcapng_packet packet = {
		.interface = r->port,
		.time_ns = s->wall_ns + r->time_ns,
		.bytes = r->bytes,
		.wire_bytes = r->wire_bytes,
		.lost = lost - s->lost_told[r->port],
		.direction = r->kind == CAPTURE_FRAME_IN ? PCAPNG_IN : PCAPNG_OUT,
		.comment = comment,
	};
	uint8_t *data;
	size_t len;

	if (r->session != 0)
		snprintf(
			comment,
			sizeof(comment),
			"session %llu%s",
			(unsigned long long)r->session,
			r->leg <= CAPTURE_LEG_BACKEND ? legs[r->leg] : ""
		);
	len = pcapng_packet((uint8_t *)out, room, &packet, &data);
	if (len == 0)
		return 0;
	capture_take(&w->reader, data, r->bytes);
	s->lost_told[r->port] = lost;
	return len;
}

static size_t line_write(struct stream *s, const struct stream_worker *w, char *out, size_t room)
{
	const struct capture_record *r = &w->record;
	uint64_t lost = lost_of(s, 0);
	uint8_t text[CAPTURE_LINE_MAX];
	size_t used = 0, len;

	if (lost != s->lost_told[0]) {
		used = (size_t)snprintf(
			out,
			room,
			"(%llu lines lost)\n",
			(unsigned long long)(lost - s->lost_told[0])
		);
		if (used >= room)
			return 0;
	}
	capture_take(&w->reader, text, r->bytes);
	len = stream_text_line(out + used, room - used, r, s->wall_ns + r->time_ns, text);
	if (len == 0)
		return 0;
	s->lost_told[0] = lost;
	return used + len;
}

// Is the record one that this capture may hold?
static bool record_is_good(const struct stream *s, const struct capture_record *r)
{
	bool frame = r->kind == CAPTURE_FRAME_IN || r->kind == CAPTURE_FRAME_OUT;

	if (r->capture != s->id)
		return false;
	if (is_dialogue(s))
		return !frame && r->bytes <= CAPTURE_LINE_MAX;
	return frame && r->port < s->ports && r->bytes <= CAPTURE_SNAP_MAX;
}

static size_t records_write(struct stream *s, char *out, size_t room)
{
	uint64_t now = control_clock_ns();
	uint64_t trailer = is_dialogue(s) ? 0 : (uint64_t)TRAILER_BYTES * s->ports;
	bool all = s->finished; // then nothing older can come
	struct stream_worker *w;
	size_t used = 0;

	while ((w = oldest_find(s, all, now)) != NULL) {
		size_t len = 0;

		if (record_is_good(s, &w->record)) {
			len = is_dialogue(s) ? line_write(s, w, out + used, room - used)
					     : packet_write(s, w, out + used, room - used);
			if (len == 0)
				break; // the rest at the next call
			if (s->written + used + len + trailer > s->query.bytes) {
				stream_stop(s);
				s->finished = true; // what comes now is not asked for
				break;
			}
			s->delivered[w->record.port % CAPTURE_PORTS]++;
		}
		capture_skip(&w->reader, &w->record);
		w->has = false;
		used += len;
	}
	return used;
}

static size_t head_write(struct stream *s, char *out, size_t room)
{
	char comment[sizeof(s->query.text) + 128];
	size_t used;

	s->head_written = true;
	if (is_dialogue(s))
		return (size_t
		)snprintf(out, room, "# %s; bodies and AUTH data are left out\n", s->query.text);
	snprintf(
		comment,
		sizeof(comment),
		"%s; times are of the worker's turn; lost frames: see each interface's statistics",
		s->query.text
	);
	used = pcapng_section((uint8_t *)out, room, "mailrace", comment);
	for (uint32_t i = 0; i < s->ports; i++)
		used += pcapng_interface(
			(uint8_t *)out + used, room - used, port_name(s, i), s->query.filter.snap
		);
	return used;
}

static size_t trailer_write(struct stream *s, char *out, size_t room)
{
	uint64_t now = control_clock_ns();
	size_t used = 0;

	if (is_dialogue(s))
		return (size_t)snprintf(
			out,
			room,
			"# %llu lines, %llu lost\n",
			(unsigned long long)s->delivered[0],
			(unsigned long long)lost_of(s, 0)
		);
	for (uint32_t i = 0; i < s->ports; i++) {
		const struct pcapng_statistics stats = {
			.interface = i,
			.time_ns = s->wall_ns + now,
			.start_ns = s->wall_ns + s->started_ns,
			.end_ns = s->wall_ns + (s->stop_ns != 0 ? s->stop_ns : now),
			.delivered = s->delivered[i],
			.lost = lost_of(s, i),
		};

		used += pcapng_statistics((uint8_t *)out + used, room - used, &stats);
	}
	return used;
}

ssize_t stream_read(struct stream *s, char *out, size_t room)
{
	size_t used;

	if (!is_linked(s) || room < STREAM_BLOCK)
		return -1;
	used = s->head_written ? records_write(s, out, room) : head_write(s, out, room);
	if (used == 0 && s->finished && !s->trailer_written) {
		s->trailer_written = true;
		used = trailer_write(s, out, room);
	}
	if (used == 0 && s->finished)
		return -1;
	s->written += used;
	return (ssize_t)used;
}

bool stream_is_ready(struct stream *s)
{
	return s->finished || !s->head_written ||
	       (is_linked(s) && oldest_find(s, false, control_clock_ns()) != NULL);
}
