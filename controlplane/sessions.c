// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Session lists under way, see sessions.h.

#include "controlplane/sessions.h"

#include "controlplane/show.h"

#define SESSIONS_A_COMMAND 256
#define ANSWER_WAIT_NS 1000000000ULL // for one part

static void ask(struct session_list *list, const struct control *c, uint32_t cursor)
{
	struct ctl_msg msg = {
		.type = CTL_CMD_SESSION_LIST,
		.length = sizeof(msg.session_list),
		.request_id = list->request_id,
	};

	msg.session_list.cursor = cursor;
	msg.session_list.limit =
		list->limit < SESSIONS_A_COMMAND ? list->limit : SESSIONS_A_COMMAND;
	list->deadline_ns = control_clock_ns() + ANSWER_WAIT_NS;
	if (!link_is_open(&c->link) || list->worker >= c->link.workers ||
	    !ctl_ring_put(c->link.commands[list->worker], &msg)) {
		list->truncated = true;
		list->done = true;
	}
}

struct session_list *sessions_begin(struct sessions *s, const struct control *c, uint32_t limit)
{
	for (unsigned i = 0; i < SESSIONS_LISTS_MAX; i++) {
		struct session_list *list = &s->list[i];

		if (list->used)
			continue;
		s->next_id += s->next_id == UINT32_MAX ? 2 : 1;
		*list = (struct session_list){
			.used = true,
			.request_id = s->next_id,
			.limit = limit,
			.entries = json_array(),
		};
		if (link_is_open(&c->link))
			ask(list, c, 0);
		else
			list->done = true;
		return list;
	}
	return NULL;
}

// A part has ended: the next one, the next worker, or all.
static void part_ended(struct session_list *list, const struct control *c, uint32_t cursor)
{
	if (list->limit == 0) {
		list->truncated = cursor != 0 || list->worker + 1 < c->link.workers;
		list->done = true;
		return;
	}
	if (cursor == 0)
		list->worker++;
	if (list->worker >= c->link.workers)
		list->done = true;
	else
		ask(list, c, cursor);
}

void sessions_event(struct sessions *s, const struct control *c, const struct ctl_msg *msg)
{
	for (unsigned i = 0; i < SESSIONS_LISTS_MAX; i++) {
		struct session_list *list = &s->list[i];

		if (!list->used || list->done || list->request_id != msg->request_id)
			continue;
		if (msg->type == CTL_EVT_SESSION_END) {
			part_ended(list, c, msg->session_list.cursor);
		} else if (msg->type == CTL_EVT_SESSION && list->limit > 0) {
			json_array_append_new(
				list->entries, show_session(c, list->worker, &msg->session)
			);
			list->limit--;
		}
	}
}

void sessions_run(struct sessions *s, const struct control *c, uint64_t now_ns)
{
	for (unsigned i = 0; i < SESSIONS_LISTS_MAX; i++) {
		struct session_list *list = &s->list[i];

		if (!list->used || list->done)
			continue;
		if (link_is_open(&c->link) && now_ns < list->deadline_ns)
			continue;
		list->truncated = true;
		list->done = true;
	}
}

bool sessions_are_waiting(const struct sessions *s)
{
	for (unsigned i = 0; i < SESSIONS_LISTS_MAX; i++)
		if (s->list[i].used)
			return true;
	return false;
}

void sessions_end(struct session_list *list)
{
	json_decref(list->entries);
	*list = (struct session_list){0};
}
