// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a control process does to the workers while mail runs: generations that move services, pools
// and backends about, drains, session lists, probes, captures. Judged: every probe is answered
// exactly once, with its own id, by the end of its time.

#include "tests/sim/control.h"

#include <stdlib.h>

#define PROBES_MAX 16
#define PROBE_STAGE_MS 30000
#define PROBE_LIMIT_NS (100ULL * 1000 * SIM_MS) // connect and three stages
#define SESSION_LIMIT 200

struct probe_out {
	uint32_t id; // 0: free
	uint32_t slot;
	uint64_t deadline_ns;
};

struct control {
	struct sim *sim;
	struct box *box;
	struct control_blob blob[2]; // in force and the one before
	unsigned current, backends;
	unsigned taken; // workers that have taken the current one over
	bool swapping;  // others have not yet
	uint64_t next_ns;
	uint32_t next_id;
	bool stopped, benign;
	struct probe_out probe[PROBES_MAX];
	uint32_t lists_out;
	struct capture_reader reader[SIM_WORKERS_MAX];
};

static void arrays_place(struct control_blob *b)
{
	const uint8_t *base = (const uint8_t *)b;

	b->head.listeners = (struct blob_array){(uint32_t)((const uint8_t *)b->listener - base), 2};
	b->head.services = (struct blob_array){(uint32_t)((const uint8_t *)b->service - base), 2};
	b->head.pools = (struct blob_array){(uint32_t)((const uint8_t *)b->pool - base), 2};
	b->head.backends.off = (uint32_t)((const uint8_t *)b->backend - base);
	b->head.rules = (struct blob_array){(uint32_t)((const uint8_t *)b->rule - base), 1};
	b->head.prefixes = (struct blob_array){(uint32_t)((const uint8_t *)b->prefix - base), 1};
	b->rule[0] = (struct blob_rule){.prefix_count = 1};
}

// The service, and beside it one without backends that no listener leads to.
void control_blob_fill(
	struct control_blob *b,
	const struct blob_service *service,
	const struct blob_pool *pool
)
{
	arrays_place(b);
	b->service[0] = *service;
	b->pool[0] = *pool;
	b->service[1] = *service;
	b->service[1].slot = service->slot + 1;
	b->service[1].pool = 1;
	b->pool[1] = *pool;
	b->pool[1].backend_count = 0;
}

// That has the backends; its TLS is that of all generations.
static const struct blob_pool *pool_of(const struct control *c)
{
	const struct control_blob *b = &c->blob[c->current];

	return &b->pool[b->backend[0].pool];
}

static void on_probe(struct control *c, const struct ctl_msg *msg)
{
	const struct ctl_probe_result *r = &msg->probe_result;

	for (unsigned i = 0; i < PROBES_MAX; i++) {
		struct probe_out *p = &c->probe[i];

		if (p->id != msg->request_id || p->id == 0)
			continue;
		if (p->slot != r->backend_slot || r->code > CTL_PROBE_CERT_PIN ||
		    r->code == CTL_PROBE_REPLY)
			sim_fail(c->sim, "probe answered for another", p->slot, r->code);
		if (r->code == CTL_PROBE_OK &&
		    (r->tls_us != 0) != (pool_of(c)->tls_mode != BLOB_LEG_PLAIN))
			sim_fail(c->sim, "probe without its pool's TLS", r->tls_us, p->slot);
		if (c->benign && r->code != CTL_PROBE_OK && r->code != CTL_PROBE_TIMEOUT &&
		    r->code != CTL_PROBE_NO_RESOURCE)
			sim_fail(c->sim, "probe found a fault that is none", r->code, r->stage);
		p->id = 0;
		return;
	}
	sim_fail(c->sim, "probe answered that was not asked", msg->request_id, 0);
}

static bool on_event(void *up, const struct ctl_msg *msg)
{
	struct control *c = up;

	if (msg->type == CTL_EVT_PROBE)
		on_probe(c, msg);
	else if (msg->type == CTL_EVT_SESSION && msg->session.id == 0)
		sim_fail(c->sim, "session without an id", 0, 0);
	else if (msg->type == CTL_EVT_SESSION_END)
		c->lists_out--;
	return true;
}

// While two generations are in force a slot may have the higher of its limits.
static void limits_tell(struct control *c)
{
	const struct control_blob *b = &c->blob[c->current], *old = &c->blob[1 - c->current];

	for (unsigned i = 0; i < c->backends; i++) {
		uint32_t slot = b->backend[i].slot, limit = b->backend[i].max_connections;

		for (unsigned k = 0; k < c->backends && c->swapping; k++)
			if (old->backend[k].slot == slot && limit != 0 &&
			    (old->backend[k].max_connections == 0 ||
			     old->backend[k].max_connections > limit))
				limit = old->backend[k].max_connections;
		box_limit_set(c->box, slot, limit);
	}
}

// One worker after the other, as they come to it.
static void generation_take(struct control *c)
{
	if (box_generation_take(c->box, c->taken, &c->blob[c->current].head)) {
		c->taken++;
		return;
	}
	c->swapping = false;
	limits_tell(c);
	memset(&c->blob[1 - c->current], 0xa5, sizeof(c->blob[0])
	); // nobody may look at it any more
}

// Moves everything that has an index; slots stay.
static void generation_swap(struct control *c)
{
	struct rng *rng = &c->sim->rng;
	const struct control_blob *old = &c->blob[c->current];
	struct control_blob *b = &c->blob[1 - c->current];
	unsigned n = c->backends;

	*b = *old;
	b->head.generation++;
	b->service[0] = old->service[1];
	b->service[1] = old->service[0];
	b->pool[0] = old->pool[1];
	b->pool[1] = old->pool[0];
	for (unsigned i = 0; i < 2; i++) {
		b->service[i].pool = 1 - b->service[i].pool;
		b->listener[i].service = 1 - old->listener[i].service;
	}
	for (unsigned i = 0; i < n; i++) {
		b->backend[i] = old->backend[(i + 1) % n];
		b->backend[i].weight = 1 + rng_below(rng, 5);
		b->backend[i].pool = 1 - b->backend[i].pool;
		if (!c->benign && rng_below(rng, 4) == 0)
			b->backend[i].max_connections = rng_below(rng, 5);
	}
	c->current = 1 - c->current;
	c->taken = 0;
	c->swapping = true;
	limits_tell(c);
}

// One always takes sessions; of the others anything may be said, whether it makes sense or not.
static void verdicts_flip(struct control *c)
{
	struct shm_backend_ctl *ctl = box_backend_ctl(c->box);
	uint32_t kept = 1 + rng_below(&c->sim->rng, c->backends);

	for (uint32_t slot = 1; slot <= c->backends; slot++) {
		ctl[slot].weight_permille = rng_below(&c->sim->rng, 1200);
		ctl[slot].health = (uint8_t)(slot != kept ? rng_below(&c->sim->rng, 7) : 1);
		ctl[slot].changes++;
		ctl[slot].admin = slot != kept && rng_below(&c->sim->rng, 2) ? BLOB_ADMIN_DRAIN
									     : BLOB_ADMIN_ENABLED;
	}
}

static void probe_order(struct control *c)
{
	const struct control_blob *b = &c->blob[c->current];
	uint32_t index = rng_below(&c->sim->rng, c->backends);
	struct ctl_msg msg = {.type = CTL_CMD_PROBE};

	for (unsigned i = 0; i < PROBES_MAX; i++) {
		if (c->probe[i].id != 0)
			continue;
		msg.request_id = ++c->next_id;
		msg.probe = (struct ctl_probe){
			.backend_slot = b->backend[index].slot,
			.backend_index = index,
			.generation = b->head.generation - (rng_below(&c->sim->rng, 16) == 0),
			.timeout_ms = PROBE_STAGE_MS,
			.connect_timeout_ms = 3000,
		};
		c->probe[i] = (struct probe_out
		){msg.request_id, msg.probe.backend_slot, c->sim->now_ns + PROBE_LIMIT_NS};
		box_command(c->box, rng_below(&c->sim->rng, SIM_WORKERS_MAX), &msg);
		return;
	}
}

static void list_order(struct control *c)
{
	struct ctl_msg msg = {.type = CTL_CMD_SESSION_LIST, .request_id = ++c->next_id};

	msg.session_list.cursor = rng_below(&c->sim->rng, SESSION_LIMIT);
	msg.session_list.limit = rng_below(&c->sim->rng, SESSION_LIMIT);
	c->lists_out++;
	box_command(c->box, rng_below(&c->sim->rng, SIM_WORKERS_MAX), &msg);
	if (c->lists_out != 0)
		sim_fail(c->sim, "session list without an end", c->lists_out, 0);
}

// Frames or lines of all, or of some; rings are read so seldom that some are lost.
static void capture_order(struct control *c)
{
	struct rng *rng = &c->sim->rng;
	struct ctl_msg msg = {.type = CTL_CMD_CAPTURE, .request_id = ++c->next_id};

	msg.capture = (struct ctl_capture){
		.client_len = (uint8_t)rng_below(rng, 129),
		.flags = (uint8_t)rng_below(rng, 8),
		.service_slot = rng_below(rng, 3) == 0,
		.session = rng_below(rng, 4) == 0 ? rng_below(rng, 50) : 0,
		.max_bytes = 1ULL << rng_below(rng, 24),
		.snap = 64 + rng_below(rng, 4000),
		.lease_ms = rng_below(rng, 5000),
		.limit_ms = rng_below(rng, 10000),
	};
	if (rng_below(rng, 8) == 0)
		msg.capture.snap = (uint32_t)rng_next(rng); // cannot be
	for (unsigned i = 0; i < SIM_WORKERS_MAX; i++)
		box_command(c->box, i, &msg);
}

static void captures_read(struct control *c)
{
	struct capture_record r;

	for (unsigned i = 0; i < SIM_WORKERS_MAX; i++) {
		struct capture_reader *reader = &c->reader[i];

		if (reader->ring == NULL)
			capture_reader_init(reader, box_capture(c->box, i));
		reader->head = reader->ring->head; // several of ours may read the same ring
		while (capture_peek(reader, &r)) {
			bool frame = r.kind <= CAPTURE_FRAME_OUT;

			if (r.kind == 0 || r.kind > CAPTURE_OWN_TO_BACKEND ||
			    r.bytes > r.wire_bytes ||
			    r.bytes > (frame ? CAPTURE_SNAP_MAX : CAPTURE_LINE_MAX) ||
			    r.capture > c->next_id)
				sim_fail(c->sim, "captured what cannot be", r.kind, r.bytes);
			capture_skip(reader, &r);
		}
	}
}

static void control_turn(struct sim_host *host)
{
	struct control *c = host->app_arg;

	for (unsigned i = 0; i < PROBES_MAX; i++)
		if (c->probe[i].id != 0 && c->sim->now_ns > c->probe[i].deadline_ns)
			sim_fail(c->sim, "probe never answered", c->probe[i].id, 0);
	if (c->stopped || c->sim->now_ns < c->next_ns)
		return;
	c->next_ns = c->sim->now_ns + (1 + rng_below(&c->sim->rng, 400)) * SIM_MS;
	switch (rng_below(&c->sim->rng, 6)) {
	case 0:
		if (c->swapping)
			generation_take(c);
		else
			generation_swap(c);
		break;
	case 1:
		verdicts_flip(c);
		break;
	case 2:
		probe_order(c);
		break;
	case 3:
		capture_order(c);
		break;
	case 4:
		captures_read(c);
		break;
	default:
		list_order(c);
		break;
	}
}

static uint32_t control_next_ms(struct sim_host *host, uint32_t limit_ms)
{
	const struct control *c = host->app_arg;
	uint64_t left = c->next_ns > c->sim->now_ns ? (c->next_ns - c->sim->now_ns) / SIM_MS : 0;

	return !c->stopped && left < limit_ms ? (uint32_t)left : limit_ms;
}

struct control *control_new(
	struct sim *sim,
	struct sim_host *host,
	struct box *box,
	const struct control_blob *first,
	bool benign
)
{
	struct control *c = calloc(1, sizeof(*c));

	if (c == NULL)
		abort();
	c->sim = sim;
	c->box = box;
	c->benign = benign;
	c->blob[0] = *first;
	c->backends = first->head.backends.count;
	host->app_arg = c;
	host->app_turn = control_turn;
	host->app_next_ms = control_next_ms;
	box_event_set(box, on_event, c);
	box_generation(box, &c->blob[0].head);
	return c;
}

void control_stop(struct control *c)
{
	c->stopped = true;
}

bool control_idle(const struct control *c)
{
	for (unsigned i = 0; i < PROBES_MAX; i++)
		if (c->probe[i].id != 0)
			return false;
	return true;
}

void control_free(struct control *c)
{
	free(c);
}
