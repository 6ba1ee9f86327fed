// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Questions under way, see inquiry.h. A table is asked for a part at a time, of one worker after
// the other where each has its own.

#include "controlplane/inquiry.h"

#include "controlplane/json_set.h"
#include "controlplane/show.h"

#define NS_A_MS 1000000ULL
#define ANSWER_WAIT_NS (3000 * NS_A_MS) // for one part
#define PING_TIMEOUT_MS 1000
#define PING_EVERY_NS (200 * NS_A_MS)

struct inquiry *inquiry_begin(struct inquiries *q, json_t *answer)
{
	for (unsigned i = 0; i < INQUIRIES_MAX; i++) {
		struct inquiry *item = &q->item[i];

		if (item->used)
			continue;
		q->next_id += q->next_id == UINT32_MAX ? 2 : 1; // never 0
		*item = (struct inquiry){.used = true, .request_id = q->next_id, .answer = answer};
		return item;
	}
	json_decref(answer);
	return NULL;
}

void inquiry_finish(struct inquiry *i, const char *error)
{
	i->done = true;
	i->error = error;
}

bool inquiry_send(struct inquiry *i, const struct control *c, struct ctl_msg *msg, uint64_t wait_ns)
{
	msg->request_id = i->request_id;
	i->deadline_ns = control_clock_ns() + wait_ns;
	if (link_is_open(&c->link) && i->worker < c->link.workers &&
	    ctl_ring_put(c->link.commands[i->worker], msg))
		return true;
	inquiry_finish(i, "the dataplane does not take commands");
	return false;
}

static void table_ask(struct inquiry *i, const struct control *c, uint32_t cursor)
{
	struct ctl_msg msg = {
		.type = CTL_CMD_TABLE,
		.length = sizeof(msg.table),
		.table = {.table = i->table, .cursor = cursor, .session = i->session},
	};

	inquiry_send(i, c, &msg, ANSWER_WAIT_NS);
}

struct inquiry *
inquiry_table(struct inquiries *q, const struct control *c, enum ctl_table_kind table)
{
	struct inquiry *i = inquiry_begin(q, json_array());

	if (i == NULL)
		return NULL;
	i->kind = INQUIRY_TABLE;
	i->table = table;
	if (table == CTL_TABLE_MEMORY)
		show_memory_shared(c, i->answer);
	table_ask(i, c, 0);
	return i;
}

struct inquiry *inquiry_session(struct inquiries *q, const struct control *c, uint64_t id)
{
	struct inquiry *i = inquiry_begin(q, json_pack("{s:[],s:[]}", "connections", "events"));

	if (i == NULL)
		return NULL;
	i->kind = INQUIRY_TABLE;
	i->table = CTL_TABLE_SESSION;
	i->session = id;
	i->worker = c->link.workers > 0 ? (uint32_t)((id - 1) % c->link.workers) : 0;
	table_ask(i, c, 0);
	return i;
}

static void table_event(struct inquiry *i, const struct control *c, const struct ctl_msg *msg)
{
	json_t *connections;

	switch (msg->type) {
	case CTL_EVT_NEIGHBOR:
		json_array_append_new(i->answer, show_neighbor(c, &msg->neighbor));
		break;
	case CTL_EVT_ROUTE:
		json_array_append_new(i->answer, show_route(c, &msg->route));
		break;
	case CTL_EVT_MEMORY:
		json_array_append_new(i->answer, show_memory(i->worker, &msg->memory));
		break;
	case CTL_EVT_SESSION:
		json_object_set_new(
			i->answer, "session", show_session(c, i->worker, &msg->session)
		);
		break;
	case CTL_EVT_CONNECTION:
		json_array_append_new(
			json_object_get(i->answer, "connections"), show_connection(&msg->connection)
		);
		break;
	case CTL_EVT_TLS:
		connections = json_object_get(i->answer, "connections");
		show_tls(json_array_get(connections, json_array_size(connections) - 1), &msg->tls);
		break;
	case CTL_EVT_TRACE:
		json_array_append_new(
			json_object_get(i->answer, "events"), show_trace(&msg->trace)
		);
		break;
	case CTL_EVT_TABLE_END:
		if (msg->table.cursor != 0) {
			table_ask(i, c, msg->table.cursor);
		} else if (i->table == CTL_TABLE_MEMORY && i->worker + 1 < c->link.workers) {
			i->worker++;
			table_ask(i, c, 0);
		} else {
			inquiry_finish(i, NULL);
		}
		break;
	default:
		break;
	}
}

static void ping_send(struct inquiry *i, const struct control *c)
{
	struct ctl_msg msg = {
		.type = CTL_CMD_PING,
		.length = sizeof(msg.ping),
		.ping = {.addr = i->ping.addr, .timeout_ms = PING_TIMEOUT_MS},
	};

	i->ping.next_ns = 0;
	if (inquiry_send(i, c, &msg, ANSWER_WAIT_NS))
		i->ping.sent++;
}

struct inquiry *inquiry_ping(
	struct inquiries *q,
	const struct control *c,
	const struct ip_addr *addr,
	unsigned count
)
{
	struct inquiry *i = inquiry_begin(q, json_object());
	char text[IP_ADDR_STRLEN];

	if (i == NULL)
		return NULL;
	i->kind = INQUIRY_PING;
	i->ping.addr = *addr;
	i->ping.count = count;
	set_text(i->answer, "address", ip_addr_format(addr, text));
	json_object_set_new(i->answer, "replies", json_array());
	ping_send(i, c);
	return i;
}

static const char *ping_code_name(uint32_t code)
{
	static const char *const names[] = {
		[CTL_PING_REPLY] = "reply",
		[CTL_PING_TIMEOUT] = "timeout",
		[CTL_PING_OURS] = "an address of ours",
		[CTL_PING_NO_ROUTE] = "no route",
		[CTL_PING_NO_RESOURCE] = "no buffer",
	};

	return code < sizeof(names) / sizeof(names[0]) ? names[code] : "unknown";
}

static void ping_event(struct inquiry *i, const struct ctl_msg *msg)
{
	const struct ctl_ping_result *r = &msg->ping_result;
	json_t *o = json_object();

	if (msg->type != CTL_EVT_PING || i->ping.next_ns != 0) {
		json_decref(o);
		return;
	}
	set_uint(o, "sequence", i->ping.sent);
	set_text(o, "result", ping_code_name(r->code));
	if (r->code == CTL_PING_REPLY) {
		set_seconds(o, "time_seconds", r->time_us / 1e6);
		set_uint(o, "hop_limit", r->hop_limit);
		i->ping.received++;
	}
	json_array_append_new(json_object_get(i->answer, "replies"), o);
	i->ping.next_ns = control_clock_ns() + PING_EVERY_NS;
	if (i->ping.sent < i->ping.count && r->code <= CTL_PING_TIMEOUT)
		return;
	set_uint(i->answer, "sent", i->ping.sent);
	set_uint(i->answer, "received", i->ping.received);
	inquiry_finish(i, NULL);
}

void inquiries_event(struct inquiries *q, const struct control *c, const struct ctl_msg *msg)
{
	for (unsigned k = 0; k < INQUIRIES_MAX; k++) {
		struct inquiry *i = &q->item[k];

		if (!i->used || i->done || i->request_id != msg->request_id)
			continue;
		if (i->kind == INQUIRY_TABLE)
			table_event(i, c, msg);
		else if (i->kind == INQUIRY_TEST)
			test_mail_event(i, c, msg);
		else
			ping_event(i, msg);
	}
}

void inquiries_run(struct inquiries *q, const struct control *c, uint64_t now_ns)
{
	for (unsigned k = 0; k < INQUIRIES_MAX; k++) {
		struct inquiry *i = &q->item[k];

		if (!i->used || i->done)
			continue;
		if (i->kind == INQUIRY_PING && i->ping.next_ns != 0 && now_ns >= i->ping.next_ns)
			ping_send(i, c);
		if (!i->done && (!link_is_open(&c->link) || now_ns >= i->deadline_ns))
			inquiry_finish(i, "the dataplane did not answer in time");
	}
}

bool inquiries_are_waiting(const struct inquiries *q)
{
	for (unsigned k = 0; k < INQUIRIES_MAX; k++)
		if (q->item[k].used)
			return true;
	return false;
}

void inquiry_end(struct inquiry *i)
{
	json_decref(i->answer);
	*i = (struct inquiry){0};
}
