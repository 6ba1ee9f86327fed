// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The stack's life, its PCBs and its two work lists: events for the application, PCBs with
// something to send. All memory is taken in tcp_stack_new. Worker thread.

#include "dataplane/tcp/tcp_loss_inner_types.h"

#include <errno.h>
#include <stdlib.h>

#include "common/array.h"

static void *table_new(struct tcp_stack *s, size_t count, size_t size)
{
	void *mem = array_new(count, size);

	if (mem != NULL)
		s->bytes += count * size;
	return mem;
}

static bool pool_new(struct tcp_stack *s, struct idpool *pool, uint32_t count)
{
	uint32_t *mem = table_new(s, count, sizeof(uint32_t));

	if (mem != NULL)
		idpool_init(pool, mem, count);
	return mem != NULL;
}

static bool list_new(struct tcp_stack *s, struct tcp_list *list, uint32_t count)
{
	list->idx = table_new(s, count, sizeof(uint32_t));
	list->size = count;
	return list->idx != NULL;
}

// Not of the connections: as many as there are buffers to hold.
static bool slices_new(struct tcp_stack *s, uint32_t count)
{
	uint32_t *mem = array_new(count, sizeof(uint32_t));

	s->slice = array_new(count, sizeof(struct tcp_slice));
	if (mem != NULL)
		idpool_init(&s->slices, mem, count);
	return mem != NULL && s->slice != NULL;
}

// By the buffers, too: only who has octets in flight needs one.
static bool losses_new(struct tcp_stack *s, uint32_t count)
{
	uint32_t *mem;

	count = count < UINT16_MAX ? count : UINT16_MAX; // a PCB has 16 bits for the index
	mem = array_new(count, sizeof(uint32_t));
	s->loss = array_new(count, sizeof(struct tcp_loss));
	if (mem != NULL)
		idpool_init(&s->losses, mem, count);
	return mem != NULL && s->loss != NULL;
}

static bool minis_new(struct tcp_stack *s, struct tcp_minis *minis, uint32_t count)
{
	minis->mini = table_new(s, count, sizeof(struct tcp_mini));
	return minis->mini != NULL && pool_new(s, &minis->ids, count);
}

static bool tables_new(struct tcp_stack *s)
{
	uint32_t conns = s->config.max_conns + 1; // index 0 is none
	uint32_t minis = s->config.max_minis + 1;
	// at most 5/8 full with every PCB and a quarter of the minis in it, 3/4 with all of them:
	// 1 % of the keys find no place in either bucket then, and the overflow's are three times
	// as many
	uint32_t buckets = (conns + minis / 4) / (FLOW_WAYS * 5 / 8) + 2;

	s->buckets = s->bucket_main = buckets;
	s->bucket = table_new(s, buckets + minis / 4 + 16, sizeof(struct flow_bucket));
	s->pcb = table_new(s, conns, sizeof(struct tcp_pcb));
	return s->bucket != NULL && s->pcb != NULL && slices_new(s, s->config.max_slices + 1) &&
	       losses_new(s, s->config.max_slices / TCP_LOSS_SHARE + TCP_LOSS_LEAST) &&
	       pool_new(s, &s->pcbs, conns) && pool_new(s, &s->overflow, minis / 4 + 16) &&
	       minis_new(s, &s->syn, minis) && minis_new(s, &s->tw, minis) &&
	       list_new(s, &s->events, conns) && list_new(s, &s->dirty, conns);
}

struct tcp_stack *tcp_stack_new(const struct tcp_config *config)
{
	struct tcp_stack *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->config = *config;
	s->env = config->env;
	s->ran_ms = env_now_ms(config->env);
	s->net = config->net;
	if (s->config.max_minis == 0)
		s->config.max_minis = 1;
	if (s->config.local_port_max == 0) {
		s->config.local_port_min = 1024;
		s->config.local_port_max = 65535;
	}
	s->trace = calloc(1, sizeof(*s->trace));
	if (s->trace == NULL || !tables_new(s)) {
		tcp_stack_free(s);
		errno = ENOMEM;
		return NULL;
	}
	wheel_init(&s->wheel, env_now_ms(s->env), s, tcp_timer_entry, tcp_timer_fire);
	return s;
}

void tcp_stack_free(struct tcp_stack *s)
{
	if (s == NULL)
		return;
	for (uint32_t i = 1; s->pcb != NULL && s->slice != NULL && i <= s->config.max_conns; i++)
		if (s->pcb[i].rx_head != 0 || s->pcb[i].tx_head != 0 || s->pcb[i].ooo_head != 0)
			queues_drop(s, &s->pcb[i]);
	free(s->trace);
	free(s->bucket);
	free(s->pcb);
	free(s->slice);
	free(s->pcbs.next);
	free(s->slices.next);
	free(s->loss);
	free(s->losses.next);
	free(s->overflow.next);
	free(s->syn.mini);
	free(s->syn.ids.next);
	free(s->tw.mini);
	free(s->tw.ids.next);
	free(s->events.idx);
	free(s->dirty.idx);
	free(s);
}

size_t tcp_stack_bytes(const struct tcp_stack *s)
{
	return s->bytes + sizeof(*s);
}

struct tcp_pcb *pcb_new(struct tcp_stack *s, const struct flow_key *key)
{
	uint32_t idx = idpool_get(&s->pcbs);
	struct tcp_pcb *p;

	if (idx == 0) {
		stat_inc(s->env, STAT_TCP_NO_PCB);
		return NULL;
	}
	p = pcb_of(s, idx);
	*p = (struct tcp_pcb){0};
	memcpy(p, key, sizeof(*key));
	p->rto_ms = TCP_RTO_INITIAL_MS;
	p->ssthresh = UINT32_MAX;
	p->ts_offset = tcp_ts_offset(s, key);
	tcp_trace(s, p, TCP_TRACE_NEW);
	return p;
}

struct tcp_pcb *pcb_alloc(struct tcp_stack *s, const struct flow_key *key)
{
	struct tcp_pcb *p = pcb_new(s, key);

	if (p == NULL)
		return NULL;
	if (!flow_insert(s, key, pcb_index(s, p))) {
		stat_inc(s->env, STAT_TCP_NO_PCB);
		idpool_put(&s->pcbs, pcb_index(s, p));
		return NULL;
	}
	return p;
}

static void list_push(struct tcp_list *list, uint32_t idx)
{
	list->idx[list->tail] = idx;
	list->tail = list->tail + 1 < list->size ? list->tail + 1 : 0;
}

static uint32_t list_pop(struct tcp_list *list)
{
	uint32_t idx = list->idx[list->head];

	list->head = list->head + 1 < list->size ? list->head + 1 : 0;
	return idx;
}

void pcb_event(struct tcp_stack *s, struct tcp_pcb *p, unsigned events)
{
	if ((p->flags & TCP_F_ORPHAN) != 0 && events != TCP_EV_FREE)
		return;
	if ((p->events & TCP_EV_QUEUED) == 0)
		list_push(&s->events, pcb_index(s, p));
	p->events = (uint8_t)(p->events | events | TCP_EV_QUEUED);
}

void pcb_dirty(struct tcp_stack *s, struct tcp_pcb *p)
{
	if ((p->flags & TCP_F_DIRTY) != 0)
		return;
	p->flags |= TCP_F_DIRTY;
	list_push(&s->dirty, pcb_index(s, p));
}

// No longer a connection on the wire.
static void pcb_detach(struct tcp_stack *s, struct tcp_pcb *p)
{
	flow_remove_own(s, pcb_key(p), pcb_index(s, p)); // not when its TIME_WAIT has the tuple
	wheel_stop(&s->wheel, pcb_index(s, p));
	if (p->loss != 0)
		loss_give(s, p);
	if (p->peer != 0)
		pcb_of(s, p->peer)->peer = 0;
	p->peer = 0;
	pcb_state_set(s, p, TCP_S_CLOSED);
}

void pcb_kill(struct tcp_stack *s, struct tcp_pcb *p, enum tcp_close_reason reason)
{
	if (p->state != TCP_S_CLOSED)
		pcb_detach(s, p);
	if (reason == TCP_CLOSE_RESET && (p->flags & TCP_F_ORPHAN) == 0)
		queues_drop_unsent(s, p); // what came before it may be read in on_close
	else
		queues_drop(s, p);
	if (reason != TCP_CLOSE_DONE) // what they would tell of is gone
		p->events &= (uint8_t)~(TCP_EV_DATA | TCP_EV_SENT | TCP_EV_FIN);
	p->close_reason = (uint8_t)reason;
	pcb_event(s, p, (p->flags & TCP_F_ORPHAN) != 0 ? TCP_EV_FREE : TCP_EV_CLOSE);
}

void pcb_finish(struct tcp_stack *s, struct tcp_pcb *p)
{
	if (p->rx_bytes == 0 || (p->flags & TCP_F_ORPHAN) != 0) {
		pcb_kill(s, p, TCP_CLOSE_DONE);
		return;
	}
	pcb_detach(s, p); // unread bytes stay readable; tcp_rx_drop/tcp_tx_move raise the event
	p->close_reason = TCP_CLOSE_UNREAD;
}

static void event_deliver(struct tcp_stack *s, uint32_t idx, unsigned event)
{
	const struct tcp_ops *ops = s->config.ops;
	struct tcp_pcb *p = pcb_of(s, idx);
	struct tcp_conn_id id = {idx};

	switch (event) {
	case TCP_EV_ACCEPT:
		p->user = ops->on_accept(
			s->config.app, id, p->user
		); // until now: the listener's cookie
		if (p->user == TCP_USER_REFUSE)
			tcp_abort(s, id);
		break;
	case TCP_EV_CONNECT:
		ops->on_connect(s->config.app, id, p->user);
		break;
	case TCP_EV_DATA:
		ops->on_data(s->config.app, id, p->user);
		break;
	case TCP_EV_SENT:
		ops->on_sent(s->config.app, id, p->user);
		break;
	case TCP_EV_FIN:
		ops->on_fin(s->config.app, id, p->user);
		break;
	case TCP_EV_CLOSE:
		ops->on_close(s->config.app, id, p->user, (enum tcp_close_reason)p->close_reason);
		p->flags |= TCP_F_ORPHAN;
		p->events |= TCP_EV_FREE;
		break;
	default:
		break;
	}
}

unsigned tcp_events_run(struct tcp_stack *s)
{
	uint32_t end = s->events.tail; // what is marked meanwhile waits for the next run
	unsigned done = 0;

	for (; s->events.head != end; done++) {
		uint32_t idx = list_pop(&s->events);
		struct tcp_pcb *p = pcb_of(s, idx);
		unsigned events = p->events;

		p->events = TCP_EV_QUEUED; // an event raised inside is seen below, not queued twice
		for (unsigned event = TCP_EV_ACCEPT; event <= TCP_EV_CLOSE; event <<= 1)
			if ((events & event) != 0 && (p->flags & TCP_F_ORPHAN) == 0)
				event_deliver(s, idx, event);
		p->events = (uint8_t)((p->events | (events & TCP_EV_FREE)) & ~TCP_EV_QUEUED);
		if ((p->events & TCP_EV_FREE) != 0 && p->state == TCP_S_CLOSED) {
			queues_drop(s, p);
			if ((p->flags & TCP_F_DIRTY) != 0)
				pcb_event(s, p, TCP_EV_FREE); // still on the output list: after it
			else
				idpool_put(&s->pcbs, idx);
		} else if (p->events != 0) {
			unsigned again = p->events;

			p->events = 0;
			pcb_event(s, p, again);
		}
	}
	return done;
}

unsigned tcp_output_run(struct tcp_stack *s)
{
	uint32_t end = s->dirty.tail;
	unsigned done = 0;

	for (; s->dirty.head != end; done++) {
		struct tcp_pcb *p = pcb_of(s, list_pop(&s->dirty));

		p->flags &= (uint16_t)~TCP_F_DIRTY;
		if (p->state != TCP_S_CLOSED)
			tcp_output(s, p);
	}
	s->dsack_count = 0;
	return done;
}

const struct ip_addr *
route_next_hop(const struct tcp_stack *s, uint8_t gateway, const struct ip_addr *remote)
{
	return gateway != 0 ? &s->gateway[gateway - 1].next_hop : remote;
}

static uint8_t gateway_index(struct tcp_stack *s, const struct net_route *route)
{
	unsigned i;

	if (route->on_link)
		return 0;
	for (i = 0; i < s->gateway_count; i++)
		if (ip_addr_eq(&s->gateway[i].next_hop, &route->next_hop) &&
		    s->gateway[i].port == route->port)
			return (uint8_t)(i + 1);
	BUG_ON_HOT(s->gateway_count == TCP_GATEWAYS_MAX); // at most two a port
	s->gateway[i] = (struct tcp_gateway){.next_hop = route->next_hop, .port = route->port};
	s->gateway_count++;
	return (uint8_t)(i + 1);
}

bool pcb_route(struct tcp_stack *s, struct tcp_pcb *p, struct ip_addr *local, uint16_t *ret_mtu)
{
	struct net_route route;

	if (!net_route_lookup(s->net, &p->remote, &route)) {
		stat_inc(s->env, STAT_TCP_NO_ROUTE);
		return false;
	}
	p->route_port = route.port;
	p->gateway = gateway_index(s, &route);
	*ret_mtu = route.mtu;
	if (local != NULL)
		*local = route.source;
	return true;
}

uint16_t tcp_mss_of_mtu(const struct ip_addr *addr, uint16_t mtu)
{
	unsigned headers = (unsigned)sizeof(struct rte_tcp_hdr) + (ip_addr_is_v4(addr) ? 20 : 40);

	return (uint16_t)(mtu > headers + TCP_MSS_FLOOR ? mtu - headers : TCP_MSS_FLOOR);
}

void pcb_mss_set(struct tcp_pcb *p, uint16_t peer_mss, uint16_t own_mss)
{
	uint16_t mss = peer_mss;

	if (mss == 0)
		mss = ip_addr_is_v4(&p->remote) ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6;
	if (mss < TCP_MSS_FLOOR)
		mss = TCP_MSS_FLOOR;
	if (mss > own_mss)
		mss = own_mss;
	p->mss = (uint16_t)(mss - ((p->flags & TCP_F_TS) != 0 ? 12 : 0));
	p->cwnd = (uint32_t)p->mss * TCP_INITIAL_WINDOW;
}

void tcp_info_get(const struct tcp_stack *s, struct tcp_conn_id conn, struct tcp_info *ret)
{
	const struct tcp_pcb *p = pcb_of(s, conn.v);

	*ret = (struct tcp_info){
		.local = {p->local, p->local_port},
		.remote = {p->remote, p->remote_port},
		.state = tcp_state_name((enum tcp_state)p->state),
		.srtt_us = p->srtt_us8 / 8,
		.rto_ms = p->rto_ms,
		.cwnd_bytes = p->cwnd,
		.snd_wnd = p->snd_wnd,
		.rcv_wnd = p->rcv_adv - p->rcv_nxt,
		.mss = p->mss,
		.fin_received = (p->flags & TCP_F_FIN_RCVD) != 0,
	};
}

void tcp_usage_get(const struct tcp_stack *s, struct tcp_usage *ret)
{
	*ret = (struct tcp_usage){
		.conns = s->pcbs.used,
		.half_open = s->syn.fifo.count,
		.time_wait = s->tw.fifo.count,
		.slices = s->slices.used,
		.max_conns = s->config.max_conns,
		.max_minis = s->config.max_minis,
		.max_slices = s->config.max_slices,
		.conn_bytes = sizeof(struct tcp_pcb),
		.mini_bytes = sizeof(struct tcp_mini),
		.slice_bytes = sizeof(struct tcp_slice),
	};
}

bool tcp_user_find(
	const struct tcp_stack *s,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint32_t *ret_user
)
{
	const struct flow_key key = {local->addr, remote->addr, local->port, remote->port};
	uint32_t idx = flow_lookup(s, &key);
	const struct tcp_pcb *p;

	if (idx == 0 || (idx & TCP_INDEX_MINI) != 0)
		return false;
	p = pcb_of(s, idx);
	if ((p->flags & TCP_F_ORPHAN) != 0 || (p->events & TCP_EV_ACCEPT) != 0)
		return false; // let go, or the word is still the listener's cookie
	*ret_user = p->user;
	return true;
}
